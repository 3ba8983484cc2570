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
	cmp2 "cmp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/test/policies"
)

func TestVerifyAnswersWithTheRecordsUser(t *testing.T) {
	p := newPAT(t, "team-a", "ci", "uid-1", func(p *pat) { p.resource.Spec.User.Groups = []string{"ops", "dev"} })
	got := newIndex(t, p).Verify(p.bearer, nil, start)
	want := Result{
		Verdict: Authenticated, Reason: reasonValid, ID: p.id(), Audiences: []string{apiAudience},
		User: p.record.User, Namespace: "team-a", Name: "ci", IssuedAt: start, ExpiresAt: start.Add(90 * 24 * time.Hour),
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Result{})); diff != "" {
		t.Errorf("Verify (-want +got):\n%s", diff)
	}
}

func TestNotReadyUntilSyncedAndAudiencesKnown(t *testing.T) {
	p := newPAT(t, "team-a", "ci", "uid-1")
	x := newIndex(t)
	x.ready.Store(nil)
	p.set(t, x)
	want(t, x, p.bearer, start, NotReady, ReasonNotReady)
	want(t, x, "eyJhbGciOi", start, Refused, ReasonForeign)
	if x.Ready(start) == nil {
		t.Error("ready without having synced")
	}
	x.MarkSynced()
	want(t, x, p.bearer, start, Authenticated, reasonValid)

	x.own.Store(nil)
	x.SetAPIAudiences([]string{""})
	want(t, x, p.bearer, start, NotReady, ReasonNotReady)
	if x.Ready(start) == nil {
		t.Error("ready without audiences")
	}
}

func TestAudiencesAreAllowedByRecordAndSpec(t *testing.T) {
	const other = "other"
	for name, tc := range map[string]struct {
		record, spec, asked, want []string
	}{
		"all empty":                  {want: []string{apiAudience}},
		"own asked for":              {asked: []string{apiAudience}, want: []string{apiAudience}},
		"own and another asked for":  {asked: []string{other, apiAudience}, want: []string{apiAudience}},
		"another asked for":          {asked: []string{other}},
		"token for another":          {record: []string{other}, spec: []string{other}},
		"token for another, asked":   {record: []string{other}, spec: []string{other}, asked: []string{other}, want: []string{other}},
		"token for both, none asked": {record: []string{other, apiAudience}, spec: []string{other, apiAudience}, want: []string{apiAudience}},
		"spec narrowed":              {record: []string{"a", "b"}, spec: []string{"b"}, asked: []string{"a", "b"}, want: []string{"b"}},
		"spec widened":               {record: []string{"a"}, spec: []string{"a", "b"}, asked: []string{"b"}},
		"spec emptied":               {record: []string{"a"}, asked: []string{"a", apiAudience}},
		"spec narrowed to own":       {spec: []string{apiAudience}, asked: []string{"a", apiAudience}, want: []string{apiAudience}},
		"spec set, record for own":   {spec: []string{other}, asked: []string{other}},
		"the empty audience":         {asked: []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPAT(t, "team-a", "ci", "uid-1")
			p.record.Granted.Audiences, p.resource.Spec.Audiences = tc.record, tc.spec
			got := newIndex(t, p).Verify(p.bearer, tc.asked, start)
			verdict := Authenticated
			if tc.want == nil {
				verdict = Refused
			}
			if got.Verdict != verdict {
				t.Errorf("verdict %s/%s, want %s", got.Verdict, got.Reason, verdict)
			}
			if diff := cmp.Diff(tc.want, got.Audiences); diff != "" {
				t.Errorf("audiences (-want +got):\n%s", diff)
			}
		})
	}
}

func TestVerifyAllTakesEveryAudienceOfTheToken(t *testing.T) {
	for name, tc := range map[string]struct{ record, spec, want []string }{
		"the API server's":  {want: []string{apiAudience}},
		"of other APIs":     {record: []string{"a", "b"}, spec: []string{"a", "b"}, want: []string{"a", "b"}},
		"narrowed":          {record: []string{"a", "b"}, spec: []string{"b"}, want: []string{"b"}},
		"narrowed from own": {spec: []string{apiAudience}, want: []string{apiAudience}},
		"nothing in common": {record: []string{"a"}, spec: []string{"b"}},
	} {
		p := newPAT(t, "team-a", "ci", "uid-1")
		p.record.Granted.Audiences, p.resource.Spec.Audiences = tc.record, tc.spec
		if got := newIndex(t, p).VerifyAll(p.bearer, start); !slices.Equal(got.Audiences, tc.want) || (got.Verdict == Authenticated) != (tc.want != nil) {
			t.Errorf("%s: %s, audiences %q, want %q", name, got.Verdict, got.Audiences, tc.want)
		}
	}
}

