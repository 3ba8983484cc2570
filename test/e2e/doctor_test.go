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

package e2e

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/authz"
	"github.com/pat-operator/pat-operator/internal/cacert"
	"github.com/pat-operator/pat-operator/internal/doctor"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// firstFlags is the first minor version of Kubernetes whose API server shows its flags.
const firstFlags = 37

// examine lets the doctor look with a user's rights.
func examine(t *testing.T, config *rest.Config, change ...func(*doctor.Options)) []doctor.Finding {
	t.Helper()
	o := doctor.Options{
		Config: config, Client: env.Must[client.WithWatch](t)(client.NewWithWatch(config, client.Options{Scheme: env.Scheme})),
		OperatorNamespace: cluster.OperatorNamespace, Namespace: "default", Version: "test", Clock: clock.RealClock{}, Random: rand.Reader,
		Progress: func(string, ...any) {},
	}
	for _, f := range change {
		f(&o)
	}
	return env.Must[[]doctor.Finding](t)(doctor.Run(t.Context(), o))
}

// finds expects findings that begin so, as "RESULT CHECK: MESSAGE".
func finds(t *testing.T, findings []doctor.Finding, want ...string) {
	t.Helper()
	for _, f := range findings {
		if f.Result == doctor.Failed && f.Fix == "" {
			t.Errorf("no fix for: %s", f.Message)
		}
	}
	for _, line := range unsaid(findings, want) {
		t.Errorf("the doctor does not say\n%s\nbut\n%v", line, findings)
	}
}

// soon lets the doctor look until its findings begin so, and expects that. What it asks may have been restarted a moment ago, and a
// busy machine takes longer to answer than the doctor waits.
func soon(t *testing.T, config *rest.Config, want []string, change ...func(*doctor.Options)) (findings []doctor.Finding) {
	t.Helper()
	eventually(t, patience, func() bool {
		revive(t)
		findings = examine(t, config, change...)
		return len(unsaid(findings, want)) == 0
	}, func() string {
		return fmt.Sprintf("the doctor does not say %q but %v", unsaid(findings, want), findings)
	})
	finds(t, findings, want...)
	return findings
}

// unsaid are the lines that no finding begins with.
func unsaid(findings []doctor.Finding, want []string) []string {
	var missing []string
	for _, line := range want {
		line = strings.ReplaceAll(line, "SCOPES", "scopes at "+strings.TrimPrefix(cl.Server, "https://"))
		line = strings.ReplaceAll(line, "SERVER", "kube-apiserver "+strings.TrimPrefix(cl.Server, "https://"))
		if !slices.ContainsFunc(findings, func(f doctor.Finding) bool {
			return strings.HasPrefix(fmt.Sprintf("%s %s: %s", f.Result, f.Check, f.Message), line)
		}) {
			missing = append(missing, line)
		}
	}
	return missing
}

// published is what the verifier has published.
func published(t *testing.T) authnconfig.Config {
	t.Helper()
	bundle := env.Must[[]byte](t)(os.ReadFile(cl.AuthnCAFile))
	return authnconfig.Config{Server: cl.TokenReviewURL(), ServerName: authnconfig.ServerName(cluster.OperatorNamespace), Bundle: bundle}
}

// webhook writes the two files and restarts kube-apiserver with them.
func webhook(t *testing.T, config authnconfig.Config, args ...string) {
	t.Helper()
	files := env.Must[[]string](t)(authnconfig.Write(t.TempDir(), env.Must[[]authnconfig.File](t)(config.Files())))
	if err := cl.UseTokenWebhook(t.Context(), files[1], args...); err != nil {
		t.Fatal(err)
	}
}

