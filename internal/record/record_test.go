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

package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/token"
)

var issued = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// full is a record with every field set.
func full() *Record {
	digest := func(s string) string { return token.NewDigest("team-a", "my-pat", s).Hex() }
	return &Record{
		V:        Version,
		Resource: Resource{Namespace: "team-a", Name: "my-pat", UID: "8d2f7a1e-0000-4000-8000-000000000001"},
		User: v1alpha1.UserInfo{
			Username: "alice", UID: "42", Groups: []string{"devs"}, Extra: map[string]v1alpha1.ExtraValue{"example.com/team": {"a"}},
		},
		Granted:      &v1alpha1.PersonalAccessTokenSpec{Audiences: []string{"vendor"}, Scopes: []v1alpha1.Scope{{Preset: "read-only"}}, From: []string{"192.0.2.0/24"}},
		Refused:      RefusedNotJudged,
		MissingSince: &issued,
		Current: &Token{
			ID: "aaaaaaaaaaaaaaaa", Digest: digest("current"), Source: SourceOperator, Trigger: "1",
			Delivery: &Delivery{Recipients: []string{"age1x"}}, IssuedAt: issued, ExpiresAt: issued.Add(time.Hour),
		},
		Pending: &Token{
			ID: "bbbbbbbbbbbbbbbb", Digest: digest("pending"), Source: SourceOperator,
			Delivery: &Delivery{Secret: &SecretDelivery{TTLSeconds: 3600, UID: "s1"}}, IssuedAt: issued, ExpiresAt: issued.Add(time.Hour),
		},
		Previous:     &Token{ID: "cccccccccccccccc", Source: SourceHolder, IssuedAt: issued, ExpiresAt: issued.Add(time.Hour)},
		AuthorizedAt: issued,
		Ciphertext:   "age",
		Ended:        []Ended{{ID: "cccccccccccccccc", Reason: EndedReplaced, Until: issued.Add(time.Hour)}},
		Removals:     []Removal{{Secret: "pat-dddddddddddddddd", UID: "s2", Until: issued.Add(time.Minute)}},
	}
}

func mustSecret(t *testing.T, r *Record) *corev1.Secret {
	t.Helper()
	s, err := ToSecret(r, "records")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryFieldSurvivesTheSecret(t *testing.T) {
	secret := mustSecret(t, full())
	got, err := FromSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full(), got); diff != "" {
		t.Error(diff)
	}
	var payload map[string]any
	if err := json.Unmarshal(secret.Data["record"], &payload); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{
		"v", "resource", "user", "granted", "refused", "missingSince", "current", "pending", "previous", "authorizedAt", "ciphertext", "ended", "removals",
	} {
		if _, ok := payload[field]; !ok {
			t.Errorf("the payload has no %q", field)
		}
	}
	want := map[string]string{
		"pat-operator.io/namespace": "team-a", "pat-operator.io/name": "my-pat", "velero.io/exclude-from-backup": "true",
	}
	if diff := cmp.Diff(want, secret.Labels); diff != "" {
		t.Error(diff)
	}
	if secret.Type != "pat-operator.io/record" || secret.Name != SecretName("team-a", "my-pat") {
		t.Errorf("type %s, name %s", secret.Type, secret.Name)
	}
}

func TestDeepCopySharesNothing(t *testing.T) {
	r := full()
	c := r.DeepCopy()
	if diff := cmp.Diff(r, c); diff != "" {
		t.Fatal(diff)
	}
	c.User.Groups[0], c.Granted.Audiences[0], c.Granted.Scopes[0].Preset, c.Ended[0].ID, c.Removals[0].Secret = "x", "x", "x", "x", "x"
	c.Current.Digest, c.Pending.Delivery.Secret.TTLSeconds, c.Current.Delivery.Recipients[0] = "x", 1, "x"
	if diff := cmp.Diff(full(), r); diff != "" {
		t.Error(diff)
	}
}

