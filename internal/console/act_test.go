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
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/test/env"
)

func now(t *testing.T, pat *v1alpha1.PersonalAccessToken) *v1alpha1.PersonalAccessToken {
	t.Helper()
	is := &v1alpha1.PersonalAccessToken{}
	if err := api.admin.Get(t.Context(), client.ObjectKeyFromObject(pat), is); err != nil {
		t.Fatal(err)
	}
	return is
}

// act sends the form of a confirmation, as a page or as the script does.
func (b *browser) act(pat *v1alpha1.PersonalAccessToken, what string, script bool) answer {
	b.t.Helper()
	r := b.request(http.MethodPost, pathOf(pat)+"/"+what, url.Values{"uid": {seen(pat)}})
	if script {
		r.Header.Set(fragmentHeader, "1")
	}
	return b.do(r)
}

// A page names the token before it is revoked, and revoking deletes exactly the resource of that page.
func TestRevoking(t *testing.T) {
	s := open(t)
	b := s.signedIn(t, aliceBearer)
	pat := made(t, "to-revoke")
	if a := b.get(pathOf(pat) + "/revoke"); !strings.Contains(a.body, "Display to-revoke") || !strings.Contains(a.body, string(pat.UID)) {
		t.Errorf("the question:\n%s", a.body)
	}
	other := *pat
	other.UID = "another"
	if a := b.act(&other, "revoke", false); a.StatusCode != http.StatusConflict || !strings.Contains(a.body, "This is another token") {
		t.Errorf("another's UID: %s\n%s", a.Status, a.body)
	}
	if a := b.post(pathOf(pat)+"/revoke", nil); a.StatusCode != http.StatusBadRequest || !strings.Contains(a.body, "does not say which token") {
		t.Errorf("no UID: %s\n%s", a.Status, a.body)
	}
	now(t, pat)
	if a := b.act(pat, "revoke", false); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/" {
		t.Errorf("%s to %q\n%s", a.Status, a.Header.Get("Location"), a.body)
	}
	if err := api.admin.Get(t.Context(), client.ObjectKeyFromObject(pat), pat); !apierrors.IsNotFound(err) {
		t.Errorf("it is still there: %v", err)
	}
	if a := b.act(pat, "revoke", true); a.StatusCode != http.StatusNoContent || did(t, a) != "The token is revoked." {
		t.Errorf("revoked again: %s, %q", a.Status, did(t, a))
	}
	const named = "“Display to-revoke” is revoked."
	if a := b.get("/"); !strings.Contains(a.body, named) {
		t.Errorf("the page does not say so:\n%s", a.body)
	}
	if a := b.get("/"); strings.Contains(a.body, named) {
		t.Error("the page repeats the notice")
	}
	over := made(t, "to-delete", expired)
	if a := b.act(over, "revoke", true); a.StatusCode != http.StatusNoContent || did(t, a) != "“Display to-delete” is deleted." {
		t.Errorf("of an expired token: %s, %q", a.Status, did(t, a))
	}
}

