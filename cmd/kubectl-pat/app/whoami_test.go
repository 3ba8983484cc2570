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
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// taken is an API server that reports this user as the caller.
func taken(user authenticationv1.UserInfo, get error) interceptor.Funcs {
	return interceptor.Funcs{
		Create: func(_ context.Context, _ client.WithWatch, o client.Object, _ ...client.CreateOption) error {
			o.(*authenticationv1.SelfSubjectReview).Status.UserInfo = user
			return nil
		},
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if get != nil {
				return get
			}
			return c.Get(ctx, key, o, opts...)
		},
	}
}

func TestWhoami(t *testing.T) {
	const id = "aaaaaaaaaaaaaaaa"
	byPAT := func(id string) authenticationv1.UserInfo {
		return authenticationv1.UserInfo{Username: "alice\u202e", Extra: map[string]authenticationv1.ExtraValue{
			"authentication.kubernetes.io/credential-id": {"PAT=" + id}, "pat-operator.io/name": {"team-a/ci"},
		}}
	}
	forbidden := apierrors.NewForbidden(v1alpha1.GroupVersion.WithResource("personalaccesstokens").GroupResource(), "ci", nil)
	for name, tc := range map[string]struct {
		user     authenticationv1.UserInfo
		current  string
		previous string
		get      error
		want     string
	}{
		"a user with another credential": {user: authenticationv1.UserInfo{Username: "\x1b[2Jbob", UID: "1", Groups: []string{"g", "\x07"}}, want: `
Username:               \x1b[2Jbob
UID:                    1
Groups:                 g
                        \x07
Personal Access Token:  no, this is another kind of credential
`},
		"the current token": {user: byPAT(id), current: id, want: `
Username:               alice\u202e
Extra:                  authentication.kubernetes.io/credential-id=PAT=aaaaaaaaaaaaaaaa
                        pat-operator.io/name=team-a/ci
Personal Access Token:  aaaaaaaaaaaaaaaa
  Resource:             personalaccesstoken.pat-operator.io/ci in namespace team-a
  Active:               True
                        It works.
  Expires:              2026-12-24T12:00:00Z (in 30d)
`},
		"a predecessor": {user: byPAT(id), current: "bbbbbbbbbbbbbbbb", previous: id, want: `
Username:               alice\u202e
Extra:                  authentication.kubernetes.io/credential-id=PAT=aaaaaaaaaaaaaaaa
                        pat-operator.io/name=team-a/ci
Personal Access Token:  aaaaaaaaaaaaaaaa
  Resource:             personalaccesstoken.pat-operator.io/ci in namespace team-a
  Active:               True
                        Token bbbbbbbbbbbbbbbb has replaced it; both work for a while.
  Expires:              unknown
`},
		"one that may not read its resource": {user: byPAT(id), current: id, get: forbidden, want: `
Username:               alice\u202e
Extra:                  authentication.kubernetes.io/credential-id=PAT=aaaaaaaaaaaaaaaa
                        pat-operator.io/name=team-a/ci
Personal Access Token:  aaaaaaaaaaaaaaaa
  Resource:             personalaccesstoken.pat-operator.io/ci in namespace team-a
  State:                it works; no details: it may not read its own resource
`},
		"one that has just ended": {user: byPAT(id), current: "bbbbbbbbbbbbbbbb", want: `
Username:               alice\u202e
Extra:                  authentication.kubernetes.io/credential-id=PAT=aaaaaaaaaaaaaaaa
                        pat-operator.io/name=team-a/ci
Personal Access Token:  aaaaaaaaaaaaaaaa
  Resource:             personalaccesstoken.pat-operator.io/ci in namespace team-a
  State:                it works; no details: the resource does not name it: the operator has not processed it yet, or the token has just ended
`},
		"an invalid ID": {user: byPAT("../../x"), current: id, want: `
Username:               alice\u202e
Extra:                  authentication.kubernetes.io/credential-id=PAT=../../x
                        pat-operator.io/name=team-a/ci
Personal Access Token:  no, this is another kind of credential
`},
	} {
		t.Run(name, func(t *testing.T) {
			pat := withConditions(1, isReady, isActive)
			pat.Status.Conditions[1].Message = "It works."
			pat.Status.TokenID, pat.Status.PreviousTokenID, pat.Status.ExpiresAt = tc.current, tc.previous, after(30*day)
			tr := newTrial(t, taken(tc.user, tc.get), pat)
			tr.run(t.Context(), t, exitOK, "whoami")
			if diff := cmp.Diff(strings.TrimPrefix(tc.want, "\n"), tr.out.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, output := range []string{"json", "yaml"} {
				tr.run(t.Context(), t, exitOK, "whoami", "-o", output)
				if strings.ContainsFunc(tr.out.String(), escaped) {
					t.Errorf("-o %s is not safe: %q", output, tr.out)
				}
			}
		})
	}
}

// kubeconfigWith writes a kubeconfig with these lines about the cluster, and a user with all kinds of credentials.
func kubeconfigWith(t *testing.T, cluster string) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "config")
	text := `apiVersion: v1
kind: Config
clusters:
- name: prod
  cluster:
    ` + strings.ReplaceAll(strings.TrimSpace(cluster), "\n", "\n    ") + `
users:
- name: admin
  user:
    client-certificate-data: Y2VydA==
    client-key-data: a2V5
    token: the-admins-own
    as: another
contexts:
- name: admin@prod
  context: {cluster: prod, user: admin, namespace: team-a}
current-context: admin@prod
`
	for name, content := range map[string]string{"config": text, "ca.crt": "the CA"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// A given token is sent without the kubeconfig's client certificate or other credentials.
func TestWhoamiSendsNothingButTheToken(t *testing.T) {
	_, plaintext := tokenOf(t, 7)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(plaintext+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--token-file", file}, {"--token-file", "-"}, {"--token", plaintext}} {
		tr := newTrial(t, taken(authenticationv1.UserInfo{Username: "alice"}, nil))
		tr.In = strings.NewReader(plaintext)
		connected := false
		tr.Connect = func(flags genericclioptions.RESTClientGetter, _ io.Writer) (client.WithWatch, error) {
			connected = true
			config, err := flags.ToRESTConfig()
			if err != nil {
				return nil, err
			}
			if config.BearerToken != plaintext || config.BearerTokenFile != "" || config.Username != "" || len(config.CertData)+len(config.KeyData) > 0 ||
				config.ExecProvider != nil || config.AuthProvider != nil || config.Impersonate.UserName != "" {
				t.Errorf("%s: other credentials are sent", args[0])
			}
			if config.Host != "https://api.example.com" || string(config.CAData) != "the CA" && !strings.HasSuffix(config.CAFile, "ca.crt") {
				t.Errorf("%s: another cluster is asked: %s", args[0], config.Host)
			}
			return tr.client, nil
		}
		t.Setenv("KUBECONFIG", kubeconfigWith(t, "server: https://api.example.com\ncertificate-authority: ca.crt"))
		tr.run(t.Context(), t, exitOK, append([]string{"whoami"}, args...)...)
		if !connected || strings.Contains(tr.out.String()+tr.errOut.String(), plaintext[25:]) {
			t.Errorf("%s: %s%s", args[0], tr.out, tr.errOut)
		}
	}
}

func TestWhoamiSaysWhyATokenIsRefused(t *testing.T) {
	id, plaintext := tokenOf(t, 7)
	for given, want := range map[string]string{
		"":               "the API server does not accept this credential: it has ended, or belongs to another cluster (Unauthorized)",
		"some-other-jwt": "the API server does not accept this credential: it has ended, or belongs to another cluster (Unauthorized)",
		plaintext:        "the API server does not accept token " + id + ": it has ended, is suspended, is for other audiences, or belongs to another cluster, or no verifier answers the API server; a user who may list tokens can run kubectl pat find to see which (Unauthorized)",
		plaintext[:70]:   "this begins like a personal access token, but does not have 74 characters: was all of it copied?",
	} {
		tr := newTrial(t, interceptor.Funcs{Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
			return apierrors.NewUnauthorized("Unauthorized")
		}})
		tr.In = strings.NewReader(given)
		args := []string{"whoami", "--token-file", "-"}
		if given == "" {
			args = args[:1]
		}
		tr.run(t.Context(), t, exitError, args...)
		tr.errs(t, "error: "+want)
	}
}

