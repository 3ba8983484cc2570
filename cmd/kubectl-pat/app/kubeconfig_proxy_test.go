/*
Copyright 2026 The pat-operator Authors.

Licensed under the Apache License, Version 2.0 (the "License");
you may not use this file except in compliance with the License.
You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and
limitations under the License.
*/

package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/cacert"
	"github.com/pat-operator/pat-operator/internal/proxyconfig"
)

const proxyURL = "https://pat.example.com"

// someCA is a CA, in PEM.
func someCA(t *testing.T) []byte {
	t.Helper()
	cert, _, _, err := cacert.New("proxy", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return cacert.Encode(cert)
}

// install creates the webhook configuration, which says where the operator is.
func (tr *trial) install(t *testing.T, namespace string) {
	t.Helper()
	webhook := admissionregistrationv1.ValidatingWebhook{Name: "validate.personalaccesstokens.pat-operator.io"}
	webhook.ClientConfig.Service = &admissionregistrationv1.ServiceReference{Namespace: namespace, Name: "pat-operator-admission"}
	if err := tr.client.Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "pat-operator"}, Webhooks: []admissionregistrationv1.ValidatingWebhook{webhook},
	}); err != nil {
		t.Fatal(err)
	}
}

// publish creates the ConfigMap of a proxy.
func (tr *trial) publish(t *testing.T, data map[string]string) {
	t.Helper()
	if err := tr.client.Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: authnconfig.Namespace, Name: proxyconfig.ConfigMapName}, Data: data,
	}); err != nil {
		t.Fatal(err)
	}
}

func TestKubeconfigLeadsToTheProxyWhereThereIsOne(t *testing.T) {
	pat, plaintext := holderMade(t, 7)
	ca := someCA(t)
	file := filepath.Join(t.TempDir(), "proxy-ca.crt")
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	// What of the caller's own kubeconfig never gets into one for the proxy.
	const mine = "server: https://api.example.com\ninsecure-skip-tls-verify: true\nproxy-url: http://me:hunter2@proxy.example.com:3128\ntls-server-name: other"
	const plain = "server: https://api.example.com\ncertificate-authority: ca.crt"
	for name, tc := range map[string]struct {
		published map[string]string
		mine      string
		args      []string
		server    string
		ca        string
	}{
		"with a CA of its own":      {proxyconfig.Config{URL: proxyURL, CA: ca}.Data(), mine, nil, proxyURL, string(ca)},
		"with a public certificate": {proxyconfig.Config{URL: proxyURL}.Data(), mine, nil, proxyURL, ""},
		"none":                      {nil, plain, nil, "https://api.example.com", "the CA"},
		"not wanted":                {proxyconfig.Config{URL: proxyURL, CA: ca}.Data(), plain, []string{"--no-proxy"}, "https://api.example.com", "the CA"},
		"not wanted, and broken":    {map[string]string{"url": "http://x"}, plain, []string{"--no-proxy"}, "https://api.example.com", "the CA"},
		"another address":           {proxyconfig.Config{URL: proxyURL, CA: ca}.Data(), plain, []string{"--server=https://other.example.com"}, "https://other.example.com", "the CA"},
		"another address and CA":    {nil, mine, []string{"--server=https://other.example.com", "--server-ca=" + file}, "https://other.example.com", string(ca)},
		"another address, public":   {nil, mine, []string{"--server=https://other.example.com", "--server-ca=public"}, "https://other.example.com", ""},
		"in another namespace":      {nil, plain, []string{"--operator-namespace=pats"}, "https://api.example.com", "the CA"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, interceptor.Funcs{}, pat)
			tr.install(t, authnconfig.Namespace)
			tr.In = strings.NewReader(plaintext)
			if tc.published != nil {
				tr.publish(t, tc.published)
			}
			t.Setenv("KUBECONFIG", kubeconfigWith(t, tc.mine))
			tr.run(t.Context(), t, exitOK, append([]string{"kubeconfig", "ci"}, tc.args...)...)
			config, err := clientcmd.Load(tr.out.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			if len(config.Clusters) != 1 || len(config.AuthInfos) != 1 || len(config.Contexts) != 1 {
				t.Errorf("got %s", tr.out)
			}
			cluster := config.Clusters["prod"]
			if cluster == nil || cluster.Server != tc.server || string(cluster.CertificateAuthorityData) != tc.ca {
				t.Errorf("got %s\nwant server %s and CA %s", tr.out, tc.server, tc.ca)
			}
			for _, wrong := range []string{"proxy-url", "insecure-skip-tls-verify", "tls-server-name", "hunter2", " as: ", "client-"} {
				if strings.Contains(tr.out.String(), wrong) {
					t.Errorf("%s is in %s", wrong, tr.out)
				}
			}
			if config.Contexts["ci@prod"].Namespace != "team-a" || tr.errOut.Len() > 0 {
				t.Errorf("%s\n%s", tr.out, tr.errOut)
			}
		})
	}
}

