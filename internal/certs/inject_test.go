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

package certs

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/cacert"
	"github.com/pat-operator/pat-operator/test/env"
)

// configurations returns what config/webhook would apply, for an API group that nobody uses.
func configurations(name string) (*admissionregistrationv1.MutatingWebhookConfiguration, *admissionregistrationv1.ValidatingWebhookConfiguration) {
	none, ignore, path, url := admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.Ignore, "/mutate", "https://127.0.0.1:9443/validate"
	rules := []admissionregistrationv1.RuleWithOperations{{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{"certs.example.com"}, APIVersions: []string{"v1"}, Resources: []string{"things"}},
	}}
	byService := admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Namespace: name, Name: "admission", Path: &path}}
	byURL := admissionregistrationv1.WebhookClientConfig{URL: &url}
	meta := metav1.ObjectMeta{Name: name}
	return &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: meta, Webhooks: []admissionregistrationv1.MutatingWebhook{
			{Name: "a.example.com", ClientConfig: byService, Rules: rules, SideEffects: &none, FailurePolicy: &ignore, AdmissionReviewVersions: []string{"v1"}},
		}}, &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: meta, Webhooks: []admissionregistrationv1.ValidatingWebhook{
			{Name: "a.example.com", ClientConfig: byService, Rules: rules, SideEffects: &none, FailurePolicy: &ignore, AdmissionReviewVersions: []string{"v1"}},
			{Name: "b.example.com", ClientConfig: byURL, Rules: rules, SideEffects: &none, FailurePolicy: &ignore, AdmissionReviewVersions: []string{"v1"}},
		}}
}

func TestBundleIsInjectedAndKeptInPlace(t *testing.T) {
	g := NewWithT(t)
	c, o, _ := operator(t)
	o.WebhookConfigurationName = o.Namespace
	o.Interval = 50 * time.Millisecond
	a := NewAuthority(c, o)
	type injection struct{ before, after client.Object }
	injections := make(chan injection, 10)
	a.OnPatched(func(_ context.Context, before, after client.Object) error {
		injections <- injection{before, after}
		return errors.New("nobody minds")
	})
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error)
	go func() { stopped <- a.Start(ctx) }()

	g.Eventually(func() error { return a.Serving(nil) }, env.Patience, "20ms").Should(Succeed())
	// Deleting the configurations must not stop verification.
	g.Eventually(func() error { return a.Ready(nil) }, env.Patience, "20ms").Should(Succeed())

	mutating, validating := configurations(o.Namespace)
	create(t, mutating)
	create(t, validating)
	bundle := bundleOf(t, o.Namespace)
	key := client.ObjectKey{Name: o.Namespace}
	injected := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	gotMutating := &admissionregistrationv1.MutatingWebhookConfiguration{}
	g.Eventually(func(g Gomega) {
		g.Expect(admin(t).Get(t.Context(), key, injected)).To(Succeed())
		g.Expect(injected.Webhooks[0].ClientConfig.CABundle).To(Equal(bundle))
		g.Expect(admin(t).Get(t.Context(), key, gotMutating)).To(Succeed())
		g.Expect(gotMutating.Webhooks[0].ClientConfig.CABundle).To(Equal(bundle))
	}, env.Patience, "20ms").Should(Succeed())
	for range 2 {
		got := <-injections
		if got.before.GetUID() != got.after.GetUID() || got.before.GetGeneration() != 1 || got.after.GetGeneration() != 2 {
			t.Errorf("told of %s, from generation %d to %d; want from 1 to 2", got.after.GetName(), got.before.GetGeneration(), got.after.GetGeneration())
		}
	}
	for i := range validating.Webhooks {
		validating.Webhooks[i].ClientConfig.CABundle = bundle
	}
	if diff := cmp.Diff(validating.Webhooks, injected.Webhooks); diff != "" {
		t.Errorf("more than the bundle changed (-want +got):\n%s", diff)
	}
	mutating.Webhooks[0].ClientConfig.CABundle = bundle
	if diff := cmp.Diff(mutating, gotMutating, cmpopts.IgnoreFields(metav1.ObjectMeta{}, "ResourceVersion", "Generation", "ManagedFields")); diff != "" {
		t.Errorf("more than the bundle changed (-want +got):\n%s", diff)
	}

	foreign := cacert.Encode(must[*authority](t)(newAuthority("ca", epoch, day)).cert)
	injected.Webhooks[0].ClientConfig.CABundle, injected.Webhooks[1].ClientConfig.CABundle = nil, foreign
	g.Expect(admin(t).Update(t.Context(), injected)).To(Succeed())
	g.Eventually(func(g Gomega) {
		got := &admissionregistrationv1.ValidatingWebhookConfiguration{}
		g.Expect(admin(t).Get(t.Context(), key, got)).To(Succeed())
		g.Expect(cmp.Diff(validating.Webhooks, got.Webhooks)).To(BeEmpty())
	}, env.Patience, "20ms").Should(Succeed())

	g.Expect(admin(t).Delete(t.Context(), gotMutating)).To(Succeed())
	g.Consistently(func() error { return a.Ready(nil) }, "300ms", "20ms").Should(Succeed())

	stop()
	g.Eventually(stopped, env.Patience).Should(Receive(BeNil()))
}

// A configuration that is applied while the operator runs does not wait for the next interval.
func TestBundleIsInjectedOnceWoken(t *testing.T) {
	g := NewWithT(t)
	c, o, _ := operator(t)
	o.WebhookConfigurationName, o.Interval = o.Namespace, time.Hour
	a := NewAuthority(c, o)
	go func() { _ = a.Start(t.Context()) }()
	g.Eventually(func() error { return a.Ready(nil) }, env.Patience, "20ms").Should(Succeed())

	_, validating := configurations(o.Namespace)
	create(t, validating)
	a.Wake()
	g.Eventually(func(g Gomega) {
		g.Expect(admin(t).Get(t.Context(), client.ObjectKeyFromObject(validating), validating)).To(Succeed())
		g.Expect(validating.Webhooks[0].ClientConfig.CABundle).NotTo(BeEmpty())
	}, env.Patience, "20ms").Should(Succeed())
}

func TestBundleIsNotInjectedIntoAVersionThatWasNotRead(t *testing.T) {
	c, o, _ := operator(t)
	_, validating := configurations(o.Namespace)
	create(t, validating)
	bundle := cacert.Encode(must[*authority](t)(newAuthority("ca", epoch, day)).cert)
	patch := must[client.Patch](t)(bundlePatch(validating.ResourceVersion, [][]byte{nil, nil}, bundle))
	validating.Webhooks = validating.Webhooks[1:]
	if err := admin(t).Update(t.Context(), validating); err != nil {
		t.Fatal(err)
	}
	if err := c.Patch(t.Context(), validating, patch); !lostRace(err) {
		t.Errorf("error = %v, want a lost race", err)
	}
}
