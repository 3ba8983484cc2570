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
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/test/long"
)

// squatter is a resource whose user claims an id with a digest of another secret, at some time from start.
func squatter(t testing.TB, id, namespace, username string, n int, at time.Duration) *pat {
	t.Helper()
	name := fmt.Sprintf("squat-%d", n)
	return newPAT(t, namespace, name, recordUID(n), ofHolder(id, token.NewDigest(namespace, name, "x").Hex()), func(p *pat) {
		p.record.Current.IssuedAt = start.Add(at)
		p.record.User.Username, p.resource.Spec.User.Username = username, username
	})
}

func (p *pat) forget(x *Index) {
	x.DeleteResource(p.resource.Namespace, p.resource.Name)
	x.DeleteRecord(p.secretName())
}

func compared(x *Index, id string) int {
	all, _ := x.lookup(id)
	return len(all.compared)
}

// The victim's token was issued at start. Whatever comes first into the index, and whatever leaves it, it is valid.
func TestCase49_TheVictimIsAlwaysHonored(t *testing.T) {
	const squatters = 2 * maxCompared
	namespace := func(n int) string { return fmt.Sprintf("team-%d", n) }
	account := func(ns string, n int) string { return fmt.Sprintf("system:serviceaccount:%s:sa-%d", ns, n) }
	for name, tc := range map[string]struct {
		operatorMade bool
		squat        func(id string, n int) *pat
	}{
		"later, each in a namespace of its own": {squat: func(id string, n int) *pat {
			return squatter(t, id, namespace(n), "mallory", n, time.Duration(n+1))
		}},
		"later, in the victim's namespace": {squat: func(id string, n int) *pat {
			return squatter(t, id, "team-a", account("team-a", n), n, time.Duration(n+1))
		}},
		"earlier, in one namespace, each for another account": {squat: func(id string, n int) *pat {
			return squatter(t, id, "team-m", account("team-m", n), n, -time.Hour)
		}},
		"earlier, in one namespace fewer than are compared": {squat: func(id string, n int) *pat {
			return squatter(t, id, namespace(n%(maxCompared-1)), "mallory", n, -time.Hour)
		}},
		"earlier, by one user in the victim's namespace": {squat: func(id string, n int) *pat {
			return squatter(t, id, "team-a", "mallory", n, -time.Hour)
		}},
		"earlier than a token that the operator made": {operatorMade: true, squat: func(id string, n int) *pat {
			return squatter(t, id, namespace(n), "mallory", n, -time.Hour)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			victim := newPAT(t, "team-a", "ci", "uid-v")
			if !tc.operatorMade {
				ofHolder(victim.id(), victim.record.Current.Digest)(victim)
			}
			var squats []*pat
			for n := range squatters {
				squats = append(squats, tc.squat(victim.id(), n))
			}
			for _, place := range []int{0, maxCompared, squatters} {
				rand.Shuffle(squatters, func(i, j int) { squats[i], squats[j] = squats[j], squats[i] })
				x := newIndex(t)
				honored := func(when string) {
					t.Helper()
					if r := x.Verify(victim.bearer, nil, start); r.Verdict != Authenticated || r.Name != "ci" {
						t.Fatalf("place %d, %s: %s/%s", place, when, r.Verdict, r.Reason)
					}
					if n := compared(x, victim.id()); n > maxCompared {
						t.Fatalf("place %d, %s: %d digests are compared", place, when, n)
					}
				}
				for n := range squatters + 1 {
					if n == place {
						victim.set(t, x)
					}
					if n < squatters {
						squats[n].set(t, x)
					}
					if n >= place {
						honored("as they come")
					}
				}
				// Its own changes never cost it its place.
				victim.resource.Spec.Suspend = true
				x.SetResource(victim.resource.DeepCopy())
				want(t, x, victim.bearer, start, Unknown, ReasonSuspended)
				victim.resource.Spec.Suspend = false
				x.SetResource(victim.resource.DeepCopy())
				rand.Shuffle(squatters, func(i, j int) { squats[i], squats[j] = squats[j], squats[i] })
				for _, s := range squats {
					s.forget(x)
					honored("as they go")
				}
				victim.forget(x)
				wantClean(t, x)
			}
		})
	}
}

// As many namespaces as there are places, each with a claim from before the victim's: the victim waits, with a no that nobody
// caches, until one of them is gone.
func TestCase49_AWaitingClaimIsPromoted(t *testing.T) {
	id, plaintext := newToken(t)
	victim := newPAT(t, "team-a", "ci", "uid-v", ofHolder(id, token.NewDigest("team-a", "ci", plaintext).Hex()))
	x := newIndex(t, victim)
	want(t, x, plaintext, start, Authenticated, reasonValid)
	var squats []*pat
	for n := range maxCompared {
		squats = append(squats, squatter(t, id, fmt.Sprintf("team-%d", n), "mallory", n, -time.Hour))
		squats[n].set(t, x)
	}
	want(t, x, plaintext, start, Unknown, reasonNoMatch)

	// A place becomes free by a deletion and by an end.
	for name, free := range map[string]func(*pat){
		"deleted": func(s *pat) { s.forget(x) },
		"ended":   func(s *pat) { s.end(record.EndedRevoked); s.set(t, x) },
	} {
		free(squats[0])
		if r := x.Verify(plaintext, nil, start); r.Verdict != Authenticated {
			t.Errorf("%s: %s/%s", name, r.Verdict, r.Reason)
		}
		squats[0] = squatter(t, id, "team-0", "mallory", 0, -time.Hour)
		squats[0].set(t, x)
		want(t, x, plaintext, start, Unknown, reasonNoMatch)
	}

	// One that waits can go, and leaves nothing.
	victim.forget(x)
	squats[0].forget(x)
	if n := compared(x, id); n != maxCompared-1 {
		t.Errorf("%d claims are left to compare, want %d", n, maxCompared-1)
	}
	for _, s := range squats[1:] {
		s.forget(x)
	}
	wantClean(t, x)
}