func TestEachFaceTakesOnlyTokensWhoseLimitsItEnforces(t *testing.T) {
	limited := map[string]func(*v1alpha1.PersonalAccessTokenSpec){
		"scopes":   func(s *v1alpha1.PersonalAccessTokenSpec) { s.Scopes = []v1alpha1.Scope{{Preset: "read-only"}} },
		"networks": func(s *v1alpha1.PersonalAccessTokenSpec) { s.From = []string{"10.0.0.0/8"} },
	}
	for limit, set := range limited {
		p := newPAT(t, "team-a", "ci", "uid-1", func(p *pat) { set(&p.resource.Spec) })
		x := newIndex(t, p)
		for face, tc := range map[string]struct {
			verify func() Result
			takes  map[string]bool
		}{
			"Verify":        {func() Result { return x.Verify(p.bearer, nil, start) }, nil},
			"VerifyScoped":  {func() Result { return x.VerifyScoped(p.bearer, nil, start) }, map[string]bool{"scopes": true}},
			"VerifyFrom":    {func() Result { return x.VerifyFrom(p.bearer, nil, start) }, map[string]bool{"networks": true}},
			"VerifyProxied": {func() Result { return x.VerifyProxied(p.bearer, start) }, map[string]bool{"scopes": true, "networks": true}},
			"VerifyAll":     {func() Result { return x.VerifyAll(p.bearer, start) }, map[string]bool{"scopes": true, "networks": true}},
		} {
			verdict := Unknown
			if tc.takes[limit] {
				verdict = Authenticated
			}
			if got := tc.verify(); got.Verdict != verdict {
				t.Errorf("%s, a token with %s: %s/%s, want %s", face, limit, got.Verdict, got.Reason, verdict)
			}
		}
	}
}