// did is the message for the script.
func did(t *testing.T, a answer) string {
	t.Helper()
	text, err := url.PathUnescape(a.Header.Get(didHeader))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func expired(pat *v1alpha1.PersonalAccessToken) {
	pat.Spec.ExpiresAt = &metav1.Time{Time: time.Now().Add(-time.Hour)}
}

// A token can be renamed on its page. An error is at the field, which keeps its input.
func TestRenaming(t *testing.T) {
	s := open(t)
	b := s.signedIn(t, aliceBearer)
	pat := made(t, "to-rename")
	other := *pat
	other.UID = "another"
	rename := func(b *browser, pat *v1alpha1.PersonalAccessToken, name string, script bool) answer {
		t.Helper()
		r := b.request(http.MethodPost, pathOf(pat)+"/rename", url.Values{"uid": {seen(pat)}, "name": {name}})
		if script {
			r.Header.Set(fragmentHeader, "1")
		}
		return b.do(r)
	}
	for _, test := range []struct {
		a      answer
		status int
		want   []string
	}{
		{rename(b, pat, " ", true), http.StatusUnprocessableEntity, []string{"Enter what the token is for", "<bdi>Display to-rename</bdi>"}},
		{rename(b, pat, strings.Repeat("n", 129), true), http.StatusUnprocessableEntity, []string{"This has 129 characters: use at most 128.", strings.Repeat("n", 129)}},
		{rename(b, &other, "Another", true), http.StatusConflict, []string{"The token was changed in the meantime"}},
		{rename(s.signedIn(t, daveBearer), pat, "Typed", true), http.StatusForbidden, []string{"You may not do this.", `value="Typed"`, "cannot patch resource"}},
	} {
		for _, want := range test.want {
			if test.a.StatusCode != test.status || !strings.Contains(test.a.body, want) {
				t.Errorf("%s, and lacks %q\n%s", test.a.Status, want, test.a.body)
			}
		}
	}
	if is := now(t, pat); is.Generation != pat.Generation {
		t.Errorf("it is called %q", is.Spec.DisplayName)
	}
	if a := rename(b, pat, " Renamed ", true); a.StatusCode != http.StatusOK || !strings.Contains(a.body, "<bdi>Renamed</bdi>") || now(t, pat).Spec.DisplayName != "Renamed" {
		t.Errorf("%s\n%s", a.Status, a.body)
	}
	if a := rename(b, pat, "Again", false); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != pathOf(pat) {
		t.Errorf("%s to %s", a.Status, a.Header.Get("Location"))
	}
	if a := b.get(pathOf(pat)); !strings.Contains(a.body, "The token is called “Again” now.") {
		t.Errorf("the page does not say so:\n%s", a.body)
	}
}

// A token with a fixed end in the past cannot be rotated, and the page does not offer it.
func TestAFixedEndIsNotRotated(t *testing.T) {
	s := open(t)
	b := s.signedIn(t, aliceBearer)
	pat := made(t, "fixed-end", expired)
	if a := b.get(pathOf(pat)); strings.Contains(a.body, "Rotate") || !strings.Contains(a.body, "Its end is fixed, so it cannot be rotated: create another token.") {
		t.Errorf("the details:\n%s", a.body)
	}
	for _, a := range []answer{b.get(pathOf(pat) + "/rotate"), b.act(pat, "rotate", true)} {
		if a.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(a.body, "This token cannot be rotated") || !strings.Contains(a.body, "Create another token instead.") {
			t.Errorf("%s\n%s", a.Status, a.body)
		}
	}
	if is := now(t, pat); is.Generation != pat.Generation {
		t.Error("it was rotated anyway")
	}
}

// A refused rotation keeps its form and the choice in it.
func TestARefusedRotationKeepsItsForm(t *testing.T) {
	s := open(t)
	pat := made(t, "looked-at")
	pat.Status.TokenID = strings.Repeat("a", 16)
	says(t.Context(), pat, metav1.ConditionTrue, v1alpha1.ReasonActive)
	pat = now(t, pat)
	b := s.signedIn(t, daveBearer)
	a := b.post(pathOf(pat)+"/rotate", url.Values{"uid": {seen(pat)}, "overlap": {"604800"}})
	for _, want := range []string{
		`action="` + pathOf(pat) + `/rotate"`, `value="604800" checked`, "You may not do this. Ask an administrator", "For administrators", "cannot patch resource",
	} {
		if a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, want) {
			t.Errorf("%s, and lacks %q\n%s", a.Status, want, a.body)
		}
	}
}

