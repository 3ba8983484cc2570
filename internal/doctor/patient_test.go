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
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/cacert"
)

var now = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// patient is a cluster that is well until a test changes it.
type patient struct {
	// text is status.error; status is the HTTP status of the review.
	text          string
	authenticated bool
	status        int
	flags         map[string]string
	flagz         int
	date          time.Time
	group, kinds  int
	served        []metav1.APIResource
	kubernetes    string
	// authorizer is what is wrong with the one for scopes, and reviews the HTTP status of a SubjectAccessReview.
	authorizer string
	reviews    int

	objects []client.Object
	hooks   interceptor.Funcs
	options Options
	server  *httptest.Server

	mu    sync.Mutex
	asked []string // bearer tokens of those who asked
}

func (p *patient) bearers() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

func ca(t *testing.T, at time.Time) *x509.Certificate {
	t.Helper()
	cert, _, _, err := cacert.New("ca", at, authnconfig.CAValidity)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func published(t *testing.T, cas ...*x509.Certificate) *corev1.ConfigMap {
	t.Helper()
	data, err := authnconfig.Config{Server: "https://10.96.0.20/authenticate", ServerName: "a.b.svc", Bundle: cacert.Encode(cas...)}.Data()
	if err != nil {
		t.Fatal(err)
	}
	data[authnconfig.KeyScopesEnforced], data[authnconfig.KeyInstallation] = "true", "uid-1"
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: authnconfig.Namespace, Name: authnconfig.ConfigMapName}, Data: data}
}

func deployment(name string, ready int32) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: authnconfig.Namespace, Name: name, Labels: map[string]string{"app.kubernetes.io/name": "pat-operator"}}}
	d.Spec.Replicas, d.Status.ReadyReplicas = ptr.To(int32(2)), ready
	d.Spec.Template.Spec.Containers = []corev1.Container{{Image: "registry.example.com:5000/pat-operator:v0.1.0"}}
	return d
}

func newPatient(t *testing.T) *patient {
	t.Helper()
	p := &patient{
		text: "[invalid bearer token, " + authnconfig.UnknownError + "]", status: http.StatusCreated, flagz: http.StatusOK, date: now, group: http.StatusOK, kinds: http.StatusOK, served: []metav1.APIResource{{Name: "personalaccesstokens"}, {Name: "tokenpolicies"}}, kubernetes: "v1.37.2+k3s1", reviews: http.StatusCreated,
		flags: map[string]string{"authentication-token-webhook-cache-ttl": "10s", "authentication-token-webhook-config-file": "/etc/x"},
	}
	to := admissionregistrationv1.WebhookClientConfig{CABundle: []byte("x"), Service: &admissionregistrationv1.ServiceReference{Namespace: authnconfig.Namespace}}
	p.objects = []client.Object{
		&admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: webhooks}, Webhooks: []admissionregistrationv1.MutatingWebhook{{Name: "mutate", ClientConfig: to}}},
		&admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: webhooks}, Webhooks: []admissionregistrationv1.ValidatingWebhook{{Name: "validate", ClientConfig: to}}},
		deployment("pat-operator", 2), deployment("pat-operator-verifier", 2), published(t, ca(t, now.Add(-time.Hour))),
	}
	for _, name := range policies {
		p.objects = append(p.objects,
			&admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}},
			&admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
				ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
			}})
	}
	p.hooks.Create = func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
		if review, ok := o.(*authorizationv1.SelfSubjectAccessReview); ok {
			review.Status.Allowed = true
			return nil
		}
		return c.Create(ctx, o, opts...)
	}
	p.server = p.serve(t)
	p.options = Options{
		Config:            &rest.Config{Host: p.server.URL, BearerToken: "mine", TLSClientConfig: rest.TLSClientConfig{CAData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})}},
		OperatorNamespace: authnconfig.Namespace, Namespace: "team-a", Version: "v0.1.0", Clock: clocktesting.NewFakePassiveClock(now), Random: rand.Reader, Progress: func(string, ...any) {},
	}
	return p
}

