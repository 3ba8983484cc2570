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

	"github.com/google/go-cmp/cmp"
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
	group         int
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
		text: "[invalid bearer token, " + authnconfig.UnknownError + "]", status: http.StatusCreated, flagz: http.StatusOK, date: now, group: http.StatusOK, kubernetes: "v1.37.2+k3s1", reviews: http.StatusCreated,
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

func TestFindings(t *testing.T) {
	pats := v1alpha1.GroupVersion.WithResource("personalaccesstokens").GroupResource()
	for name, tc := range map[string]struct {
		change func(p *patient)
		// lost are lines of well that are not said, more are those said in their place, in this order.
		lost, more []string
		failed     bool
	}{
		"well": {change: func(*patient) {}},
		"no webhook, and no flags to see": {
			change: func(p *patient) { p.text, p.flagz = "invalid bearer token", http.StatusNotFound },
			lost:   well[:2], more: []string{"failed kube-apiserver HOST: does not ask the verifier: its flag is missing, or another webhook has its place"}, failed: true,
		},
		"no webhook": {
			change: func(p *patient) {
				p.text, p.flags["authentication-token-webhook-config-file"] = "invalid bearer token", ""
			},
			lost: well[:2], more: []string{"failed kube-apiserver HOST: does not ask the verifier: its flag --authentication-token-webhook-config-file is missing"}, failed: true,
		},
		"another webhook": {
			change: func(p *patient) { p.text = "invalid bearer token" },
			lost:   well[:2], more: []string{"failed kube-apiserver HOST: does not ask the verifier: its token webhook is another one, /etc/x"}, failed: true,
		},
		"a webhook that accepts all": {
			change: func(p *patient) { p.authenticated, p.text = true, "" },
			lost:   well[:2], more: []string{"failed kube-apiserver HOST: accepts a token that nobody has: one of its authenticators accepts whatever comes"}, failed: true,
		},
		"an answer that nobody knows": {
			change: func(p *patient) { p.text = "[invalid bearer token, no\x1b[2J]" },
			lost:   well[:1], more: []string{"failed kube-apiserver HOST: does not get an answer from the verifier: [invalid bearer token, no\x1b[2J]"}, failed: true,
		},
		"no right to ask": {
			change: func(p *patient) { p.status = http.StatusForbidden },
			lost:   well[:2], more: []string{"unchecked kube-apiserver HOST: you may not create tokenreviews"}, failed: true,
		},
		"no credentials": {
			change: func(p *patient) { p.status = http.StatusUnauthorized },
			lost:   well[:2], more: []string{"unchecked kube-apiserver HOST: it does not accept your credentials"}, failed: true,
		},
		"an old Kubernetes without flags to see": {
			change: func(p *patient) { p.flagz, p.kubernetes = http.StatusNotFound, "v1.33.1" },
			lost:   []string{well[1], well[12]},
			more:   []string{"unchecked kube-apiserver HOST: how long it takes a revoked token: it does not show its flags (Kubernetes before 1.37)", "ok versions: Kubernetes is v1.33.1"},
		},
		"no right to the flags": {
			change: func(p *patient) { p.flagz = http.StatusForbidden },
			lost:   well[1:2], more: []string{"unchecked kube-apiserver HOST: how long it takes a revoked token: you may not read /flagz"},
		},
		"a long TTL": {
			change: func(p *patient) { p.flags["authentication-token-webhook-cache-ttl"] = "2m0s" },
			lost:   well[1:2], more: []string{"failed kube-apiserver HOST: takes a revoked token for 2m0s more"}, failed: true,
		},
		"a clock ahead": {
			change: func(p *patient) { p.date = now.Add(61 * time.Second) },
			lost:   well[2:3], more: []string{"failed clock: the clocks of this machine and of kube-apiserver HOST differ by 1m1s"}, failed: true,
		},
		"a clock behind": {
			change: func(p *patient) { p.date = now.Add(-time.Hour) },
			lost:   well[2:3], more: []string{"failed clock: the clocks of this machine and of kube-apiserver HOST differ by 1h0m0s"}, failed: true,
		},
		"no webhooks": {
			change: func(p *patient) {
				p.remove(&admissionregistrationv1.MutatingWebhookConfiguration{}, webhooks)
				p.remove(&admissionregistrationv1.ValidatingWebhookConfiguration{}, webhooks)
			},
			lost:   []string{well[3], well[4], well[6]},
			more:   []string{"failed admission: the MutatingWebhookConfiguration pat-operator does not exist", "failed admission: the ValidatingWebhookConfiguration pat-operator does not exist"},
			failed: true,
		},
		"webhooks without a caBundle that ignore failures and lead elsewhere": {
			change: func(p *patient) {
				w := &p.objects[0].(*admissionregistrationv1.MutatingWebhookConfiguration).Webhooks[0]
				w.ClientConfig.CABundle, w.FailurePolicy, w.ClientConfig.Service = nil, ptr.To(admissionregistrationv1.Ignore), nil
			},
			lost: []string{well[3], well[6]},
			more: []string{
				"failed admission: the webhook mutate ignores failures",
				"failed admission: the webhook mutate has no caBundle, so kube-apiserver does not trust the operator",
				"failed admission: the webhook mutate does not lead to the namespace pat-operator-system",
			},
			failed: true,
		},
		"no policy, and a binding that denies nothing": {
			change: func(p *patient) {
				p.remove(&admissionregistrationv1.ValidatingAdmissionPolicy{}, "pat-operator-status")
				for _, o := range p.objects {
					if binding, ok := o.(*admissionregistrationv1.ValidatingAdmissionPolicyBinding); ok && binding.Name == "pat-operator-users" {
						binding.Spec.ValidationActions = []admissionregistrationv1.ValidationAction{admissionregistrationv1.Warn}
					}
				}
			},
			lost: well[5:6],
			more: []string{
				"failed admission: the ValidatingAdmissionPolicyBinding pat-operator-users denies nothing",
				"failed admission: the ValidatingAdmissionPolicy pat-operator-status does not exist",
			},
			failed: true,
		},
		"admission may not be read": {
			change: func(p *patient) { p.forbid("WebhookConfiguration", "ValidatingAdmissionPolicyBinding") },
			lost:   []string{well[3], well[4], well[5], well[6]},
			more: []string{
				"unchecked admission: you may not read the MutatingWebhookConfiguration pat-operator", "unchecked admission: you may not read the ValidatingWebhookConfiguration pat-operator",
				"unchecked admission: you may not read the ValidatingAdmissionPolicyBinding pat-operator-users", "unchecked admission: you may not read the ValidatingAdmissionPolicyBinding pat-operator-records",
				"unchecked admission: you may not read the ValidatingAdmissionPolicyBinding pat-operator-delivery", "unchecked admission: you may not read the ValidatingAdmissionPolicyBinding pat-operator-authorities",
				"unchecked admission: you may not read the ValidatingAdmissionPolicyBinding pat-operator-status",
				"unchecked admission: you may not read the ValidatingAdmissionPolicyBinding pat-operator-impersonator",
			},
		},
		"the operator refuses a token": {change: func(p *patient) {
			p.dryRun(apierrors.NewForbidden(pats, "x", errors.New("a group may be in no token")))
		}},
		"no operator": {
			change: func(p *patient) { p.dryRun(apierrors.NewInternalError(errors.New("failed calling webhook"))) },
			lost:   well[6:7], more: []string{"failed admission: the operator does not answer, so no token can be made or changed: Internal error occurred: failed calling webhook"}, failed: true,
		},
		"no such namespace": {
			change: func(p *patient) { p.dryRun(apierrors.NewNotFound(pats, "x")) },
			lost:   well[6:7], more: []string{"unchecked admission: the namespace team-a does not exist, or the kind PersonalAccessToken does not"},
		},
		"a dry run that ends otherwise": {
			change: func(p *patient) { p.dryRun(errors.New("for a test")) },
			lost:   well[6:7], more: []string{"unchecked admission: a token in a dry run: for a test"},
		},
		"no right to tokens": {
			change: func(p *patient) { p.hooks.Create = nil },
			lost:   well[6:7], more: []string{"unchecked admission: you may not create tokens in the namespace team-a, so the operator was not asked"},
		},
		"a pod that is not ready, and none at all": {
			change: func(p *patient) {
				p.objects[2].(*appsv1.Deployment).Status.ReadyReplicas = 1
				p.objects[3].(*appsv1.Deployment).Spec.Replicas = ptr.To(int32(0))
			},
			lost:   well[7:9],
			more:   []string{"failed workloads: the Deployment pat-operator-system/pat-operator has 1 of 2 pods ready", "failed workloads: the Deployment pat-operator-system/pat-operator-verifier is scaled to 0"},
			failed: true,
		},
		"no workloads": {
			change: func(p *patient) { p.objects = append(p.objects[:2:2], p.objects[4:]...) },
			lost:   well[7:10], more: []string{"failed workloads: no Deployment of pat-operator is in the namespace pat-operator-system"}, failed: true,
		},
		"workloads may not be read": {
			change: func(p *patient) { p.forbid("DeploymentList", "DaemonSetList") },
			lost:   well[7:10],
			more:   []string{"unchecked workloads: you may not read the Deployments of the namespace pat-operator-system", "unchecked workloads: you may not read the DaemonSets of the namespace pat-operator-system"},
		},
		"an upgrade under way": {
			change: func(p *patient) {
				p.objects[3].(*appsv1.Deployment).Spec.Template.Spec.Containers[0].Image = "pat-operator:v0.2.0"
			},
			lost: well[9:10], more: []string{"due versions: the images differ: v0.1.0, v0.2.0"},
		},
		"an old plugin": {
			change: func(p *patient) { p.options.Version = "v0.0.9" },
			lost:   well[9:10], more: []string{"due versions: kubectl pat is v0.0.9, and the image is v0.1.0"},
		},
		"no ConfigMap": {
			change: func(p *patient) { p.remove(&corev1.ConfigMap{}, authnconfig.ConfigMapName) },
			lost:   []string{well[10], well[14]}, more: []string{"failed CA: the ConfigMap pat-operator-system/pat-operator-authn does not exist", unpublished}, failed: true,
		},
		"an empty ConfigMap": {
			change: func(p *patient) { p.objects[4].(*corev1.ConfigMap).Data = nil },
			lost:   []string{well[10], well[14]}, more: []string{"failed CA: the ConfigMap pat-operator-authn is empty: no verifier has run, or it cannot write it; see its log", unpublished}, failed: true,
		},
		"a new CA": {
			change: func(p *patient) {
				p.objects[4] = published(t, ca(t, now.Add(-4*365*24*time.Hour)), ca(t, now.Add(-24*time.Hour)))
			},
			lost: well[10:11], more: []string{"due CA: a new CA of the verifier signs from 2027-09-24T12:00:00Z; each kube-apiserver needs the present files before"},
		},
		"a new CA that signs": {
			change: func(p *patient) {
				p.objects[4] = published(t, ca(t, now.Add(-4*365*24*time.Hour)), ca(t, now.Add(-301*24*time.Hour)))
			},
			lost: well[10:11], more: []string{"ok CA: that of the verifier is valid until 2031-01-31T12:00:00Z"},
		},
		"an old CA": {
			change: func(p *patient) { p.objects[4] = published(t, ca(t, now.Add(-6*365*24*time.Hour))) },
			lost:   well[10:11], more: []string{"failed CA: the CA of the verifier expired at 2025-11-29T12:00:00Z"}, failed: true,
		},
		"no CRD": {
			change: func(p *patient) { p.group = http.StatusNotFound },
			lost:   well[11:12], more: []string{"failed versions: the cluster does not serve pat-operator.io/v1alpha1"}, failed: true,
		},
		"versions may not be read": {
			change: func(p *patient) { p.group = http.StatusForbidden },
			lost:   well[11:12], more: []string{"unchecked versions: cannot read the versions of pat-operator.io (HTTP 403)"},
		},
		"an old Kubernetes": {
			change: func(p *patient) { p.kubernetes = "v1.32.9" },
			lost:   well[12:13], more: []string{"failed versions: Kubernetes is v1.32.9"}, failed: true,
		},
		"no authorizer for scopes": {
			change: func(p *patient) { p.authorizer = "none" },
			lost:   well[13:], more: []string{"due scopes at HOST: " + notAskedLine + ", so these are refused"},
		},
		"an authorizer whose matchConditions are others": {
			change: func(p *patient) {
				p.authorizer, p.flags["authorization-config"] = "none", "/etc/pat-operator/authorization.yaml"
			},
			lost: well[13:], more: []string{"failed scopes at HOST: " + notAskedLine + ", although it has --authorization-config=/etc/pat-operator/authorization.yaml: that lacks the authorizer pat-operator, or has other matchConditions"}, failed: true,
		},
		"an authorizer without matchConditions": {
			change: func(p *patient) { p.authorizer = "for everyone" },
			more:   []string{"failed scopes at HOST: kube-apiserver asks the verifier about everyone's requests, and denies them all while it does not answer: the authorizer pat-operator lacks its matchConditions"}, failed: true,
		},
		"an authorizer after RBAC": {
			change: func(p *patient) { p.authorizer = "last" },
			lost:   well[13:14], more: []string{"failed scopes at HOST: kube-apiserver has an authorizer before that of pat-operator, which allows requests of tokens with scopes"}, failed: true,
		},
		"another cluster's authorizer": {
			change: func(p *patient) { p.authorizer = "of another cluster" },
			lost:   well[13:14], more: []string{"failed scopes at HOST: kube-apiserver asks the verifier of another installation about tokens with scopes"}, failed: true,
		},
		"an authorizer without a verifier": {
			change: func(p *patient) { p.authorizer = "down" },
			lost:   well[13:14], more: []string{"failed scopes at HOST: kube-apiserver gets no answer from the verifier about tokens with scopes, so they may do nothing: connection refused"}, failed: true,
		},
		"an authorizer whose failures pass": {
			change: func(p *patient) { p.authorizer = "open" },
			lost:   well[13:14], more: []string{"failed scopes at HOST: kube-apiserver lets tokens with scopes do everything while the verifier does not answer"}, failed: true,
		},
		"no proof": {
			change: func(p *patient) { p.objects[4].(*corev1.ConfigMap).Data[authnconfig.KeyScopesEnforced] = "false" },
			lost:   well[14:], more: []string{"failed scopes: the verifier refuses tokens with scopes: it lacks the proof of a kube-apiserver"}, failed: true,
		},
		"no right to ask about scopes": {
			change: func(p *patient) { p.reviews = http.StatusForbidden },
			lost:   well[13:], more: []string{"unchecked scopes at HOST: you may not create subjectaccessreviews"},
		},
		"no answer about scopes": {
			change: func(p *patient) { p.reviews = http.StatusServiceUnavailable },
			lost:   well[13:], more: []string{"unchecked scopes at HOST: it answers HTTP 503 to a SubjectAccessReview"},
		},
		"the addresses may not be read": {
			change: func(p *patient) { p.forbid("EndpointSliceList") },
			more:   []string{"unchecked kube-apiserver: you may not read the addresses of each kube-apiserver (endpointslices of the namespace default)"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPatient(t)
			tc.change(p)
			got := p.lines(t)
			lost := map[string]bool{}
			for _, line := range tc.lost {
				lost[line] = true
			}
			var want, more []string
			for _, line := range well {
				if !lost[line] {
					want = append(want, line)
				}
			}
			said := map[string]bool{}
			for _, line := range want {
				said[line] = true
			}
			var rest []string
			for _, line := range got {
				if said[line] {
					rest = append(rest, line)
				} else {
					more = append(more, line)
				}
			}
			if diff := cmp.Diff(tc.more, more); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want, rest); diff != "" {
				t.Errorf("of what is well (-want +got):\n%s", diff)
			}
			findings, err := Run(t.Context(), p.options)
			if err != nil || Passed(findings) == tc.failed {
				t.Errorf("%v; passed: %v", err, !tc.failed)
			}
		})
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

// Each kube-apiserver is asked by its own address; what is not reached is said, and what the kubeconfig leads to stands in.
func TestEachAddressIsAsked(t *testing.T) {
	p := newPatient(t)
	p.certified(t)
	host := strings.TrimPrefix(p.server.URL, "https://")
	p.options.Config.Host = "https://127.0.0.1:1" // nobody
	p.objects = append(p.objects, addressed(host))
	if diff := cmp.Diff(well, p.lines(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	p = newPatient(t)
	p.objects = append(p.objects, addressed("127.0.0.1:1"))
	want := append([]string{"unchecked kube-apiserver 127.0.0.1:1: this machine does not reach it: dial tcp 127.0.0.1:1: connect: connection refused"}, well...)
	if diff := cmp.Diff(want, p.lines(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	p = newPatient(t)
	p.options.Config.Host = "https://127.0.0.1:1"
	if got := p.lines(t); len(got) != 1 || !strings.HasPrefix(got[0], "no kube-apiserver answers at 127.0.0.1:1: ") {
		t.Errorf("got %q", got)
	}
}

// An address in the cluster gets the user's credentials only if it proves to be the API server.
func TestCredentialsGoToTheAPIServerOnly(t *testing.T) {
	p, thief := newPatient(t), newPatient(t)
	p.objects = append(p.objects, addressed(strings.TrimPrefix(thief.server.URL, "https://")))
	lines := p.lines(t)
	if len(thief.bearers()) > 0 || !strings.Contains(lines[0], "this machine does not reach it: tls: failed to verify certificate") {
		t.Errorf("the thief got %v\n%s", thief.bearers(), strings.Join(lines, "\n"))
	}
	p.options.Config.Insecure, p.options.Config.CAData = true, nil
	lines = p.lines(t)
	if len(thief.bearers()) > 0 || !strings.Contains(lines[0], "your credentials were sent to no further address") {
		t.Errorf("the thief got %v\n%s", thief.bearers(), strings.Join(lines, "\n"))
	}
	if got := p.bearers(); len(got) == 0 || got[0] != "Bearer mine" {
		t.Errorf("the API server got %v", got)
	}
}

// One of two kube-apiservers lacks the authorizer: that is a fault, since the verifier then refuses tokens with scopes at both.
func TestAnAuthorizerMissesOnOneOfTwo(t *testing.T) {
	p, second := newPatient(t), newPatient(t)
	p.certified(t)
	second.certified(t)
	second.authorizer = "none"
	p.options.Config.CAData = append(p.options.Config.CAData, second.options.Config.CAData...)
	host := strings.TrimPrefix(second.server.URL, "https://")
	other := addressed(host)
	other.SetName("kubernetes-2")
	p.objects = append(p.objects, addressed(strings.TrimPrefix(p.server.URL, "https://")), other)
	p.objects[4].(*corev1.ConfigMap).Data[authnconfig.KeyScopesEnforced] = "false"
	lines := p.lines(t)
	for _, want := range []string{
		well[13], "failed scopes at " + host + ": " + notAskedLine + ", and another kube-apiserver does: so these are refused",
		"failed scopes: the verifier refuses tokens with scopes: it lacks the proof of a kube-apiserver",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("%s is not in\n%s", want, strings.Join(lines, "\n"))
		}
	}
}
