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
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// isAlice makes the fake cluster report alice as the caller.
func isAlice(hooks interceptor.Funcs) interceptor.Funcs {
	hooks.Create = func(_ context.Context, _ client.WithWatch, o client.Object, _ ...client.CreateOption) error {
		o.(*authenticationv1.SelfSubjectReview).Status.UserInfo.Username = "alice"
		return nil
	}
	return hooks
}

func named(id string) v1alpha1.RevokedToken {
	return v1alpha1.RevokedToken{TokenID: id, At: after(-time.Hour), By: "bob", Reason: "before"}
}

// All entries of the list stay, also one that another user adds at the same time.
func TestRevokeAndKeepSendsTheWholeList(t *testing.T) {
	pat := withConditions(1, isReady, isActive)
	pat.Status.TokenID, pat.Status.Revoked = "aaaaaaaaaaaaaaaa", []v1alpha1.RevokedToken{named("bbbbbbbbbbbbbbbb")}
	first := true
	tr := newTrial(t, isAlice(interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			if first {
				first = false
				now := &v1alpha1.PersonalAccessToken{}
				if err := c.Get(ctx, client.ObjectKeyFromObject(o), now); err != nil {
					return err
				}
				now.Status.Revoked = append(now.Status.Revoked, named("cccccccccccccccc"))
				if err := c.Status().Update(ctx, now); err != nil {
					return err
				}
			}
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		},
	}), pat)
	tr.run(t.Context(), t, exitOK, "revoke", "ci", "-n", "team-a", "--keep", "--reason", "leaked", "--wait=false")
	if got, want := tr.out.String(), "personalaccesstoken.pat-operator.io/ci revoked\n"; got != want {
		t.Errorf("standard output: %q", got)
	}
	if err := tr.client.Get(t.Context(), client.ObjectKeyFromObject(pat), pat); err != nil {
		t.Fatal(err)
	}
	want := []v1alpha1.RevokedToken{
		named("bbbbbbbbbbbbbbbb"), named("cccccccccccccccc"),
		{TokenID: "aaaaaaaaaaaaaaaa", At: after(0), By: "alice", Reason: "leaked"},
	}
	if diff := cmp.Diff(want, pat.Status.Revoked); diff != "" {
		t.Errorf("status.revoked (-want +got):\n%s", diff)
	}
	tr.run(t.Context(), t, exitOK, "revoke", "ci", "-n", "team-a", "--keep", "--wait=false")
	if got, want := tr.out.String(), "personalaccesstoken.pat-operator.io/ci already revoked\n"; got != want {
		t.Errorf("standard output: %q", got)
	}
}

func TestRevokeAndKeepWithAFullList(t *testing.T) {
	pat := withConditions(1, isReady, isActive)
	pat.Status.TokenID = "aaaaaaaaaaaaaaaa"
	for i := range maxRevoked {
		pat.Status.Revoked = append(pat.Status.Revoked, named(strings.Repeat(string(rune('b'+i)), 16)))
	}
	tr := newTrial(t, isAlice(interceptor.Funcs{}), pat)
	tr.run(t.Context(), t, exitError, "revoke", "ci", "-n", "team-a", "--keep")
	tr.errs(t, "error: status.revoked has 8 entries, and the limit is 8: the operator removes entries that it has processed, so check that it runs; or revoke without --keep, which deletes the resource")
	if tr.out.Len() > 0 {
		t.Errorf("standard output: %s", tr.out)
	}
}

func TestRevokeAndKeepWithoutTheOperator(t *testing.T) {
	pat := withConditions(1, isReady, isActive)
	pat.Status.TokenID = "aaaaaaaaaaaaaaaa"
	tr := newTrial(t, isAlice(interceptor.Funcs{}), pat)
	tr.run(t.Context(), t, exitError, "revoke", "ci", "-n", "team-a", "--keep", "--timeout=100ms")
	tr.errs(t, "error: it is revoked, and verifiers refuse its token; the operator has not processed this yet: is it running?")
	if got, want := tr.out.String(), "personalaccesstoken.pat-operator.io/ci revoked\n"; got != want {
		t.Errorf("standard output: %q", got)
	}
}

