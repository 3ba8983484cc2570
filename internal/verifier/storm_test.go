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
	"sync"
	"testing"
	"time"

	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/test/long"
	"github.com/pat-operator/pat-operator/test/policies"
)

// TestCase37_Storm reads while everything changes. A token that nothing touches is always valid, and so is one that
// others only squat on; one whose record and resource come and go is valid or unknown, and never anything else.
func TestCase37_Storm(t *testing.T) {
	const writers, readers = 8, 4
	rounds := 10
	if long.Form() {
		rounds = 50
	}
	id, squatted := newToken(t)
	steady := newPAT(t, "team-a", "steady", "uid-steady")
	victim := newPAT(t, "team-a", "victim", "uid-victim", ofHolder(id, token.NewDigest("team-a", "victim", squatted).Hex()))
	owned := newPAT(t, "team-a", "owned", "uid-owned", ofServiceAccount("team-a", "bot", "sa-1"))
	x := newIndex(t, steady, victim, owned)

	churn := make([]*pat, writers)
	for i := range churn {
		churn[i] = newPAT(t, "team-b", fmt.Sprintf("churn-%d", i), recordUID(i))
	}
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
				for _, bearer := range []string{steady.bearer, squatted} {
					if r := x.Verify(bearer, nil, start); r.Verdict != Authenticated {
						t.Errorf("%s/%s for a token that nobody may touch", r.Verdict, r.Reason)
						return
					}
				}
				for _, p := range append(churn[:writers:writers], owned) {
					if r := x.Verify(p.bearer, nil, start); r.Verdict != Authenticated && r.Verdict != Unknown {
						t.Errorf("%s/%s for a token that comes and goes", r.Verdict, r.Reason)
						return
					}
				}
			}
		})
	}
	for i, p := range churn {
		writing.Go(func() {
			squatName := fmt.Sprintf("squat-%d", i)
			squat := newPAT(t, "team-c", squatName, recordUID(writers+i), ofHolder(id, token.NewDigest("team-c", squatName, "x").Hex()))
			for range rounds {
				p.set(t, x)
				squat.set(t, x)
				x.SetServiceAccount("team-a", "bot", "sa-1")
				x.SetPolicy(policies.New(squatName, `{match: {namespaces: [team-b]}, deny: {reason: x}}`))
				x.DeletePolicy(squatName)
				x.DeleteResource(p.resource.Namespace, p.resource.Name)
				x.DeleteRecord(squat.secretName())
				x.DeleteServiceAccount("team-a", "bot")
				x.DeleteRecord(p.secretName())
				x.DeleteResource("team-c", squatName)
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()

	x.DeleteResource("team-a", "steady")
	x.DeleteResource("team-a", "victim")
	x.DeleteResource("team-a", "owned")
	for _, p := range []*pat{steady, victim, owned} {
		x.DeleteRecord(p.secretName())
	}
	wantClean(t, x)
}

func TestVerifyAllocatesNothingForALongString(t *testing.T) {
	p := newPAT(t, "team-a", "ci", "uid-1")
	x := newIndex(t, p)
	long := p.bearer + string(make([]byte, 1<<20))
	if n := testing.AllocsPerRun(100, func() { x.Verify(long, nil, start) }); n > 0 {
		t.Errorf("%v allocations for a string that is not a token", n)
	}
}

func BenchmarkVerify(b *testing.B) {
	x := newIndex(b)
	for i := range 10_000 {
		newPAT(b, "team-a", fmt.Sprintf("t%d", i), recordUID(i)).set(b, x)
	}
	p := newPAT(b, "team-a", "ci", "uid-x")
	p.set(b, x)
	_, unknown := newToken(b)
	for name, bearer := range map[string]string{"valid": p.bearer, "unknown": unknown, "foreign": "eyJhbGciOi"} {
		b.Run(name, func(b *testing.B) {
			now := start.Add(time.Hour)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					x.Verify(bearer, nil, now)
				}
			})
		})
	}
}