// Verifiers learn of a token a moment after create has printed it.
func TestWhoamiWaitsForANewToken(t *testing.T) {
	for name, tc := range map[string]struct {
		age   time.Duration
		tries int
		code  int
	}{
		"new":        {time.Second, 2, exitOK},
		"not so new": {newFor, 1, exitError},
		"old":        {time.Hour, 1, exitError},
	} {
		pat, plaintext := holderMade(t, 7)
		pat.Status.IssuedAt = after(-tc.age)
		tries := 0
		tr := newTrial(t, interceptor.Funcs{Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
			if tries++; tries == 1 {
				return apierrors.NewUnauthorized("Unauthorized")
			}
			return nil
		}}, pat)
		tr.In = strings.NewReader(plaintext)
		tr.run(t.Context(), t, tc.code, "whoami", "-n", "team-a", "--token-file", "-")
		if tries != tc.tries {
			t.Errorf("%s: %d tries, want %d", name, tries, tc.tries)
		}
	}
}

func TestWhoamiNamesTheVerifierForAWorkingToken(t *testing.T) {
	const which = " of personalaccesstoken.pat-operator.io/ci in namespace team-a "
	for name, tc := range map[string]struct {
		change func(*v1alpha1.PersonalAccessToken)
		list   error
		want   string
	}{
		"no verifier":     {nil, nil, which + "works, but the API server does not accept it: no verifier answers, or none is configured; ask an administrator to check the verifier and kube-apiserver's --authentication-token-webhook-config-file"},
		"expired":         {func(p *v1alpha1.PersonalAccessToken) { p.Status.ExpiresAt = after(-time.Hour) }, nil, which + "has expired; for a new one run: kubectl pat rotate ci -n team-a"},
		"suspended":       {func(p *v1alpha1.PersonalAccessToken) { p.Spec.Suspend = true }, nil, which + "does not work (Suspended); see kubectl pat describe ci -n team-a"},
		"other audiences": {func(p *v1alpha1.PersonalAccessToken) { p.Spec.Audiences = []string{"vault"} }, nil, which + "is for vault, and not for the API server"},
		"another token":   {func(p *v1alpha1.PersonalAccessToken) { p.Status.TokenID = "bbbbbbbbbbbbbbbb" }, nil, "or no verifier answers the API server; a user who may list tokens can run kubectl pat find to see which (Unauthorized)"},
		"not to be read":  {nil, errors.New("forbidden"), "or no verifier answers the API server; a user who may list tokens can run kubectl pat find to see which (Unauthorized)"},
	} {
		pat, plaintext := holderMade(t, 7)
		if tc.change != nil {
			tc.change(pat)
		}
		tr := newTrial(t, interceptor.Funcs{
			Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
				return apierrors.NewUnauthorized("Unauthorized")
			},
			List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
				if tc.list != nil {
					return tc.list
				}
				return c.List(ctx, list, opts...)
			},
		}, pat)
		tr.In = strings.NewReader(plaintext)
		tr.run(t.Context(), t, exitError, "whoami", "-n", "team-a", "--token-file", "-")
		if got := tr.errOut.String(); !strings.HasSuffix(got, tc.want+"\n") {
			t.Errorf("%s: got %s\nwant ...%s", name, got, tc.want)
		}
	}
}

