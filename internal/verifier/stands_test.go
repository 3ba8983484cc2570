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
	"net/netip"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/test/policies"
)

func TestStandsUntilSomethingOfItChanges(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, x *Index, p *pat)
		reason Reason
	}{
		{"nothing", func(*testing.T, *Index, *pat) {}, reasonValid},
		{"the same again", func(t *testing.T, x *Index, p *pat) { p.set(t, x) }, reasonValid},
		{"a status that says it was used", func(t *testing.T, x *Index, p *pat) {
			p.resource.Status.LastUsedAt = &metav1.Time{Time: start}
			p.set(t, x)
		}, reasonValid},
		{"groups in another order", func(t *testing.T, x *Index, p *pat) {
			slices.Reverse(p.resource.Spec.User.Groups)
			p.set(t, x)
		}, reasonValid},
		{"a group less", func(t *testing.T, x *Index, p *pat) {
			p.resource.Spec.User.Groups = p.resource.Spec.User.Groups[:1]
			p.set(t, x)
		}, ReasonUserChanged},
		{"a group less in record and spec", func(t *testing.T, x *Index, p *pat) {
			p.resource.Spec.User.Groups = p.resource.Spec.User.Groups[:1]
			p.record.User.Groups = p.record.User.Groups[:1]
			p.set(t, x)
		}, ReasonChanged},
		{"suspended in spec", func(t *testing.T, x *Index, p *pat) { p.resource.Spec.Suspend = true; p.set(t, x) }, ReasonSuspended},
		{"suspended in the record", func(t *testing.T, x *Index, p *pat) { p.record.Granted.Suspend = true; p.set(t, x) }, ReasonSuspended},
		{"revoked in status", func(t *testing.T, x *Index, p *pat) {
			p.resource.Status.Revoked = []v1alpha1.RevokedToken{{TokenID: p.id()}}
			p.set(t, x)
		}, ReasonEnded},
		{"ended in the record", func(t *testing.T, x *Index, p *pat) { p.end(record.EndedRevoked); p.set(t, x) }, ReasonEnded},
		{"marked deleted", func(t *testing.T, x *Index, p *pat) {
			p.resource.DeletionTimestamp = &metav1.Time{Time: start}
			p.set(t, x)
		}, ReasonDeleting},
		{"the resource is gone", func(_ *testing.T, x *Index, p *pat) { x.DeleteResource("team-a", "ci") }, ReasonResourceNotSeen},
		{"the record is gone", func(_ *testing.T, x *Index, p *pat) { x.DeleteRecord(p.secretName()) }, ReasonEnded},
		{"an earlier end", func(t *testing.T, x *Index, p *pat) {
			p.resource.Spec.ExpiresInDays, p.resource.Spec.ExpiresAt = nil, &metav1.Time{Time: start}
			p.set(t, x)
		}, ReasonExpired},
		{"scopes", func(t *testing.T, x *Index, p *pat) {
			p.resource.Spec.Scopes = []v1alpha1.Scope{{Preset: "read-only"}}
			p.set(t, x)
		}, ReasonChanged},
		{"networks", func(t *testing.T, x *Index, p *pat) {
			p.resource.Spec.From = []string{"10.0.0.0/8"}
			p.set(t, x)
		}, ReasonChanged},
		{"other audiences", func(t *testing.T, x *Index, p *pat) {
			p.resource.Spec.Audiences = []string{"vault"}
			p.set(t, x)
		}, ReasonAudience},
		{"a policy that asks for nothing of it", func(_ *testing.T, x *Index, _ *pat) {
			x.SetPolicy(policies.New("p", `{maxLifetimeDays: 400, maxTokensPerUser: 0, allowedGroups: [ops, dev]}`))
		}, reasonValid},
		{"denied by a policy", func(_ *testing.T, x *Index, _ *pat) {
			x.SetPolicy(policies.New("p", `{deny: {reason: Left}}`))
		}, ReasonDeniedByPolicy},
		{"denied by what is not known", func(_ *testing.T, x *Index, _ *pat) {
			x.SetPolicy(policies.New("p", `{allowedWeekdays: [Monday]}`))
		}, ReasonPolicyNotUnderstood},
		{"ended by a policy", func(t *testing.T, x *Index, p *pat) {
			p.record.Current.IssuedAt = start.Add(-29*day - 23*time.Hour)
			p.set(t, x)
			x.SetPolicy(policies.New("p", `{maxLifetimeDays: 30}`))
		}, ReasonDeniedByPolicy},
		{"a group less by a policy", func(_ *testing.T, x *Index, _ *pat) {
			x.SetPolicy(policies.New("p", `{allowedGroups: [dev]}`))
		}, ReasonChanged},
		{"networks by a policy", func(_ *testing.T, x *Index, _ *pat) {
			x.SetPolicy(policies.New("p", `{allowedFrom: [10.0.0.0/8]}`))
		}, ReasonChanged},
		{"a policy that was removed", func(_ *testing.T, x *Index, _ *pat) {
			x.SetPolicy(policies.New("p", `{deny: {reason: Left}, allowedFrom: [10.0.0.0/8], allowedGroups: [dev]}`))
			x.DeletePolicy("p")
		}, reasonValid},
		{"stale", func(_ *testing.T, x *Index, _ *pat) {
			x.vouchedBy(func(time.Time) error { return errNoFeeds })
		}, ReasonNotReady},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPAT(t, "team-a", "ci", "1")
			x := newIndex(t, p)
			r := x.VerifyProxied(p.bearer, start.Add(time.Hour))
			if r.Verdict != Authenticated {
				t.Fatal(r)
			}
			tc.change(t, x, p)
			if reason, ok := x.Stands(&r, start.Add(time.Hour)); reason != tc.reason || ok != (tc.reason == reasonValid) {
				t.Errorf("Stands says %s, %v; want %s", reason, ok, tc.reason)
			}
		})
	}
}

