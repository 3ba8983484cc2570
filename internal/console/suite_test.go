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

package console

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/test/env"
)

// Bearer tokens of the tests' API server. The users of the first two are developers in team-a.
const (
	aliceBearer, bobBearer, carolBearer = "alice-0123456789", "bob-0123456789", "carol-0123456789"
	daveBearer                          = "dave-0123456789" // may only look
	team, operatorNamespace             = "team-a", "default"
)

const users = aliceBearer + `,alice,u-alice,"team-devs"
` + bobBearer + `,bob,u-bob,"team-devs"
` + carolBearer + `,carol,u-carol,"others"
` + daveBearer + `,dave,u-dave,"team-guests"
`

var api = struct {
	env.APIServer
	admin  client.WithWatch
	config *rest.Config
	known  sync.Once // to the authorizer are the Objects
}{APIServer: env.APIServer{
	CRDs: true, Namespaces: []string{team}, Files: map[string]string{"token-auth-file": users},
	Objects: slices.Concat(
		role("dev", rbacv1.PolicyRule{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"personalaccesstokens"}, Verbs: []string{"*"}}),
		role("guest", rbacv1.PolicyRule{APIGroups: []string{v1alpha1.GroupVersion.Group, ""}, Resources: []string{"personalaccesstokens", "secrets"}, Verbs: []string{"get"}}),
	),
}}

func TestMain(m *testing.M) { os.Exit(api.Run(m)) }

// apiServer starts a real API server for the first test that asks.
func apiServer(t *testing.T) {
	t.Helper()
	api.admin, api.config = api.Client(t), api.Config(t)
	api.known.Do(func() {
		for _, group := range []string{"team-devs", "team-guests"} {
			member, none := api.As(t, "a-member", group), &v1alpha1.PersonalAccessToken{}
			env.Eventually(t, env.Patience, func() bool {
				return apierrors.IsNotFound(member.Get(t.Context(), client.ObjectKey{Namespace: team, Name: "none"}, none))
			}, func() string { return "the authorizer does not know the role of " + group })
		}
	})
}

// role gives the group team-<name>s some rights in the namespace.
func role(name string, rules ...rbacv1.PolicyRule) []client.Object {
	return []client.Object{
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: name}, Rules: rules},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
			Subjects:   []rbacv1.Subject{env.Group("team-" + name + "s")},
		},
	}
}

// site is a running console whose clock the test sets.
type site struct {
	*Console
	clock  *testingclock.FakePassiveClock
	server *httptest.Server
}

// open serves a console, with the test's changes.
func open(t *testing.T, change ...func(*Options)) *site {
	t.Helper()
	apiServer(t)
	s := &site{clock: testingclock.NewFakePassiveClock(time.Now())}
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.ServeHTTP(w, r) }))
	// As in `manager verifier`, whose limits apply to browsers too.
	limited := serving.NewServer(s.server.Config.Handler, nil, Limits, logr.Discard())
	s.server.Config, s.server.Listener = limited.HTTP, limited.Limit(s.server.Listener)
	s.server.EnableHTTP2 = true
	s.server.StartTLS()
	t.Cleanup(s.server.Close)
	at, err := url.Parse(s.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	keys := NewKeys(api.admin, operatorNamespace, s.clock, logr.Discard())
	if err := keys.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	options := Options{URL: at, Config: api.config, Keys: keys, Namespaces: []string{team}, MaxLifetime: 366 * 24 * time.Hour, Clock: s.clock, Log: logr.Discard()}
	for _, change := range change {
		change(&options)
	}
	if s.Console, err = New(options); err != nil {
		t.Fatal(err)
	}
	return s
}

// browser keeps cookies, and reports the origin of a form.
type browser struct {
	t      *testing.T
	site   *site
	client *http.Client
}

// answer is a response to the browser.
type answer struct {
	*http.Response
	body string
}

func (s *site) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, s, &http.Client{
		Transport: s.server.Client().Transport, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// signedIn returns a browser with the session of a credential.
func (s *site) signedIn(t *testing.T, bearer string) *browser {
	t.Helper()
	b := s.browser(t)
	if a := b.post("/sign-in", url.Values{"token": {bearer}}); a.StatusCode != http.StatusSeeOther {
		t.Fatalf("signing in: %s\n%s", a.Status, a.body)
	}
	return b
}

func (b *browser) do(r *http.Request) answer {
	b.t.Helper()
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{resp, string(body)}
}

func (b *browser) request(method, path string, form url.Values) *http.Request {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.site.server.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", b.site.server.URL)
	}
	return r
}

func (b *browser) get(path string) answer {
	b.t.Helper()
	return b.do(b.request(http.MethodGet, path, nil))
}

func (b *browser) post(path string, form url.Values) answer {
	b.t.Helper()
	return b.do(b.request(http.MethodPost, path, form))
}

// operate acts as the operator for the test's tokens: it marks them as active.
func operate(t *testing.T) {
	t.Helper()
	operateAs(t, metav1.ConditionTrue, v1alpha1.ReasonActive)
}

// operateAs marks them with another condition.
func operateAs(t *testing.T, active metav1.ConditionStatus, reason string) {
	t.Helper()
	w, err := api.admin.Watch(t.Context(), &v1alpha1.PersonalAccessTokenList{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	go func() {
		for event := range w.ResultChan() {
			pat, ok := event.Object.(*v1alpha1.PersonalAccessToken)
			if !ok || event.Type == watch.Deleted || pat.Status.ObservedGeneration == pat.Generation {
				continue
			}
			says(context.Background(), pat, active, reason)
		}
	}()
}

// says writes a status like the operator.
func says(ctx context.Context, pat *v1alpha1.PersonalAccessToken, active metav1.ConditionStatus, reason string) {
	status := &pat.Status
	status.ObservedGeneration = pat.Generation
	status.ExpiresAt = pat.Spec.ExpiresAt
	now := metav1.Now()
	status.IssuedAt = &now
	if pat.Spec.Token != nil {
		status.TokenID = pat.Spec.Token.ID
	}
	status.Conditions = nil
	for _, c := range []metav1.Condition{
		{Type: v1alpha1.ConditionActive, Status: active, Reason: reason},
		{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReconciled},
	} {
		c.ObservedGeneration, c.LastTransitionTime, c.Message = pat.Generation, metav1.Now(), "for a test"
		status.Conditions = append(status.Conditions, c)
	}
	_ = api.admin.Status().Update(ctx, pat)
}