func TestSuspendingAndResuming(t *testing.T) {
	s := open(t)
	operate(t)
	b := s.signedIn(t, aliceBearer)
	pat := made(t, "to-suspend")
	if a := b.act(pat, "suspend", true); a.StatusCode != http.StatusNoContent || did(t, a) != "“Display to-suspend” is suspended. It does not work until you resume it." {
		t.Errorf("%s\n%s", a.Status, a.body)
	}
	if pat = now(t, pat); !pat.Spec.Suspend {
		t.Error("it is not suspended")
	}
	if a := b.get(pathOf(pat)); !strings.Contains(a.body, pathOf(pat)+"/resume") || strings.Contains(a.body, pathOf(pat)+"/suspend") {
		t.Errorf("the details of a suspended token:\n%s", a.body)
	}
	if a := b.act(pat, "resume", false); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/" {
		t.Errorf("%s to %q", a.Status, a.Header.Get("Location"))
	}
	if a := b.get("/"); !strings.Contains(a.body, "“Display to-suspend” works again.") {
		t.Errorf("the page does not say so:\n%s", a.body)
	}
	if pat = now(t, pat); pat.Spec.Suspend {
		t.Error("it is still suspended")
	}
	other := *pat
	other.UID = "another"
	if a := b.act(&other, "suspend", false); a.StatusCode != http.StatusConflict || now(t, pat).Spec.Suspend {
		t.Errorf("another's UID: %s", a.Status)
	}
}

// The page does not claim that a resumed token works if it does not. It offers to resume only where that helps.
func TestResumingATokenThatDoesNotWork(t *testing.T) {
	s := open(t)
	b := s.signedIn(t, aliceBearer)
	suspended := func(pat *v1alpha1.PersonalAccessToken) { pat.Spec.Suspend = true }
	said := func(pat *v1alpha1.PersonalAccessToken, wants ...string) {
		t.Helper()
		a := b.act(pat, "resume", true)
		for _, want := range append(wants, "Look at its details, or create another token.") {
			if a.StatusCode != http.StatusOK || !strings.Contains(a.body, want) || strings.Contains(a.body, "works again") {
				t.Errorf("%s: %s, and lacks %q\n%s", pat.Name, a.Status, want, a.body)
			}
		}
		if now(t, pat).Spec.Suspend {
			t.Errorf("%s: it is still suspended", pat.Name)
		}
	}
	said(made(t, "nobody-looks", suspended), "It is resumed, but not confirmed to work yet", "is it running?")

	pat := made(t, "over", suspended, expired)
	if a := b.get(pathOf(pat)); a.StatusCode != http.StatusOK || strings.Contains(a.body, pathOf(pat)+"/resume") {
		t.Errorf("the details of one that has ended offer it: %s\n%s", a.Status, a.body)
	}
	a := b.get(pathOf(pat) + "/resume")
	for _, want := range []string{"Resuming would not make it work", "it has also ended or has another problem", "create another token"} {
		if a.StatusCode != http.StatusConflict || !strings.Contains(a.body, want) {
			t.Errorf("%s, and lacks %q\n%s", a.Status, want, a.body)
		}
	}
	operateAs(t, metav1.ConditionFalse, v1alpha1.ReasonExpired)
	said(pat, "It is resumed, but does not work", "For a test (Expired).")
}

// A rotation makes a new token and shows it once. The same form sent again makes no third one.
func TestRotating(t *testing.T) {
	s := open(t)
	operate(t)
	b := s.signedIn(t, aliceBearer)
	form := b.form()
	form.Set("name", "to rotate")
	first := plaintext.FindString(b.post("/new", form).body)
	pat := &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: form.Get("resource")}}
	pat = now(t, pat)

	a := b.post(pathOf(pat)+"/rotate", url.Values{"uid": {seen(pat)}, "overlap": {"soon"}})
	if a.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(a.body, "Choose how long the old token keeps working.") {
		t.Errorf("no hours: %s\n%s", a.Status, a.body)
	}
	a = b.post(pathOf(pat)+"/rotate", url.Values{"uid": {seen(pat)}, "overlap": {"5400"}})
	second := plaintext.FindString(a.body)
	if a.StatusCode != http.StatusOK || second == "" || second == first {
		t.Fatalf("%s\n%s", a.Status, a.body)
	}
	is := now(t, pat)
	id, err := token.Parse(second)
	if err != nil || is.Spec.Token.ID != id || is.Spec.Token.SHA256 != token.NewDigest(team, pat.Name, second).Hex() {
		t.Errorf("the new token is not the one in spec: %v", err)
	}
	if is.Spec.Rotation == nil || is.Spec.Rotation.OverlapSeconds != 5400 {
		t.Errorf("rotation: %+v", is.Spec.Rotation)
	}
	again := b.post(pathOf(pat)+"/rotate", url.Values{"uid": {seen(pat)}, "overlap": {"5400"}})
	if again.StatusCode != http.StatusConflict || !strings.Contains(again.body, "The token was changed in the meantime") || plaintext.MatchString(again.body) {
		t.Errorf("sent again: %s\n%s", again.Status, again.body)
	}
	if now(t, pat).Spec.Token.ID != id {
		t.Error("there is a third token")
	}
}

