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

package app

import (
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
)

// held is an active resource with a predecessor. It was deleted, and a finalizer holds it. The operator has not updated the status
// yet.
func held(t *testing.T) (pat *v1alpha1.PersonalAccessToken, plaintext string) {
	t.Helper()
	pat, plaintext = holderMade(t, 7)
	pat.Status.PreviousTokenID = "aaaaaaaaaaaaaaaa"
	pat.DeletionTimestamp, pat.Finalizers = after(-day), []string{"example.com/hold"}
	return pat, plaintext
}

func TestCase59_EachCommandSaysDeleting(t *testing.T) {
	pat, plaintext := held(t)
	message := lifecycle.DeletingCondition(pat).Message
	if !strings.Contains(message, "example.com/hold") {
		t.Fatalf("the message does not name the finalizer: %s", message)
	}
	byPAT := func(id string) interceptor.Funcs {
		return taken(authenticationv1.UserInfo{Username: "alice", Extra: map[string]authenticationv1.ExtraValue{
			"authentication.kubernetes.io/credential-id": {"PAT=" + id}, "pat-operator.io/name": {"team-a/ci"},
		}}, nil)
	}
	for name, tc := range map[string]struct {
		hooks interceptor.Funcs
		in    string
		args  []string
		code  int
		want  []string
	}{
		"list":                {args: []string{"list", "-n", "team-a"}, want: []string{" Deleting "}},
		"list, wide":          {args: []string{"list", "-n", "team-a", "-o", "wide"}, want: []string{" Deleting ", " Deleting "}},
		"describe":            {args: []string{"describe", "ci", "-n", "team-a"}, want: []string{"Status: Deleting", "Active False Deleting 24h " + message, "Ready False Deleting 24h " + message}},
		"find":                {in: plaintext, args: []string{"find"}, want: []string{" Deleting ", "Nothing to end at team-a/ci: the token " + pat.Status.TokenID + " that was found has ended, because its resource was deleted."}},
		"find, a predecessor": {in: "PAT=" + pat.Status.PreviousTokenID, args: []string{"find"}, want: []string{" Deleting ", "Nothing to end"}},
		"find, names":         {in: plaintext, args: []string{"find", "-n", "team-a", "-o", "name"}, code: exitError, want: []string{"Left out: personalaccesstoken.pat-operator.io/ci, because the token"}},
		"whoami":              {hooks: byPAT(pat.Status.TokenID), args: []string{"whoami"}, want: []string{"Active: False " + message}},
		"whoami, predecessor": {hooks: byPAT(pat.Status.PreviousTokenID), args: []string{"whoami"}, want: []string{"Active: False " + message}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, tc.hooks, pat)
			tr.In = strings.NewReader(tc.in)
			tr.run(t.Context(), t, tc.code, tc.args...)
			got := strings.Join(strings.Fields(tr.out.String()+tr.errOut.String()), " ") + " "
			for _, want := range tc.want {
				if !strings.Contains(got, want) {
					t.Errorf("lacks %q:\n%s%s", want, tr.out, tr.errOut)
				}
			}
			for _, wrong := range []string{" True ", "To end it", "Predecessor ", "It works"} {
				if strings.Contains(got, wrong) {
					t.Errorf("says %q:\n%s%s", wrong, tr.out, tr.errOut)
				}
			}
		})
	}
}