// A rotation was in progress when the token was revoked: its new token is revoked too.
func TestRevokeAndKeepAgainstARotation(t *testing.T) {
	pat := withConditions(1, isReady, isActive)
	pat.Status.TokenID = "aaaaaaaaaaaaaaaa"
	tr := newTrial(t, isAlice(interceptor.Funcs{
		Watch: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
			w, err := c.Watch(ctx, list, opts...)
			if err != nil {
				return nil, err
			}
			now := &v1alpha1.PersonalAccessToken{}
			if err := c.Get(ctx, client.ObjectKeyFromObject(pat), now); err != nil {
				return nil, err
			}
			if now.Status.TokenID == "aaaaaaaaaaaaaaaa" {
				now.Status.TokenID = "bbbbbbbbbbbbbbbb"
			} else {
				now.Status.Conditions = withConditions(1, isReady, metav1.Condition{
					Type: v1alpha1.ConditionActive, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRevoked,
				}).Status.Conditions
			}
			return w, c.Status().Update(ctx, now)
		},
	}), pat)
	tr.run(t.Context(), t, exitOK, "revoke", "ci", "-n", "team-a", "--keep")
	tr.errs(t, "ci was rotated in the meantime: its new token bbbbbbbbbbbbbbbb is revoked too.")
	if err := tr.client.Get(t.Context(), client.ObjectKeyFromObject(pat), pat); err != nil {
		t.Fatal(err)
	}
	if len(pat.Status.Revoked) != 2 {
		t.Errorf("status.revoked %v", pat.Status.Revoked)
	}
}

func TestToRevoke(t *testing.T) {
	const current, previous, next = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccc"
	for name, tc := range map[string]struct {
		current, previous, spec, asked string
		want                           []string
		err                            string
	}{
		"the current one":            {current: current, previous: previous, want: []string{current}},
		"its own, too":               {current: current, spec: current, want: []string{current}},
		"one that is on its way":     {current: current, spec: next, want: []string{current, next}},
		"one that was not taken yet": {spec: next, want: []string{next}},
		"the predecessor":            {current: current, previous: previous, asked: previous, want: []string{previous}},
		"the current one by its ID":  {current: current, previous: previous, asked: current, want: []string{current}},
		"none":                       {err: errNothingToRevoke.Error()},
		"none by its ID":             {asked: current, err: errNothingToRevoke.Error()},
		"another":                    {current: current, asked: next, err: "ci does not have token " + next + ": its token is " + current + ", and it has no predecessor that still works"},
		"another of two":             {current: current, previous: previous, asked: next, err: "ci does not have token " + next + ": its token is " + current + ", and its predecessor is " + previous},
	} {
		t.Run(name, func(t *testing.T) {
			pat := withConditions(1)
			pat.Status.TokenID, pat.Status.PreviousTokenID = tc.current, tc.previous
			if tc.spec != "" {
				pat.Spec.Token = &v1alpha1.HolderToken{ID: tc.spec}
			}
			got, err := (&revokeOptions{tokenID: tc.asked}).toRevoke(pat)
			if !slices.Equal(got, tc.want) || (err == nil) != (tc.err == "") || err != nil && err.Error() != tc.err {
				t.Errorf("got %v, %v; want %v, %s", got, err, tc.want, tc.err)
			}
		})
	}
}