// The console reads a token of the operator from its Secret, and refuses to rotate it for a visitor who may not read Secrets.
func TestRotatingAnOperatorMadeToken(t *testing.T) {
	s := open(t)
	deliver(t)
	b := s.signedIn(t, aliceBearer)
	pat := made(t, "rotated-by-operator")
	for _, a := range []answer{b.get(pathOf(pat) + "/rotate"), b.post(pathOf(pat)+"/rotate", url.Values{"uid": {seen(pat)}})} {
		if a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, "You may not read Secrets in namespace "+team) || !strings.Contains(a.body, "Create another token") {
			t.Errorf("a visitor who may not read Secrets: %s\n%s", a.Status, a.body)
		}
	}
	if is := now(t, pat); is.Generation != pat.Generation {
		t.Error("it was rotated anyway")
	}
	allow := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: "alice-reads-secrets"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "alice"}},
	}
	if err := api.admin.Create(t.Context(), allow); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.admin.Delete(context.WithoutCancel(t.Context()), allow) })
	for end := time.Now().Add(env.Patience); ; { // until the authorizer knows
		pat = now(t, pat)
		a := b.post(pathOf(pat)+"/rotate", url.Values{"uid": {seen(pat)}})
		if plaintext.MatchString(a.body) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("a visitor who may read Secrets: %s\n%s", a.Status, a.body)
		}
	}
	secret := &corev1.Secret{}
	err := api.admin.Get(t.Context(), client.ObjectKey{Namespace: team, Name: now(t, pat).Status.DeliverySecretName}, secret)
	if !apierrors.IsNotFound(err) {
		t.Errorf("the Secret that the token was taken from is still there: %v", err)
	}
}

// A forbidden action shows the API server's message and what to do next.
func TestForbiddenActionsAreExplained(t *testing.T) {
	s := open(t)
	b := s.signedIn(t, carolBearer)
	pat := made(t, "not-for-carol")
	for path, verb := range map[string]string{
		pathOf(pat): "get", pathOf(pat) + "/revoke": "get", pathOf(pat) + "/rotate": "get",
	} {
		a := b.get(path)
		if a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, "You may not do this") || !strings.Contains(a.body, "cannot "+verb+" resource") ||
			!strings.Contains(a.body, "Ask an administrator") || strings.Contains(a.body, "Display not-for-carol") {
			t.Errorf("GET %s: %s\n%s", path, a.Status, a.body)
		}
	}
	if a := b.act(pat, "revoke", false); a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, "cannot delete resource") {
		t.Errorf("revoking: %s\n%s", a.Status, a.body)
	}
	now(t, pat)
	if a := s.signedIn(t, aliceBearer).get("/tokens/team-a/never-was"); a.StatusCode != http.StatusNotFound || !strings.Contains(a.body, "This token no longer exists") {
		t.Errorf("none: %s\n%s", a.Status, a.body)
	}
}