func TestReadBearer(t *testing.T) {
	_, plaintext := tokenOf(t, 7)
	for text, want := range map[string]string{
		plaintext:                             "",
		" " + plaintext + "\r\n":              "",
		"eyJhbGciOi.J9.x-_":                   "",
		"":                                    "standard input is empty: it must hold a token",
		" \n":                                 "standard input is empty: it must hold a token",
		"hunter2 hunter3":                     "standard input does not hold exactly one token",
		"hunter2\nhunter3":                    "standard input does not hold exactly one token",
		"hunter\u202e":                        "standard input does not hold exactly one token",
		strings.Repeat("h", maxTokenFile+1):   "--token-file: standard input is larger than 64 KiB",
		"\x00" + strings.Repeat("hunter", 10): "standard input does not hold exactly one token",
	} {
		s := &session{Environment: Environment{}}
		s.In = strings.NewReader(text)
		got, err := s.readBearer(t.Context(), stdin)
		switch {
		case want == "" && (err != nil || got != strings.TrimSpace(text)):
			t.Errorf("%d bytes: %v", len(text), err)
		case want != "" && (err == nil || err.Error() != want || got != ""):
			t.Errorf("got %v; want %s", err, want)
		}
	}
}

// Ctrl-C interrupts a read that does not return.
func TestReadingIsInterruptible(t *testing.T) {
	silent, writer := io.Pipe()
	defer writer.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	s := &session{Environment: Environment{}}
	s.In = silent
	if _, err := s.readBearer(ctx, stdin); err == nil || err.Error() != "--token-file: interrupted" {
		t.Errorf("got %v", err)
	}
}
