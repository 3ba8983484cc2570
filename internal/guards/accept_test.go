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
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/test/env"
)

func TestCase51_GuardsAreAcceptedAfterTenSecondsInForce(t *testing.T) {
	w := newWorld(t)
	p := w.start()
	p.settled(errAccepting)
	p.takes(10 * time.Second)
	w.clock.Step(9 * time.Second)
	p.takes(time.Second)
	if p.refused != 0 || w.kept() != (fingerprint{}) {
		t.Fatalf("after 9 seconds: wishes were refused %d times, kept %v", p.refused, w.kept())
	}
	w.clock.Step(time.Second)
	p.takes(5 * time.Minute)
	if p.refused != 1 || w.kept() != w.live() {
		t.Fatalf("after 10 seconds: wishes were refused %d times, kept %v; want %v", p.refused, w.kept(), w.live())
	}
	p.settled(nil)
	p.takes(5 * time.Minute)
	if p.refused != 1 {
		t.Error("wishes were refused again, and nothing has changed")
	}
}

// Whatever judges something else after the change is accepted anew, and whatever does not is not even noticed.
func TestCase51_WhatChangesTheFingerprint(t *testing.T) {
	w := newWorld(t)
	p := w.start()
	p.accepts()
	for name, change := range map[string]func(s *shipped){
		"labels": func(s *shipped) { s.webhook.Labels = map[string]string{"a": "b"} },
		"annotations": func(s *shipped) {
			for _, o := range s.objects() {
				o.GetAnnotations()["a"] = "b"
			}
		},
	} {
		before := w.live()
		w.change(change)
		p.takes(poll)
		if w.live() != before {
			t.Errorf("%s change the fingerprint", name)
		}
		p.settled(nil)
	}
	for name, change := range map[string]func(s *shipped){
		"timeout": timeout(7),
		"policy": func(s *shipped) {
			s.policy.Spec.AuditAnnotations = []admissionregistrationv1.AuditAnnotation{{Key: "a", ValueExpression: "'b'"}}
		},
		"binding": func(s *shipped) {
			s.binding.Spec.ValidationActions = append(s.binding.Spec.ValidationActions, admissionregistrationv1.Audit)
		},
	} {
		w.change(change)
		p.settled(errAccepting)
		if w.kept() == w.live() {
			t.Errorf("%s: the fingerprint is the same", name)
		}
		p.accepts()
	}
}

// The operator was away while the guards were weakened and put back exactly: a resource planted meanwhile may be there.
func TestCase51_GuardsPutBackExactlyAreAcceptedAnew(t *testing.T) {
	ignore, fail := admissionregistrationv1.Ignore, admissionregistrationv1.Fail
	for name, weaken := range map[string]func(w *world){
		"webhook ignored": func(w *world) {
			w.change(func(s *shipped) { s.webhook.Webhooks[0].FailurePolicy = &ignore })
			w.change(func(s *shipped) { s.webhook.Webhooks[0].FailurePolicy = &fail })
		},
		"binding on Audit": func(w *world) {
			w.change(func(s *shipped) {
				s.binding.Spec.ValidationActions = []admissionregistrationv1.ValidationAction{admissionregistrationv1.Audit}
			})
			w.change(func(s *shipped) {
				s.binding.Spec.ValidationActions = []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny}
			})
		},
		"deleted and applied": func(w *world) {
			w.uninstall()
			w.install()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.start().accepts()
			weaken(w)
			p := w.start()
			p.settled(errAccepting)
			p.accepts()
			if p.refused != 1 {
				t.Errorf("wishes were refused %d times; want once", p.refused)
			}
		})
	}
}

func TestCase51_AcceptanceStartsOver(t *testing.T) {
	ignore, fail := admissionregistrationv1.Ignore, admissionregistrationv1.Fail
	for name, disturb := range map[string]func(w *world, p *process){
		"the guards change between the reads": func(w *world, _ *process) { w.change(timeout(7)) },
		"the guards are weak between the reads": func(w *world, _ *process) {
			w.change(func(s *shipped) { s.webhook.Webhooks[0].FailurePolicy = &ignore })
			w.change(func(s *shipped) { s.webhook.Webhooks[0].FailurePolicy = &fail })
		},
		"a guard is replaced between the reads": func(w *world, _ *process) {
			w.uninstall()
			w.install()
		},
		"wishes cannot be refused": func(w *world, p *process) {
			p.err = errors.New("no answer")
			if err := p.fails(); !errors.Is(err, p.err) {
				w.t.Errorf("got %v; want the cause", err)
			}
			p.err = nil
		},
		"the fingerprint cannot be kept": func(w *world, p *process) {
			p.opts.Client = refusing{p.w.admin}
			if err := p.fails(); !apierrors.IsServiceUnavailable(err) {
				w.t.Errorf("got %v; want the cause", err)
			}
			p.opts.Client = p.w.admin
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.start()
			p.takes(settle)
			w.clock.Step(settle)
			disturb(w, p)
			if w.kept() != (fingerprint{}) {
				t.Fatal("a fingerprint is kept")
			}
			p.accepts()
			if w.kept() != w.live() {
				t.Error("the fingerprint kept is another")
			}
		})
	}
}

