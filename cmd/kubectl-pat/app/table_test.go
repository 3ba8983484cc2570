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
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// onTerminal is a trial with a terminal of this width.
func onTerminal(t *testing.T, columns int, pats ...*v1alpha1.PersonalAccessToken) *trial {
	t.Helper()
	t.Setenv("NO_COLOR", "1")
	tr := newTrial(t, interceptor.Funcs{}, pats...)
	tr.Width = func(io.Writer) int { return columns }
	return tr
}

func TestATableFitsIntoTheTerminal(t *testing.T) {
	samples := samples()
	samples[0].Spec.DisplayName = "夜間バックアップ of the whole company"
	samples[1].Spec.User.Username = "system:serviceaccount:team-a:the-mailer-of-the-company"
	for columns, want := range map[int]string{
		200: `NAME     DISPLAY NAME                            USER                                                     STATUS    EXPIRES   LAST USED   AGE
backup   夜間バックアップ of the whole company   alice                                                    Active    in 50d    60m ago     40d
mail                                             system:serviceaccount:team-a:the-mailer-of-the-company   Active    in 5d     35d ago     60d
new                                                                                                       Pending   unknown   never       5s
old                                              alice                                                    Expired   2d ago    never       90d
`,
		80: `NAME     DISPLAY NAME      USER              STATUS    EXPIRES   LAST USED   AGE
backup   夜間バックアッ…   alice             Active    in 50d    60m ago     40d
mail                       system:service…   Active    in 5d     35d ago     60d
new                                          Pending   unknown   never       5s
old                        alice             Expired   2d ago    never       90d
`,
		30: `NAME     DISPLAY NAME   USER
backup   夜間バック…    ali…
mail                    sys…
new
old                     ali…
`,
	} {
		tr := onTerminal(t, columns, samples...)
		tr.run(t.Context(), t, exitOK, "list", "-n", "team-a")
		if diff := cmp.Diff(want, tr.out.String()); diff != "" {
			t.Errorf("%d columns (-want +got):\n%s", columns, diff)
		}
		for line := range strings.Lines(tr.out.String()) {
			if got := widthOf(strings.TrimSuffix(line, "\n")); got > columns {
				t.Errorf("%d columns are %d: %s", columns, got, line)
			}
		}
		if want := "To replace an expired token run: kubectl pat rotate NAME\n"; tr.errOut.String() != want {
			t.Errorf("standard error: %q; want %q", tr.errOut, want)
		}
	}
}

func TestOnlyAStateOnATerminalIsColored(t *testing.T) {
	samples := samples()
	samples[0].Spec.DisplayName = "Expired"
	for name, tc := range map[string]struct {
		noColor, term string
		columns       int
		want          bool
	}{
		"a terminal":         {columns: 80, term: "xterm", want: true},
		"a pipe":             {term: "xterm"},
		"NO_COLOR":           {columns: 80, term: "xterm", noColor: "1"},
		"a terminal without": {columns: 80, term: "dumb"},
	} {
		tr := onTerminal(t, tc.columns, samples...)
		t.Setenv("NO_COLOR", tc.noColor)
		t.Setenv("TERM", tc.term)
		tr.run(t.Context(), t, exitOK, "list", "-n", "team-a")
		got := tr.out.String()
		if strings.Contains(got, "   Expired        alice      \x1b[32mActive\x1b[0m    in 50d") != tc.want || strings.Contains(got, "\x1b[31mExpired\x1b[0m   2d ago") != tc.want {
			t.Errorf("%s: got %q", name, got)
		}
		if n := strings.Count(got, "\x1b"); tc.want && n != 8 || !tc.want && n != 0 {
			t.Errorf("%s: %d escapes: %q", name, n, got)
		}
	}
}

func TestUntilOrAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{
		30*day - 5*time.Second:              "in 30d",
		29*day + 11*time.Hour:               "in 29d",
		366 * day:                           "in 366d",
		5*day - time.Second:                 "in 5d",
		4*day + 5*time.Hour + time.Minute:   "in 4d5h",
		12*time.Hour - time.Second:          "in 12h",
		3*time.Hour + 59*time.Minute + 50e9: "in 4h",
		59*time.Minute + 40*time.Second:     "in 60m",
		90 * time.Second:                    "in 90s",
		time.Second:                         "in 1s",
		0:                                   "0s ago",
		-2 * day:                            "2d ago",
	} {
		if got := untilOrAgo(after(d), start); got != want {
			t.Errorf("%v: got %s; want %s", d, got, want)
		}
	}
	if got := untilOrAgo(nil, start); got != "unknown" {
		t.Errorf("no time: %s", got)
	}
}