// serve is a kube-apiserver, as far as the doctor asks it.
func (p *patient) serve(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked = append(p.asked, r.Header.Get("Authorization"))
		p.mu.Unlock()
		w.Header().Set("Date", p.date.Format(http.TimeFormat))
		answer := func(status int, v any) {
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(v)
		}
		switch r.URL.Path {
		case "/apis/authentication.k8s.io/v1/tokenreviews":
			answer(p.status, &authenticationv1.TokenReview{Status: authenticationv1.TokenReviewStatus{Error: p.text, Authenticated: p.authenticated}})
		case "/apis/authorization.k8s.io/v1/subjectaccessreviews":
			var review authorizationv1.SubjectAccessReview
			if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
				t.Error(err)
			}
			review.Status = p.authorize(&review.Spec)
			answer(p.reviews, &review)
		case "/flagz":
			answer(p.flagz, map[string]any{"flags": p.flags})
		case "/version":
			answer(http.StatusOK, map[string]any{"gitVersion": p.kubernetes})
		case "/apis/" + v1alpha1.GroupVersion.Group:
			answer(p.group, &metav1.APIGroup{Versions: []metav1.GroupVersionForDiscovery{{Version: "v1alpha1"}}})
		case "/apis/" + v1alpha1.GroupVersion.String():
			answer(p.kinds, &metav1.APIResourceList{APIResources: p.served})
		default:
			t.Errorf("asked for %s", r.URL.Path)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

// authorize is what kube-apiserver's authorizers say of a probe.
func (p *patient) authorize(spec *authorizationv1.SubjectAccessReviewSpec) (status authorizationv1.SubjectAccessReviewStatus) {
	nonce, fails, _ := authnconfig.IsProbe(spec)
	installation := "uid-1"
	rbac := authorizationv1.SubjectAccessReviewStatus{Allowed: slices.Contains(spec.Groups, "system:authenticated"), Reason: "RBAC"}
	switch _, scoped := spec.Extra[authnconfig.ExtraScopes]; {
	case p.authorizer == "none", p.authorizer == "last" && rbac.Allowed, !scoped && p.authorizer != "for everyone":
		return rbac
	case p.authorizer == "down":
		return authorizationv1.SubjectAccessReviewStatus{Denied: true, EvaluationError: "connection refused"}
	case p.authorizer == "open" && fails:
		return rbac
	case fails:
		return authorizationv1.SubjectAccessReviewStatus{Denied: true, EvaluationError: "HTTP 400"}
	case p.authorizer == "of another cluster":
		installation = "uid-2"
	}
	return authorizationv1.SubjectAccessReviewStatus{Denied: true, Reason: authnconfig.ProbeReason(nonce, installation)}
}

// lines are the findings, with the address of the server as HOST.
func (p *patient) lines(t *testing.T) []string {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	p.options.Client = fake.NewClientBuilder().WithScheme(scheme).WithObjects(p.objects...).WithInterceptorFuncs(p.hooks).Build()
	findings, err := Run(t.Context(), p.options)
	if err != nil {
		return []string{err.Error()}
	}
	var lines []string
	for _, f := range findings {
		if (f.Result == OK) != (f.Fix == "") && f.Result != Unchecked {
			t.Errorf("%+v", f)
		}
		lines = append(lines, strings.ReplaceAll(fmt.Sprintf("%s %s: %s", f.Result, f.Check, f.Message), strings.TrimPrefix(p.server.URL, "https://"), "HOST"))
	}
	return lines
}

// well is what the doctor says of a patient that is.
var well = []string{
	"ok kube-apiserver HOST: asks the verifier, trusts it, and the verifier is up to date",
	"ok kube-apiserver HOST: takes a revoked token for 10s at most",
	"ok clock: those of this machine and of kube-apiserver HOST agree",
	"ok admission: the MutatingWebhookConfiguration pat-operator is there, with a caBundle",
	"ok admission: the ValidatingWebhookConfiguration pat-operator is there, with a caBundle",
	"ok admission: the 6 policies and their bindings are there",
	"ok admission: the operator answers, when a token is asked for in a dry run",
	"ok workloads: the Deployment pat-operator-system/pat-operator has 2 of 2 pods ready",
	"ok workloads: the Deployment pat-operator-system/pat-operator-verifier has 2 of 2 pods ready",
	"ok versions: kubectl pat is v0.1.0, and the image is v0.1.0",
	"ok CA: that of the verifier is valid until 2031-11-28T11:00:00Z",
	"ok versions: the cluster serves pat-operator.io/v1alpha1",
	"ok versions: Kubernetes is v1.37.2+k3s1",
	"ok scopes at HOST: kube-apiserver enforces the scopes of tokens",
	"ok scopes: the verifier has the proof of every kube-apiserver, and accepts tokens with scopes",
}

const (
	notAskedLine = "kube-apiserver does not ask the verifier about tokens with scopes"
	unpublished  = "unchecked scopes: the ConfigMap pat-operator-authn does not say whether the verifier has the proof of every kube-apiserver"
)

// remove takes an object away.
func (p *patient) remove(o client.Object, name string) {
	var left []client.Object
	for _, there := range p.objects {
		if fmt.Sprintf("%T", there) != fmt.Sprintf("%T", o) || there.GetName() != name {
			left = append(left, there)
		}
	}
	p.objects = left
}

// forbid lets nobody read these kinds.
func (p *patient) forbid(kinds ...string) {
	refuse := func(o any) error {
		for _, kind := range kinds {
			if strings.Contains(fmt.Sprintf("%T", o), kind) {
				return apierrors.NewForbidden(schema.GroupResource{Resource: kind}, "x", nil)
			}
		}
		return nil
	}
	p.hooks.Get = func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
		if err := refuse(o); err != nil {
			return err
		}
		return c.Get(ctx, key, o, opts...)
	}
	p.hooks.List = func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
		if err := refuse(list); err != nil {
			return err
		}
		return c.List(ctx, list, opts...)
	}
}

// dryRun is the answer of the API server to a token in a dry run.
func (p *patient) dryRun(err error) {
	before := p.hooks.Create
	p.hooks.Create = func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
		if _, ok := o.(*v1alpha1.PersonalAccessToken); ok {
			return err
		}
		return before(ctx, c, o, opts...)
	}
}

// addressed is an EndpointSlice with these addresses, each HOST:PORT.
func addressed(addresses ...string) client.Object {
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes", Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"}}}
	for _, address := range addresses {
		host, port, _ := strings.Cut(address, ":")
		var number int32
		_, _ = fmt.Sscan(port, &number)
		slice.Ports = []discoveryv1.EndpointPort{{Port: ptr.To(number)}}
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{host}})
	}
	return slice
}

// certified lets the server prove to be a kube-apiserver.
func (p *patient) certified(t *testing.T) {
	t.Helper()
	cert, key, _, err := cacert.New("ca", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := cacert.Sign(&x509.Certificate{DNSNames: []string{serverName}, IPAddresses: p.server.Certificate().IPAddresses, NotBefore: cert.NotBefore, NotAfter: cert.NotAfter}, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	p.server.TLS.Certificates = []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}}
	p.options.Config.CAData = cacert.Encode(cert)
}