func TestStandsUntilItsEnd(t *testing.T) {
	p := newPAT(t, "team-a", "ci", "1")
	x := newIndex(t, p)
	r := x.VerifyProxied(p.bearer, start)
	if _, ok := x.Stands(&r, r.ExpiresAt.Add(-1)); !ok {
		t.Error("it does not stand before its end")
	}
	if reason, ok := x.Stands(&r, r.ExpiresAt); ok || reason != ReasonExpired {
		t.Errorf("at its end it stands: %s", reason)
	}
	for _, unverified := range []*Result{{}, {Verdict: Authenticated, ID: r.ID, Namespace: "team-a", Name: "ci"}} {
		if _, ok := x.Stands(unverified, start); ok {
			t.Error("what Verify has not answered stands")
		}
	}
}

func TestTheListenerHearsOfEachChange(t *testing.T) {
	x := NewIndex(newIndex(t).log)
	x.SetAPIAudiences([]string{apiAudience})
	x.MarkSynced()
	var heard []string
	x.OnChange(func(id string) {
		heard = append(heard, id)
		x.size() // no lock is held
	})
	p := newPAT(t, "team-a", "ci", "1", ofServiceAccount("team-a", "ci", "sa-1"))
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"a resource and its record", func() { p.set(t, x) }},
		{"its service account", func() { x.SetServiceAccount("team-a", "ci", "sa-1") }},
		{"its service account is gone", func() { x.DeleteServiceAccount("team-a", "ci") }},
		{"suspended", func() { p.resource.Spec.Suspend = true; x.SetResource(p.resource.DeepCopy()) }},
		{"the resource is gone", func() { x.DeleteResource("team-a", "ci") }},
		{"the record is gone", func() { x.DeleteRecord(p.secretName()) }},
	} {
		heard = nil
		step.do()
		if !slices.Contains(heard, p.id()) {
			t.Errorf("%s: heard of %v", step.name, heard)
		}
	}
	heard = nil
	x.SetServiceAccount("team-a", "other", "sa-2")
	if len(heard) > 0 {
		t.Errorf("heard of %v without a change", heard)
	}
}

