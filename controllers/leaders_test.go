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

package controllers

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/long"
)

// leader is one of two that take turns at making requests.
type leader struct {
	// grant says how many requests it may make before the other's turn, back that it has, or is at rest.
	grant chan int
	back  chan bool
	left  int
	// resting: it has done everything that it saw to do, without an error.
	resting bool
}

// lead starts a leader, which waits for its turn. Its turns are counted in requests, reads among them, or in writes.
func (w *world) lead(o operator, inWrites bool) *leader {
	l := &leader{grant: make(chan int), back: make(chan bool)}
	o.api.at = func(c call) error {
		if c.write || !inWrites {
			if l.left == 0 {
				l.back <- false
				l.left = <-l.grant
			}
			l.left--
		}
		return o.api.send(c)
	}
	go func() {
		defer func() { l.back <- true }()
		l.left = <-l.grant
		var err error
		for range 10 {
			if _, err = o.Reconcile(w.ctx, ctrl.Request{NamespacedName: w.key(thePAT)}); err == nil {
				return
			}
		}
		w.violated("a leader does not come to rest: %v", err)
	}()
	return l
}

// proceed gives a leader its turn.
func (l *leader) proceed(requests int) {
	if !l.resting {
		l.grant <- requests
		l.resting = <-l.back
	}
}

// race is a scenario for two leaders, with a change that happens while the first is paused for the first time.
type race struct {
	scenario
	meanwhile func(*world)
	// or is what else may be, by who came first.
	or []outcome
	// turns is how many turns at writes are tried besides, up to three.
	turns int
}

// playRace lets the leaders take turns: turns[0] requests by the first, turns[1] by the second, and so on. Then both
// continue until they rest, first the one whose turn it is. It returns which turn was the first to end at rest.
func playRace(t *testing.T, r *race, turns []int, inWrites bool, mutate mutation) (rested int, broken []string) {
	t.Helper()
	w := begin(t, &r.scenario, mutate)
	both := []*leader{w.lead(w.operator, inWrites), w.lead(w.start(), inWrites)}
	rested = len(turns)
	for i, n := range turns {
		if n > 0 {
			both[i%2].proceed(n)
		}
		if both[i%2].resting {
			rested = min(rested, i)
		}
		if i == 0 {
			r.meanwhile(w)
			w.forget()
		}
	}
	both[len(turns)%2].proceed(math.MaxInt)
	both[(len(turns)+1)%2].proceed(math.MaxInt)
	// A third takes over: what the two have seen last may have been changed by the other since.
	w.restart()
	w.comeToRest(w.operator)
	w.passMissing()
	w.finish(true, append([]outcome{r.want}, r.or...)...)
	return rested, w.broken
}

// schedules tries every schedule with this number of turns, until try returns stop. A turn grows by one request until its leader comes
// to rest in it; try returns the first turn to end at rest, or the number of turns.
func schedules(turns int, try func([]int) (rested int, stop bool)) {
	var grow func(before []int) (int, bool)
	grow = func(before []int) (int, bool) {
		this := len(before)
		n := 1
		if this == 1 {
			n = 0 // What happens meanwhile may meet the first leader alone.
		}
		for ; ; n++ {
			next, with := grow, append(slices.Clip(before), n)
			if len(with) == turns {
				next = try
			}
			rested, stop := next(with)
			if stop || rested < this {
				return rested, stop
			}
			if rested == this {
				return turns, false
			}
		}
	}
	grow(nil)
}

