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

package verifier

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
)

// fullPAT has a record with every field that a record of an unscoped token may have.
func fullPAT(t *testing.T) *pat {
	p := newPAT(t, "team-a", "ci", "uid-1")
	p.resource.Spec.Audiences = []string{apiAudience, "vault"}
	r := p.record
	r.Granted.Audiences = []string{apiAudience, "vault"}
	r.Current.Trigger = "2"
	r.Current.Delivery.Secret.UID, r.Current.Delivery.Secret.Removed = "s-1", true
	r.Previous = newPAT(t, "team-a", "ci", "uid-1").record.Current
	r.Pending = newPAT(t, "team-a", "ci", "uid-1").record.Current
	ended, _ := newToken(t)
	r.Ended = []record.Ended{{ID: ended, Reason: record.EndedReplaced, Until: start.Add(time.Hour)}}
	r.Removals = []record.Removal{{Secret: record.DeliverySecretName(ended), UID: "s-2", Until: start.Add(time.Hour)}}
	retires := start.Add(time.Hour)
	r.Previous.RetiresAt = &retires
	return p
}

// harmless are the edits of the record, by path, after which the token is still valid: they do not concern its user, or
// narrow it.
var harmless = map[string][]string{
	// What happened, not what holds.
	"authorizedAt":                       {"other"},
	"current.trigger":                    {"remove", "null", "empty", "other"},
	"current.delivery.secret.uid":        {"remove", "null", "empty", "other"},
	"current.delivery.secret.removed":    {"remove", "null", "other"},
	"current.delivery.secret.ttlSeconds": {"other"},
	"removals":                           {"remove", "null", "empty"},
	"removals[0].uid":                    {"remove", "null", "empty", "other"},
	"removals[0].until":                  {"other"},
	// Record and spec both end a token, so each bounds a shift of the other.
	"current.issuedAt":  {"other"},
	"current.expiresAt": {"other"},
	// Record and spec both allow an audience, so spec still narrows.
	"scopes":                {"remove"},
	"granted":               {"empty"},
	"granted.audiences":     {"remove", "null", "empty"},
	"granted.audiences[0]":  {"null", "empty", "other"},
	"granted.audiences[1]":  {"null", "empty", "other"},
	"granted.expiresInDays": {"remove", "null", "other", "negative"},
	// Other tokens of the record.
	"previous":       {"remove", "null"},
	"pending":        {"remove", "null"},
	"ended":          {"remove", "null", "empty"},
	"ended[0].until": {"other"},
}

// TestCase19_RecordEditedFieldByField edits every field of a valid record, one at a time. An edit that is not listed as
// harmless must make the token invalid, and no edit may give it another user, a longer life or more audiences.
func TestCase19_RecordEditedFieldByField(t *testing.T) {
	p := fullPAT(t)
	before := newIndex(t, p).Verify(p.bearer, nil, start)
	if before.Verdict != Authenticated {
		t.Fatalf("the record as it was: %s/%s", before.Verdict, before.Reason)
	}
	tried := 0
	edits(t, p.secret(t).Data["record"], func(path, edit string, payload []byte) {
		tried++
		x := newIndex(t, p)
		s := p.secret(t)
		s.Data["record"] = payload
		x.SetRecord(s)
		got := x.Verify(p.bearer, []string{apiAudience, "vault", "other"}, start)
		// What is inside the record's other tokens is theirs, as long as it still adds up.
		other := strings.HasPrefix(path, "previous.") || strings.HasPrefix(path, "pending.")
		if (got.Verdict == Authenticated) != slices.Contains(harmless[path], edit) && !other {
			t.Errorf("%s, %s: %s/%s", path, edit, got.Verdict, got.Reason)
		}
		if got.Verdict != Authenticated {
			return
		}
		if got.ExpiresAt.After(before.ExpiresAt) || got.Namespace != "team-a" || got.Name != "ci" ||
			got.User.Username != "alice" || len(got.User.Groups) != 2 || len(got.Audiences) > 2 {
			t.Errorf("%s, %s: gave more than was issued: %+v", path, edit, got)
		}
	})
	if tried < 150 {
		t.Errorf("only %d edits were tried", tried)
	}
}