// A record edited field by field is refused, and the error quotes nothing of it.
func TestCase19_ARecordThatDoesNotAddUpIsRefused(t *testing.T) {
	edit := func(f func(r map[string]any)) func(*corev1.Secret) {
		return func(s *corev1.Secret) {
			var r map[string]any
			if err := json.Unmarshal(s.Data["record"], &r); err != nil {
				panic(err)
			}
			f(r)
			s.Data["record"], _ = json.Marshal(r)
		}
	}
	in := func(r map[string]any, path ...string) map[string]any {
		for _, p := range path {
			r = r[p].(map[string]any)
		}
		return r
	}
	ended := func(ends ...any) func(map[string]any) { return func(r map[string]any) { r["ended"] = ends } }
	for name, tc := range map[string]struct {
		edit func(*corev1.Secret)
		want string
	}{
		"type":           {func(s *corev1.Secret) { s.Type = "Opaque" }, "type"},
		"name":           {func(s *corev1.Secret) { s.Name = "pat-other" }, "Secret's name"},
		"no uid":         {edit(func(r map[string]any) { delete(in(r, "resource"), "uid") }), "resource.uid is missing"},
		"label":          {func(s *corev1.Secret) { s.Labels[LabelName] = "other" }, "labels"},
		"second key":     {func(s *corev1.Secret) { s.Data["more"] = []byte("x") }, "one key"},
		"no payload":     {func(s *corev1.Secret) { s.Data = nil }, "one key"},
		"not JSON":       {func(s *corev1.Secret) { s.Data["record"] = []byte("{") }, "JSON"},
		"trailing data":  {func(s *corev1.Secret) { s.Data["record"] = append(s.Data["record"], " {}"...) }, "JSON"},
		"version none":   {edit(func(r map[string]any) { delete(r, "v") }), "v is not"},
		"unknown field":  {edit(func(r map[string]any) { r["admin"] = true }), "unknown or repeated"},
		"unknown nested": {edit(func(r map[string]any) { in(r, "current")["digest2"] = "x" }), "unknown or repeated"},
		"other case":     {edit(func(r map[string]any) { r["Current"] = r["current"] }), "unknown or repeated"},
		"repeated field": {func(s *corev1.Secret) {
			s.Data["record"] = []byte(strings.Replace(string(s.Data["record"]), `"v":2`, `"v":2,"v":2`, 1))
		}, "unknown or repeated"},
		"wrong shape":               {edit(func(r map[string]any) { r["ended"] = "none" }), "shape"},
		"resource.name":             {edit(func(r map[string]any) { in(r, "resource")["name"] = "other" }), "Secret's name"},
		"resource.namespace":        {edit(func(r map[string]any) { in(r, "resource")["namespace"] = "a\x00b" }), "resource"},
		"user.username":             {edit(func(r map[string]any) { in(r, "user")["username"] = "" }), "user.username"},
		"authorizedAt":              {edit(func(r map[string]any) { delete(r, "authorizedAt") }), "authorizedAt"},
		"current.id":                {edit(func(r map[string]any) { in(r, "current")["id"] = "AAAA" }), "current.id"},
		"current.digest":            {edit(func(r map[string]any) { in(r, "current")["digest"] = "deadbeef" }), "current.digest"},
		"current.digest upper":      {edit(func(r map[string]any) { in(r, "current")["digest"] = strings.Repeat("AB", 32) }), "current.digest"},
		"current.digest zero":       {edit(func(r map[string]any) { in(r, "current")["digest"] = strings.Repeat("0", 64) }), "current.digest"},
		"current.digest erased":     {edit(func(r map[string]any) { delete(in(r, "current"), "digest") }), "current.digest"},
		"current.source":            {edit(func(r map[string]any) { in(r, "current")["source"] = "holder" }), "current.source"},
		"current.delivery":          {edit(func(r map[string]any) { delete(in(r, "current"), "delivery") }), "current.delivery"},
		"previous alone":            {edit(func(r map[string]any) { delete(r, "current"); delete(r, "ciphertext") }), "previous is there"},
		"pending.retiresAt":         {edit(func(r map[string]any) { in(r, "pending")["retiresAt"] = issued }), "pending.retiresAt"},
		"pending.ttlSeconds":        {edit(func(r map[string]any) { in(r, "pending", "delivery", "secret")["ttlSeconds"] = 0 }), "ttlSeconds"},
		"pending of recipients":     {edit(func(r map[string]any) { in(r, "pending")["delivery"] = in(r, "current")["delivery"] }), "pending"},
		"ciphertext":                {edit(func(r map[string]any) { delete(r, "ciphertext") }), "ciphertext"},
		"ciphertext of no one":      {edit(func(r map[string]any) { in(r, "current")["delivery"] = in(r, "pending")["delivery"] }), "ciphertext"},
		"ciphertext too long":       {edit(func(r map[string]any) { r["ciphertext"] = strings.Repeat("x", 1<<16+1) }), "ciphertext"},
		"current.issuedAt":          {edit(func(r map[string]any) { delete(in(r, "current"), "issuedAt") }), "current.issuedAt"},
		"current.expiresAt":         {edit(func(r map[string]any) { in(r, "current")["expiresAt"] = issued }), "current.issuedAt and current.expiresAt"},
		"current.expiresAt far":     {edit(func(r map[string]any) { in(r, "current")["expiresAt"] = issued.AddDate(20, 0, 0) }), "3660 days"},
		"an ended id with digest":   {edit(func(r map[string]any) { in(r, "previous")["digest"] = in(r, "current")["digest"] }), "previous.digest"},
		"ids alike":                 {edit(func(r map[string]any) { in(r, "pending")["id"] = in(r, "current")["id"] }), "share an id"},
		"pending of the holder":     {edit(func(r map[string]any) { p := in(r, "pending"); p["source"] = "holder"; delete(p, "delivery") }), "pending"},
		"ended id":                  {edit(ended("x Replaced 1795521600")), "ended[0]"},
		"ended reason":              {edit(ended("cccccccccccccccc Lost 1795521600")), "ended[0].reason"},
		"ended without a reason":    {edit(ended("cccccccccccccccc 1795521600")), "shape"},
		"ended at another spelling": {edit(ended("cccccccccccccccc Replaced 01795521600")), "shape"},
		"ended twice":               {edit(ended("cccccccccccccccc Replaced 1795521600", "cccccccccccccccc Deleted 1795521600")), "ended[1]"},
		"refused":                   {edit(func(r map[string]any) { r["refused"] = "Why" }), "refused is unknown"},
		"granted":                   {edit(func(r map[string]any) { delete(r, "granted"); r["v"] = 1 }), "granted is missing"},
		"granted to a user":         {edit(func(r map[string]any) { in(r, "granted")["user"] = r["user"] }), "granted names a user"},
		"granted, unknown":          {edit(func(r map[string]any) { in(r, "granted")["x"] = 1 }), "unknown or repeated"},
		"removal of what is other":  {edit(func(r map[string]any) { r["removals"].([]any)[0].(map[string]any)["secret"] = "db" }), "removals[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustSecret(t, full())
			tc.edit(s)
			_, err := FromSecret(s)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("FromSecret: %v; want an error with %q", err, tc.want)
			}
			if strings.Contains(err.Error(), full().Current.Digest) || strings.Contains(err.Error(), "deadbeef") {
				t.Errorf("the error quotes the record: %v", err)
			}
		})
	}
}