// deliver acts as the operator for tokens that it makes: it puts them into a Secret.
func deliver(t *testing.T) {
	t.Helper()
	w, err := api.admin.Watch(t.Context(), &v1alpha1.PersonalAccessTokenList{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	go func() {
		for event := range w.ResultChan() {
			pat, ok := event.Object.(*v1alpha1.PersonalAccessToken)
			if !ok || pat.DeletionTimestamp != nil || pat.Status.ObservedGeneration == pat.Generation {
				continue
			}
			id, made, err := token.New(rand.Reader)
			if err != nil {
				return
			}
			_ = api.admin.Create(t.Context(), &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: "pat-" + id, OwnerReferences: []metav1.OwnerReference{{
					APIVersion: v1alpha1.GroupVersion.String(), Kind: "PersonalAccessToken", Name: pat.Name, UID: pat.UID,
				}}},
				Type: v1alpha1.SecretTypeToken, StringData: map[string]string{v1alpha1.SecretKeyToken: made},
			})
			pat.Status.TokenID, pat.Status.DeliverySecretName = id, "pat-"+id
			says(t.Context(), pat, metav1.ConditionTrue, v1alpha1.ReasonActive)
		}
	}()
}

// If the new token does not appear in time, the page does not show the old one as new.
func TestRotatingShowsNoOldEncryptedToken(t *testing.T) {
	s := open(t)
	s.activeWithin = 50 * time.Millisecond
	b := s.signedIn(t, aliceBearer)
	pat := made(t, "encrypted", func(pat *v1alpha1.PersonalAccessToken) {
		pat.Spec.Delivery = &v1alpha1.Delivery{Recipients: []string{"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"}}
	})
	const former = "-----BEGIN AGE ENCRYPTED FILE-----\nYWdlLWVuY3J5cHRpb24ub3JnL3YxCg==\n-----END AGE ENCRYPTED FILE-----\n"
	pat.Status.TokenID, pat.Status.EncryptedToken = strings.Repeat("a", 16), former
	says(t.Context(), pat, metav1.ConditionTrue, v1alpha1.ReasonActive)
	pat = now(t, pat)
	if a := b.get(pathOf(pat)); !strings.Contains(a.body, "YWdlLWVuY3J5cHRpb24ub3JnL3YxCg==") {
		t.Errorf("the details lack the file:\n%s", a.body)
	}
	a := b.post(pathOf(pat)+"/rotate", url.Values{"uid": {seen(pat)}})
	if a.StatusCode != http.StatusOK || strings.Contains(a.body, "YWdlLWVuY3J5cHRpb24ub3JnL3YxCg==") || !strings.Contains(a.body, "not ready yet") {
		t.Errorf("%s\n%s", a.Status, a.body)
	}
}

func TestRotateOptions(t *testing.T) {
	half := &v1alpha1.PersonalAccessToken{Spec: v1alpha1.PersonalAccessTokenSpec{Rotation: &v1alpha1.Rotation{OverlapSeconds: 1801, RetireOnFirstUse: true}}}
	for _, test := range []struct {
		typed   string
		was     *v1alpha1.PersonalAccessToken
		overlap string
		wrong   bool
	}{
		{"", half, "", false},
		{"", &v1alpha1.PersonalAccessToken{}, "", false},
		{"1801", half, "1801", false},
		{"0", half, "0", false},
		{"0", &v1alpha1.PersonalAccessToken{}, "0", false},
		{"31622400", half, "31622400", false},
		{"31622401", half, "", true},
		{"-1", half, "", true},
		{"1.5", half, "", true},
		{"99999999999", half, "", true},
		{"soon", half, "", true},
	} {
		options, wrong := rotateOptions(test.was, test.typed)
		got := ""
		if options.Overlap != nil {
			got = fmt.Sprint(*options.Overlap)
		}
		if got != test.overlap || (wrong != "") != test.wrong {
			t.Errorf("%q: %q, %q", test.typed, got, wrong)
		}
		if retire := options.RetireOnFirstUse; (got == "0" || got == "" && test.was != half && !test.wrong) != (retire != nil && !*retire) {
			t.Errorf("%q: retireOnFirstUse %v", test.typed, retire)
		}
	}
}

