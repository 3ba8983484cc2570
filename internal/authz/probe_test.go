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

package authz

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/test/env"
)

// apiServer answers SubjectAccessReviews as a kube-apiserver with one authorizer does.
type apiServer struct {
	address string
	// asks is what it does with a review.
	asks atomic.Pointer[func(http.Handler, *authorizationv1.SubjectAccessReview) authorizationv1.SubjectAccessReviewStatus]
	seen atomic.Int32
}

type behavior = func(http.Handler, *authorizationv1.SubjectAccessReview) authorizationv1.SubjectAccessReviewStatus

// enforcing asks the authorizer, and denies where it fails.
func enforcing(authorizer http.Handler, r *authorizationv1.SubjectAccessReview) authorizationv1.SubjectAccessReviewStatus {
	return webhook(authorizer, r, true)
}

func webhook(authorizer http.Handler, r *authorizationv1.SubjectAccessReview, deny bool) authorizationv1.SubjectAccessReviewStatus {
	body, _ := json.Marshal(&authorizationv1.SubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SubjectAccessReview"}, Spec: r.Spec,
	})
	request := httptest.NewRequest(http.MethodPost, authnconfig.AuthorizePath, strings.NewReader(string(body)))
	request.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	authorizer.ServeHTTP(w, request)
	if w.Code != http.StatusOK {
		return authorizationv1.SubjectAccessReviewStatus{Denied: deny, EvaluationError: "the webhook failed"}
	}
	var answer authorizationv1.SubjectAccessReview
	_ = json.Unmarshal(w.Body.Bytes(), &answer)
	return answer.Status
}

var behaviors = map[string]behavior{
	"no authorizer": func(http.Handler, *authorizationv1.SubjectAccessReview) authorizationv1.SubjectAccessReviewStatus {
		return authorizationv1.SubjectAccessReviewStatus{}
	},
	"everything is allowed": func(http.Handler, *authorizationv1.SubjectAccessReview) authorizationv1.SubjectAccessReviewStatus {
		return authorizationv1.SubjectAccessReviewStatus{Allowed: true}
	},
	"everything is denied": func(http.Handler, *authorizationv1.SubjectAccessReview) authorizationv1.SubjectAccessReviewStatus {
		return authorizationv1.SubjectAccessReviewStatus{Denied: true, EvaluationError: "down"}
	},
	"another cluster's authorizer": func(_ http.Handler, r *authorizationv1.SubjectAccessReview) authorizationv1.SubjectAccessReviewStatus {
		return enforcing(NewHandler(fakeIndex{}, Options{Log: logr.Discard(), Installation: func() string { return "uid-2" }}), r)
	},
	"failures pass": func(h http.Handler, r *authorizationv1.SubjectAccessReview) authorizationv1.SubjectAccessReviewStatus {
		return webhook(h, r, false)
	},
	"an answer to another probe": func(h http.Handler, r *authorizationv1.SubjectAccessReview) authorizationv1.SubjectAccessReviewStatus {
		r.Spec.NonResourceAttributes.Path += "another"
		return enforcing(h, r)
	},
	"RBAC is asked first": func(h http.Handler, r *authorizationv1.SubjectAccessReview) authorizationv1.SubjectAccessReviewStatus {
		if slices.Contains(r.Spec.Groups, "system:authenticated") && strings.HasPrefix(r.Spec.NonResourceAttributes.Path, "/apis/") {
			return authorizationv1.SubjectAccessReviewStatus{Allowed: true}
		}
		return enforcing(h, r)
	},
}

func newAPIServer(t *testing.T, config *tls.Config) *apiServer {
	t.Helper()
	s := &apiServer{}
	s.does(enforcing)
	authorizer := newTestHandler(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.seen.Add(1)
		var review authorizationv1.SubjectAccessReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || r.URL.Path != "/apis/authorization.k8s.io/v1/subjectaccessreviews" {
			http.Error(w, "unexpected", http.StatusBadRequest)
			return
		}
		review.Status = (*s.asks.Load())(authorizer, &review)
		review.Kind, review.APIVersion = "SubjectAccessReview", "authorization.k8s.io/v1"
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(&review)
	}))
	server.TLS = config
	server.StartTLS()
	t.Cleanup(server.Close)
	s.address = server.Listener.Addr().String()
	return s
}

func (s *apiServer) does(b behavior) { s.asks.Store(&b) }

func TestCase71_EveryAPIServerMustProveThatItEnforcesScopes(t *testing.T) {
	certificate, trust := certificates(t, serverName)
	one, two := newAPIServer(t, certificate), newAPIServer(t, certificate)
	clock := clocktesting.NewFakeClock(time.Now())
	p := NewProbe(nil, trust, ProbeOptions{
		Servers: []string{one.address, two.address}, Installation: func() string { return "uid-1" }, Clock: clock, Log: logr.Discard(),
	})
	if p.Enforced() == nil {
		t.Error("enforced before anything was asked")
	}
	// One probe shows it, unless the machine stood still for as long as an answer may take.
	expect := func(name, want string) {
		t.Helper()
		env.Eventually(t, 30*time.Second, func() bool {
			p.probe(t.Context())
			err := p.Enforced()
			return err == nil && want == "" || err != nil && err.Error() == want
		}, func() string { return fmt.Sprintf("%s: %v, want %q", name, p.Enforced(), want) })
	}
	expect("at first", "")
	for name, does := range behaviors {
		two.does(does)
		expect(name, "kube-apiserver at "+two.address+" has not proven that it enforces scopes")
		two.does(enforcing)
		expect(name+" no more", "")
	}
	for _, s := range p.servers { // as if nobody listened
		s.client = nil
	}
	trust.CAData = nil
	clock.Step(20 * time.Second)
	p.probe(t.Context())
	if err := p.Enforced(); err != nil {
		t.Errorf("a server that does not answer: %v although its last proof is not old", err)
	}
	clock.Step(probeValid)
	p.probe(t.Context())
	if err := p.Enforced(); err == nil || !strings.HasSuffix(err.Error(), "has not proven that it enforces scopes") {
		t.Errorf("no server has answered for %v: %v", probeValid, err)
	}
	clock.Step(probeValid + time.Second)
	if err := p.Enforced(); err == nil || err.Error() != "the last probe is too long ago" {
		t.Errorf("nothing was asked for %v: %v", probeValid, err)
	}
}