func TestKubeconfigForAProxyThatCannotBeUsed(t *testing.T) {
	pat, plaintext := holderMade(t, 7)
	const directly = ". For the API server itself add --no-proxy"
	for name, tc := range map[string]struct {
		published map[string]string
		get       error
		code      int
		want      string
	}{
		"not published yet": {published: map[string]string{}, code: exitError, want: "error: the ConfigMap pat-operator-proxy is empty: no proxy has run, or it cannot write it; see its log" + directly},
		"in clear text":     {published: map[string]string{"url": "http://pat.example.com"}, code: exitError, want: "error: the ConfigMap pat-operator-proxy cannot be used: its url is not https://HOST[:PORT]" + directly},
		"no answer":         {get: apierrors.NewServiceUnavailable("for a test"), code: exitError, want: "error: cannot read whether there is a proxy (ConfigMap pat-operator-system/pat-operator-proxy): for a test"},
		"no right to know":  {get: apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "x", nil), code: exitOK},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, interceptor.Funcs{Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
				if _, ok := o.(*corev1.ConfigMap); ok && tc.get != nil {
					return tc.get
				}
				return c.Get(ctx, key, o, opts...)
			}}, pat)
			tr.In = strings.NewReader(plaintext)
			if tc.published != nil {
				tr.publish(t, tc.published)
			}
			t.Setenv("KUBECONFIG", kubeconfigWith(t, "server: https://api.example.com"))
			tr.run(t.Context(), t, tc.code, "kubeconfig", "ci")
			if got := strings.TrimSpace(tr.errOut.String()); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// A file with the token is named, so that the kubeconfig survives rotations; others can be given the token itself.
