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

package guards

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
)

const records = cluster.RecordsNamespace

var api = env.APIServer{Namespaces: []string{records}}

func TestMain(m *testing.M) { os.Exit(api.Run(m)) }

// world is an API server with the shipped guards, and the clock of every process of a test.
type world struct {
	t     *testing.T
	admin client.Client
	clock *testingclock.FakeClock
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t, api.Client(t), testingclock.NewFakeClock(time.Now())}
	w.install()
	t.Cleanup(func() {
		w.uninstall()
		kept := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: records, Name: SecretName}}
		if err := w.admin.Delete(context.Background(), kept); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) install() {
	w.t.Helper()
	for _, o := range load(w.t).objects() {
		if err := w.admin.Create(w.t.Context(), o); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) uninstall() {
	w.t.Helper()
	for _, g := range guards {
		if err := w.admin.Delete(context.Background(), metadata(g.kind, g.name)); client.IgnoreNotFound(err) != nil {
			w.t.Error(err)
		}
	}
}

// change updates the guards that change touches.
func (w *world) change(change func(*shipped)) {
	w.t.Helper()
	was, err := read(w.t.Context(), w.admin)
	if err != nil {
		w.t.Fatal(err)
	}
	s := &shipped{
		was[0].(*admissionregistrationv1.ValidatingWebhookConfiguration), was[1].(*admissionregistrationv1.ValidatingAdmissionPolicy),
		was[2].(*admissionregistrationv1.ValidatingAdmissionPolicyBinding),
	}
	change(s)
	for _, o := range s.objects() {
		if err := w.admin.Update(w.t.Context(), o); err != nil {
			w.t.Fatal(err)
		}
	}
}

func timeout(seconds int32) func(*shipped) {
	return func(s *shipped) { s.webhook.Webhooks[0].TimeoutSeconds = &seconds }
}

// process is the operator's part that is tested, with a cache of its own.
type process struct {
	*Guards
	w      *world
	events *recorder
	// refused counts the calls of RefuseUncovered, which returns err.
	refused int
	err     error
	// during, where set, runs in RefuseUncovered.
	during func()
}

func (w *world) start(options ...func(*Options)) *process {
	w.t.Helper()
	p := &process{w: w, events: &recorder{}}
	byObject := ByObject()
	maps.Copy(byObject, map[client.Object]cache.ByObject{&corev1.Secret{}: {Namespaces: map[string]cache.Config{records: {}}}})
	c, err := cache.New(api.Config(w.t), cache.Options{Scheme: env.Scheme, ByObject: byObject})
	if err != nil {
		w.t.Fatal(err)
	}
	o := Options{
		Client: w.admin, Live: w.admin, Cache: c, RecordsNamespace: records, Service: service, Clock: w.clock,
		RefuseUncovered: func(context.Context) error {
			p.refused++
			if p.during != nil {
				p.during()
			}
			return p.err
		},
		Recorder: p.events, Log: logr.Discard(),
	}
	for _, option := range options {
		option(&o)
	}
	if p.Guards, err = New(o); err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- c.Start(ctx) }()
	w.t.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil {
			w.t.Error(err)
		}
	})
	if !c.WaitForCacheSync(ctx) {
		w.t.Fatal("the cache did not sync")
	}
	return p
}

// takes a round, and expects when the next is due.
func (p *process) takes(next time.Duration) {
	p.w.t.Helper()
	got, err := p.round(p.w.t.Context())
	if err != nil {
		p.w.t.Fatal(err)
	}
	if got != next {
		p.w.t.Fatalf("the next round is due in %v; want %v", got, next)
	}
}

// fails takes a round, and expects it to fail.
func (p *process) fails() error {
	p.w.t.Helper()
	_, err := p.round(p.w.t.Context())
	if err == nil {
		p.w.t.Fatal("the round did not fail")
	}
	return err
}

// accepts takes the rounds of an acceptance.
func (p *process) accepts() {
	p.w.t.Helper()
	p.takes(settle)
	p.w.clock.Step(settle)
	p.takes(poll)
	p.settled(nil)
}

// settled waits until both verdicts are want.
func (p *process) settled(want error) {
	p.w.t.Helper()
	NewWithT(p.w.t).Eventually(func(g Gomega) {
		for _, verdict := range []error{p.Accepted(), p.Judged(p.w.t.Context())} {
			if want == nil {
				g.Expect(verdict).NotTo(HaveOccurred())
			} else {
				g.Expect(verdict).To(MatchError(want))
			}
		}
	}, env.Patience, "2ms").Should(Succeed())
}

// missing waits until both verdicts name the same fault.
func (p *process) missing(message string) {
	p.w.t.Helper()
	NewWithT(p.w.t).Eventually(func(g Gomega) {
		for _, verdict := range []error{p.Accepted(), p.Judged(p.w.t.Context())} {
			var missing *Missing
			g.Expect(errors.As(verdict, &missing)).To(BeTrue(), "%v", verdict)
			g.Expect(missing.Error()).To(Equal(message))
		}
	}, env.Patience, "2ms").Should(Succeed())
}

// kept is the fingerprint that is kept, zero where none is.
func (w *world) kept() fingerprint {
	w.t.Helper()
	k, err := readKept(w.t.Context(), w.admin, records)
	if err != nil {
		w.t.Fatal(err)
	}
	return k.fingerprint
}

func (w *world) live() fingerprint {
	w.t.Helper()
	f, err := readFingerprint(w.t.Context(), w.admin)
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// recorder keeps events as text.
type recorder struct {
	mu  sync.Mutex
	all []string
}

var _ events.EventRecorder = (*recorder)(nil)

func (r *recorder) Eventf(regarding, _ runtime.Object, eventType, reason, _, note string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := regarding.(*metav1.PartialObjectMetadata)
	r.all = append(r.all, fmt.Sprintf("%s %s: %s %s: ", o.Kind, o.Name, eventType, reason)+fmt.Sprintf(note, args...))
}

// of returns the events with a reason.
func (r *recorder) of(reason string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var of []string
	for _, e := range r.all {
		if strings.Contains(e, " "+reason+": ") {
			of = append(of, e)
		}
	}
	return of
}
