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
	"crypto/rand"
	"net/http"
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
	"github.com/pat-operator/pat-operator/internal/token"
)

func now(t *testing.T, pat *v1alpha1.PersonalAccessToken) *v1alpha1.PersonalAccessToken {
	t.Helper()
	is := &v1alpha1.PersonalAccessToken{}
	if err := api.admin.Get(t.Context(), client.ObjectKeyFromObject(pat), is); err != nil {
		t.Fatal(err)
	}
	return is
}

// act sends the form of a confirmation, as the page has it or by a script.
func (b *browser) act(pat *v1alpha1.PersonalAccessToken, what string, script bool) answer {
	b.t.Helper()
	r := b.request(http.MethodPost, pathOf(pat)+"/"+what, url.Values{"uid": {seen(pat)}})
	if script {
		r.Header.Set(fragmentHeader, "1")
	}
	return b.do(r)
}

// A token is revoked after a page that names it, and what the page was about is what is deleted.
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
	if a := b.act(pat, "revoke", false); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/?did=revoked" {
		t.Errorf("%s to %q\n%s", a.Status, a.Header.Get("Location"), a.body)
	}
	if err := api.admin.Get(t.Context(), client.ObjectKeyFromObject(pat), pat); !apierrors.IsNotFound(err) {
		t.Errorf("it is still there: %v", err)
	}
	if a := b.act(pat, "revoke", true); a.StatusCode != http.StatusNoContent || a.Header.Get(didHeader) != textRevoked {
		t.Errorf("revoked again: %s, %q", a.Status, a.Header.Get(didHeader))
	}
	if a := b.get("/?did=revoked"); !strings.Contains(a.body, textRevoked) {
		t.Errorf("the page does not say so:\n%s", a.body)
	}
	if a := b.get("/?did=Call+0800"); strings.Contains(a.body, "Call") {
		t.Error("a link says what it likes")
	}
}

func TestSuspendingAndResuming(t *testing.T) {
	s := open(t)
	operate(t)
	b := s.signedIn(t, aliceBearer)
	pat := made(t, "to-suspend")
	if a := b.act(pat, "suspend", true); a.StatusCode != http.StatusNoContent || a.Header.Get(didHeader) != textSuspended {
		t.Errorf("%s\n%s", a.Status, a.body)
	}
	if pat = now(t, pat); !pat.Spec.Suspend {
		t.Error("it is not suspended")
	}
	if a := b.get(pathOf(pat)); !strings.Contains(a.body, pathOf(pat)+"/resume") || strings.Contains(a.body, pathOf(pat)+"/suspend") {
		t.Errorf("the details of a suspended token:\n%s", a.body)
	}
	if a := b.act(pat, "resume", false); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/?did=resumed" {
		t.Errorf("%s to %q", a.Status, a.Header.Get("Location"))
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

// A rotation makes another token and shows it once; the form sent again makes no third one.
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
	if a.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(a.body, "Write a number of hours from 0 to 8784.") {
		t.Errorf("no hours: %s\n%s", a.Status, a.body)
	}
	a = b.post(pathOf(pat)+"/rotate", url.Values{"uid": {seen(pat)}, "overlap": {"1.5"}})
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
	again := b.post(pathOf(pat)+"/rotate", url.Values{"uid": {seen(pat)}, "overlap": {"1.5"}})
	if again.StatusCode != http.StatusConflict || !strings.Contains(again.body, "It was changed meanwhile") || plaintext.MatchString(again.body) {
		t.Errorf("sent again: %s\n%s", again.Status, again.body)
	}
	if now(t, pat).Spec.Token.ID != id {
		t.Error("there is a third token")
	}
}

// A token that the operator makes is taken from its Secret where the visitor may; else the page says where it is.
func TestRotatingWhatTheOperatorMakes(t *testing.T) {
	s := open(t)
	deliver(t)
	b := s.signedIn(t, aliceBearer)
	pat := made(t, "rotated-by-operator")
	a := b.post(pathOf(pat)+"/rotate", url.Values{"uid": {seen(pat)}})
	if a.StatusCode != http.StatusOK || plaintext.MatchString(a.body) || !strings.Contains(a.body, "could not be taken") || !strings.Contains(a.body, now(t, pat).Status.DeliverySecretName) {
		t.Errorf("who may not read Secrets: %s\n%s", a.Status, a.body)
	}
	allow := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: "alice-reads-secrets"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "alice"}},
	}
	if err := api.admin.Create(t.Context(), allow); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.admin.Delete(t.Context(), allow) })
	for end := time.Now().Add(10 * time.Second); ; { // until the authorizer knows
		pat = now(t, pat)
		a = b.post(pathOf(pat)+"/rotate", url.Values{"uid": {seen(pat)}})
		if plaintext.MatchString(a.body) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("who may read Secrets: %s\n%s", a.Status, a.body)
		}
	}
	secret := &corev1.Secret{}
	err := api.admin.Get(t.Context(), client.ObjectKey{Namespace: team, Name: now(t, pat).Status.DeliverySecretName}, secret)
	if !apierrors.IsNotFound(err) {
		t.Errorf("the Secret that the token was taken from is still there: %v", err)
	}
}

// What a visitor may not do is refused in the API server's words, with what to do next.
func TestWhoMayNotIsTold(t *testing.T) {
	s := open(t)
	b := s.signedIn(t, carolBearer)
	pat := made(t, "not-for-carol")
	for path, verb := range map[string]string{
		pathOf(pat): "get", pathOf(pat) + "/revoke": "get", pathOf(pat) + "/rotate": "get",
	} {
		a := b.get(path)
		if a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, "You may not do this") || !strings.Contains(a.body, "cannot "+verb+" resource") ||
			!strings.Contains(a.body, "Ask those who run the cluster") || strings.Contains(a.body, "Display not-for-carol") {
			t.Errorf("GET %s: %s\n%s", path, a.Status, a.body)
		}
	}
	if a := b.act(pat, "revoke", false); a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, "cannot delete resource") {
		t.Errorf("revoking: %s\n%s", a.Status, a.body)
	}
	now(t, pat)
	if a := s.signedIn(t, aliceBearer).get("/tokens/team-a/never-was"); a.StatusCode != http.StatusNotFound || !strings.Contains(a.body, "There is no such token any more") {
		t.Errorf("none: %s\n%s", a.Status, a.body)
	}
}

// deliver does what an operator would for tokens that it makes: they are in a Secret.
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