func TestCase15_KindsOfNo(t *testing.T) {
	at := func(d time.Duration) time.Time { return start.Add(d) }
	_, strange := newToken(t)
	for name, tc := range map[string]struct {
		mod     func(*pat)
		after   func(*Index, *pat)
		bearer  string
		now     time.Time
		verdict Verdict
		reason  Reason
	}{
		"active":           {verdict: Authenticated, reason: reasonValid},
		"foreign":          {bearer: "eyJhbGciOiJSUzI1NiJ9.e30.x", verdict: Refused, reason: ReasonForeign},
		"malformed":        {bearer: strange[:73], verdict: Refused, reason: ReasonForeign},
		"never issued":     {bearer: strange, verdict: Unknown, reason: reasonUnknownID},
		"record not seen":  {after: func(x *Index, p *pat) { x.DeleteRecord(p.secretName()) }, verdict: Unknown, reason: reasonUnknownID},
		"nothing seen yet": {after: func(x *Index, p *pat) { x.DeleteRecord(p.secretName()); x.DeleteResource("team-a", "ci") }, verdict: Unknown, reason: reasonUnknownID},
		"resource not seen": {
			after: func(x *Index, _ *pat) { x.DeleteResource("team-a", "ci") }, verdict: Unknown, reason: ReasonResourceNotSeen},
		"suspended": {mod: func(p *pat) { p.resource.Spec.Suspend = true }, verdict: Unknown, reason: ReasonSuspended},
		"pending": {mod: func(p *pat) { p.record.Pending, p.record.Current = p.record.Current, nil },
			verdict: Unknown, reason: reasonNoMatch},
		"another secret under the id": {mod: func(p *pat) { p.record.Current.Digest = token.NewDigest("team-a", "ci", "x").Hex() },
			verdict: Unknown, reason: reasonNoMatch},
		"user changed": {mod: func(p *pat) { p.resource.Spec.User.Groups = []string{"dev"} }, verdict: Unknown, reason: ReasonUserChanged},
		"user gone":    {mod: func(p *pat) { p.resource.Spec.User = nil }, verdict: Unknown, reason: ReasonUserChanged},
		"scoped by record": {mod: func(p *pat) { p.record.Granted.Scopes = []v1alpha1.Scope{{Preset: "read"}} },
			verdict: Unknown, reason: ReasonScoped},
		"suspended by record": {mod: func(p *pat) { p.record.Granted.Suspend = true },
			verdict: Unknown, reason: ReasonSuspended},
		"scoped by spec": {mod: func(p *pat) { p.resource.Spec.Scopes = []v1alpha1.Scope{{Preset: "read"}} },
			verdict: Unknown, reason: ReasonScoped},
		"owner not seen":       {mod: ofServiceAccount("team-a", "bot", "sa-1"), verdict: Unknown, reason: ReasonOwnerNotSeen},
		"expired by the clock": {now: at(90 * 24 * time.Hour), verdict: Refused, reason: ReasonExpired},
		"expired, and suspended": {mod: func(p *pat) { p.resource.Spec.Suspend = true }, now: at(91 * 24 * time.Hour),
			verdict: Refused, reason: ReasonExpired},
		"expired by the record": {mod: func(p *pat) { p.end(record.EndedExpired) }, verdict: Refused, reason: ReasonEnded},
		"revoked":               {mod: func(p *pat) { p.end(record.EndedRevoked) }, verdict: Refused, reason: ReasonEnded},
		"tombstone": {mod: func(p *pat) { p.end(record.EndedDeleted) },
			after: func(x *Index, _ *pat) { x.DeleteResource("team-a", "ci") }, verdict: Refused, reason: ReasonEnded},
		"resource marked deleted": {mod: func(p *pat) { p.resource.DeletionTimestamp = &metav1.Time{Time: start} },
			verdict: Refused, reason: ReasonDeleting},
		"record of another type": {after: func(x *Index, p *pat) {
			s := p.secret(t)
			s.Type = corev1.SecretTypeOpaque
			x.SetRecord(s)
		}, verdict: Unknown, reason: reasonUnknownID},
		"record marked deleted": {after: func(x *Index, p *pat) {
			s := p.secret(t)
			s.DeletionTimestamp = &metav1.Time{Time: start}
			x.SetRecord(s)
		}, verdict: Unknown, reason: reasonUnknownID},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPAT(t, "team-a", "ci", "uid-1")
			if tc.mod != nil {
				tc.mod(p)
			}
			x := newIndex(t, p)
			if tc.after != nil {
				tc.after(x, p)
			}
			if tc.bearer == "" {
				tc.bearer = p.bearer
			}
			if tc.now.IsZero() {
				tc.now = start
			}
			want(t, x, tc.bearer, tc.now, tc.verdict, tc.reason)
			// An error keeps whatever audiences were asked for, so that kube-apiserver does not turn it into a cached no.
			asked := []string{"vault", apiAudience}
			if r := x.Verify(tc.bearer, asked, tc.now); r.Verdict == Unknown {
				if diff := cmp.Diff(asked, r.Audiences); diff != "" {
					t.Errorf("audiences of an error (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// A token with scopes works where they are enforced, and nowhere else.
func TestCase29_ScopesAreForFacesThatEnforceThem(t *testing.T) {
	read, deploy := []v1alpha1.Scope{{Preset: "read-only"}}, []v1alpha1.Scope{{Preset: "ci-deploy"}}
	const other = "reports"
	both := []string{other, apiAudience}
	for name, tc := range map[string]struct {
		record, spec []v1alpha1.Scope
		audiences    []string
		asked        []string
		// plain and scoped are the audiences that Verify and VerifyScoped accept.
		plain, scoped []string
		names         []string
	}{
		"none":                    {plain: []string{apiAudience}, scoped: []string{apiAudience}},
		"of record and spec":      {record: read, spec: read, scoped: []string{apiAudience}, names: []string{"kubernetes:read-only"}},
		"of the record, removed":  {record: read, scoped: []string{apiAudience}, names: []string{"kubernetes:read-only"}},
		"of spec, not yet judged": {spec: deploy, scoped: []string{apiAudience}, names: []string{"kubernetes:ci-deploy"}},
		"different":               {record: read, spec: deploy, scoped: []string{apiAudience}, names: []string{}},
		"for another API": {record: read, spec: read, audiences: []string{other}, asked: []string{other},
			plain: []string{other}, scoped: []string{other}, names: []string{"kubernetes:read-only"}},
		"for both": {record: read, spec: read, audiences: both, asked: both, scoped: both, names: []string{"kubernetes:read-only"}},
		// The API server asks for all of its audiences, of which one may be unknown here.
		"for an audience that the API server has too": {record: read, spec: read, audiences: []string{other}, asked: both, scoped: []string{other},
			names: []string{"kubernetes:read-only"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPAT(t, "team-a", "ci", "uid-1")
			p.record.Granted.Scopes, p.resource.Spec.Scopes = tc.record, tc.spec
			p.record.Granted.Audiences, p.resource.Spec.Audiences = tc.audiences, tc.audiences
			x := newIndex(t, p)
			for face, verify := range map[string]struct {
				by   func(string, []string, time.Time) Result
				want []string
			}{"Verify": {x.Verify, tc.plain}, "VerifyScoped": {x.VerifyScoped, tc.scoped}} {
				got := verify.by(p.bearer, tc.asked, start)
				if verify.want == nil {
					if got.Verdict != Unknown || got.Reason != ReasonScoped || got.User.Username != "" {
						t.Errorf("%s: %s/%s for %q, want unknown/Scoped", face, got.Verdict, got.Reason, got.User.Username)
					}
					continue
				}
				if diff := cmp.Diff(verify.want, got.Audiences); got.Verdict != Authenticated || diff != "" {
					t.Errorf("%s: %s/%s, audiences (-want +got):\n%s", face, got.Verdict, got.Reason, diff)
				}
				if diff := cmp.Diff(tc.names, got.Limits.Names()); diff != "" {
					t.Errorf("%s: scopes (-want +got):\n%s", face, diff)
				}
			}
		})
	}
}

func TestCase29_LimitsOfATokenByItsID(t *testing.T) {
	later := start.Add(91 * 24 * time.Hour)
	for name, tc := range map[string]struct {
		mod             func(*pat)
		after           func(*Index, *pat)
		id, namespace   string
		now             time.Time
		known, readOnly bool
	}{
		"scoped":           {mod: func(p *pat) { p.record.Granted.Scopes = []v1alpha1.Scope{{Preset: "read-only"}} }, known: true, readOnly: true},
		"full":             {known: true},
		"another resource": {namespace: "team-b"},
		"another id":       {id: "aaaaaaaaaaaaaaaa"},
		"a preset unknown": {mod: func(p *pat) { p.record.Granted.Scopes = []v1alpha1.Scope{{Preset: "later"}} }},
		// The proxy has checked the address. A TokenReview never authenticates such a token.
		"bound to networks":  {mod: func(p *pat) { p.resource.Spec.From = []string{"192.0.2.0/24"} }, known: true},
		"bound by record":    {mod: func(p *pat) { p.record.Granted.From = []string{"192.0.2.0/24"} }, known: true},
		"suspended":          {mod: func(p *pat) { p.resource.Spec.Suspend = true }},
		"denied by a policy": {after: func(x *Index, _ *pat) { x.SetPolicy(policies.New("p", `{deny: {reason: x}}`)) }},
		"bound by a policy":  {after: func(x *Index, _ *pat) { x.SetPolicy(policies.New("p", `{allowedFrom: [192.0.2.0/24]}`)) }, known: true},
		"ended by a policy":  {after: func(x *Index, _ *pat) { x.SetPolicy(policies.New("p", `{maxLifetimeDays: 30}`)) }, now: start.Add(30 * day)},
		"expired":            {now: later},
		"ended":              {mod: func(p *pat) { p.end(record.EndedRevoked) }},
		"deleting":           {mod: func(p *pat) { p.resource.DeletionTimestamp = &metav1.Time{Time: start} }},
		"deleted":            {after: func(x *Index, _ *pat) { x.DeleteResource("team-a", "ci") }},
		"pending":            {mod: func(p *pat) { p.record.Pending, p.record.Current = p.record.Current, nil }},
		"not ready":          {after: func(x *Index, _ *pat) { x.ready.Store(nil) }},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPAT(t, "team-a", "ci", "uid-1")
			id := p.id()
			if tc.mod != nil {
				tc.mod(p)
			}
			x := newIndex(t, p)
			if tc.after != nil {
				tc.after(x, p)
			}
			if tc.now.IsZero() {
				tc.now = start
			}
			limits, ok := x.Limits(cmp2.Or(tc.id, id), cmp2.Or(tc.namespace, "team-a"), "ci", tc.now)
			if ok != tc.known {
				t.Fatalf("known: %v, want %v", ok, tc.known)
			}
			if ok && limits.Full() == tc.readOnly {
				t.Errorf("limits %v", limits.Names())
			}
		})
	}
}

func TestCase15_FirstUseIsNeverPoisoned(t *testing.T) {
	p := newPAT(t, "team-a", "ci", "uid-1")
	p.record.Pending, p.record.Current = p.record.Current, nil
	x := newIndex(t)
	want(t, x, p.bearer, start, Unknown, reasonUnknownID)
	x.SetResource(p.resource.DeepCopy())
	want(t, x, p.bearer, start, Unknown, reasonUnknownID)
	x.SetRecord(p.secret(t))
	want(t, x, p.bearer, start, Unknown, reasonNoMatch)
	p.record.Pending, p.record.Current = nil, p.record.Pending
	x.SetRecord(p.secret(t))
	want(t, x, p.bearer, start, Authenticated, reasonValid)
}

func TestCase06_ForbiddenUserInRecordIsRefused(t *testing.T) {
	for name, mod := range map[string]func(*v1alpha1.UserInfo){
		"system:masters":    func(u *v1alpha1.UserInfo) { u.Groups = append(u.Groups, "system:masters") },
		"system:nodes":      func(u *v1alpha1.UserInfo) { u.Groups = append(u.Groups, "system:nodes") },
		"a node":            func(u *v1alpha1.UserInfo) { u.Username = "system:node:n1" },
		"anonymous":         func(u *v1alpha1.UserInfo) { u.Username = "system:anonymous" },
		"kube-proxy":        func(u *v1alpha1.UserInfo) { u.Username = "system:kube-proxy" },
		"half an account":   func(u *v1alpha1.UserInfo) { u.Username = "system:serviceaccount:team-a" },
		"account and more":  func(u *v1alpha1.UserInfo) { u.Username = "system:serviceaccount:team-a:bot:x" },
		"account of no UID": func(u *v1alpha1.UserInfo) { u.Username, u.UID = "system:serviceaccount:team-a:bot", "" },
		"an empty group":    func(u *v1alpha1.UserInfo) { u.Groups = append(u.Groups, "") },
		"our own extra":     func(u *v1alpha1.UserInfo) { u.Extra["pat-operator.io/scoped"] = v1alpha1.ExtraValue{"x"} },
		"a credential's key": func(u *v1alpha1.UserInfo) {
			u.Extra["authentication.kubernetes.io/credential-id"] = v1alpha1.ExtraValue{"x"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPAT(t, "team-a", "ci", "uid-1")
			mod(&p.record.User)
			mod(p.resource.Spec.User)
			x := newIndex(t, p)
			x.SetServiceAccount("team-a", "bot", "u-1")
			want(t, x, p.bearer, start, Unknown, ReasonUserRefused)
		})
	}
}

func TestCase14_ExpiryIsByTheClock(t *testing.T) {
	p := newPAT(t, "team-a", "ci", "uid-1")
	x := newIndex(t, p)
	end := start.Add(90 * 24 * time.Hour)
	want(t, x, p.bearer, end.Add(-1), Authenticated, reasonValid)
	want(t, x, p.bearer, end, Refused, ReasonExpired)

	// Stepped back before anybody wrote the end down, it lives again; afterwards it does not.
	want(t, x, p.bearer, end.Add(-time.Hour), Authenticated, reasonValid)
	p.end(record.EndedExpired)
	x.SetRecord(p.secret(t))
	for _, now := range []time.Time{end, end.Add(-time.Hour), start, start.Add(-time.Hour)} {
		want(t, x, p.bearer, now, Refused, ReasonEnded)
	}
}

func TestCase14_TheLesserExpiryRules(t *testing.T) {
	day := 24 * time.Hour
	for name, tc := range map[string]struct {
		spec func(*v1alpha1.PersonalAccessTokenSpec)
		want time.Duration
	}{
		"spec as issued":     {func(*v1alpha1.PersonalAccessTokenSpec) {}, 60 * day},
		"fewer days":         {func(s *v1alpha1.PersonalAccessTokenSpec) { s.ExpiresInDays = days(1) }, day},
		"more days":          {func(s *v1alpha1.PersonalAccessTokenSpec) { s.ExpiresInDays = days(3000) }, 60 * day},
		"absurdly many days": {func(s *v1alpha1.PersonalAccessTokenSpec) { s.ExpiresInDays = days(1<<31 - 1) }, 60 * day},
		"days dropped":       {func(s *v1alpha1.PersonalAccessTokenSpec) { s.ExpiresInDays = nil }, 60 * day},
		"an earlier expiresAt": {func(s *v1alpha1.PersonalAccessTokenSpec) {
			s.ExpiresInDays, s.ExpiresAt = nil, &metav1.Time{Time: start.Add(time.Hour)}
		}, time.Hour},
		"a later expiresAt": {func(s *v1alpha1.PersonalAccessTokenSpec) {
			s.ExpiresInDays, s.ExpiresAt = nil, &metav1.Time{Time: start.Add(999 * day)}
		}, 60 * day},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPAT(t, "team-a", "ci", "uid-1")
			p.record.Current.ExpiresAt = start.Add(60 * day)
			tc.spec(&p.resource.Spec)
			x := newIndex(t, p)
			if got := x.Verify(p.bearer, nil, start).ExpiresAt; !got.Equal(start.Add(tc.want)) {
				t.Errorf("expires %s after issue, want %s", got.Sub(start), tc.want)
			}
			want(t, x, p.bearer, start.Add(tc.want-1), Authenticated, reasonValid)
			want(t, x, p.bearer, start.Add(tc.want), Refused, ReasonExpired)
		})
	}
	t.Run("ninety days where record says more and spec nothing", func(t *testing.T) {
		p := newPAT(t, "team-a", "ci", "uid-1")
		p.record.Current.ExpiresAt, p.resource.Spec.ExpiresInDays = start.Add(400*day), nil
		want(t, newIndex(t, p), p.bearer, start.Add(90*day), Refused, ReasonExpired)
	})
	t.Run("previous", func(t *testing.T) {
		p := newPAT(t, "team-a", "ci", "uid-1")
		old := p.bearer
		p.record.Previous = p.record.Current
		p.record.Previous.ExpiresAt = start.Add(30 * day)
		next := newPAT(t, "team-a", "ci", "uid-1")
		p.record.Current = next.record.Current
		x := newIndex(t, p)
		want(t, x, old, start.Add(29*day), Authenticated, reasonValid)
		retires := start.Add(time.Hour)
		p.record.Previous.RetiresAt = &retires
		p.set(t, x)
		want(t, x, old, retires.Add(-time.Second), Authenticated, reasonValid)
		want(t, x, old, retires, Refused, ReasonExpired)
		p.record.Previous.RetiresAt = nil
		p.set(t, x)
		want(t, x, old, start.Add(30*day), Refused, ReasonExpired)
		want(t, x, next.bearer, start.Add(30*day), Authenticated, reasonValid)
		p.resource.Spec.ExpiresInDays = days(7)
		x.SetResource(p.resource.DeepCopy())
		want(t, x, old, start.Add(7*day), Refused, ReasonExpired)
	})
}

func TestCase16_RecreatedServiceAccountIsRefused(t *testing.T) {
	p := newPAT(t, "team-a", "ci", "uid-1", ofServiceAccount("team-a", "bot", "sa-1"))
	x := newIndex(t, p)
	want(t, x, p.bearer, start, Unknown, ReasonOwnerNotSeen)
	x.SetServiceAccount("team-a", "bot", "sa-1")
	want(t, x, p.bearer, start, Authenticated, reasonValid)
	x.SetServiceAccount("team-b", "bot", "sa-2")
	want(t, x, p.bearer, start, Authenticated, reasonValid)
	x.DeleteServiceAccount("team-a", "bot")
	want(t, x, p.bearer, start, Unknown, ReasonOwnerNotSeen)
	x.SetServiceAccount("team-a", "bot", "sa-3")
	want(t, x, p.bearer, start, Unknown, ReasonOwnerNotSeen)

	// The account first, the record later.
	late := newIndex(t)
	late.SetServiceAccount("team-a", "bot", "sa-1")
	p.set(t, late)
	want(t, late, p.bearer, start, Authenticated, reasonValid)
}

func TestCase18_MarkedDeletedIsRevoked(t *testing.T) {
	p := newPAT(t, "team-a", "ci", "uid-1", func(p *pat) { p.resource.Finalizers = []string{"example.org/slow"} })
	x := newIndex(t, p)
	want(t, x, p.bearer, start, Authenticated, reasonValid)
	p.resource.DeletionTimestamp = &metav1.Time{Time: start}
	x.SetResource(p.resource.DeepCopy())
	want(t, x, p.bearer, start, Refused, ReasonDeleting)
	x.DeleteResource("team-a", "ci")
	want(t, x, p.bearer, start, Unknown, ReasonResourceNotSeen)
	x.DeleteRecord(p.secretName())
	want(t, x, p.bearer, start, Unknown, reasonUnknownID)
	wantClean(t, x)
}

func TestCase21_NewUIDNeverInherits(t *testing.T) {
	id, plaintext := newToken(t)
	digest := token.NewDigest("team-a", "ci", plaintext).Hex()
	old := newPAT(t, "team-a", "ci", "uid-1", ofHolder(id, digest))
	again := newPAT(t, "team-a", "ci", "uid-2", ofHolder(id, digest))

	// The watch shows the new UID in the place of the old one, without a deletion between.
	x := newIndex(t, old)
	want(t, x, plaintext, start, Authenticated, reasonValid)
	x.SetResource(again.resource.DeepCopy())
	want(t, x, plaintext, start, Unknown, ReasonResourceNotSeen)

	// The record moves on to the new UID, and remembers the id.
	again.record.Ended = []record.Ended{{ID: id, Reason: record.EndedDeleted, Until: again.record.Current.ExpiresAt}}
	again.record.Current = nil
	x.SetRecord(again.secret(t))
	want(t, x, plaintext, start, Refused, ReasonEnded)
	x.DeleteResource("team-a", "ci")
	want(t, x, plaintext, start, Refused, ReasonEnded)
	x.DeleteRecord(again.secretName())
	wantClean(t, x)
}

// The record's watch may be ahead of the resource's, or behind it. The old token is refused as soon as either has moved
// on, the new one is valid when both have, and until then every refusal of the new one must not be cached.
func TestCase21_RecordAndResourceMoveOnInAnyOrder(t *testing.T) {
	for _, recordFirst := range []bool{true, false} {
		old, again := newPAT(t, "team-a", "ci", "uid-1"), newPAT(t, "team-a", "ci", "uid-2")
		x := newIndex(t, old)
		if recordFirst {
			x.SetRecord(again.secret(t))
			want(t, x, old.bearer, start, Unknown, reasonUnknownID)
			want(t, x, again.bearer, start, Unknown, ReasonResourceNotSeen)
			x.SetResource(again.resource.DeepCopy())
		} else {
			x.SetResource(again.resource.DeepCopy())
			want(t, x, old.bearer, start, Unknown, ReasonResourceNotSeen)
			want(t, x, again.bearer, start, Unknown, reasonUnknownID)
			x.SetRecord(again.secret(t))
		}
		want(t, x, old.bearer, start, Unknown, reasonUnknownID)
		want(t, x, again.bearer, start, Authenticated, reasonValid)
		x.DeleteRecord(again.secretName())
		x.DeleteResource("team-a", "ci")
		wantClean(t, x)
	}
}

func TestRotationMovesTheTokenWithoutAGap(t *testing.T) {
	p := newPAT(t, "team-a", "ci", "uid-1")
	x := newIndex(t, p)
	next := newPAT(t, "team-a", "ci", "uid-1")
	p.record.Previous, p.record.Current = p.record.Current, next.record.Current
	x.SetRecord(p.secret(t))
	want(t, x, p.bearer, start, Authenticated, reasonValid)
	want(t, x, next.bearer, start, Authenticated, reasonValid)
	p.record.Previous = nil
	x.SetRecord(p.secret(t))
	want(t, x, p.bearer, start, Unknown, reasonUnknownID)
	want(t, x, next.bearer, start, Authenticated, reasonValid)
}

// What the status of a resource named as revoked, and its record never knew, is not held against the next of its name.
func TestARevocationIsOfOneResource(t *testing.T) {
	id, plaintext := newToken(t)
	digest := token.NewDigest("team-a", "ci", plaintext).Hex()
	old, again := newPAT(t, "team-a", "ci", "uid-1"), newPAT(t, "team-a", "ci", "uid-2", ofHolder(id, digest))
	old.resource.Status.Revoked = []v1alpha1.RevokedToken{{TokenID: id}}
	for _, seenGone := range []bool{true, false} {
		x := newIndex(t, old)
		if seenGone {
			x.DeleteResource("team-a", "ci")
		}
		again.set(t, x)
		want(t, x, plaintext, start, Authenticated, reasonValid)
	}
}