// What has ended, or is not issued yet, takes no place and is never compared.
func TestCase49_ClaimsWithoutADigestAreCounted(t *testing.T) {
	const squatters = 3 * maxCompared
	id, plaintext := newToken(t)
	victim := newPAT(t, "team-a", "ci", "uid-v", ofHolder(id, token.NewDigest("team-a", "ci", plaintext).Hex()))
	x := newIndex(t)
	var squats []*pat
	for n := range squatters {
		s := squatter(t, id, "team-m", "mallory", n, -time.Hour)
		squats = append(squats, s)
		x.SetResource(s.resource.DeepCopy())
	}
	want(t, x, plaintext, start, Unknown, reasonNoMatch)
	for _, s := range squats {
		s.end(record.EndedDeleted)
		s.set(t, x)
	}
	want(t, x, plaintext, start, Refused, ReasonEnded)
	x.SetResource(victim.resource.DeepCopy())
	want(t, x, plaintext, start, Unknown, reasonNoMatch)
	victim.set(t, x)
	want(t, x, plaintext, start, Authenticated, reasonValid)
	if n := compared(x, id); n != 1 {
		t.Errorf("%d digests are compared, want the victim's alone", n)
	}
	for _, p := range append(squats, victim) {
		p.forget(x)
	}
	wantClean(t, x)
}

// Cost is counted in bytes allocated, which no other load on the machine changes: copying a list of all claims for each of
// them takes four times as much for each where there are four times as many.
func TestCase49_IndexingIsLinear(t *testing.T) {
	perClaim := func(squatters int) uint64 {
		id, _ := newToken(t)
		var squats []*pat
		for n := range squatters {
			squats = append(squats, squatter(t, id, fmt.Sprintf("team-%d", n%100), "mallory", n, time.Duration(n)))
		}
		x := newIndex(t)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, s := range squats {
			s.set(t, x)
		}
		for _, s := range squats {
			s.forget(x)
		}
		runtime.ReadMemStats(&after)
		wantClean(t, x)
		return (after.TotalAlloc - before.TotalAlloc) / uint64(squatters)
	}
	few, many := perClaim(500), perClaim(2000)
	t.Logf("%d bytes for each of 500 claims, %d for each of 2,000", few, many)
	if many > few*3/2 {
		t.Errorf("%d bytes for each of 500 claims and %d for each of 2,000; want about the same", few, many)
	}
}

// A record that remembers all the ids it can is joined again with each change of its resource. That takes as long as joining many
// records which have as many ids together; a search of all ids for each would take as many times as long. Both are slow where the
// machine is, and the least of ten counts.
func TestCase49_JoiningIsLinearInEndedIDs(t *testing.T) {
	const parts, limit = 64, 8
	join := func(records int) func() time.Duration {
		pats := make([]*pat, records)
		for i := range pats {
			p := newPAT(t, "team-a", fmt.Sprintf("ci-%d", i), types.UID(fmt.Sprintf("uid-%d", i)))
			for range record.MaxEnded / records {
				id, _ := newToken(t)
				p.record.Ended = append(p.record.Ended, record.Ended{ID: id, Reason: record.EndedDeleted, Until: start.Add(time.Hour)})
			}
			pats[i] = p
		}
		x := newIndex(t, pats...)
		return func() time.Duration {
			begun := time.Now()
			for _, p := range pats {
				x.SetResource(p.resource)
			}
			return time.Since(begun)
		}
	}
	joinMany, joinOne := join(parts), join(1)
	var times [2][]time.Duration
	for range 10 {
		times[0], times[1] = append(times[0], joinMany()), append(times[1], joinOne())
	}
	many, one := slices.Min(times[0]), slices.Min(times[1])
	t.Logf("%v for %d records, %v for one with as many ids", many, parts, one)
	if one > limit*many {
		t.Errorf("%v for %d records and %v for one with as many ended ids; want about as long", many, parts, one)
	}
}

// Readers find the victim's claim whatever squatters do meanwhile.
func TestCase49_SquattersComeAndGo(t *testing.T) {
	const writers, readers = 8, 4
	rounds := 1
	if long.Form() {
		rounds = 5
	}
	id, plaintext := newToken(t)
	victim := newPAT(t, "team-a", "ci", "uid-v", ofHolder(id, token.NewDigest("team-a", "ci", plaintext).Hex()))
	x := newIndex(t, victim)
	var writing, reading sync.WaitGroup
	done := make(chan struct{})
	for range readers {
		reading.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if r := x.Verify(plaintext, nil, start); r.Verdict != Authenticated {
					t.Errorf("%s/%s for a token that is only squatted on", r.Verdict, r.Reason)
					return
				}
			}
		})
	}
	for w := range writers {
		var squats []*pat
		for n := range maxCompared / 4 {
			squats = append(squats, squatter(t, id, fmt.Sprintf("team-%d", n), "mallory", w*maxCompared+n, time.Duration(w-writers/2)*time.Hour))
		}
		writing.Go(func() {
			for range rounds {
				for _, s := range squats {
					s.set(t, x)
				}
				for _, s := range squats {
					s.forget(x)
				}
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	victim.forget(x)
	wantClean(t, x)
}