// refusing is a client whose writes fail.
type refusing struct{ client.Client }

var errUnavailable = apierrors.NewServiceUnavailable("no etcd")

func (refusing) Create(context.Context, client.Object, ...client.CreateOption) error {
	return errUnavailable
}

func (refusing) Update(context.Context, client.Object, ...client.UpdateOption) error {
	return errUnavailable
}

// losing is a client that writes and loses the answer.
type losing struct{ client.Client }

func (l losing) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	return errors.Join(l.Client.Create(ctx, o, opts...), errUnavailable)
}

// A process that is killed leaves nothing but the kept fingerprint, so another one begins anew, or is done.
func TestCase51_TheOperatorIsKilledBetweenTheSteps(t *testing.T) {
	for name, tc := range map[string]struct {
		until    func(p *process)
		accepted bool
	}{
		"before the first read": {func(*process) {}, false},
		"after the first read":  {func(p *process) { p.takes(settle) }, false},
		"while it waits":        {func(p *process) { p.takes(settle); p.w.clock.Step(9 * time.Second); p.takes(time.Second) }, false},
		"after refusing wishes": {func(p *process) {
			p.takes(settle)
			p.w.clock.Step(settle)
			p.opts.Client = refusing{p.w.admin}
			_ = p.fails()
		}, false},
		"before keeping is told": {func(p *process) {
			p.takes(settle)
			p.w.clock.Step(settle)
			p.opts.Client = losing{p.w.admin}
			_ = p.fails()
		}, true},
		"when it is done": {func(p *process) { p.accepts() }, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tc.until(w.start())
			p := w.start()
			if tc.accepted {
				p.takes(poll)
				p.settled(nil)
			} else {
				p.settled(errAccepting)
				p.accepts()
			}
			if want := map[bool]int{true: 0, false: 1}[tc.accepted]; p.refused != want {
				t.Errorf("the second process refused wishes %d times; want %d", p.refused, want)
			}
		})
	}
}

// The first leader sleeps where it holds the most, after refusing wishes, while the guards are weakened, put back, and accepted
// by the second.
func TestCase51_ALeaderThatSleptKeepsNothing(t *testing.T) {
	for name, kept := range map[string]bool{"none is kept before": false, "another is kept before": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if kept {
				w.start().accepts()
				w.change(timeout(8))
			}
			first, second := w.start(), w.start()
			first.takes(settle)
			w.clock.Step(settle)
			first.during = func() {
				w.change(timeout(7))
				second.accepts()
			}
			if err := first.fails(); !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
				t.Errorf("got %v; want a conflict", err)
			}
			if w.kept() != w.live() {
				t.Error("the fingerprint that the second has accepted is gone")
			}
			first.takes(poll)
			first.settled(nil)
			second.settled(nil)
		})
	}
}

// Every replica knows by its own cache, the leader or not.
func TestCase51_EveryReplicaKnows(t *testing.T) {
	w := newWorld(t)
	leader, other := w.start(), w.start()
	other.settled(errAccepting)
	leader.accepts()
	other.settled(nil)
	ignore := admissionregistrationv1.Ignore
	w.change(func(s *shipped) { s.webhook.Webhooks[0].FailurePolicy = &ignore })
	other.missing("ValidatingWebhookConfiguration pat-operator: webhooks[0].failurePolicy is Ignore; set it to Fail")
	w.uninstall()
	other.missing("ValidatingWebhookConfiguration pat-operator does not exist; apply the manifests of this release again")
}

// Without a change of generation: the annotation says what the content is to be.
func TestCase51_ANumberTakenAwayAndGivenBack(t *testing.T) {
	w := newWorld(t)
	p := w.start()
	p.accepts()
	w.change(func(s *shipped) { delete(s.policy.Annotations, rulesAnnotation) })
	p.missing(`ValidatingAdmissionPolicy pat-operator-users: metadata.annotations["pat-operator.io/rules"] is absent; apply the manifests of this release again`)
	p.takes(poll)
	w.change(func(s *shipped) { s.policy.Annotations = map[string]string{rulesAnnotation: "1"} })
	p.takes(poll)
	p.settled(nil)
	if p.refused != 1 {
		t.Errorf("wishes were refused %d times; want once: the content never changed", p.refused)
	}
}

