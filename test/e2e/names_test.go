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
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
)

// The schema refuses, without a webhook, a name that kubectl would show as more than one.
func TestCase64_NoDisplayNameForgesARow(t *testing.T) {
	ns := team(t)
	create(t, alice, pat(ns, "real", func(s *spec) { s.DisplayName = "می\u200cخواهم 👩\u200d💻" }))
	for name, character := range map[string]string{
		"tab": "\t", "line-end": "\n", "return": "\r", "escape": "\x1b", "c1": "\u009b", "next-line": "\u0085", "paragraph": "\u2029",
		"override": "\u202e", "isolate": "\u2066", "mark": "\u200f", "arabic-mark": "\u061c",
	} {
		forged := func(s *spec) { s.DisplayName = "x" + character + "forged  alice  True" }
		const says = "displayName must not contain a control character, such as a tab or a line end, or a mark that changes the direction of text; leave it out"
		wantStatus(t, alice.Create(t.Context(), pat(ns, name, forged)), 422, "spec.displayName", says)
		wantStatus(t, change(t, alice, ns, "real", forged), 422, "spec.displayName", says)
	}
	table := kubectl(t, alice.Kubeconfig, "", "get", "pat", "--namespace", ns, "--no-headers")
	if strings.Contains(table, "forged") || strings.Count(table, "\n") != 1 {
		t.Errorf("kubectl get pat shows\n%s", table)
	}
}

// Nobody makes a token where the operator keeps what is its own, cluster administrators included.
func TestCase65_NoTokensInOurOwnNamespaces(t *testing.T) {
	everywhere := func(texts ...string) {
		t.Helper()
		for _, ns := range []string{cluster.OperatorNamespace, cluster.RecordsNamespace} {
			err := admin.Create(t.Context(), pat(ns, "x", func(s *spec) { s.User = &v1alpha1.UserInfo{Username: "carol"} }), client.DryRunAll)
			wantStatus(t, err, 403, append(texts, "metadata.namespace: "+ns+" belongs to pat-operator, and holds no tokens of others")...)
		}
	}
	everywhere(usersPolicy, "Use another namespace.")
	withoutUsersPolicy(t, team(t), func() { everywhere("validate.personalaccesstokens.pat-operator.io", "use another namespace") })
}