func TestCase19_SecretAroundTheRecordEdited(t *testing.T) {
	p := newPAT(t, "team-a", "ci", "uid-1")
	for name, edit := range map[string]func(*corev1.Secret){
		"no such name":    func(s *corev1.Secret) { s.Name = record.SecretName("team-a", "other") },
		"no label":        func(s *corev1.Secret) { delete(s.Labels, record.LabelName) },
		"other namespace": func(s *corev1.Secret) { s.Labels[record.LabelNamespace] = "team-b" },
		"other type":      func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque },
		"second key":      func(s *corev1.Secret) { s.Data["x"] = nil },
		"no payload":      func(s *corev1.Secret) { s.Data = nil },
		"not JSON":        func(s *corev1.Secret) { s.Data["record"] = []byte("record") },
		"two payloads":    func(s *corev1.Secret) { s.Data["record"] = append(s.Data["record"], s.Data["record"]...) },
		"repeated field":  func(s *corev1.Secret) { s.Data["record"] = append([]byte(`{"v":1,`), s.Data["record"][1:]...) },
		"other case": func(s *corev1.Secret) {
			s.Data["record"] = []byte(strings.Replace(string(s.Data["record"]), `"user"`, `"User"`, 1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := p.secret(t)
			edit(s)
			x := newIndex(t)
			x.SetResource(p.resource.DeepCopy())
			x.SetRecord(s)
			if r := x.Verify(p.bearer, nil, start); r.Verdict != Unknown {
				t.Errorf("%s/%s, want an error", r.Verdict, r.Reason)
			}
		})
	}
}

func TestCase19_InvalidRecordEndsWhatItsFormerVersionGave(t *testing.T) {
	p := newPAT(t, "team-a", "ci", "uid-1")
	x := newIndex(t, p)
	want(t, x, p.bearer, start, Authenticated, reasonValid)
	s := p.secret(t)
	s.Data["record"] = []byte(strings.Replace(string(s.Data["record"]), `"v":1`, `"v":2`, 1))
	x.SetRecord(s)
	want(t, x, p.bearer, start, Unknown, reasonUnknownID)
	x.SetResource(p.resource.DeepCopy())
	want(t, x, p.bearer, start, Unknown, reasonUnknownID)
	x.SetRecord(p.secret(t))
	want(t, x, p.bearer, start, Authenticated, reasonValid)
}

// edits calls try with every one-field edit of a JSON object.
func edits(t *testing.T, payload []byte, try func(path, edit string, payload []byte)) {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal(payload, &root); err != nil {
		t.Fatal(err)
	}
	emit := func(path, edit string) {
		out, err := json.Marshal(root)
		if err != nil {
			t.Fatal(err)
		}
		try(path, edit, out)
	}
	var walk func(path string, get func() any, set func(any), remove func())
	walk = func(path string, get func() any, set func(any), remove func()) {
		value := get()
		if remove != nil {
			remove()
			emit(path, "remove")
		}
		for edit, other := range replacements(value) {
			set(other)
			emit(path, edit)
		}
		set(value)
		switch v := value.(type) {
		case map[string]any:
			v["unknownField"] = "x"
			emit(path, "unknown field")
			delete(v, "unknownField")
			for _, key := range keys(v) {
				walk(path+"."+key, func() any { return v[key] }, func(o any) { v[key] = o }, func() { delete(v, key) })
			}
		case []any:
			for i := range v {
				walk(fmt.Sprintf("%s[%d]", path, i), func() any { return v[i] }, func(o any) { v[i] = o }, nil)
			}
		}
	}
	for _, key := range keys(root) {
		walk(key, func() any { return root[key] }, func(o any) { root[key] = o }, func() { delete(root, key) })
	}
	root["unknownField"] = "x"
	emit("", "unknown field")
	delete(root, "unknownField")
	root["scopes"] = []v1alpha1.Scope{{Preset: "read"}}
	emit("scopes", "added")
	delete(root, "scopes")
	emit("scopes", "remove")
	// Ended for the very token.
	ended := root["ended"].([]any)
	current := root["current"].(map[string]any)["id"]
	root["ended"] = append(ended, map[string]any{"id": current, "reason": "Revoked", "until": start})
	emit("ended", "current added")
	root["ended"] = ended
}

// replacements are other values for one value: of its type and of others.
func replacements(value any) map[string]any {
	out := map[string]any{"null": nil, "type": []any{map[string]any{"x": 1}}}
	switch v := value.(type) {
	case string:
		out["empty"], out["other"], out["type"] = "", v+"x", 7
		if at, err := time.Parse(time.RFC3339Nano, v); err == nil {
			out["other"] = at.Add(time.Minute)
			out["zero"] = time.Time{}
		}
	case float64:
		out["other"], out["negative"], out["type"] = v+1, -v, "x"
	case bool:
		out["other"], out["type"] = !v, "x"
	case []any:
		out["empty"], out["type"] = []any{}, "x"
	case map[string]any:
		out["empty"] = map[string]any{}
	}
	return out
}

func keys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

func recordUID(i int) types.UID { return types.UID(fmt.Sprintf("uid-%d", i)) }