// way is another address of a server, which ends.
func way(t *testing.T, host, server string) (url string, end func()) {
	t.Helper()
	listener := env.Must[net.Listener](t)(net.Listen("tcp", host+":0"))
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", server)
			if err != nil {
				_ = from.Close()
				continue
			}
			context.AfterFunc(ctx, func() { _, _ = from.Close(), to.Close() })
			go func() { _, _ = io.Copy(from, to) }()
			go func() { _, _ = io.Copy(to, from) }()
		}
	}()
	end = func() { _ = listener.Close(); cancel() }
	t.Cleanup(end)
	return "https://" + listener.Addr().String(), end
}

// Each text of kube-apiserver that the doctor reads is one that a real kube-apiserver says when exactly that is broken.
func TestEachAnswerOfKubeAPIServer(t *testing.T) {
	long.Only(t)
	t.Cleanup(func() {
		if err := cl.UseTokenWebhook(context.Background(), cl.AuthnKubeconfig); err != nil {
			t.Error(err)
		}
		restartOperator(t) // it may have lost its lease meanwhile
	})
	listening := func(t *testing.T, accept func(net.Conn)) string {
		t.Helper()
		listener := env.Must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
		t.Cleanup(func() { _ = listener.Close() })
		go func() {
			for {
				c, err := listener.Accept()
				if err != nil {
					return
				}
				accept(c)
			}
		}()
		return fmt.Sprintf("https://%s/authenticate", listener.Addr())
	}
	good := published(t)
	ttl := "ok SERVER: takes a revoked token for 10s at most"
	longTTL := "failed SERVER: takes a revoked token for 2m0s more"
	if cl.Minor < firstFlags {
		ttl = "unchecked SERVER: how long it takes a revoked token: it does not show its flags"
		longTTL = ttl
	}
	for _, tc := range []struct {
		name   string
		broken func(t *testing.T)
		want   []string
	}{
		{"nothing", func(t *testing.T) { webhook(t, good) }, []string{
			"ok SERVER: asks the verifier, trusts it, and the verifier is up to date", ttl, "ok clock: those of this machine",
			"ok admission: the MutatingWebhookConfiguration pat-operator is there", "ok admission: the ValidatingWebhookConfiguration pat-operator is there",
			"ok admission: the 6 policies and their bindings are there", "ok admission: the operator answers", "ok CA: that of the verifier is valid until 20",
			"ok versions: the cluster serves pat-operator.io/v1alpha1", "ok versions: Kubernetes is v1.",
			"failed workloads: no Deployment of pat-operator is in the namespace pat-operator-system",
		}},
		{"the flag", func(t *testing.T) {
			if err := cl.UseTokenWebhook(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
		}, []string{"failed SERVER: does not ask the verifier: its flag --authentication-token-webhook-config-file is missing"}},
		{"another webhook in its place", func(t *testing.T) {
			other := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, `{"apiVersion":"authentication.k8s.io/v1beta1","kind":"TokenReview","status":{"authenticated":false}}`)
			}))
			t.Cleanup(other.Close)
			webhook(t, authnconfig.Config{Server: other.URL + "/authenticate", ServerName: "example.com", Bundle: cacert.Encode(other.Certificate())})
		}, []string{"failed SERVER: does not ask the verifier: its token webhook is another one, /"}},
		{"no verifier", func(t *testing.T) {
			config := good
			address, _, err := cl.Address() // nobody listens there
			if err != nil {
				t.Fatal(err)
			}
			config.Server = "https://" + address + "/authenticate"
			webhook(t, config)
		}, []string{"failed SERVER: reaches no verifier: the connection is refused"}},
		{"another CA", func(t *testing.T) {
			config := good
			cert, _, _, err := cacert.New("other", time.Now(), time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			config.Bundle = cacert.Encode(cert)
			webhook(t, config)
		}, []string{"failed SERVER: does not trust the verifier: its copy of the CA is another one, or old"}},
		{"no server name", func(t *testing.T) {
			config := good
			url, _ := way(t, "127.0.0.2", strings.TrimPrefix(strings.TrimSuffix(good.Server, "/authenticate"), "https://")) // not in the certificate
			config.Server, config.ServerName = url+"/authenticate", ""
			webhook(t, config)
		}, []string{"failed SERVER: does not trust the verifier: the tls-server-name in the kubeconfig is missing, or another one"}},
		{"another server name", func(t *testing.T) {
			config := good
			config.ServerName = authnconfig.ServerName("elsewhere")
			webhook(t, config)
		}, []string{"failed SERVER: does not trust the verifier: the tls-server-name in the kubeconfig is missing, or another one"}},
		{"a black hole", func(t *testing.T) {
			config := good
			config.Server = listening(t, func(net.Conn) {})
			webhook(t, config)
		}, []string{"failed SERVER: gets no answer from the verifier's address"}},
		{"a stale verifier", func(t *testing.T) {
			api, end := way(t, "127.0.0.1", strings.TrimPrefix(cl.Server, "https://"))
			stale, err := cl.StartManager(t.Context(), cluster.ManagerOptions{Command: "verifier", Args: []string{"--max-staleness=20s"}, Server: api, Apart: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(stale.Kill)
			config := good
			config.Server = fmt.Sprintf("https://127.0.0.1:%d/authenticate", stale.VerifierPort)
			webhook(t, config)
			soon(t, cl.Admin(), []string{"ok SERVER: asks the verifier"})
			end()
			eventually(t, patience, func() bool { return stale.Ready(t.Context()) != nil }, func() string { return "the verifier stays ready" })
		}, []string{"failed SERVER: reaches a verifier that is not up to date, or not ready"}},
		{"no client certificate", func(t *testing.T) {
			restartVerifier(t, "--verifier-client-ca-file="+cl.CAFile)
			t.Cleanup(func() { restartVerifier(t) })
			webhook(t, good)
		}, []string{"failed SERVER: presents no client certificate, and the verifier asks for one"}},
		{"a long TTL", func(t *testing.T) { webhook(t, good, "--authentication-token-webhook-cache-ttl=2m") }, []string{
			"ok SERVER: asks the verifier", longTTL,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.broken(t)
			if doctor.Passed(soon(t, cl.Admin(), tc.want)) {
				t.Error("it passes")
			}
		})
	}

	t.Run("a long TTL, measured", func(t *testing.T) {
		ns := team(t)
		measured := func(want ...string) {
			t.Helper()
			config := env.Must[*rest.Config](t)(clientcmd.BuildConfigFromFlags("", alice.Kubeconfig))
			want = append(want, "unchecked SERVER: you may not create tokenreviews", "unchecked admission: you may not read the ValidatingWebhookConfiguration pat-operator")
			soon(t, config, want, func(o *doctor.Options) { o.Namespace, o.MakeToken = ns, true })
		}
		webhook(t, good, "--authentication-token-webhook-cache-ttl=2m")
		restartOperator(t)
		measured("failed revocation: the API server accepts a token 15s after its revocation")
		webhook(t, good)
		restartOperator(t)
		measured("ok revocation: the API server refuses a token ")
	})
}

func TestTheDoctorSeesWhatAdmissionLacks(t *testing.T) {
	long.Only(t)
	if err := cl.WaitAccepted(t.Context()); err != nil {
		t.Fatal(err)
	}
	soon(t, cl.Admin(), []string{"ok admission: the 6 policies and their bindings are there", "ok admission: the operator answers"})
	for want, o := range map[string]client.Object{
		"failed admission: the MutatingWebhookConfiguration pat-operator does not exist": &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "pat-operator"}},
		"failed admission: the ValidatingAdmissionPolicy pat-operator-delivery does not exist": &admissionregistrationv1.ValidatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "pat-operator-delivery"},
		},
		"failed admission: the ValidatingAdmissionPolicyBinding pat-operator-status does not exist": &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "pat-operator-status"},
		},
	} {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			t.Fatal(err)
		}
		kept := o.DeepCopyObject().(client.Object)
		kept.SetResourceVersion("")
		if err := admin.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		soon(t, cl.Admin(), []string{want})
		create(t, admin, kept)
	}
	now := time.Now()
	soon(t, cl.Admin(), []string{"failed clock: the clocks of this machine and of SERVER differ by 2h"},
		func(o *doctor.Options) { o.Clock = clocktesting.NewFakePassiveClock(now.Add(-2 * time.Hour)) })
}

