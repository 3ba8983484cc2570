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

package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/issued"
)

// revoked are the entries of the resource in the cluster.
func (b *bed) revoked(of *issued.Token) []v1alpha1.RevokedToken {
	b.t.Helper()
	pat := &v1alpha1.PersonalAccessToken{}
	if err := b.client.Get(b.t.Context(), client.ObjectKeyFromObject(of.Resource), pat); err != nil {
		b.t.Fatal(err)
	}
	return pat.Status.Revoked
}

func TestWhoHasATokenMayEndIt(t *testing.T) {
	b := newBed(t)
	for name, mods := range map[string][]edit{
		"plain":   nil,
		"scoped":  {forAudience(listAPI), withScope(v1alpha1.Scope{API: "x"})},
		"bound":   {from("198.51.100.0/24")},
		"suspend": {func(s *v1alpha1.PersonalAccessTokenSpec) { s.Suspend = true }},
	} {
		pat := b.token(name, mods...)
		b.now = b.now.Add(time.Minute) // for the limit of one network
		w := b.post("/oauth2/revoke", url.Values{"token": {pat.Bearer}, "token_type_hint": {"refresh_token"}})
		if w.Code != http.StatusOK || w.Body.String() != "{}" {
			t.Errorf("%s: HTTP %d %s", name, w.Code, w.Body)
		}
		want := []v1alpha1.RevokedToken{{TokenID: pat.ID(), Reason: "sent to the API to be revoked, by a holder of the token"}}
		if diff := cmp.Diff(want, b.revoked(pat), cmpopts.IgnoreFields(v1alpha1.RevokedToken{}, "At")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if again := b.post("/oauth2/revoke", url.Values{"token": {pat.Bearer}}); again.Code != http.StatusOK || len(b.revoked(pat)) != 1 {
			t.Errorf("%s, before the watch event: HTTP %d", name, again.Code)
		}
		pat.Revoke(t, b.index)
		if again := b.post("/oauth2/revoke", url.Values{"token": {pat.Bearer}}); again.Code != http.StatusOK {
			t.Errorf("%s, once more: HTTP %d", name, again.Code)
		}
	}
	if b.writes != 4 {
		t.Errorf("%d writes for 4 tokens", b.writes)
	}
}

func TestAGuessRevokesNothing(t *testing.T) {
	b := newBed(t)
	pat := b.token("ci")
	forged := issued.New(t, "team-a", "ci", alice)
	for name, token := range map[string]string{
		"garbage": "x", "another cluster's": forged.Bearer, "the id with another secret": pat.Bearer[:25] + forged.Bearer[25:], "the id": pat.ID(),
	} {
		if w := b.post("/oauth2/revoke", url.Values{"token": {token}}); w.Code != http.StatusOK {
			t.Errorf("%s: HTTP %d", name, w.Code)
		}
	}
	if len(b.revoked(pat)) > 0 || b.writes > 0 {
		t.Error("a token was revoked")
	}
}

func TestWhatCannotBeRevokedNow(t *testing.T) {
	b := newBed(t)
	unavailable := func(pat *issued.Token, why string) {
		t.Helper()
		w := b.post("/oauth2/revoke", url.Values{"token": {pat.Bearer}})
		if _, text := errorOf(t, w); b.unavailable(w) != http.StatusServiceUnavailable ||
			text != "the token could not be revoked now, and may still be valid; try again, or delete its PersonalAccessToken" {
			t.Errorf("%s: HTTP %d %s", why, w.Code, text)
		}
	}
	pat := b.token("unnamed")
	cluster := pat.Resource.DeepCopy()
	if err := b.client.Get(t.Context(), client.ObjectKeyFromObject(cluster), cluster); err != nil {
		t.Fatal(err)
	}
	cluster.Status.TokenID = ""
	if err := b.client.Status().Update(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	unavailable(pat, "status does not name it yet")
	cluster.Status.TokenID = pat.ID()
	for i := range 8 {
		cluster.Status.Revoked = append(cluster.Status.Revoked, v1alpha1.RevokedToken{TokenID: strings.Repeat(string(rune('a'+i)), 16), At: &metav1.Time{}})
	}
	if err := b.client.Status().Update(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	unavailable(pat, "the list is full")
	gone := b.token("gone")
	if err := b.client.Delete(t.Context(), gone.Resource.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	unavailable(gone, "the resource is not there")
	b.broken = true
	unavailable(b.token("broken"), "the API server is away")
}

func TestCase74_AFloodOfRevocationsIsBounded(t *testing.T) {
	b := newBed(t)
	var all []string
	for i := range 60 {
		all = append(all, b.token("t-"+strconv.Itoa(i)).Bearer)
	}
	from := func(source string, tokens ...string) (done int) {
		for _, token := range tokens {
			if w := b.post("/oauth2/revoke", url.Values{"token": {token}}, func(r *http.Request) { r.RemoteAddr = source }); w.Code == http.StatusOK {
				done++
			}
		}
		return done
	}
	if done := from("192.0.2.1:1", all[:40]...); done != 5 || b.writes != 5 {
		t.Errorf("one network: %d of 40 revocations, %d writes", done, b.writes)
	}
	if done := from("198.51.100.1:1", all[40]); done != 1 {
		t.Error("another network is refused")
	}
	if done := from("192.0.2.1:1", b.token("ended", func(s *v1alpha1.PersonalAccessTokenSpec) {
		s.ExpiresAt, s.ExpiresInDays = &metav1.Time{Time: b.now}, nil
	}).Bearer); done != 1 {
		t.Error("a token that has ended costs a write")
	}
	b.now = b.now.Add(time.Second)
	if done := from("192.0.2.1:1", all[5:40]...); done != 2 {
		t.Errorf("a second later: %d revocations", done)
	}
	for i, token := range all {
		from(fmt.Sprintf("203.0.113.%d:1", i), token)
	}
	if b.writes > 20 {
		t.Errorf("60 networks: %d writes in a second", b.writes)
	}
	if w := b.get("/auth", bearer(all[59])); w.Code != http.StatusOK {
		t.Errorf("during the flood: HTTP %d", w.Code)
	}
}

func TestManyTokensAreRevokedAtOnce(t *testing.T) {
	b := newBed(t)
	one, two, ended := b.token("one"), b.token("two"), b.token("ended")
	ended.Revoke(t, b.index)
	results := func(text string) (int, []revokedOne) {
		w := b.post("/v1/revoke", url.Values{"tokens": {text}})
		var got struct{ Results []revokedOne }
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		return w.Code, got.Results
	}
	code, got := results(one.Bearer + "\r\n" + "kubepat_typo\n\t" + ended.Bearer + "  " + two.Bearer + "\n")
	want := []revokedOne{{one.ID(), outcomeRevoked}, {"", outcomeUnknown}, {ended.ID(), outcomeEnded}, {two.ID(), outcomeRevoked}}
	if diff := cmp.Diff(want, got); diff != "" || code != http.StatusOK {
		t.Errorf("HTTP %d (-want +got):\n%s", code, diff)
	}
	three := b.token("three")
	b.broken = true
	if code, got := results("x " + three.Bearer); code != http.StatusServiceUnavailable || !cmp.Equal(got, []revokedOne{{"", outcomeUnknown}, {three.ID(), outcomeUnavailable}}) {
		t.Errorf("HTTP %d %v", code, got)
	}
	w := b.post("/v1/revoke", url.Values{"tokens": {strings.Repeat("x ", 101)}})
	if _, text := errorOf(t, w); w.Code != http.StatusBadRequest || text != "tokens has 101 tokens; send 1 to 100, with white space between them" {
		t.Errorf("HTTP %d %s", w.Code, text)
	}
}