var races = append(alone(scenarios),
	race{scenario{"deleted while it is issued", nop, create, nothing}, remove, nil, 2},
	race{scenario{"made again while it is issued", nop, create, active}, then(remove, create), nil, 2},
	race{scenario{"suspended while it is issued", nop, create, suspended}, suspend, nil, 0},
	race{scenario{"expired while it is issued", nop, createShort, expired}, pass(30 * time.Minute), nil, 0},
	race{scenario{"made again while its end is swept", issued, remove, active}, create, nil, 2},
	race{scenario{"deleted while a holder's is taken", nop, createHolders, nothing}, remove, []outcome{remembered}, 2},
	race{scenario{"made again while a holder's is taken", nop, createHolders, holders}, then(remove, createHolders), []outcome{revoked}, 2},
	race{scenario{"another's made again while a holder's is taken", nop, createHolders, holders}, then(remove, createOthers), []outcome{holdersAgain}, 2},
	race{scenario{"made again and again", issued, then(remove, create), active}, then(remove, create), nil, 2},
	race{scenario{"deleted while it takes over", issued, then(remove, create), nothing}, remove, nil, 2},
	race{scenario{"a holder's made again and again", issuedHolders, then(remove, createOthers), revoked}, then(remove, createHolders),
		[]outcome{{revoked.active, revoked.ready, revoked.stalled, 0, false, 2}}, 2},
	race{scenario{"made again while a holder's end is swept", issuedHolders, remove, revoked}, createHolders, nil, 2},
	race{scenario{"another made while a holder's end is swept", issuedHolders, remove, another}, create, nil, 2},
	race{scenario{"deleted while it is rotated", issued, rotate, nothing}, remove, nil, 0},
	race{scenario{"rotated again while it is rotated", issued, rotate, active}, rotateAgain, nil, 0},
	race{scenario{"a holder's replaced again", issuedHolders, anotherHolders, holders}, anotherHolders, nil, 0},
	race{scenario{"revoked while it is rotated", issued, rotate, revokedKept}, revokeCurrent, []outcome{active}, 0},
	race{scenario{"rotated while its revocation is carried", issued, revokeCurrent, active}, anew, nil, 0},
	race{scenario{"deleted while it expires", issuedForShort, pass(30 * time.Minute), nothing}, remove, nil, 2},
	race{scenario{"deleted while its delivery ends", issued, pass(time.Hour), nothing}, remove, nil, 2},
)

var (
	another = outcome{active: "True/Active", ready: "True/Reconciled", valid: 1, delivered: true, remembers: 1}
)

// turnsOf says for which scenarios two leaders take turns at their writes, and how often.
var turnsOf = map[string]int{"issuing": 3, "taking a holder's token": 3, "deletion": 3, "expiry": 2, "made again": 2}

// basics are the scenarios of the short form: each way to a token, and its end.
var basics = []string{"issuing", "issuing to recipients", "taking a holder's token", "revocation", "deletion"}

// variants are scenarios like others, which are tried in the long form alone.
var variants = []string{
	"rotation of what has expired", "rotating found", "rotating found, and quota",
	"rotation, from a Secret to recipients", "rotation to recipients, with an overlap", "rotation of a holder's, with an overlap",
	"a holder's replaced, back in Git within the overlap", "deletion of a holder's that was replaced",
	"expiry of a recipient's", "deletion of a recipient's",
	"revocation of a holder's", "revocation of a recipient's", "revocation while it is rotated", "rotation of what was revoked",
	"deletion of a holder's that was revoked",
	"deletion after a revocation within an overlap", "revocation within an overlap", "revocation of a predecessor",
	"rotated while its revocation is carried", "deleted while its delivery ends",
	"pending found, and quota", "pending found, recipients asked for", "expiry and delivery over",
	"delivery over, its Secret another's", "made again, a holder's, after its tombstone",
}

func alone(all []scenario) []race {
	var out []race
	for _, s := range all {
		out = append(out, race{s, nop, nil, turnsOf[s.name]})
	}
	return out
}

func createShort(w *world) {
	w.create(thePAT, func(p *v1alpha1.PersonalAccessToken) {
		p.Spec.ExpiresAt = &metav1.Time{Time: w.clock.Now().Add(30 * time.Minute)}
	})
}

// Two leaders for a minute: one is paused before each of its requests, reads included, while the other does all of its
// own. Then they take turns at their writes by every schedule of two changes between them where a token is issued, and, with
// -soak, of two and three changes everywhere.
func TestCase34_TwoLeadersAtEveryStep(t *testing.T) {
	for i := range races {
		r := &races[i]
		if !*soak {
			if slices.Contains(variants, r.name) || !long.Form() && !slices.Contains(basics, r.name) {
				continue
			}
			turns := 0
			if r.name == "issuing" && long.Form() {
				turns = 2
			}
			r = &race{r.scenario, r.meanwhile, r.or, turns}
		}
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			n := 0
			exploreRace(t, r, mutation{}, func(at string, broken []string) (stop bool) {
				n++
				for _, what := range broken {
					t.Errorf("%s: %s", at, what)
				}
				return false
			})
			t.Logf("%d schedules", n)
		})
	}
}

// exploreRace plays a race by every schedule, until found says stop.
func exploreRace(t *testing.T, r *race, mutate mutation, found func(at string, broken []string) (stop bool)) (stopped bool) {
	t.Helper()
	try := func(unit string) func([]int) (int, bool) {
		return func(turns []int) (int, bool) {
			rested, broken := playRace(t, r, turns, unit == "writes", mutate)
			stopped = found(fmt.Sprintf("turns of %v %s", turns, unit), broken)
			return rested, stopped
		}
	}
	schedules(1, try("requests"))
	for turns := 2; turns <= r.turns && !stopped; turns++ {
		schedules(turns, try("writes"))
	}
	return stopped
}