// setup runs kubectl pat setup as an administrator, and returns what it prints.
func setup(t *testing.T, args ...string) string {
	t.Helper()
	bin := t.TempDir()
	if err := cluster.BuildPlugin(t.Context(), bin); err != nil {
		t.Fatal(err)
	}
	out, err := cl.Command(t.Context(), cl.AdminKubeconfig, filepath.Join(bin, "kubectl-pat"), append([]string{"setup"}, args...)...).Output()
	if err != nil {
		t.Fatalf("kubectl pat setup: %v", err)
	}
	return string(out)
}

// What `kubectl pat setup` prints for a node is pasted into a shell, and kube-apiserver starts with the flags that it names: with
// scopes, and with the way back to none.
func TestWhatSetupPrintsConnectsKubeAPIServer(t *testing.T) {
	long.Only(t)
	dir, starts := t.TempDir(), 0 // gone after kube-apiserver has its former files again
	t.Cleanup(func() {
		if err := errors.Join(cl.UseTokenWebhook(context.Background(), cl.AuthnKubeconfig), cl.UseAuthorizer(context.Background(), cl.AuthorizationConfig)); err != nil {
			t.Error(err)
		}
		restartOperator(t)
	})
	ns := team(t)
	// start pastes what is printed, and starts kube-apiserver with the flags.
	start := func(args ...string) {
		t.Helper()
		starts++
		text := setup(t, append(args, fmt.Sprintf("--node-dir=%s/pat-operator-%d", dir, starts))...)
		_, paste, _ := strings.Cut(text, "paste\n")
		paste, flags, found := strings.Cut(paste, "\n2. Start each kube-apiserver with\n\n")
		if !found {
			t.Fatalf("it prints\n%s", text)
		}
		if out, err := cl.Command(t.Context(), "", "sh", "-euc", paste).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s\n%s", err, out, paste)
		}
		flags, _, _ = strings.Cut(flags, "\n\n")
		values := map[string]string{}
		for line := range strings.Lines(flags) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			values[name] = value
		}
		if err := errors.Join(
			cl.UseTokenWebhook(t.Context(), values["--authentication-token-webhook-config-file"], "--authentication-token-webhook-cache-ttl="+values["--authentication-token-webhook-cache-ttl"]),
			cl.UseAuthorizer(t.Context(), values["--authorization-config"]),
		); err != nil {
			t.Fatal(err)
		}
		restartOperator(t)
	}
	says := func(want ...string) {
		t.Helper()
		soon(t, cl.Admin(), want)
	}
	wired := []string{"ok SERVER: asks the verifier, trusts it, and the verifier is up to date"}
	if cl.Minor >= firstFlags {
		wired = append(wired, "ok SERVER: takes a revoked token for 10s at most")
	}

	start("--scopes=false")
	says(append(wired, "due SCOPES: kube-apiserver does not ask the verifier about tokens with scopes, so these are refused")...)
	if got := accepted(t, issued(t, alice, pat(ns, "full"))); got.Username != "alice" {
		t.Errorf("it is %s", got.Username)
	}
	plaintext := issued(t, alice, pat(ns, "limited", scoped(v1alpha1.Scope{Preset: "read-only"})))
	if status := review(t, plaintext); status.Authenticated || !strings.Contains(status.Error, authnconfig.ScopedError) {
		t.Errorf("a token with scopes is not refused: %v", status)
	}

	start("--scopes")
	says(append(wired, "ok SCOPES: kube-apiserver enforces the scopes of tokens", "ok scopes: the verifier has the proof of every kube-apiserver")...)
	accepted(t, plaintext)
	if err := bearer(t, plaintext).List(t.Context(), &corev1.SecretList{}, client.InNamespace(ns)); !apierrors.IsForbidden(err) {
		t.Errorf("it reads Secrets: %v", err)
	}

	start() // as kube-apiserver does now
	says("ok SCOPES: kube-apiserver enforces the scopes of tokens")
}

