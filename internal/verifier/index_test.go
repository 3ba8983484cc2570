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
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
)

// revokes makes status name ids as revoked, and nothing else.
func (p *pat) revokes(ids ...string) {
	p.resource.Status.Revoked = nil
	for _, id := range ids {
		p.resource.Status.Revoked = append(p.resource.Status.Revoked, v1alpha1.RevokedToken{TokenID: id})
	}
}

// rotated gives the token a valid predecessor, and returns the predecessor's id and bearer string.
func rotated(t *testing.T, p *pat) (id, bearer string) {
	t.Helper()
	was := newPAT(t, p.resource.Namespace, p.resource.Name, p.resource.UID)
	p.record.Previous = was.record.Current
	return was.id(), was.bearer
}

func TestRevokedInStatusIsOverAtOnce(t *testing.T) {
	p := newPAT(t, "team-a", "ci", "uid-1")
	predecessor, itsBearer := rotated(t, p)
	x := newIndex(t, p)
	want(t, x, p.bearer, start, Authenticated, reasonValid)
	want(t, x, itsBearer, start, Authenticated, reasonValid)

	p.revokes(predecessor)
	x.SetResource(p.resource.DeepCopy())
	want(t, x, p.bearer, start, Authenticated, reasonValid)
	want(t, x, itsBearer, start, Refused, ReasonEnded)

	p.revokes(p.id())
	x.SetResource(p.resource.DeepCopy())
	want(t, x, p.bearer, start, Refused, ReasonEnded)
	want(t, x, itsBearer, start, Refused, ReasonEnded)
}

func TestTheCurrentTokenTakesItsPredecessorWithIt(t *testing.T) {
	p := newPAT(t, "team-a", "ci", "uid-1")
	_, itsBearer := rotated(t, p)
	p.revokes(p.id())
	x := newIndex(t, p)
	want(t, x, p.bearer, start, Refused, ReasonEnded)
	want(t, x, itsBearer, start, Refused, ReasonEnded)
}

func TestARevocationIsNeverForgotten(t *testing.T) {
	p := newPAT(t, "team-a", "ci", "uid-1")
	p.revokes(p.id())
	x := newIndex(t)
	// Before the record is seen, too; and after the entry is removed, the list is flooded, or the record is rewritten.
	x.SetResource(p.resource.DeepCopy())
	p.revokes()
	x.SetResource(p.resource.DeepCopy())
	for i := range 2 * maxRevoked {
		p.revokes(fmt.Sprintf("c%015d", i))
		x.SetResource(p.resource.DeepCopy())
	}
	p.revokes()
	p.set(t, x)
	want(t, x, p.bearer, start, Refused, ReasonEnded)

	other := newPAT(t, "team-a", "other", "uid-2")
	for i := range 2 * maxRevoked {
		other.revokes(fmt.Sprintf("c%015d", i))
		other.set(t, x)
	}
	want(t, x, other.bearer, start, Authenticated, reasonValid)
	for _, ids := range [][]string{{other.id()}, nil, {"cccccccccccccccc"}} {
		other.revokes(ids...)
		other.set(t, x)
		want(t, x, other.bearer, start, Refused, ReasonEnded)
	}
}

func TestRevokingInOneResourceLeavesOthersAlone(t *testing.T) {
	p, other := newPAT(t, "team-a", "ci", "uid-1"), newPAT(t, "team-a", "other", "uid-2")
	other.revokes(p.id())
	x := newIndex(t, p, other)
	want(t, x, p.bearer, start, Authenticated, reasonValid)
}

func TestUseIsWhatStatusSaysOfARecordsToken(t *testing.T) {
	p := newPAT(t, "team-a", "ci", "uid-1")
	predecessor, _ := rotated(t, p)
	first, last := metav1.NewTime(start), metav1.NewTime(start.Add(time.Hour))
	p.resource.ResourceVersion = "7"
	p.resource.Status = v1alpha1.PersonalAccessTokenStatus{TokenID: p.id(), FirstUsedAt: &first, LastUsedAt: &last}
	x := newIndex(t, p)
	said := Use{ResourceVersion: "7", TokenID: p.id(), FirstUsedAt: first.Time, LastUsedAt: last.Time}
	is := func(id string, want Use, known bool) {
		t.Helper()
		got, ok := x.Use("team-a", "ci", id)
		if diff := cmp.Diff(want, got); diff != "" || ok != known {
			t.Errorf("Use of %s, %v (-want +got):\n%s", id, ok, diff)
		}
	}
	current := said
	current.Current = true
	is(p.id(), current, true)
	is(predecessor, said, true)
	is("cccccccccccccccc", Use{}, false)

	p.end(record.EndedExpired)
	p.set(t, x)
	is(p.id(), current, true)

	again := newPAT(t, "team-a", "ci", "uid-2")
	x.SetResource(again.resource.DeepCopy())
	is(p.id(), Use{}, false)
	x.DeleteResource("team-a", "ci")
	is(p.id(), Use{}, false)
}
