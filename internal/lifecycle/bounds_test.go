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

package lifecycle

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/test/long"
)

// namespace is the records of one namespace, without an API server.
type namespace struct {
	t       *testing.T
	config  Config
	records map[string]*record.Record
	// remembered is the sum of what the records remember; most is the highest sum there was.
	remembered, most int
}

// converge carries out what Decide says until nothing is left to do, and returns what the resource says then.
func (n *namespace) converge(name string, in Input) *State {
	n.t.Helper()
	in.Config, in.Now, in.ClockProven = n.config, now, true
	for range 20 {
		was := 0
		if in.Record = n.records[name]; in.Record != nil {
			was = in.Record.Remembers()
		}
		in.Remembered = n.remembered
		switch d := Decide(in); d.Action {
		case Nothing:
			return d.State
		case Write:
			n.records[name] = d.Next
			n.remembered += d.Next.Remembers() - was
		case Delete:
			delete(n.records, name)
			n.remembered -= was
		default:
			n.t.Fatalf("%s: %s", name, d.Action)
		}
		n.most = max(n.most, n.remembered)
	}
	n.t.Fatalf("%s does not come to rest", name)
	return nil
}

// Tokens that their holders make end 10,000 times, in each way. Every token is remembered or refused, and the bound holds.
func TestCase50_TheBoundHoldsWhicheverWayTokensEnd(t *testing.T) {
	const inRecord = record.MaxEnded - roomForEnds + 1
	bound := 500
	if long.Form() {
		bound = 5_000
	}
	idOf := func(n int) string {
		return strings.NewReplacer("0", "a", "1", "b", "8", "y", "9", "z").Replace(fmt.Sprintf("%016d", n))
	}
	revoke := func(pat *v1alpha1.PersonalAccessToken) {
		pat.Status.Revoked = []v1alpha1.RevokedToken{{TokenID: pat.Spec.Token.ID, At: &metav1.Time{Time: now}}}
	}
	taken := func(*v1alpha1.PersonalAccessToken) {}
	each := func(n int) string { return fmt.Sprintf("pat-%d", n) }
	one := func(int) string { return "my-pat" }
	for name, tc := range map[string]struct {
		rounds int
		nameOf func(round int) string
		// Each step is a state of the resource that the operator sees.
		steps []func(*v1alpha1.PersonalAccessToken)
		// most is the highest number of ids remembered.
		most int
	}{
		"deleted, a name each":              {2 * bound, each, []func(*v1alpha1.PersonalAccessToken){taken}, bound},
		"deleted, one name":                 {min(3_000, 2*bound), one, []func(*v1alpha1.PersonalAccessToken){taken}, min(inRecord, bound)},
		"revoked before taken, a name each": {2 * bound, each, []func(*v1alpha1.PersonalAccessToken){revoke}, bound + bound/10},
		"revoked before taken, one name":    {min(3_000, 2*bound), one, []func(*v1alpha1.PersonalAccessToken){revoke}, min(inRecord, bound+bound/10)},
		"taken, revoked, a few names":       {2 * bound, func(n int) string { return each(n % (bound / 50)) }, []func(*v1alpha1.PersonalAccessToken){taken, revoke}, bound + bound/10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := &namespace{t: t, config: Config{MaxLifetime: 366 * day, SecretDelivery: true, MaxRemembered: bound}, records: map[string]*record.Record{}}
			remembered := 0
			for round := range tc.rounds {
				pat, key := input(holder).Resource, tc.nameOf(round)
				pat.Name, pat.UID = key, types.UID(fmt.Sprintf("u%d", round))
				pat.Spec.Token.ID, pat.Spec.Token.BoundTo = idOf(round), "team-a/"+key
				var state *State
				for _, step := range tc.steps {
					step(pat)
					state = n.converge(key, Input{Resource: pat})
				}
				if rec := n.records[key]; rec != nil && (rec.Knows(pat.Spec.Token.ID) || rec.EndOf(pat.Spec.Token.ID) != nil) {
					remembered++
				} else if state.Stalled == nil {
					t.Fatalf("round %d is neither remembered nor refused: %v", round, state)
				}
				n.converge(key, Input{Deleted: pat.UID})
			}
			if n.remembered != tc.most || n.most > tc.most {
				t.Errorf("%d ids are remembered, %d at most; want %d", n.remembered, n.most, tc.most)
			}
			if remembered != n.remembered {
				t.Errorf("%d tokens were to be remembered, and %d are", remembered, n.remembered)
			}
		})
	}
}