// A stored fingerprint that cannot be decoded is neither trusted nor fatal.
func TestCase51_AnUnreadableFingerprintIsReplaced(t *testing.T) {
	valid, err := fingerprint{{webhookKind, "a", 1}, {policyKind, "b", 1}, {bindingKind, "c", 1}}.toSecret(records)
	if err != nil {
		t.Fatal(err)
	}
	data := string(valid.Data[payloadKey])
	for name, spoil := range map[string]func(s *corev1.Secret){
		"another type":     func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque },
		"another key":      func(s *corev1.Secret) { s.Data["other"] = nil },
		"no key":           func(s *corev1.Secret) { s.Data = nil },
		"no JSON":          func(s *corev1.Secret) { s.Data[payloadKey] = []byte("{") },
		"another version":  func(s *corev1.Secret) { s.Data[payloadKey] = []byte(strings.Replace(data, `"v":1`, `"v":2`, 1)) },
		"an unknown field": func(s *corev1.Secret) { s.Data[payloadKey] = []byte(strings.Replace(data, `"v":1`, `"v":1,"w":1`, 1)) },
		"two guards":       func(s *corev1.Secret) { s.Data[payloadKey] = []byte(`{"v":1,"guards":[]}`) },
		"no UID":           func(s *corev1.Secret) { s.Data[payloadKey] = []byte(strings.Replace(data, `"uid":"a"`, `"uid":""`, 1)) },
		"immutable":        func(s *corev1.Secret) { s.Immutable, s.Data[payloadKey] = new(true), nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			spoiled := valid.DeepCopy()
			spoil(spoiled)
			if fromSecret(spoiled) != (fingerprint{}) {
				t.Fatal("it was read")
			}
			if err := w.admin.Create(t.Context(), spoiled); err != nil {
				t.Fatal(err)
			}
			p := w.start()
			p.settled(errAccepting)
			p.accepts()
			if w.kept() != w.live() {
				t.Error("it was not replaced")
			}
		})
	}
	if f := fromSecret(valid); f[2].UID != "c" {
		t.Errorf("the Secret that is not spoiled: %v", f)
	}
}

func TestCase51_TheKeptFingerprintIsDeleted(t *testing.T) {
	w := newWorld(t)
	p := w.start()
	p.accepts()
	if err := w.admin.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: records, Name: SecretName}}); err != nil {
		t.Fatal(err)
	}
	p.settled(errAccepting)
	p.accepts()
}

// patchBundle is what internal/certs does.
func patchBundle(t *testing.T, bundle string) (before, after *admissionregistrationv1.ValidatingWebhookConfiguration) {
	t.Helper()
	before = &admissionregistrationv1.ValidatingWebhookConfiguration{}
	if err := api.Client(t).Get(t.Context(), client.ObjectKey{Name: webhookName}, before); err != nil {
		t.Fatal(err)
	}
	after = before.DeepCopy()
	after.Webhooks[0].ClientConfig.CABundle = []byte(bundle)
	if err := api.Client(t).Update(t.Context(), after); err != nil {
		t.Fatal(err)
	}
	return before, after
}

func TestCase51_OurOwnBundleIsCarriedOver(t *testing.T) {
	w := newWorld(t)
	leader, other := w.start(), w.start()
	leader.accepts()
	before, after := patchBundle(t, "bundle")
	if before.Generation == after.Generation {
		t.Fatal("a bundle does not change the generation")
	}
	leader.settled(errAccepting)
	if err := other.Carry(t.Context(), before, after); err != nil {
		t.Fatal(err)
	}
	leader.settled(nil)
	leader.takes(poll)
	if leader.refused != 1 {
		t.Errorf("wishes were refused %d times; want once", leader.refused)
	}
}

// The change arrives while an acceptance waits, which then has nothing to wait for.
func TestCase51_ABundleIsCarriedOverWhileAnAcceptanceWaits(t *testing.T) {
	w := newWorld(t)
	p := w.start()
	p.accepts()
	before, after := patchBundle(t, "bundle")
	p.takes(settle)
	if err := p.Carry(t.Context(), before, after); err != nil {
		t.Fatal(err)
	}
	p.takes(poll)
	p.settled(nil)
}

