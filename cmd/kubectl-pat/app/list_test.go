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
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// after is a moment so far from when the trials run.
func after(d time.Duration) *metav1.Time { return &metav1.Time{Time: start.Add(d)} }

func samples() []*v1alpha1.PersonalAccessToken {
	sample := func(name string, age time.Duration, modify func(*v1alpha1.PersonalAccessToken)) *v1alpha1.PersonalAccessToken {
		pat := withConditions(1, isReady, isActive)
		pat.Name, pat.CreationTimestamp, pat.Status.IssuedAt = name, *after(-age), after(-age)
		pat.Spec.User = &v1alpha1.UserInfo{Username: "alice"}
		modify(pat)
		return pat
	}
	return []*v1alpha1.PersonalAccessToken{
		sample("backup", 40*day, func(pat *v1alpha1.PersonalAccessToken) {
			pat.Spec.DisplayName = "Nightly Backup"
			pat.Status.TokenID = "aaaaaaaaaaaaaaaa"
			pat.Status.ExpiresAt, pat.Status.LastUsedAt, pat.Status.ModifiedAt = after(50*day), after(-time.Hour), after(-day)
		}),
		sample("mail", 60*day, func(pat *v1alpha1.PersonalAccessToken) {
			pat.Spec.User.Username = `CORP\bob`
			pat.Spec.Audiences = []string{"smtp"}
			pat.Status.ExpiresAt, pat.Status.LastUsedAt, pat.Status.ModifiedAt = after(5*day), after(-35*day), after(-2*day)
		}),
		sample("old", 90*day, func(pat *v1alpha1.PersonalAccessToken) {
			pat.Status.Conditions[1].Status, pat.Status.Conditions[1].Reason = metav1.ConditionFalse, v1alpha1.ReasonExpired
			pat.Status.ExpiresAt = after(-2 * day)
		}),
		sample("new", 5*time.Second, func(pat *v1alpha1.PersonalAccessToken) {
			pat.Spec.User, pat.Status = nil, v1alpha1.PersonalAccessTokenStatus{}
		}),
	}
}

func TestListTable(t *testing.T) {
	tr := newTrial(t, interceptor.Funcs{}, samples()...)
	tr.run(t.Context(), t, exitOK, "list", "-A", "-o", "wide")
	want := `NAMESPACE   NAME     DISPLAY NAME     USER       STATUS    EXPIRES   LAST USED   AGE   TOKEN ID           CREATED                MODIFIED               REASON
team-a      backup   Nightly Backup   alice      Active    in 50d    60m ago     40d   aaaaaaaaaaaaaaaa   2026-10-15T12:00:00Z   2026-11-23T12:00:00Z   Active
team-a      mail                      CORP\bob   Active    in 5d     35d ago     60d                      2026-09-25T12:00:00Z   2026-11-22T12:00:00Z   Active
team-a      new                                  Pending   unknown   never       5s                       2026-11-24T11:59:55Z   unknown
team-a      old                       alice      Expired   2d ago    never       90d                      2026-08-26T12:00:00Z   unknown                Expired
`
	if diff := cmp.Diff(want, tr.out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestListSelectsAndSorts(t *testing.T) {
	tr := newTrial(t, interceptor.Funcs{}, samples()...)
	for args, want := range map[string]string{
		"":                      "backup mail new old",
		"night BACK":            "backup",
		"night mail":            "",
		"aaaaaaaa":              "backup",
		"SMTP":                  "mail",
		`corp\BOB`:              "mail",
		"--user alice":          "backup old",
		`--user CORP\bob smtp`:  "mail",
		"--user al":             "",
		"--expiring-within 7d":  "mail",
		"--expiring-within 60d": "backup mail",
		"--unused-for 30d":      "mail old",
		"--unused-for 36d":      "old",
		"--sort-by expires":     "old mail backup new",
		"--sort-by created":     "new backup mail old",
		"--sort-by modified":    "backup mail new old",
		"--sort-by last-used":   "backup mail new old",
		"--sort-by name":        "backup mail new old",
	} {
		t.Run(args, func(t *testing.T) {
			tr.run(t.Context(), t, exitOK, append([]string{"list", "-n", "team-a", "-o", "name"}, strings.Fields(args)...)...)
			got := strings.ReplaceAll(strings.TrimSpace(tr.out.String()), "personalaccesstoken.pat-operator.io/", "")
			if got = strings.Join(strings.Fields(got), " "); got != want {
				t.Errorf("got %q; want %q", got, want)
			}
			if (got == "") != (tr.errOut.String() == "No tokens found in team-a namespace.\n") {
				t.Errorf("standard error: %q", tr.errOut)
			}
		})
	}
}
