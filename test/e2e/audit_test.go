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

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/pat-operator/pat-operator/test/long"
)

// The audit log tells the life of a token, and what was refused.
func TestTheAuditLogTellsTheLifeOfAToken(t *testing.T) {
	long.Only(t)
	ns := team(t)
	plaintext := issued(t, alice, pat(ns, "my-pat"))
	accepted(t, plaintext)
	id := get(t, ns, "my-pat").Status.TokenID
	days := int32(3000) // The policies in kube-apiserver know no --max-lifetime.
	line := func(want map[string]any) {
		t.Helper()
		eventually(t, patience, func() bool { return told(t, ns, want) }, func() string {
			return fmt.Sprintf("the audit log has no line with %v", want)
		})
	}
	line(map[string]any{"event": "FirstUsed", "tokenID": id}) // before it has a successor
	_ = bob.Create(t.Context(), pat(ns, "long", func(s *spec) { s.ExpiresInDays = &days }))
	for _, suspend := range []string{"true", "false"} {
		if err := merge(t, alice, ns, "my-pat", `{"spec":{"suspend":`+suspend+`}}`); err != nil {
			t.Fatal(err)
		}
		waitFor(t, ns, "my-pat", "Active", map[string]string{"true": "False/Suspended", "false": "True/Active"}[suspend])
		if suspend == "true" {
			eventually(t, patience, func() bool { return !directReview(t, plaintext).Authenticated }, func() string { return "it is not refused" })
		}
	}
	successor := rotate(t, ns, "my-pat", "2", 3600)
	next := get(t, ns, "my-pat").Status.TokenID
	kubectl(t, alice.Kubeconfig, "", "-n", ns, "delete", "pat", "my-pat")
	refused(t, successor)
	for _, want := range []map[string]any{
		{"event": "Issued", "tokenID": id, "user": "alice"},
		{"event": "Suspended", "tokenID": id, "user": "alice"},
		{"event": "TokenRefused", "tokenID": id, "reason": "Suspended", "sourceIP": "127.0.0.1", "name": "my-pat"},
		{"event": "Resumed", "tokenID": id},
		{"event": "Rotated", "tokenID": next},
		{"event": "Revoked", "tokenID": next, "user": "alice"},
		{"event": "AdmissionRefused", "name": "long", "by": "bob", "operation": "CREATE", "code": 422.0},
	} {
		line(want)
	}
}

// told reports whether the audit log has a line with these fields, of this namespace where the line has one.
func told(t *testing.T, ns string, want map[string]any) bool {
	t.Helper()
	data, err := os.ReadFile(securityLog)
	if err != nil {
		t.Fatal(err)
	}
lines:
	for line := range strings.Lines(string(data)) {
		var got map[string]any
		if err := json.Unmarshal([]byte(line), &got); err != nil || got["time"] == nil {
			t.Fatalf("%q: %v", line, err)
		}
		if of := got["namespace"]; of != nil && of != ns {
			continue
		}
		for field, value := range want {
			if got[field] != value {
				continue lines
			}
		}
		return true
	}
	return false
}