func TestCase51_NothingElseIsCarriedOver(t *testing.T) {
	w := newWorld(t)
	p := w.start()
	p.accepts()
	kept := w.kept()
	selected := func(before, after *admissionregistrationv1.ValidatingWebhookConfiguration) {
		after.Webhooks[0].NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
	}
	for name, change := range map[string]func(before, after *admissionregistrationv1.ValidatingWebhookConfiguration){
		"a selector that came with the bundle": selected,
		"another object":                       func(_, after *admissionregistrationv1.ValidatingWebhookConfiguration) { after.UID = "other" },
		"a generation that is not kept": func(before, after *admissionregistrationv1.ValidatingWebhookConfiguration) {
			before.Generation += 7
			after.Generation += 8
		},
		"another name": func(before, after *admissionregistrationv1.ValidatingWebhookConfiguration) {
			before.Name, after.Name = "other", "other"
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := load(t).webhook
			before.UID, before.Generation = kept[0].UID, kept[0].Generation
			after := before.DeepCopy()
			after.Generation++
			change(before, after)
			if err := p.Carry(t.Context(), before, after); err != nil {
				t.Fatal(err)
			}
			if w.kept() != kept {
				t.Error("it was carried over")
			}
		})
	}
	mutating := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: webhookName, UID: kept[0].UID, Generation: kept[0].Generation}}
	if err := p.Carry(t.Context(), mutating, mutating); err != nil || w.kept() != kept {
		t.Errorf("the mutating webhook: %v", err)
	}
}

// Start does it all when it is told by the watch, says once what is missing, and ends with its context.
func TestCase51_TheLoopFollowsTheGuards(t *testing.T) {
	w := newWorld(t)
	w.uninstall()
	p := w.start()
	g := NewWithT(t)
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- p.Start(ctx) }()
	await := func(want func() bool, message string) {
		t.Helper()
		g.Eventually(func() bool {
			if want() {
				return true
			}
			// A second at a time, so that no pause or poll is skipped that the loop relies on.
			if w.clock.HasWaiters() {
				w.clock.Step(time.Second)
			}
			return false
		}, env.Patience, "5ms").Should(BeTrue(), message)
	}
	await(func() bool { return len(p.events.of(ReasonGuardsMissing)) > 0 }, "the absence is not reported")
	w.install()
	await(func() bool { return p.Accepted() == nil }, "the guards are not accepted")
	w.change(timeout(7))
	// The time that the watch takes does not count.
	g.Eventually(p.Accepted, env.Patience, "2ms").Should(MatchError(errAccepting))
	began := w.clock.Now()
	await(func() bool { return p.Accepted() == nil && w.kept() == w.live() }, "the change is not accepted")
	if took := w.clock.Since(began); took < settle || took >= poll {
		t.Errorf("a change was accepted after %v", took)
	}
	ignore, fail := admissionregistrationv1.Ignore, admissionregistrationv1.Fail
	w.change(func(s *shipped) { s.webhook.Webhooks[0].FailurePolicy = &ignore })
	await(func() bool { return len(p.events.of(ReasonGuardsMissing)) > 1 }, "the failure policy is not reported")
	w.change(func(s *shipped) { s.webhook.Labels = map[string]string{"a": "b"} })
	w.change(func(s *shipped) { s.webhook.Webhooks[0].FailurePolicy = &fail })
	await(func() bool { return p.Accepted() == nil }, "the guards are not accepted again")

	if diff := cmp.Diff([]string{
		"ValidatingWebhookConfiguration pat-operator: Warning GuardsMissing: ValidatingWebhookConfiguration pat-operator does not exist; apply the manifests of this release again. Until then no token is issued, renewed or widened.",
		"ValidatingWebhookConfiguration pat-operator: Warning GuardsMissing: ValidatingWebhookConfiguration pat-operator: webhooks[0].failurePolicy is Ignore; set it to Fail. Until then no token is issued, renewed or widened.",
	}, p.events.of(ReasonGuardsMissing)); diff != "" {
		t.Errorf("events (- want, + got):\n%s", diff)
	}
	if got := p.events.of(reasonAdmissionIncomplete); len(got) != len(others()) {
		t.Errorf("%d other objects are reported missing, once each; want %d: %q", len(got), len(others()), got)
	}
	stop()
	g.Eventually(stopped, env.Patience).Should(Receive(BeNil()))
}

// Two tools that disagree change the webhook configuration every 30 seconds: accepted in between, no judged wish refused for it.
func TestCase51_TwoToolsThatDisagreeLeaveTimeInBetween(t *testing.T) {
	w := newWorld(t)
	p := w.start()
	for i := range 6 {
		w.change(timeout(int32(3 + i%2)))
		p.accepts()
		w.clock.Step(30*time.Second - settle)
	}
}