func TestTheOldTokenIsKeptForADayByDefault(t *testing.T) {
	s := open(t)
	at := s.clock.Now()
	issued := func(spec v1alpha1.PersonalAccessTokenSpec, life time.Duration) *v1alpha1.PersonalAccessToken {
		return &v1alpha1.PersonalAccessToken{Spec: spec, Status: v1alpha1.PersonalAccessTokenStatus{TokenID: "x", ExpiresAt: &metav1.Time{Time: at.Add(life)}}}
	}
	overlapping := v1alpha1.PersonalAccessTokenSpec{Rotation: &v1alpha1.Rotation{OverlapSeconds: 1801, RetireOnFirstUse: true}}
	for name, test := range map[string]struct {
		pat    *v1alpha1.PersonalAccessToken
		words  string
		chosen string
		last   time.Duration
	}{
		"as it comes":        {issued(v1alpha1.PersonalAccessTokenSpec{}, 30*24*time.Hour), "None, 1 hour, 24 hours, 7 days", "86400", 7 * 24 * time.Hour},
		"its own end":        {issued(v1alpha1.PersonalAccessTokenSpec{}, 2*time.Hour), "None, 1 hour, 24 hours, 7 days", "86400", 2 * time.Hour},
		"spec has another":   {issued(overlapping, 30*24*time.Hour), "None, 1801 seconds, 1 hour, 24 hours, 7 days", "1801", 7 * 24 * time.Hour},
		"it has ended":       {issued(v1alpha1.PersonalAccessTokenSpec{}, -time.Hour), "", "", 0},
		"it was never there": {&v1alpha1.PersonalAccessToken{}, "", "", 0},
	} {
		confirm := s.confirm(actRotate, test.pat)
		var words []string
		for _, o := range confirm.Overlaps {
			words = append(words, o.Word)
		}
		if got := strings.Join(words, ", "); got != test.words || confirm.Overlap != test.chosen {
			t.Errorf("%s: %s; chosen is %q", name, got, confirm.Overlap)
		}
		if n := len(confirm.Overlaps); n > 0 && !confirm.Overlaps[n-1].Ends.Equal(at.Add(test.last)) {
			t.Errorf("%s: the longest ends at %v", name, confirm.Overlaps[n-1].Ends)
		}
		if !confirm.NewEnd.Equal(at.Add(v1alpha1.DefaultExpiresInDays * 24 * time.Hour)) {
			t.Errorf("%s: the new token ends at %v", name, confirm.NewEnd)
		}
	}
}

// The error for a page that failed to load says that nothing was changed. For a sent form this is unknown.
func TestALoadThatFailedSaysThatNothingWasChanged(t *testing.T) {
	s := open(t)
	b := s.signedIn(t, aliceBearer)
	pat := made(t, "out-of-reach")
	s.anonymous.Host = "https://127.0.0.1:1"
	for _, path := range []string{"/", pathOf(pat), pathOf(pat) + "/revoke"} {
		if a := b.get(path); a.StatusCode != http.StatusBadGateway || !strings.Contains(a.body, "Nothing was changed.") || strings.Contains(a.body, "not known") {
			t.Errorf("GET %s: %s\n%s", path, a.Status, a.body)
		}
	}
	if a := b.act(pat, "revoke", false); a.StatusCode != http.StatusBadGateway || strings.Contains(a.body, "Nothing was changed.") || !strings.Contains(a.body, "It is unknown whether anything was done.") {
		t.Errorf("revoking: %s\n%s", a.Status, a.body)
	}
}

