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
	"fmt"
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

// apiFront is an API face that is well until a test changes it.
type apiFront struct {
	status   int
	body     string // FACE is the URL
	url      string
	ca       []byte
	data     map[string]string // of the ConfigMap, in place of url and ca
	redirect string
}

func newAPIFront(t *testing.T) *apiFront {
	t.Helper()
	f := &apiFront{status: http.StatusOK, body: `{"issuer": "FACE", "introspection_endpoint": "FACE/oauth2/introspect"}`}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.URL.Path != "/.well-known/oauth-authorization-server" {
			t.Errorf("the API face is asked for %s, with the credential %q", r.URL, r.Header.Get("Authorization"))
		}
		if f.redirect != "" {
			w.Header().Set("Location", f.redirect)
		}
		w.WriteHeader(f.status)
		_, _ = w.Write([]byte(strings.ReplaceAll(f.body, "FACE", f.url)))
	}))
	t.Cleanup(server.Close)
	f.url = server.URL
	f.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return f
}

func (f *apiFront) configMap() *corev1.ConfigMap {
	data := f.data
	if data == nil {
		data = proxyconfig.Config{URL: f.url, CA: f.ca}.Data()
	}
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: authnconfig.Namespace, Name: "pat-operator-api"}, Data: data}
}

func TestTheDoctorJudgesAnAPIFace(t *testing.T) {
	const (
		published = "ok API face: the ConfigMap pat-operator-api leads to https://FACE"
		unknown   = "failed API face at FACE: something else than the API face answers, by HTTP "
		leads     = "does this address lead to the Service pat-operator-api? kubectl -n pat-operator-system get service,endpointslices"
		log       = "see its log: kubectl -n pat-operator-system logs deployment/pat-operator-api --tail=20"
	)
	for name, tc := range map[string]struct {
		change func(f *apiFront, p *patient)
		want   []string
		fix    string // of the last line
		failed bool
	}{
		"well": {func(*apiFront, *patient) {}, []string{published, "ok API face at FACE: it answers by that name"}, "", false},
		"not published yet": {func(f *apiFront, _ *patient) { f.data = map[string]string{} },
			[]string{"failed API face: the ConfigMap pat-operator-api is empty: no API face has run, or it cannot write it; see its log"}, log, true},
		"no address": {func(f *apiFront, _ *patient) { f.url = "http://pat.example.com" },
			[]string{"failed API face: the ConfigMap pat-operator-api cannot be used: its url is not https://HOST[:PORT]"}, log, true},
		"may not be read": {func(_ *apiFront, p *patient) {
			p.hooks.Get = func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
				if key.Name == apiConfigMap {
					return apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, key.Name, nil)
				}
				return c.Get(ctx, key, o, opts...)
			}
		}, []string{"unchecked API face: you may not read the ConfigMap pat-operator-system/pat-operator-api"}, "ask a cluster administrator", false},
		"an old CA": {func(f *apiFront, _ *patient) { f.ca = cacert.Encode(ca(t, now.Add(-6*365*24*time.Hour))) },
			[]string{"failed API face: the CA of the API face expired at 2025-11-29T12:00:00Z"}, log, true},
		"another CA": {func(f *apiFront, _ *patient) { f.ca = cacert.Encode(ca(t, now)) },
			[]string{published, "failed API face at FACE: its certificate is not of the published CA, so clients do not trust it"}, "let nothing end TLS in front of the API face, or, with a certificate of your own, set api.tls.secretName", true},
		"a CA that nobody knows": {func(f *apiFront, _ *patient) { f.ca = nil },
			[]string{published, "failed API face at FACE: this machine does not trust its certificate, and no CA is published"}, "give the APIs that ask the CA of its certificate", true},
		"another name": {func(f *apiFront, _ *patient) { f.url = strings.Replace(f.url, "127.0.0.1", "localhost", 1) },
			[]string{published, "failed API face at FACE: its certificate is for another name: x509: certificate is valid for example.com, *.example.com, not localhost"}, "set --api-external-url (api.externalURL of the chart)", true},
		"nobody": {func(f *apiFront, _ *patient) { f.url = "https://127.0.0.1:1" },
			[]string{published, "failed API face at FACE: nothing answers there: dial tcp 127.0.0.1:1: connect: connection refused"}, leads, true},
		"another installation": {func(f *apiFront, _ *patient) { f.body = strings.ReplaceAll(f.body, "FACE", "https://pat.example.org") },
			[]string{published, `failed API face at FACE: it calls itself "https://pat.example.org", and APIs that compare the two refuse it`}, "set --api-external-url", true},
		"an OIDC issuer": {func(f *apiFront, _ *patient) { f.body = `{"issuer": "FACE"}` }, []string{published, unknown + "200"}, leads, true},
		"a page":         {func(f *apiFront, _ *patient) { f.body = "<html>" }, []string{published, unknown + "200"}, leads, true},
		"an endless name": {func(f *apiFront, _ *patient) {
			f.body = fmt.Sprintf(`{"issuer": "%s", "introspection_endpoint": "x"}`, strings.Repeat("x", 301))
		}, []string{published, unknown + "200"}, leads, true},
		"a load balancer without a pod": {func(f *apiFront, _ *patient) { f.status, f.body = http.StatusServiceUnavailable, "no server" },
			[]string{published, unknown + "503"}, leads, true},
		"a sign-in": {func(f *apiFront, _ *patient) { f.status, f.redirect, f.body = http.StatusFound, f.url+"/login", "" },
			[]string{published, unknown + "302"}, leads, true},
	} {
		t.Run(name, func(t *testing.T) {
			p, f := newPatient(t), newAPIFront(t)
			tc.change(f, p)
			p.objects = append(p.objects, f.configMap())
			face := strings.NewReplacer(strings.TrimPrefix(f.url, "https://"), "FACE")
			var got []string
			for _, line := range p.lines(t) {
				if _, rest, _ := strings.Cut(line, " "); strings.HasPrefix(rest, apiCheck) {
					got = append(got, face.Replace(line))
				}
			}
			var want []string
			for _, line := range tc.want {
				want = append(want, face.Replace(line))
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

// The APIs that ask may all be in the cluster: this machine need not know the name, and says so.
func TestANameOfTheClusterIsUnchecked(t *testing.T) {
	err := &net.DNSError{Err: "no such host", Name: "pat-operator-api.pat-operator-system.svc", IsNotFound: true}
	result, text, fix := apiWaysOut.unreached(err, true)
	if result != Unchecked || text != "this machine does not reach it: lookup pat-operator-api.pat-operator-system.svc: no such host" || fix == "" {
		t.Errorf("%s %s; %s", result, text, fix)
	}
}

// An API face says nothing of kube-apiserver: with it alone, nobody should think that tokens work.
func TestAnAPIFaceAloneIsNotEnough(t *testing.T) {
	if Passed([]Finding{{Check: apiAtCheck + "pat.example.com", Result: OK}}) {
		t.Error("the doctor is content")
	}
}