func TestCase75_AFaceThatKnowsNoAddressRefusesNetworks(t *testing.T) {
	for _, where := range []string{"spec", "record"} {
		p := newPAT(t, "team-a", "ci", "1")
		if where == "spec" {
			p.resource.Spec.From = []string{"10.0.0.0/8"}
		} else {
			p.record.Granted.From = []string{"10.0.0.0/8"}
		}
		x := newIndex(t, p)
		want(t, x, p.bearer, start, Unknown, reasonAddressBound)
		if r := x.VerifyScoped(p.bearer, []string{apiAudience}, start); r.Verdict != Unknown || r.Reason != reasonAddressBound {
			t.Errorf("%s: a face that enforces scopes gets %s/%s", where, r.Verdict, r.Reason)
		}
		r := x.VerifyProxied(p.bearer, start)
		if r.Verdict != Authenticated || !r.Networks.Allow(netip.MustParseAddr("10.1.2.3")) || r.Networks.Allow(netip.MustParseAddr("11.1.2.3")) {
			t.Errorf("%s: the proxy gets %s/%s %+v", where, r.Verdict, r.Reason, r.Networks)
		}
	}
	p := newPAT(t, "team-a", "ci", "1", func(p *pat) { p.resource.Spec.From = []string{"nowhere"} })
	if r := newIndex(t, p).VerifyProxied(p.bearer, start); r.Verdict != Unknown {
		t.Errorf("networks that cannot be read: %s", r.Verdict)
	}
}

func TestNetworksOfRecordAndSpec(t *testing.T) {
	prefixes := func(all ...string) (out []netip.Prefix) {
		for _, p := range all {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	for _, tc := range []struct {
		name     string
		networks *Networks
		address  string
		want     bool
	}{
		{"none", nil, "192.0.2.1", true},
		{"inside", &Networks{spec: prefixes("192.0.2.0/24")}, "192.0.2.1", true},
		{"outside", &Networks{spec: prefixes("192.0.2.0/24")}, "192.0.3.1", false},
		{"inside of the record only", &Networks{record: prefixes("192.0.2.0/24"), spec: prefixes("192.0.3.0/24")}, "192.0.2.1", false},
		{"inside of both", &Networks{record: prefixes("192.0.2.0/24", "10.0.0.0/8"), spec: prefixes("10.1.0.0/16")}, "10.1.0.9", true},
		{"inside of each policy", &Networks{policies: [][]netip.Prefix{prefixes("192.0.2.0/24", "10.0.0.0/8"), prefixes("192.0.0.0/16")}}, "192.0.2.1", true},
		{"outside of one policy", &Networks{policies: [][]netip.Prefix{prefixes("192.0.2.0/24"), prefixes("10.0.0.0/8")}}, "192.0.2.1", false},
		{"inside of a policy only", &Networks{spec: prefixes("10.0.0.0/8"), policies: [][]netip.Prefix{prefixes("192.0.2.0/24")}}, "192.0.2.1", false},
		{"IPv4 in IPv6 form", &Networks{spec: prefixes("192.0.2.0/24")}, "::ffff:192.0.2.1", true},
		{"IPv6", &Networks{spec: prefixes("2001:db8::/32")}, "2001:db8:1::1", true},
		{"IPv6 with a zone", &Networks{spec: prefixes("fe80::/10")}, "fe80::1%eth0", true},
	} {
		if got := tc.networks.Allow(netip.MustParseAddr(tc.address)); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
	if (&Networks{spec: prefixes("0.0.0.0/0", "::/0")}).Allow(netip.Addr{}) {
		t.Error("an address that is not known is inside")
	}
}
