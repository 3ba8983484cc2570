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
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// after returns the time of the trials plus d.
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
			pat.Spec.Scopes = []v1alpha1.Scope{{Preset: "read-only"}, {Rule: &v1alpha1.ScopeRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/metrics"}}}}
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
	pats := samples()
	pats[0].Spec.From = []string{"203.0.113.0/24", "2001:db8::/32"}
	tr := newTrial(t, interceptor.Funcs{}, pats...)
	tr.run(t.Context(), t, exitOK, "list", "-A", "-o", "wide")
	want := `NAMESPACE   NAME     DISPLAY NAME     USER       STATUS    EXPIRES   LAST USED   AGE   TOKEN ID           CREATED                MODIFIED               REASON    PERMISSIONS               FROM
team-a      backup   Nightly Backup   alice      Active    in 50d    60m ago     40d   aaaaaaaaaaaaaaaa   2026-10-15T12:00:00Z   2026-11-23T12:00:00Z   Active    full                      203.0.113.0/24, 2001:db8::/32
team-a      mail                      CORP\bob   Active    in 5d     35d ago     60d                      2026-09-25T12:00:00Z   2026-11-22T12:00:00Z   Active    read-only; get /metrics   everywhere
team-a      new                                  Pending   unknown   never       5s                       2026-11-24T11:59:55Z   unknown                          full                      everywhere
team-a      old                       alice      Expired   2d ago    never       90d                      2026-08-26T12:00:00Z   unknown                Expired   full                      everywhere
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

func TestListByLabel(t *testing.T) {
	all := samples()
	all[1].Labels = map[string]string{"team": "mail"}
	tr := newTrial(t, interceptor.Funcs{}, all...)
	for selector, want := range map[string]string{"team=mail": "mail", "team!=mail": "backup new old", "team in (mail,web)": "mail", "!team": "backup new old"} {
		tr.run(t.Context(), t, exitOK, "list", "-n", "team-a", "-o", "name", "-l", selector)
		got := strings.ReplaceAll(strings.Join(strings.Fields(tr.out.String()), " "), "personalaccesstoken.pat-operator.io/", "")
		if got != want {
			t.Errorf("%s: got %q; want %q", selector, got, want)
		}
	}
}

func TestListByTemplate(t *testing.T) {
	all := samples()
	all[0].Spec.DisplayName = "a\x1b[2J\u202e"
	all[1].Spec.DisplayName = "x   y\nforged   row\tz"
	tr := newTrial(t, interceptor.Funcs{}, all...)
	for format, want := range map[string]string{
		`jsonpath={range .items[*]}{.metadata.name}{"\t"}{.spec.displayName}{"\n"}{end}`:                      "backup\ta\\x1b[2J\\u202e\nmail\tx   y\nforged   row\tz\nnew\t\nold\t\n",
		`go-template={{range .items}}{{.spec.displayName}}|{{end}}`:                                           "a\\x1b[2J\\u202e|x   y\nforged   row\tz|<no value>|<no value>|",
		"custom-columns=NAME:.metadata.name,WHAT:.spec.displayName,GEN:.metadata.generation":                  "NAME     WHAT                     GEN\nbackup   a\\x1b[2J\\u202e           1\nmail     x   y\\nforged   row\\tz   1\nnew      <none>                   1\nold      <none>                   1\n",
		"custom-columns=NAME:metadata.name,ENDS:.status.expiresAt,WHO:{.spec.user.username},NO:.spec.nothing": "NAME     ENDS                   WHO        NO\nbackup   2027-01-13T12:00:00Z   alice      <none>\nmail     2026-11-29T12:00:00Z   CORP\\bob   <none>\nnew      <none>                 <none>     <none>\nold      2026-11-22T12:00:00Z   alice      <none>\n",
	} {
		tr.run(t.Context(), t, exitOK, "list", "-n", "team-a", "-o", format)
		if diff := cmp.Diff(want, tr.out.String()); diff != "" {
			t.Errorf("-o %s (-want +got):\n%s", format, diff)
		}
	}
	tr.run(t.Context(), t, exitOK, "list", "-n", "team-a", "-o", "custom-columns=NAME:.metadata.name", "--no-headers", "--user", "alice")
	if got, want := tr.out.String(), "backup\nold\n"; got != want {
		t.Errorf("without headers: %q; want %q", got, want)
	}
	tr.run(t.Context(), t, exitOK, "describe", "-n", "team-a", "old", "-o", "jsonpath={.spec.user.username}")
	if got := tr.out.String(); got != "alice" {
		t.Errorf("describe: %q", got)
	}
	tr.run(t.Context(), t, exitError, "list", "-n", "team-a", "-o", "go-template={{index .items 99}}")
	tr.run(t.Context(), t, exitOK, "list", "-n", "team-b", "-o", "jsonpath={.items[*].metadata.name}")
	if tr.out.Len()+tr.errOut.Len() > 0 {
		t.Errorf("of none: %q, %q", tr.out, tr.errOut)
	}
}

func TestIgnoreNotFound(t *testing.T) {
	tr := newTrial(t, interceptor.Funcs{}, samples()...)
	for _, args := range [][]string{{"list", "-n", "team-b"}, {"list", "-n", "team-b", "-o", "wide"}, {"describe", "-n", "team-a", "nothing"}} {
		tr.run(t.Context(), t, exitOK, append(args, "--ignore-not-found")...)
		if tr.out.Len()+tr.errOut.Len() > 0 {
			t.Errorf("%v: %q, %q", args, tr.out, tr.errOut)
		}
	}
	tr.run(t.Context(), t, exitOK, "describe", "-n", "team-a", "nothing", "old", "-o", "name", "--ignore-not-found")
	if got, want := tr.out.String(), "personalaccesstoken.pat-operator.io/old\n"; got != want {
		t.Errorf("got %q; want %q", got, want)
	}
	uninstalled := newTrial(t, interceptor.Funcs{Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
		return apierrors.NewGenericServerResponse(404, "get", v1alpha1.GroupVersion.WithResource("personalaccesstokens").GroupResource(), "", "", 0, true)
	}})
	uninstalled.run(t.Context(), t, exitError, "describe", "x", "--ignore-not-found")
}

// watched is a buffer for concurrent writes and reads.
type watched struct {
	mu   sync.Mutex
	text strings.Builder
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// The fake cluster sets no revision on lists.
func withRevision() interceptor.Funcs {
	return interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
		err := c.List(ctx, list, opts...)
		list.SetResourceVersion("1")
		return err
	}}
}

func TestListWatches(t *testing.T) {
	for format, want := range map[string][]string{
		"": {
			"NAME     DISPLAY NAME     USER    STATUS   EXPIRES   LAST USED   AGE\nbackup   Nightly Backup   alice   Active   in 50d    60m ago     40d\n",
			"\nbackup   Nightly Backup   alice   Suspended   in 50d    60m ago     40d\n",
			"\nbackup   Nightly Backup   alice   Gone        in 50d    60m ago     40d\n",
		},
		"name": {"io/backup\n", "io/backup\npersonalaccesstoken.pat-operator.io/backup\n", "backup\npersonalaccesstoken.pat-operator.io/backup\npersonalaccesstoken.pat-operator.io/backup\n"},
		"yaml": {"name: backup\n", "---\n", "  suspend: true\n"},
		"jsonpath={.metadata.name}={.spec.suspend};":   {"backup=;", "backup=true;", "backup=true;backup=true;"},
		"custom-columns=N:.metadata.name --no-headers": {"backup\n", "backup\nbackup\n", "backup\nbackup\nbackup\n"},
	} {
		t.Run(format, func(t *testing.T) {
			tr := newTrial(t, withRevision(), samples()...)
			out := &watched{}
			tr.Out = out
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			args := []string{"list", "-n", "team-a", "-w", "backup"}
			if format != "" {
				f, flag, more := strings.Cut(format, " ")
				if args = append(args, "-o", f); more {
					args = append(args, flag)
				}
			}
			code := make(chan int, 1)
			go func() { code <- Run(ctx, tr.Environment, args) }()
			soon := func(read func() (string, error), want string) {
				t.Helper()
				gomega.NewWithT(t).Eventually(read).WithTimeout(time.Minute).WithPolling(time.Millisecond).Should(gomega.ContainSubstring(want))
			}
			printed := func() (string, error) { return out.String(), nil }
			soon(printed, want[0])
			pat := &v1alpha1.PersonalAccessToken{}
			key := client.ObjectKey{Namespace: "team-a", Name: "backup"}
			soon(func() (string, error) { // the watch begins some time after the list, so keep changing the token
				if strings.Contains(out.String(), want[1]) {
					return out.String(), nil
				}
				if err := tr.client.Get(ctx, key, pat); err != nil {
					return "", err
				}
				pat.Spec.Suspend = true
				return out.String(), tr.client.Update(ctx, pat)
			}, want[1])
			if err := tr.client.Delete(ctx, pat); err != nil {
				t.Fatal(err)
			}
			soon(printed, want[2])
			cancel()
			if got := <-code; got != exitOK {
				t.Errorf("exit code %d\n%s", got, tr.errOut)
			}
			if got := out.String(); strings.Contains(got, "mail") || strings.Count(got, "STATUS") > 1 {
				t.Errorf("got\n%s", got)
			}
		})
	}
}

func TestListSaysWhyTheWatchEnded(t *testing.T) {
	hooks := withRevision()
	forbidden := apierrors.NewForbidden(v1alpha1.GroupVersion.WithResource("personalaccesstokens").GroupResource(), "", errors.New("no\nway"))
	hooks.Watch = func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) (watch.Interface, error) {
		return nil, forbidden
	}
	tr := newTrial(t, hooks, samples()...)
	tr.run(t.Context(), t, exitError, "list", "-n", "team-a", "--watch")
	tr.errs(t, `error: personalaccesstokens.pat-operator.io is forbidden: no\nway; to keep watching, run it again`)
	if got := tr.errOut.String(); strings.Count(got, "\n") != 1 {
		t.Errorf("standard error: %s", got)
	}
}