func TestCase19_ANewerVersionIsToldApart(t *testing.T) {
	s := mustSecret(t, full())
	s.Data["record"] = []byte(`{"v":3,"whatever":{"comes":"next"}}`)
	if _, err := FromSecret(s); !errors.Is(err, ErrTooNew) {
		t.Errorf("FromSecret: %v; want ErrTooNew", err)
	}
}

// An operator that is rolled back must read what the later one has written, wherever it can honor it.
func TestARecordHasTheLowestVersionThatCanExpressIt(t *testing.T) {
	for name, tc := range map[string]struct {
		granted v1alpha1.PersonalAccessTokenSpec
		want    string
	}{
		"no limits":            {v1alpha1.PersonalAccessTokenSpec{}, `"v":1,`},
		"a preset":             {v1alpha1.PersonalAccessTokenSpec{Scopes: []v1alpha1.Scope{{Preset: "read-only"}}}, `"v":1,`},
		"a preset, namespaces": {v1alpha1.PersonalAccessTokenSpec{Scopes: []v1alpha1.Scope{{Preset: "read-only", Namespaces: []string{"a"}}}}, `"v":2,`},
		"another API's":        {v1alpha1.PersonalAccessTokenSpec{Scopes: []v1alpha1.Scope{{API: "reports"}}}, `"v":2,`},
		"networks":             {v1alpha1.PersonalAccessTokenSpec{From: []string{"192.0.2.0/24"}}, `"v":2,`},
	} {
		r := full()
		r.Granted = &tc.granted
		s := mustSecret(t, r)
		if !strings.HasPrefix(string(s.Data["record"]), "{"+tc.want) {
			t.Errorf("%s: %.20s, want %s", name, s.Data["record"], tc.want)
		}
		if _, err := FromSecret(s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		s.Data["record"] = []byte(strings.NewReplacer(`"v":1,`, `"v":2,`, `"v":2,`, `"v":1,`).Replace(string(s.Data["record"])))
		if _, err := FromSecret(s); err == nil {
			t.Errorf("%s: read in another version", name)
		}
	}
}

func TestARecordThatDoesNotAddUpIsNotWritten(t *testing.T) {
	r := full()
	r.Current.Digest = ""
	if _, err := ToSecret(r, "records"); err == nil || !strings.Contains(err.Error(), "current.digest is empty") {
		t.Errorf("ToSecret: %v", err)
	}
}

// As many ends as a record remembers fit into its Secret many times over, and one more is refused.
func TestCase55_ThousandsOfEndsFitIntoARecord(t *testing.T) {
	r := full()
	for i := range MaxEnded - len(r.Ended) {
		r.Ended = append(r.Ended, Ended{ID: strings.NewReplacer("0", "a", "1", "b", "8", "c", "9", "d").Replace(fmt.Sprintf("%016d", i+1)), Reason: EndedReplaced, Until: issued})
	}
	r.Ended = slices.CompactFunc(r.Ended, func(a, b Ended) bool { return a.ID == b.ID })
	secret, err := ToSecret(r, "records")
	if err != nil {
		t.Fatal(err)
	}
	if size, limit := len(secret.Data["record"]), 50*len(r.Ended); size > limit {
		t.Errorf("%d bytes for %d ends; want at most %d", size, len(r.Ended), limit)
	}
	got, err := FromSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.Ended, got.Ended); diff != "" {
		t.Error(diff)
	}
	r.Ended = append(r.Ended, make([]Ended, MaxEnded)...)
	if _, err := ToSecret(r, "records"); err == nil || !strings.Contains(err.Error(), "ended has more than") {
		t.Errorf("got %v", err)
	}
}

