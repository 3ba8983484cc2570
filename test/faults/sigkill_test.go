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

package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

const (
	writers = 4
	killed  = "operator killed (SIGKILL) while manifests change"
)

// The operator is killed again and again at moments of chance, while several people apply, suspend, resume, delete and
// re-create manifests, some of them with a token of the holder's own. Left alone it ends with one valid plaintext for
// each living resource, none for any other, and nothing left over.
func TestCase30_KilledAtAnyMoment(t *testing.T) {
	long.Only(t)
	alongside(t, &theOperators)
	manifests := 60
	if *soak >= 10*time.Minute {
		manifests = 500
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	ns := newTeam(t)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	seen := watchOver(ctx, t, ns)

	var items []*item
	for i := range manifests {
		items = append(items, &item{namespace: ns, name: fmt.Sprintf("item-%03d", i), holders: i%5 == 0})
	}
	var done atomic.Int64
	writing, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	for w := range writers {
		random := rand.New(rand.NewPCG(seed, uint64(w)))
		all.Go(func() {
			for writing.Err() == nil {
				it := items[random.IntN(len(items)/writers)*writers+w]
				if it.change(writing, random) {
					done.Add(1)
					continue
				}
				select { // there is nobody to admit it
				case <-time.After(20 * time.Millisecond):
				case <-writing.Done():
				}
			}
		})
	}
	kills, early := killAgainAndAgain(t, rand.New(rand.NewPCG(seed, writers)), share(50, 15*time.Second), func() bool {
		return done.Load() >= 60
	})
	stop()
	all.Wait()
	t.Logf("%d changes by %d writers, %d kills, %d of them before it was ready", done.Load(), writers, kills, early)
	if kills == 0 || done.Load() == 0 {
		t.Fatal("nothing was tested")
	}

	restartOperator(t)
	settle(t, items)
	checkAll(t, items, seen, kills)
}

// killAgainAndAgain starts the operator and kills it, sometimes before it is ready, for some time, and ends with it dead. The
// last one lives until enough has happened, however slow the machine is.
func killAgainAndAgain(t *testing.T, random *rand.Rand, within time.Duration, enough func() bool) (kills, early int) {
	t.Helper()
	start := time.Now()
	for ; time.Since(start) < within || !enough(); kills++ {
		operator.Kill()
		dropLease(t)
		patience := patience
		if random.IntN(5) == 0 {
			patience = time.Second + time.Duration(random.Int64N(int64(3*time.Second)))
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err := startOperator(ctx)
		cancel()
		if err != nil {
			if ctx.Err() == nil || t.Context().Err() != nil {
				t.Fatal(err)
			}
			early++
			continue
		}
		last := time.Since(start) >= within
		moment := time.Now().Add(time.Duration(random.Int64N(int64(2 * time.Second))))
		if err := env.Poll(t.Context(), 2*env.Patience, func() error {
			select {
			case <-operator.Exited():
				t.Fatalf("the operator has ended unexpectedly:\n%s", operator.Log())
			default:
			}
			if time.Now().Before(moment) || last && !enough() {
				return errors.New("not enough has happened")
			}
			return nil
		}); err != nil {
			t.Fatalf("%d kills in %v: %v", kills, time.Since(start), err)
		}
	}
	operator.Kill()
	dropLease(t)
	return kills, early
}

// dropLease does what 15 seconds would: the holder of the lease is dead.
func dropLease(t *testing.T) {
	t.Helper()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.OperatorNamespace, Name: "pat-operator"}}
	if err := client.IgnoreNotFound(admin.Delete(t.Context(), lease)); err != nil {
		t.Fatal(err)
	}
}

// item is a manifest that one writer changes.
type item struct {
	namespace, name string
	// holders: with a token of the holder's own.
	holders bool
	// spec declares the latest token of the holder's, plaintext; past are those before it.
	spec      func(*v1alpha1.PersonalAccessTokenSpec)
	plaintext string
	past      []string
}

func (it *item) get(ctx context.Context) (*v1alpha1.PersonalAccessToken, error) {
	p := &v1alpha1.PersonalAccessToken{}
	return p, admin.Get(ctx, types.NamespacedName{Namespace: it.namespace, Name: it.name}, p)
}

// create makes the resource; a holder's with another token than before, or with the same, as Git would.
func (it *item) create(ctx context.Context, same bool) error {
	p := pat(it.namespace, it.name)
	if it.holders {
		if it.spec == nil || !same {
			plaintext, spec, err := holder(it.namespace, it.name)
			if err != nil {
				return err
			}
			if it.plaintext != "" {
				it.past = append(it.past, it.plaintext)
			}
			it.plaintext, it.spec = plaintext, spec
		}
		it.spec(&p.Spec)
	}
	return alice.Create(ctx, p)
}

func (it *item) suspend(ctx context.Context, suspend bool) error {
	patch := fmt.Appendf(nil, `{"spec":{"suspend":%v}}`, suspend)
	return alice.Patch(ctx, pat(it.namespace, it.name), client.RawPatch(types.MergePatchType, patch))
}

// change does one thing of chance; false where the API server refused it, as it does while the webhooks are dead.
func (it *item) change(ctx context.Context, random *rand.Rand) bool {
	p, err := it.get(ctx)
	dice := random.IntN(10)
	switch {
	case apierrors.IsNotFound(err):
		err = it.create(ctx, dice < 5)
	case err != nil:
	case dice < 3:
		err = alice.Delete(ctx, p)
	case dice < 6:
		if err = alice.Delete(ctx, p); err == nil {
			err = it.create(ctx, dice < 4)
		}
	default:
		err = it.suspend(ctx, !p.Spec.Suspend)
	}
	return err == nil
}

// settle brings every item to where it is to end: most live, some suspended, some gone, some of the holders' applied
// once more after they were deleted. It waits until the operator has said so of each.
func settle(t *testing.T, items []*item) {
	t.Helper()
	bring := func(i int, it *item) {
		if err := env.Poll(t.Context(), patience, func() error {
			p, err := it.get(t.Context())
			switch {
			case apierrors.IsNotFound(err):
				if i%7 == 0 {
					return nil
				}
				if err := it.create(t.Context(), it.holders && i%2 == 0); err != nil {
					return err
				}
				return fmt.Errorf("%s is being created", it.name)
			case err != nil:
				return err
			case i%7 == 0:
				return client.IgnoreNotFound(alice.Delete(t.Context(), p))
			case p.Spec.Suspend != (i%11 == 1):
				return it.suspend(t.Context(), i%11 == 1)
			}
			return nil
		}); err != nil {
			t.Errorf("%s: %v", it.name, err)
		}
	}
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := w; i < len(items); i += writers {
				bring(i, items[i])
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for i, it := range items {
		if i%7 == 0 {
			continue
		}
		if err := env.Poll(t.Context(), patience, func() error {
			p, err := it.get(t.Context())
			if err != nil {
				return err
			}
			got := env.Condition(p, v1alpha1.ConditionActive)
			want := "True/Active"
			if p.Spec.Suspend {
				want = "False/Suspended"
			}
			if got != want && (!it.holders || got != "False/"+v1alpha1.ReasonTokenRevoked) {
				return fmt.Errorf("Active is %q; want %q", got, want)
			}
			return nil
		}); err != nil {
			t.Errorf("%s: %v", it.name, err)
		}
	}
}

func mustID(t *testing.T, plaintext string) string {
	t.Helper()
	id, err := token.Parse(plaintext)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