// certificates are a server's with these names, and what trusts it.
func certificates(t *testing.T, names ...string) (*tls.Config, *rest.Config) {
	t.Helper()
	crt, key, err := cert.GenerateSelfSignedCertKey("kube-apiserver", nil, names)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(crt, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}, &rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: crt}}
}

func TestCase71_AServerThatIsNotTrustedProvesNothing(t *testing.T) {
	certificate, trust := certificates(t, serverName)
	_, another := certificates(t, serverName)
	misnamed, trustMisnamed := certificates(t, "kubernetes.example.com")
	for name, tc := range map[string]struct {
		certificate *tls.Config
		trust       *rest.Config
	}{"another CA": {certificate, another}, "another name": {misnamed, trustMisnamed}, "trusted": {certificate, trust}} {
		s := newAPIServer(t, tc.certificate)
		p := NewProbe(nil, tc.trust, ProbeOptions{
			Servers: []string{s.address}, Installation: func() string { return "uid-1" }, Clock: clocktesting.NewFakeClock(time.Now()), Log: logr.Discard(),
		})
		p.probe(t.Context())
		if name == "trusted" {
			env.Eventually(t, env.Patience, func() bool { p.probe(t.Context()); return p.Enforced() == nil && s.seen.Load() > 0 },
				func() string { return fmt.Sprintf("%s: %v, asked %d times", name, p.Enforced(), s.seen.Load()) })
		} else if p.Enforced() == nil || s.seen.Load() > 0 {
			t.Errorf("%s: proven %v, asked %d times", name, p.Enforced() == nil, s.seen.Load())
		}
	}
}

func TestCase71_WhichAPIServersThereAre(t *testing.T) {
	now := time.Now()
	slice := func(name string, port int32, addresses ...string) client.Object {
		s := &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"}},
			Ports:      []discoveryv1.EndpointPort{{Name: ptr.To("https"), Port: &port}},
		}
		for _, a := range addresses {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
		}
		return s
	}
	lease := func(name string, age time.Duration) client.Object {
		return &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: name, Labels: map[string]string{identityKey: identityName}},
			Spec:       coordinationv1.LeaseSpec{RenewTime: &metav1.MicroTime{Time: now.Add(-age)}},
		}
	}
	for name, tc := range map[string]struct {
		objects []client.Object
		trust   bool
		want    string
		err     string
	}{
		"one":       {[]client.Object{slice("a", 6443, "192.0.2.1"), lease("a", 0)}, false, "192.0.2.1:6443", ""},
		"three":     {[]client.Object{slice("a", 6443, "192.0.2.1", "192.0.2.2", "192.0.2.3"), lease("a", 0), lease("b", 9*time.Second), lease("c", 0)}, false, "192.0.2.1:6443 192.0.2.2:6443 192.0.2.3:6443", ""},
		"two kinds": {[]client.Object{slice("a", 6443, "192.0.2.1"), slice("b", 6443, "2001:db8::1"), lease("a", 0)}, false, "192.0.2.1:6443 [2001:db8::1]:6443", ""},
		"one gone":  {[]client.Object{slice("a", 6443, "192.0.2.1"), lease("a", 0), lease("b", 2*time.Minute)}, false, "192.0.2.1:6443", ""},
		"balanced": {[]client.Object{slice("a", 443, "192.0.2.1"), lease("a", 0), lease("b", 0)}, false, "",
			"2 kube-apiservers run, and the Service kubernetes has only 1 of their addresses; set --kube-apiservers, or --scoped-tokens-trust-path if an address leads to all of them"},
		"balanced, trusted": {[]client.Object{slice("a", 443, "192.0.2.1"), lease("a", 0), lease("b", 0)}, true, "192.0.2.1:443", ""},
		"none":              {[]client.Object{lease("a", 0)}, true, "", "the Service kubernetes has no addresses; set --kube-apiservers"},
	} {
		t.Run(name, func(t *testing.T) {
			p := NewProbe(fake.NewClientBuilder().WithObjects(tc.objects...).Build(), nil, ProbeOptions{TrustPath: tc.trust})
			got, err := p.find(context.Background())
			if (err == nil) != (tc.err == "") || err != nil && err.Error() != tc.err {
				t.Errorf("%v, want %q", err, tc.err)
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

func TestCase71_NothingIsEnforcedBeforeTheCAIsKnown(t *testing.T) {
	p := NewProbe(nil, nil, ProbeOptions{Servers: []string{"192.0.2.1:1"}, Installation: func() string { return "" }, Clock: clocktesting.NewFakeClock(time.Now())})
	p.probe(t.Context())
	if err := p.Enforced(); err == nil || err.Error() != "the CA of the verifier has not been read yet" {
		t.Errorf("%v", err)
	}
}
