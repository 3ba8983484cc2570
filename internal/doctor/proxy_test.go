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

package doctor

import (
	"context"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/cacert"
	"github.com/pat-operator/pat-operator/internal/proxyconfig"
)

// front is a proxy that is well until a test changes it.
type front struct {
	status    int
	challenge string
	body      string
	url       string
	ca        []byte
	data      map[string]string // of the ConfigMap, in place of url and ca
	server    *httptest.Server
}

func newFront(t *testing.T) *front {
	t.Helper()
	f := &front{status: http.StatusUnauthorized, challenge: `Bearer realm="kubernetes"`, body: `{"kind": "Status", "apiVersion": "v1", "code": 401}`}
	f.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the proxy gets a credential")
		}
		if f.challenge != "" {
			w.Header().Set("WWW-Authenticate", f.challenge)
		}
		w.WriteHeader(f.status)
		_, _ = w.Write([]byte(f.body))
	}))
	t.Cleanup(f.server.Close)
	f.url = f.server.URL
	f.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.server.Certificate().Raw})
	return f
}

func (f *front) configMap() *corev1.ConfigMap {
	data := f.data
	if data == nil {
		data = proxyconfig.Config{URL: f.url, CA: f.ca}.Data()
	}
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: authnconfig.Namespace, Name: proxyconfig.ConfigMapName}, Data: data}
}

func TestTheDoctorJudgesAProxy(t *testing.T) {
	const (
		published = "ok proxy: the ConfigMap pat-operator-proxy leads to https://PROXY"
		trusted   = "ok proxy at PROXY: its certificate is of the published CA"
		refuses   = "ok proxy at PROXY: it refuses a request without a token"
	)
	closed := "127.0.0.1:1"
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	for name, tc := range map[string]struct {
		change func(f *front, p *patient)
		want   []string
		fix    string // of the last line
		failed bool
	}{
		"well":              {func(*front, *patient) {}, []string{published, trusted, refuses}, "", false},
		"not published yet": {func(f *front, _ *patient) { f.data = map[string]string{} }, []string{"failed proxy: the ConfigMap pat-operator-proxy is empty: no proxy has run, or it cannot write it; see its log"}, "see its log: kubectl -n pat-operator-system logs deployment/pat-operator-proxy --tail=20", true},
		"no address":        {func(f *front, _ *patient) { f.url = "http://pat.example.com" }, []string{"failed proxy: the ConfigMap pat-operator-proxy cannot be used: its url is not https://HOST[:PORT]"}, "see its log: ", true},
		"may not be read": {func(_ *front, p *patient) {
			p.hooks.Get = func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
				if key.Name == proxyconfig.ConfigMapName {
					return apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, key.Name, nil)
				}
				return c.Get(ctx, key, o, opts...)
			}
		}, []string{"unchecked proxy: you may not read the ConfigMap pat-operator-system/pat-operator-proxy"}, "ask a cluster administrator", false},
		"an old CA":              {func(f *front, _ *patient) { f.ca = cacert.Encode(ca(t, now.Add(-6*365*24*time.Hour))) }, []string{"failed proxy: the CA of the proxy expired at 2025-11-29T12:00:00Z"}, "see its log: ", true},
		"another CA":             {func(f *front, _ *patient) { f.ca = cacert.Encode(ca(t, now)) }, []string{published, "failed proxy at PROXY: its certificate is not of the published CA, so clients do not trust it"}, "let nothing end TLS in front of the proxy", true},
		"a CA that nobody knows": {func(f *front, _ *patient) { f.ca = nil }, []string{published, "failed proxy at PROXY: this machine does not trust its certificate, and no CA is published"}, "give clients the CA: kubectl pat kubeconfig NAME --server URL --server-ca FILE", true},
		"another name": {func(f *front, _ *patient) { f.url = strings.Replace(f.url, "127.0.0.1", "localhost", 1) },
			[]string{published, "failed proxy at PROXY: its certificate is for another name: x509: certificate is valid for example.com, *.example.com, not localhost"}, "set --proxy-external-url (proxy.externalURL of the chart)", true},
		"nobody": {func(f *front, _ *patient) { f.url = "https://" + closed },
			[]string{published, "failed proxy at PROXY: nothing answers there: dial tcp " + closed + ": connect: connection refused"}, "does this address lead to the Service pat-operator-proxy? kubectl -n pat-operator-system get service,endpointslices", true},
		"no TLS": {func(f *front, _ *patient) { f.url = strings.Replace(plain.URL, "http:", "https:", 1) },
			[]string{published, "failed proxy at PROXY: it does not answer by TLS: http: server gave HTTP response to HTTPS client"}, "does this address lead to", true},
		"not up to date": {func(f *front, _ *patient) { f.status, f.challenge = http.StatusServiceUnavailable, "" },
			[]string{published, trusted, "failed proxy at PROXY: it cannot verify tokens at the moment"}, "see its log: ", true},
		"kube-apiserver": {func(f *front, _ *patient) {
			f.status, f.challenge, f.body = http.StatusOK, "", `{"gitVersion": "v1.37.2"}`
		},
			[]string{published, trusted, "failed proxy at PROXY: something else than the proxy answers a request without a token, by HTTP 200"}, "does this address lead to", true},
		"kube-apiserver without anonymous requests": {func(f *front, _ *patient) { f.challenge = "" },
			[]string{published, trusted, "failed proxy at PROXY: something else than the proxy answers a request without a token, by HTTP 401"}, "does this address lead to", true},
		"a sign-in": {func(f *front, _ *patient) { f.body = "<html>" },
			[]string{published, trusted, "failed proxy at PROXY: something else than the proxy answers a request without a token, by HTTP 401"}, "does this address lead to", true},
		"a load balancer without a pod": {func(f *front, _ *patient) {
			f.status, f.challenge, f.body = http.StatusServiceUnavailable, "", "no server"
		},
			[]string{published, trusted, "failed proxy at PROXY: something else than the proxy answers a request without a token, by HTTP 503"}, "does this address lead to", true},
	} {
		t.Run(name, func(t *testing.T) {
			p, f := newPatient(t), newFront(t)
			tc.change(f, p)
			p.objects = append(p.objects, f.configMap())
			var got []string
			for _, line := range p.lines(t) {
				if _, rest, _ := strings.Cut(line, " "); strings.HasPrefix(rest, "proxy") {
					got = append(got, strings.ReplaceAll(line, strings.TrimPrefix(f.url, "https://"), "PROXY"))
				}
			}
			want := append([]string(nil), tc.want...)
			for i := range want {
				want[i] = strings.ReplaceAll(want[i], strings.TrimPrefix(f.url, "https://"), "PROXY")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			findings, err := Run(t.Context(), p.options)
			if err != nil || Passed(findings) == tc.failed {
				t.Errorf("%v; passed: %v", err, !tc.failed)
			}
			if last := findings[len(want)-1]; !strings.HasPrefix(last.Fix, tc.fix) || (tc.fix == "") != (last.Fix == "") {
				t.Errorf("the way out is %q; want %q", last.Fix, tc.fix)
			}
		})
	}
}