func TestKubeconfigNamesTheFileOfTheToken(t *testing.T) {
	pat, plaintext := holderMade(t, 7)
	dir := t.TempDir()
	file := filepath.Join(dir, "ci.token")
	if err := os.WriteFile(file, []byte(plaintext+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	t.Setenv("HOME", dir)
	pipe := func(t *testing.T) string {
		t.Helper()
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		if _, err := io.WriteString(w, plaintext); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("/dev/fd/%d", r.Fd())
	}
	for name, tc := range map[string]struct {
		args        []string
		token, path string
	}{
		"by default":    {[]string{"--token-file=ci.token"}, "", file},
		"by its path":   {[]string{"--token-file=" + file}, "", file},
		"in the home":   {[]string{"--token-file=~/ci.token"}, "", file},
		"of a process":  {[]string{"--token-file=" + pipe(t)}, plaintext, ""},
		"embedded":      {[]string{"--token-file=ci.token", "--embed-token"}, plaintext, ""},
		"from a pipe":   {nil, plaintext, ""},
		"and embedded":  {[]string{"--embed-token"}, plaintext, ""},
		"of the holder": {[]string{"--token-path=secret/token"}, "", "secret/token"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, interceptor.Funcs{}, pat)
			tr.In = strings.NewReader(plaintext)
			t.Setenv("KUBECONFIG", kubeconfigWith(t, "server: https://api.example.com"))
			tr.run(t.Context(), t, exitOK, append([]string{"kubeconfig", "ci"}, tc.args...)...)
			config, err := clientcmd.Load(tr.out.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			if got := config.AuthInfos["ci"]; got.Token != tc.token || got.TokenFile != tc.path {
				t.Errorf("got %s", tr.out)
			}
		})
	}
}

func TestKubeconfigForOtherPrograms(t *testing.T) {
	pat, plaintext := holderMade(t, 7)
	public := proxyconfig.Config{URL: proxyURL}.Data()
	const direct = "server: https://api.example.com\ncertificate-authority: ca.crt\ntls-server-name: kubernetes"
	for name, tc := range map[string]struct {
		published map[string]string
		format    string
		want      string
	}{
		"Argo CD": {nil, "argocd", `apiVersion: v1
kind: Secret
metadata:
  labels:
    argocd.argoproj.io/secret-type: cluster
  name: ci-cluster
stringData:
  config: |
    {
        "bearerToken": "TOKEN",
        "tlsClientConfig": {
            "insecure": false,
            "serverName": "kubernetes",
            "caData": "dGhlIENB"
        }
    }
  name: ci@prod
  server: https://api.example.com
type: Opaque
`},
		"Argo CD, by a public proxy": {public, "argocd", `apiVersion: v1
kind: Secret
metadata:
  labels:
    argocd.argoproj.io/secret-type: cluster
  name: ci-cluster
stringData:
  config: |
    {
        "bearerToken": "TOKEN",
        "tlsClientConfig": {
            "insecure": false
        }
    }
  name: ci@prod
  server: https://pat.example.com
type: Opaque
`},
		"Terraform": {nil, "terraform", `{
    "host": "https://api.example.com",
    "token": "TOKEN",
    "cluster_ca_certificate": "the CA",
    "tls_server_name": "kubernetes"
}
`},
		"Terraform, by a public proxy": {public, "terraform", `{
    "host": "https://pat.example.com",
    "token": "TOKEN"
}
`},
	} {
		t.Run(name, func(t *testing.T) {
			want := strings.Replace(tc.want, "TOKEN", plaintext, 1)
			tr := newTrial(t, interceptor.Funcs{}, pat)
			if tc.published != nil {
				tr.publish(t, tc.published)
			}
			t.Setenv("KUBECONFIG", kubeconfigWith(t, direct))
			tr.In = strings.NewReader(plaintext)
			tr.run(t.Context(), t, exitOK, "kubeconfig", "ci", "-o", tc.format)
			if diff := cmp.Diff(want, tr.out.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			file := filepath.Join(t.TempDir(), "out")
			tr.In = strings.NewReader(plaintext)
			tr.run(t.Context(), t, exitOK, "kubeconfig", "ci", "-o", tc.format+"="+file)
			text, err := os.ReadFile(file)
			if diff := cmp.Diff(want, string(text)); err != nil || diff != "" || tr.out.Len() > 0 {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v %v", info.Mode(), err)
			}
		})
	}
}

// checked is a cluster that knows alice, and the token at its own address.
type checked struct {
	groups       []string
	mine, theirs []string // the resources of which something is allowed
	refused      error    // of the token
	notYet       int      // how many tries are refused first, because of impersonation
	server       string   // of the client with the token
	file         string   // from which it has the token
	another      bool     // it takes the token for another one
}

func (c *checked) connect(t *testing.T, tr *trial, id string) func(genericclioptions.RESTClientGetter, io.Writer) (client.WithWatch, error) {
	t.Helper()
	return func(getter genericclioptions.RESTClientGetter, _ io.Writer) (client.WithWatch, error) {
		config, err := getter.ToRESTConfig()
		if err != nil {
			return nil, err
		}
		allowed, extra := c.mine, map[string]authenticationv1.ExtraValue(nil)
		token := strings.HasPrefix(config.BearerToken, "kubepat_") || config.BearerTokenFile != ""
		if token {
			if config.CertData != nil || config.Impersonate.UserName != "" {
				t.Error("the token is not the only credential")
			}
			if config.BearerToken != "" && config.BearerTokenFile != "" {
				t.Error("the token in memory is used where the kubeconfig names a file")
			}
			c.file = config.BearerTokenFile
			c.server, allowed, extra = config.Host, c.theirs, map[string]authenticationv1.ExtraValue{user.CredentialIDKey: {"PAT=" + id}}
			if c.another {
				extra = nil
			}
		}
		return interceptor.NewClient(tr.client, interceptor.Funcs{Create: func(_ context.Context, _ client.WithWatch, o client.Object, _ ...client.CreateOption) error {
			if token && c.notYet > 0 {
				c.notYet--
				return apierrors.NewForbidden(schema.GroupResource{Resource: "users"}, "alice", errors.New("no"))
			}
			if token && c.refused != nil {
				return c.refused
			}
			switch o := o.(type) {
			case *authenticationv1.SelfSubjectReview:
				o.Status.UserInfo = authenticationv1.UserInfo{Username: "alice", Groups: append([]string{user.AllAuthenticated}, c.groups...), Extra: extra}
			case *authorizationv1.SelfSubjectAccessReview:
				for _, resource := range allowed {
					o.Status.Allowed = o.Status.Allowed || resource == o.Spec.ResourceAttributes.Resource+o.Spec.ResourceAttributes.Subresource
				}
			}
			return nil
		}}), nil
	}
}

func TestKubeconfigIsCheckedByUsingIt(t *testing.T) {
	const (
		works = "It works: at https://pat.example.com the token is alice.\n"
		rbac  = "only Kubernetes RBAC counts for an impersonated user, and not what a cloud's authorization allows (EKS access policies, Google IAM, Azure RBAC): bind alice, or a group of the token, in RBAC\n"
	)
	all := []string{"pods", "secrets", "deployments", "podsexec", "nodes"}
	for name, tc := range map[string]struct {
		checked
		scopes []v1alpha1.Scope
		direct bool
		code   int
		want   string
	}{
		"all the same":    {checked: checked{mine: all[:2], theirs: all[:2]}, want: works + "Of 5 permissions that were compared, the token has those that you have.\n"},
		"a cloud's IAM":   {checked: checked{mine: all, theirs: all[1:]}, want: works + "Different: you may list pods in namespace team-a, and the token may not: " + rbac},
		"of its scopes":   {checked: checked{mine: all[:3], theirs: all[:2]}, scopes: []v1alpha1.Scope{{Preset: "read-only"}}, want: works + "Different: you may create deployments.apps in namespace team-a, and the token may not: it is outside of the scopes read-only\n"},
		"of its groups":   {checked: checked{mine: all, theirs: all[:4], groups: []string{"admins"}}, want: works + "Different: you may list nodes, and the token may not: the token has other groups than you have now; or " + rbac},
		"the other way":   {checked: checked{mine: all[:3], theirs: all[:4]}, want: works + "Different: the token may create pods/exec in namespace team-a, and you may not: kube-apiserver does not say why\n"},
		"without a proxy": {checked: checked{mine: all, theirs: all[1:]}, direct: true, want: strings.Replace(works, "pat.", "api.", 1) + "Different: you may list pods in namespace team-a, and the token may not: kube-apiserver does not say why\n"},
		"refused": {checked: checked{refused: apierrors.NewUnauthorized("no")}, code: exitError,
			want: "error: --check: https://pat.example.com does not accept the token: it has ended, is suspended, or is for other audiences; see kubectl pat describe ci -n team-a (no)\n"},
		"refused without a proxy": {checked: checked{refused: apierrors.NewUnauthorized("no")}, direct: true, code: exitError,
			want: "error: --check: https://api.example.com does not accept the token: it has ended, or kube-apiserver does not ask the verifier (kubectl pat doctor), or tokens work only at a proxy that you may not look up: give its address with --server and --server-ca (no)\n"},
		"another server": {checked: checked{another: true}, code: exitError,
			want: "error: --check: https://pat.example.com says that you are alice, and not by this token: another server answers, or a client certificate was used\n"},
		"no server": {checked: checked{refused: errors.New("connection refused")}, code: exitError,
			want: "error: --check: the kubeconfig does not work at https://pat.example.com: connection refused\n"},
	} {
		t.Run(name, func(t *testing.T) {
			pat, plaintext := holderMade(t, 7)
			pat.Spec.Scopes = tc.scopes
			tr := newTrial(t, interceptor.Funcs{}, pat)
			tr.install(t, authnconfig.Namespace)
			if !tc.direct {
				tr.publish(t, proxyconfig.Config{URL: proxyURL}.Data())
			}
			tr.In, tr.Connect = strings.NewReader(plaintext), tc.connect(t, tr, pat.Status.TokenID)
			t.Setenv("KUBECONFIG", kubeconfigWith(t, "server: https://api.example.com"))
			tr.run(t.Context(), t, tc.code, "kubeconfig", "ci", "--check")
			if diff := cmp.Diff(tc.want, tr.errOut.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !strings.Contains(tr.out.String(), plaintext) {
				t.Errorf("no kubeconfig: %s", tr.out)
			}
			if want := map[bool]string{false: proxyURL, true: "https://api.example.com"}[tc.direct]; tc.server != want {
				t.Errorf("asked %q; want %s", tc.server, want)
			}
		})
	}
}

// What is written is used: a kubeconfig that names a file is checked with that file.
func TestCheckUsesTheFileThatTheKubeconfigNames(t *testing.T) {
	pat, plaintext := holderMade(t, 7)
	file := filepath.Join(t.TempDir(), "ci.token")
	if err := os.WriteFile(file, []byte(plaintext), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"named":    {nil, file},
		"embedded": {[]string{"--embed-token"}, ""},
		"Argo CD":  {[]string{"-o", "argocd"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tr, c := newTrial(t, interceptor.Funcs{}, pat), &checked{}
			tr.Connect = c.connect(t, tr, pat.Status.TokenID)
			t.Setenv("KUBECONFIG", kubeconfigWith(t, "server: https://api.example.com"))
			tr.run(t.Context(), t, exitOK, append([]string{"kubeconfig", "ci", "--check", "--token-file", file}, tc.args...)...)
			if c.server == "" || c.file != tc.want {
				t.Errorf("asked %q with the file %q; want %q", c.server, c.file, tc.want)
			}
		})
	}
}

// A user who may create namespaces can make one that is called like the operator's, with a ConfigMap that names another server.
func TestNoTokenIsSentToAnAddressFromAGuessedNamespace(t *testing.T) {
	const (
		warning = "Warning: the kubeconfig leads to https://pat.example.com, because the ConfigMap %s/pat-operator-proxy says so. Anybody may have created that, as you may not read in which namespace the operator is: ask a cluster administrator, and add --operator-namespace NAMESPACE\n"
		refused = "error: --check: the token was not sent to https://pat.example.com, which the ConfigMap %s/pat-operator-proxy names: you may not read in which namespace the operator is, so that may be another user's. Ask a cluster administrator, and add --operator-namespace NAMESPACE\n"
		works   = "It works: at https://pat.example.com the token is alice.\nOf 5 permissions that were compared, the token has those that you have.\n"
	)
	guess := func(text string) string { return fmt.Sprintf(text, authnconfig.Namespace) }
	for name, tc := range map[string]struct {
		installed string // the namespace that the webhooks name
		args      []string
		code      int
		want      string
		sent      string
	}{
		"guessed":              {"", nil, exitOK, guess(warning), ""},
		"guessed, and checked": {"", []string{"--check"}, exitError, guess(warning) + guess(refused), ""},
		"given":                {"", []string{"--check", "--operator-namespace", authnconfig.Namespace}, exitOK, works, proxyURL},
		"found":                {authnconfig.Namespace, []string{"--check"}, exitOK, works, proxyURL},
		"elsewhere":            {"pats", []string{"--check"}, exitOK, strings.Replace(works, "pat.", "api.", 1), "https://api.example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			pat, plaintext := holderMade(t, 7)
			tr, c := newTrial(t, interceptor.Funcs{}, pat), &checked{}
			if tc.installed != "" {
				tr.install(t, tc.installed)
			}
			tr.publish(t, proxyconfig.Config{URL: proxyURL}.Data())
			tr.In, tr.Connect = strings.NewReader(plaintext), c.connect(t, tr, pat.Status.TokenID)
			t.Setenv("KUBECONFIG", kubeconfigWith(t, "server: https://api.example.com"))
			tr.run(t.Context(), t, tc.code, append([]string{"kubeconfig", "ci"}, tc.args...)...)
			if diff := cmp.Diff(tc.want, tr.errOut.String()); diff != "" || c.server != tc.sent {
				t.Errorf("sent to %q; want %q (-want +got):\n%s", c.server, tc.sent, diff)
			}
		})
	}
}

func TestKubeconfigOfATokenWithNetworksWarnsWithoutTheProxy(t *testing.T) {
	const warning = "Warning: the token works only through the proxy, and only from 192.0.2.0/24. If %s is not the proxy, give the proxy's address with --server and --server-ca\n"
	for name, tc := range map[string]struct {
		args []string
		from []string
		want string
	}{
		"the proxy":        {nil, []string{"192.0.2.0/24"}, ""},
		"the API server":   {[]string{"--no-proxy"}, []string{"192.0.2.0/24"}, fmt.Sprintf(warning, "https://api.example.com")},
		"another address":  {[]string{"--server=https://other.example.com"}, []string{"192.0.2.0/24"}, fmt.Sprintf(warning, "https://other.example.com")},
		"without networks": {[]string{"--no-proxy"}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			pat, plaintext := holderMade(t, 7)
			pat.Spec.From = tc.from
			tr := newTrial(t, interceptor.Funcs{}, pat)
			tr.install(t, authnconfig.Namespace)
			tr.publish(t, proxyconfig.Config{URL: proxyURL}.Data())
			tr.In = strings.NewReader(plaintext)
			t.Setenv("KUBECONFIG", kubeconfigWith(t, "server: https://api.example.com"))
			tr.run(t.Context(), t, exitOK, append([]string{"kubeconfig", "ci"}, tc.args...)...)
			if diff := cmp.Diff(tc.want, tr.errOut.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The operator writes whom the proxy may act for some time after the token is made. Other refusals do not end by waiting.
func TestCheckWaitsUntilTheProxyMayActForTheUser(t *testing.T) {
	const (
		waits = "Waiting up to 1m0s until the proxy may act for the user of this token.\n"
		works = "It works: at https://pat.example.com the token is alice.\nOf 5 permissions that were compared, the token has those that you have.\n"
		never = "error: --check: the proxy https://pat.example.com may not act for the user of this token, or the token may not be used from this address: "
	)
	networks := &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonForbidden, Code: 403, Message: "may not be used from 203.0.113.7"}}
	for name, tc := range map[string]struct {
		checked
		code   int
		want   string
		within time.Duration
	}{
		"at once":              {checked{}, exitOK, works, 0},
		"after thirty tries":   {checked{notYet: 30}, exitOK, waits + works, 30 * time.Second},
		"never":                {checked{notYet: 1000}, exitError, waits + never + "users \"alice\" is forbidden: no\n", time.Minute},
		"from another network": {checked{refused: networks}, exitError, never + "may not be used from 203.0.113.7\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			pat, plaintext := holderMade(t, 7)
			tr := newTrial(t, interceptor.Funcs{}, pat)
			tr.install(t, authnconfig.Namespace)
			tr.publish(t, proxyconfig.Config{URL: proxyURL}.Data())
			tr.In, tr.Connect = strings.NewReader(plaintext), tc.connect(t, tr, pat.Status.TokenID)
			t.Setenv("KUBECONFIG", kubeconfigWith(t, "server: https://api.example.com"))
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				tr.run(t.Context(), t, tc.code, "kubeconfig", "ci", "--check")
				if took := time.Since(begin); took > tc.within {
					t.Errorf("it took %v; want %v", took, tc.within)
				}
			})
			if diff := cmp.Diff(tc.want, tr.errOut.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