// Each error has its title, status and next step.
func TestErrorsAreExplained(t *testing.T) {
	s := open(t)
	const unknown = "It is unknown whether this was done"
	unknownAfter := func(err error) error {
		return fmt.Errorf("%w; %w it was created: if it was, its token is lost: delete it", err, holder.ErrUnknown)
	}
	group := v1alpha1.GroupVersion.WithResource("personalaccesstokens").GroupResource()
	byPolicy := apierrors.NewForbidden(group, "x", errors.New("no"))
	byPolicy.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: v1alpha1.ReasonDeniedByPolicy, Field: "spec.user", Message: `TokenPolicy "seven" lets a user have 7 tokens`}}
	if _, p := s.explain(byPolicy); p.Detail != `TokenPolicy "seven" lets a user have 7 tokens.` || p.Next != "Change what you asked for, or show this to an administrator." {
		t.Errorf("a policy's refusal is %+v", p)
	}
	for _, test := range []struct {
		err    error
		status int
		title  string
	}{
		{byPolicy, 403, "Your administrators do not allow this"},
		{holder.ErrRotated, 409, "The token was changed in the meantime"},
		{holder.ErrDeleted, 409, "The token was changed in the meantime"},
		{apierrors.NewConflict(group, "x", errors.New("changed")), 409, "The token was changed in the meantime"},
		{apierrors.NewForbidden(group, "x", errors.New("no")), 403, "You may not do this"},
		{apierrors.NewNotFound(group, "x"), 404, "This token no longer exists"},
		{apierrors.NewNotFound(corev1.Resource("namespaces"), "x"), 404, "Namespace not found"},
		{apierrors.NewGenericServerResponse(404, "list", group, "", "", 0, true), 404, "This cluster has no personal access tokens"},
		{apierrors.NewTooManyRequests("later", 1), 429, "The API server is busy"},
		{apierrors.NewBadRequest("no"), 400, "This is not possible"},
		{apierrors.NewInternalError(errors.New("a webhook failed")), 502, "The API server could not do it"},
		{apierrors.NewMethodNotSupported(group, "create"), 405, "The API server refused this"},
		{errors.New("dial tcp 10.0.0.1:6443: refused"), 502, "The API server does not answer"},
		{unknownAfter(io.EOF), 502, unknown},
		{unknownAfter(apierrors.NewTooManyRequests("later", 1)), 502, unknown},
		{unknownAfter(apierrors.NewInternalError(errors.New("etcd"))), 502, unknown},
		{unknownAfter(apierrors.NewTimeoutError("etcd", 1)), 502, unknown},
	} {
		status, p := s.explain(test.err)
		if status != test.status || p.Title != test.title || strings.Contains(p.Detail, "10.0.0.1") {
			t.Errorf("%v: %d, %+v", test.err, status, p)
		}
		if test.title == unknown && (!strings.Contains(p.Cause, "its token is lost: delete it") || !strings.Contains(p.Next, "Look at your tokens in a moment")) {
			t.Errorf("%v: the cause does not say what may exist: %+v", test.err, p)
		}
	}
	if a := s.signedIn(t, aliceBearer).get("/"); strings.Contains(a.body, "<title>Personal Access Tokens ·") {
		t.Error("the title occurs twice")
	}
	late, cancel := context.WithTimeout(t.Context(), requestTimeout-startWithin-time.Second)
	defer cancel()
	if _, _, err := sending(httptest.NewRequestWithContext(late, http.MethodPost, "/", nil)); err == nil {
		t.Error("a change begins too late for its response")
	} else if status, p := s.explain(err); status != 503 || p.Title != "That took too long" {
		t.Errorf("%d, %+v", status, p)
	}
	b := s.signedIn(t, aliceBearer)
	for _, path := range []string{"/tokens/..%2f..%2fkube-system/x", "/tokens/%2e%2e/x", "/tokens/a%2fb/x", "/tokens/team-a/x%2fstatus", "/tokens/TEAM/x"} {
		if a := b.get(path); a.StatusCode != http.StatusNotFound || !strings.Contains(a.body, "not found") {
			t.Errorf("GET %s: %s\n%s", path, a.Status, a.body)
		}
		if a := b.post(path+"/revoke", url.Values{"uid": {"u.1"}}); a.StatusCode != http.StatusNotFound {
			t.Errorf("POST %s/revoke: %s", path, a.Status)
		}
	}
}