func TestAProxyThatIsNotReached(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want Result
		text string
	}{
		"no such name": {&net.DNSError{Err: "no such host", Name: "pat.example.com", IsNotFound: true}, Failed, "its name leads nowhere: lookup pat.example.com: no such host"},
		"no resolver":  {&net.DNSError{Err: "server misbehaving", Name: "pat.example.com"}, Unchecked, "this machine does not reach it: lookup pat.example.com: server misbehaving"},
		"no answer":    {context.DeadlineExceeded, Unchecked, "this machine does not reach it: context deadline exceeded"},
		"another":      {errors.New("for a test"), Unchecked, "this machine does not reach it: for a test"},
	} {
		if result, text, fix := proxyWaysOut.unreached(tc.err, true); result != tc.want || text != tc.text || fix == "" {
			t.Errorf("%s: %s %s; %s", name, result, text, fix)
		}
	}
}

// A managed cluster's kube-apiserver takes no flags. That is not a fault where the proxy works, and is one where it does not.
func TestAKubeAPIServerWithoutTheFlagsBehindAProxy(t *testing.T) {
	p, f := newPatient(t), newFront(t)
	p.text, p.flagz, p.authorizer = "invalid bearer token", http.StatusForbidden, "none"
	p.objects = append(p.objects, f.configMap())
	const asked = "kube-apiserver HOST: does not ask the verifier: its flag is missing, or another webhook has its place"
	const due = "due " + asked + ". Tokens work at the proxy alone, which is how it has to be where nobody can set flags (EKS, GKE, AKS)"
	lines := strings.Join(p.lines(t), "\n")
	for _, want := range []string{due, "due scopes at HOST: " + notAskedLine + ", so these work at the proxy alone"} {
		if !strings.Contains(lines, want) {
			t.Errorf("no %q in\n%s", want, lines)
		}
	}
	if findings, err := Run(t.Context(), p.options); err != nil || !Passed(findings) {
		t.Errorf("%v\n%s", err, lines)
	}
	f.status = http.StatusOK
	if lines := strings.Join(p.lines(t), "\n"); !strings.Contains(lines, "failed "+asked) || strings.Contains(lines, "proxy alone") {
		t.Errorf("with a proxy that does not work:\n%s", lines)
	}
}