// What the doctor says of an authorizer is what a real kube-apiserver makes of it. It follows the file while it runs.
func TestTheDoctorSeesWhatTheAuthorizerLacks(t *testing.T) {
	long.Only(t)
	replica := env.Must[*cluster.Replica](t)(cl.NewReplica())
	t.Cleanup(replica.Kill)
	folder := filepath.Join(t.TempDir(), "pat-operator")
	file, kubeconfig := filepath.Join(folder, authnconfig.AuthorizationFile), filepath.Join(folder, authnconfig.AuthorizerFile)
	minor := cl.Minor
	files := env.Must[[]authnconfig.File](t)(published(t).ScopedFiles(minor, folder))
	ours := env.Must[[]string](t)(authnconfig.Write(folder, files))
	if ours[3] != file {
		t.Fatalf("it writes %q", ours)
	}
	good := string(authnconfig.AuthorizationConfiguration(minor, kubeconfig))
	if err := replica.Start(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	config := cl.Admin()
	config.Host = "https://" + replica.Address

	// leadsTo makes the authorizer ask a handler.
	leadsTo := func(h http.Handler) string {
		server := httptest.NewTLSServer(h)
		t.Cleanup(server.Close)
		other := authnconfig.Config{Server: server.URL + "/authenticate", ServerName: "example.com", Bundle: cacert.Encode(server.Certificate())}
		dir := t.TempDir()
		env.Must[[]string](t)(authnconfig.Write(dir, env.Must[[]authnconfig.File](t)(other.ScopedFiles(minor, dir))))
		return string(authnconfig.AuthorizationConfiguration(minor, filepath.Join(dir, authnconfig.AuthorizerFile)))
	}
	const rbac = "- type: RBAC\n  name: rbac\n"
	where := "scopes at " + replica.Address + ": kube-apiserver "
	for _, tc := range []struct{ name, config, want string }{
		{"ours", good, "ok " + where + "enforces the scopes of tokens"},
		{"RBAC before it", strings.Replace(strings.Replace(good, rbac, "", 1), "authorizers:\n", "authorizers:\n"+rbac, 1), "failed " + where + "has an authorizer before that of pat-operator, which allows"},
		{"failures pass", strings.Replace(good, "failurePolicy: Deny", "failurePolicy: NoOpinion", 1), "failed " + where + "lets tokens with scopes do everything"},
		{"other matchConditions", strings.Replace(good, "has(request.extra) && 'pat-operator.io/scopes'", "has(request.extra) && 'pat-operator.io/scope'", 1), "failed " + where + "does not ask the verifier about tokens with scopes, although it has --authorization-config="},
		{"no matchConditions", good[:strings.Index(good, "    matchConditions:")] + good[strings.Index(good, "- type: Node"):], "failed " + where + "asks the verifier about everyone's requests"},
		{"another cluster's", leadsTo(authz.NewHandler(nil, authz.Options{Log: logr.Discard(), Installation: func() string { return "elsewhere" }})), "failed " + where + "asks the verifier of another installation"},
		{"nobody", leadsTo(http.NotFoundHandler()), "failed " + where + "gets no answer from the verifier about tokens with scopes"},
		{"ours again", good, "ok " + where + "enforces the scopes of tokens"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := authnconfig.ReplaceFile(file, []byte(tc.config), 0o644); err != nil {
				t.Fatal(err)
			}
			var findings []doctor.Finding
			t.Logf("after %v", eventually(t, 3*time.Minute, func() bool {
				findings = examine(t, config)
				return len(unsaid(findings, []string{tc.want})) == 0
			}, func() string { return fmt.Sprintf("the doctor does not say %q but %v", tc.want, findings) }))
		})
	}
}