func TestNoted(t *testing.T) {
	const current, previous = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"
	inactive := func(reason string) metav1.Condition {
		return metav1.Condition{Type: v1alpha1.ConditionActive, Status: metav1.ConditionFalse, Reason: reason}
	}
	for name, tc := range map[string]struct {
		active            metav1.Condition
		current, previous string
		revoked           string
		want              bool
	}{
		"not yet":                            {isActive, current, "", current, false},
		"revoked":                            {inactive(v1alpha1.ReasonRevoked), current, "", current, true},
		"it had expired":                     {inactive(v1alpha1.ReasonExpired), current, "", current, true},
		"it was suspended":                   {inactive(v1alpha1.ReasonSuspended), current, "", current, false},
		"another has taken its place":        {isActive, "cccccccccccccccc", "", current, true},
		"it was never taken":                 {inactive(v1alpha1.ReasonTokenRevoked), "", "", current, true},
		"whether it is taken is open":        {isIssuing, "", "", current, false},
		"the predecessor is still in status": {isActive, current, previous, previous, false},
		"the predecessor is over":            {isActive, current, "", previous, true},
		"it went on as the predecessor":      {isActive, "cccccccccccccccc", current, current, false},
	} {
		pat := withConditions(1, tc.active)
		pat.Status.TokenID, pat.Status.PreviousTokenID = tc.current, tc.previous
		if got, err := (&kept{ids: []string{tc.revoked}}).noted(pat); got != tc.want || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// A failure is reported and does not stop the others.
func TestRevokeContinuesAfterAFailure(t *testing.T) {
	var pats []*v1alpha1.PersonalAccessToken
	for i := range 3 {
		pat := withConditions(1, isReady, isActive)
		pat.Name, pat.Spec.User = fmt.Sprintf("t%d", i), &v1alpha1.UserInfo{Username: "alice"}
		pats = append(pats, pat)
	}
	pats[0].Spec.DisplayName, pats[1].Namespace = "\x1b[2J", "team-b"
	tr := newTrial(t, interceptor.Funcs{
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			if o.GetName() == "t0" {
				return errors.New("no \x1b[2J")
			}
			return c.Delete(ctx, o, opts...)
		},
	}, pats...)
	tr.run(t.Context(), t, exitError, "revoke", "--user", "alice", "-A")
	tr.errs(t, "error: nothing was changed: cannot ask, because standard input is not a terminal; add --yes to revoke these 3 tokens")
	want := `NAMESPACE   NAME   DISPLAY NAME   USER    EXPIRES
team-a      t0     \x1b[2J        alice   unknown
team-a      t2                    alice   unknown
team-b      t1                    alice   unknown
`
	if table, _, _ := strings.Cut(tr.errOut.String(), "error"); table != want {
		t.Errorf("the list of tokens:\n%s", table)
	}
	tr.run(t.Context(), t, exitError, "revoke", "--user", "alice", "-A", "--yes")
	want = "personalaccesstoken.pat-operator.io/t2 revoked in namespace team-a\npersonalaccesstoken.pat-operator.io/t1 revoked in namespace team-b\n"
	if diff := cmp.Diff(want, tr.out.String()); diff != "" {
		t.Errorf("standard output (-want +got):\n%s", diff)
	}
	if got, want := tr.errOut.String(), "error: team-a/t0: no \\x1b[2J\nerror: 1 of 3 tokens were not revoked\n"; got != want {
		t.Errorf("standard error:\n%s", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tr.run(ctx, t, exitError, "suspend", "a", "b")
	tr.errs(t, "error: 2 of 2 tokens were not suspended")
}

func TestOnlyYesConfirms(t *testing.T) {
	for answer, want := range map[string]error{"y\n": nil, " YES \r\n": nil, "yes": nil, "": errNotConfirmed, "\n": errNotConfirmed, "yep\n": errNotConfirmed, "no\ny\n": errNotConfirmed} {
		tr := newTrial(t, interceptor.Funcs{})
		tr.In = strings.NewReader(answer)
		if err := (&session{Environment: tr.Environment}).ask(t.Context(), "Go\x1b on?"); !errors.Is(err, want) {
			t.Errorf("%q: %v", answer, err)
		}
		if got := tr.errOut.String(); got != `Go\x1b on? [y/N] ` {
			t.Errorf("asked %q", got)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tr := newTrial(t, interceptor.Funcs{})
	tr.In = blocked{}
	if err := (&session{Environment: tr.Environment}).ask(ctx, "Go on?"); !errors.Is(err, errNotConfirmed) {
		t.Errorf("interrupted: %v", err)
	}
}

// blocked is a reader that never returns.
type blocked struct{ bytes.Buffer }

func (blocked) Read([]byte) (int, error) { select {} }

// Errors about usage come before any request.
func TestRevokeUsage(t *testing.T) {
	for want, args := range map[string][]string{
		"--token-id works only with --keep, because otherwise all tokens of the resource end: add --keep": {"ci", "--token-id", "aaaaaaaaaaaaaaaa"},
		"--token-id works only with one NAME":                                                  {"a", "b", "--keep", "--token-id", "aaaaaaaaaaaaaaaa"},
		`--token-id is not a token's ID: give the part between "kubepat_" and the next "_"`:    {"ci", "--keep", "--token-id", "kube-pat"},
		"--reason has 257 characters: use at most 256":                                         {"ci", "--keep", "--reason", strings.Repeat("ä", 257)},
		`--dry-run "client" is not one of none, server`:                                        {"ci", "--dry-run=client"},
		"--timeout 0s is not positive: give a time to wait, such as 30s":                       {"ci", "--keep", "--timeout=0s"},
		"give either names or --user, not both":                                                {"ci", "--user=alice"},
		"--all-namespaces works only with --user: give names of one namespace, or --user USER": {"ci", "-A"},
	} {
		tr := newTrial(t, interceptor.Funcs{})
		tr.Connect = func(genericclioptions.RESTClientGetter, io.Writer) (client.WithWatch, error) {
			t.Errorf("%v: the cluster is asked", args)
			return nil, errors.New("no")
		}
		tr.run(t.Context(), t, exitUsage, append([]string{"revoke"}, args...)...)
		tr.errs(t, "error: "+want)
	}
}

func TestNamesOf(t *testing.T) {
	got := namesOf([]string{"a", "pat/a", "personalaccesstoken.pat-operator.io/b", "personalaccesstokens/c", "secret/d", "a"})
	if want := []string{"a", "b", "c", "secret/d"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestRevokeShowsProgress(t *testing.T) {
	all := samples()
	tr := newTrial(t, isAlice(interceptor.Funcs{}), all...)
	tr.Width = func(io.Writer) int { return 80 }
	tr.run(t.Context(), t, exitOK, "revoke", "-n", "team-a", "--yes", "backup", "mail")
	want := ""
	for _, text := range []string{"Revoking token 1 of 2…", "Revoking token 2 of 2…"} {
		want += text + "\r" + strings.Repeat(" ", len(text)-2) + "\r"
	}
	if got := tr.errOut.String(); got != want {
		t.Errorf("got %q; want %q", got, want)
	}
}

func TestRevokeAMissingResource(t *testing.T) {
	tr := newTrial(t, isAlice(interceptor.Funcs{}), samples()...)
	tr.run(t.Context(), t, exitOK, "revoke", "-n", "team-a", "nothing", "--ignore-not-found")
	if tr.out.Len()+tr.errOut.Len() > 0 {
		t.Errorf("got %s%s", tr.out, tr.errOut)
	}
	tr.run(t.Context(), t, exitOK, "revoke", "-n", "team-a", "--yes", "nothing", "mail", "--ignore-not-found")
	if got, want := tr.out.String(), "personalaccesstoken.pat-operator.io/mail revoked\n"; got != want {
		t.Errorf("got %q; want %q", got, want)
	}
	tr.run(t.Context(), t, exitError, "revoke", "-n", "team-a", "nothing")
}