func FuzzEnded(f *testing.F) {
	f.Add([]byte("aaaaaaaaaaaaaaaa Deleted 1795521600"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var e Ended
		if e.UnmarshalText(text) != nil {
			return
		}
		if again, err := e.MarshalText(); err != nil || string(again) != string(text) {
			t.Errorf("%q is read, and written as %q, %v", text, again, err)
		}
	})
}

func TestEndErasesTheDigestAndRemembersTheID(t *testing.T) {
	r := full()
	r.End(r.Current, EndedExpired)
	if r.Current.Digest != "" || r.EndOf(r.Current.ID) == nil || !r.Knows(r.Current.ID) {
		t.Errorf("digest %q, end %v", r.Current.Digest, r.EndOf(r.Current.ID))
	}
	r.End(r.Current, EndedRevoked)
	if got := r.EndOf(r.Current.ID).Reason; got != EndedExpired {
		t.Errorf("ended twice: %s; the first reason stands", got)
	}
	if _, err := ToSecret(r, "records"); err != nil {
		t.Error(err)
	}
}

func TestCase25_NoFormatShowsARecord(t *testing.T) {
	r := full()
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, r) + fmt.Sprintf(format, r.Current); strings.Contains(got, r.Current.Digest) {
			t.Errorf("%s prints the digest", format)
		}
	}
}

func FuzzCase19_FromSecret(f *testing.F) {
	s, err := ToSecret(full(), "records")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.Data["record"])
	f.Add([]byte(`{"v":1}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		in := s.DeepCopy()
		in.Data["record"] = payload
		r, err := FromSecret(in)
		if err != nil {
			return
		}
		// What is accepted is written back as what it is.
		out, err := ToSecret(r, "records")
		if err != nil {
			t.Fatalf("accepted, and cannot be written: %v", err)
		}
		again, err := FromSecret(out)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Error(diff)
		}
	})
}

func TestInPlaceOfRecord(t *testing.T) {
	name := SecretName("team-a", "my-pat")
	for what, tc := range map[string]struct {
		name string
		kind corev1.SecretType
		want bool
	}{
		"a record":                      {name, SecretType, true},
		"a record's type, another name": {"other", SecretType, true},
		"a record's name, another type": {name, corev1.SecretTypeOpaque, true},
		"the guards' Secret":            {"pat-operator-guards", "pat-operator.io/guards", false},
		"a delivery Secret's name":      {"pat-aaaaaaaaaaaaaaaa", "pat-operator.io/token", false},
		"a hash without the prefix":     {strings.TrimPrefix(name, namePrefix), corev1.SecretTypeOpaque, false},
		"a hash with one letter more":   {name + "a", corev1.SecretTypeOpaque, false},
	} {
		s := &corev1.Secret{Type: tc.kind}
		s.Name = tc.name
		if got := InPlaceOfRecord(s); got != tc.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}
