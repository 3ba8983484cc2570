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

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/guards"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/long"
)

// The guards as kustomize installs them are in force for the operator, by the rights of its own account.
func TestCase51_TheInstalledGuardsAreAccepted(t *testing.T) {
	kept := &corev1.Secret{}
	eventually(t, patience, func() bool {
		return admin.Get(t.Context(), client.ObjectKey{Namespace: cluster.RecordsNamespace, Name: guards.SecretName}, kept) == nil
	}, func() string { return "the operator accepts no guards" })
	if kept.Type != guards.SecretType {
		t.Errorf("the fingerprint is kept in a Secret of type %s", kept.Type)
	}
}

// installedGuards are what judges a PersonalAccessToken, as they are installed now.
func installedGuards(t *testing.T) []client.Object {
	t.Helper()
	objects := []client.Object{
		&admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "pat-operator-users"}},
		&admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "pat-operator-users"}},
		&mutating{ObjectMeta: metav1.ObjectMeta{Name: "pat-operator"}},
		&validating{ObjectMeta: metav1.ObjectMeta{Name: "pat-operator"}},
	}
	for _, o := range objects {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			t.Fatal(err)
		}
	}
	return objects
}

// uninstallGuards deletes the guards, until install is called.
func uninstallGuards(t *testing.T) (install func()) {
	t.Helper()
	objects, installed := installedGuards(t), true
	for _, o := range objects {
		if err := admin.Delete(t.Context(), o.DeepCopyObject().(client.Object)); err != nil {
			t.Fatal(err)
		}
	}
	installed = false
	install = func() {
		if installed {
			return
		}
		installed = true
		for _, o := range objects {
			o.SetUID("")
			o.SetResourceVersion("")
			if err := admin.Create(context.Background(), o); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(install)
	return install
}

// plant creates a resource that no guard judges.
func plant(t *testing.T, p *v1alpha1.PersonalAccessToken) {
	t.Helper()
	install := uninstallGuards(t)
	var last error
	eventually(t, patience, func() bool {
		last = admin.Create(t.Context(), p.DeepCopy())
		return last == nil
	}, func() string { return fmt.Sprintf("the guards stay in force: %v", last) })
	install()
}

// changeWebhook changes the validating webhook as another tool would.
func changeWebhook(t *testing.T, change func(*validating)) {
	t.Helper()
	o := &validating{ObjectMeta: metav1.ObjectMeta{Name: "pat-operator"}}
	changeObject(t, o, func() { change(o) })
}

// changePolicy changes the policy users as another tool would.
func changePolicy(t *testing.T, change func(*admissionregistrationv1.ValidatingAdmissionPolicy)) {
	t.Helper()
	o := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "pat-operator-users"}}
	changeObject(t, o, func() { change(o) })
}

func changeObject(t *testing.T, o client.Object, change func()) {
	t.Helper()
	eventually(t, patience, func() bool {
		if err := admin.Get(context.Background(), client.ObjectKeyFromObject(o), o); err != nil {
			t.Fatal(err)
		}
		change()
		err := admin.Update(context.Background(), o)
		if err != nil && !apierrors.IsConflict(err) {
			t.Fatal(err)
		}
		return err == nil
	}, func() string { return "conflicts without end" })
}

// AKS adds a selector to the webhook, and a tool of its own takes it for its duty to set the timeout: GuardsMissing names the
// selector, and nothing is issued meanwhile. What else they change lets issuing pause, and never refuses what was judged.
func TestCase51_ToolsThatChangeTheWebhook(t *testing.T) {
	long.Only(t)
	ns := team(t)
	t.Cleanup(func() {
		changeWebhook(t, func(v *validating) {
			v.Webhooks[0].NamespaceSelector, v.Webhooks[0].TimeoutSeconds = nil, ptr.To[int32](5)
		})
	})
	const selector = "webhooks[0].namespaceSelector"
	changeWebhook(t, func(v *validating) {
		v.Webhooks[0].NamespaceSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "control-plane", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"true"}},
			{Key: "kubernetes.azure.com/managedby", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"aks"}},
		}}
	})
	var last error
	eventually(t, patience, func() bool {
		probe := pat(ns, "") // those of before the operator knows
		probe.GenerateName = "probe-"
		last = alice.Create(t.Context(), probe)
		return last != nil && strings.Contains(last.Error(), selector)
	}, func() string { return fmt.Sprintf("a token is asked for while the webhook has a selector: %v", last) })
	wantStatus(t, last, 500, selector, "try again")
	eventually(t, patience, func() bool {
		var events eventsv1.EventList
		if err := admin.List(t.Context(), &events); err != nil {
			t.Fatal(err)
		}
		for i := range events.Items {
			if e := &events.Items[i]; e.Reason == guards.ReasonGuardsMissing && strings.Contains(e.Note, selector) {
				return true
			}
		}
		return false
	}, func() string { return "no event names the selector" })
	changeWebhook(t, func(v *validating) { v.Webhooks[0].NamespaceSelector = nil })
	createOnceAccepted(t, pat(ns, "early"))

	// Labels and annotations alone let nothing pause.
	changeWebhook(t, func(v *validating) {
		metav1.SetMetaDataLabel(&v.ObjectMeta, "managed-by", "aks")
		metav1.SetMetaDataAnnotation(&v.ObjectMeta, "example.com/checked", "yes")
	})
	names := []string{"early", "labelled"}
	create(t, alice, pat(ns, "labelled"))
	granted := func(name string) {
		t.Helper()
		eventually(t, patience, func() bool { rec := recordOf(t, ns, name); return rec != nil && rec.Granted != nil }, func() string { return name + " is not granted" })
	}
	granted("labelled") // What nobody had carried out when a guard changed would be refused.

	// Two tools that disagree about the timeout.
	rounds := 1 + int(*soak/(90*time.Second))
	for i := range rounds {
		changeWebhook(t, func(v *validating) { v.Webhooks[0].TimeoutSeconds = ptr.To(int32(3 + i%2)) })
		name := fmt.Sprintf("between-%d", i)
		createOnceAccepted(t, pat(ns, name))
		names = append(names, name)
		granted(name)
	}
	for _, name := range names {
		waitFor(t, ns, name, v1alpha1.ConditionReady, "True/Reconciled")
		if rec := recordOf(t, ns, name); rec.Refused != "" {
			t.Errorf("%s is refused: %s", name, rec.Refused)
		}
	}
}

// createOnceAccepted asks for a token until the operator has accepted the guards.
func createOnceAccepted(t *testing.T, p *v1alpha1.PersonalAccessToken) {
	t.Helper()
	var last error
	eventually(t, 3*patience, func() bool {
		last = alice.Create(t.Context(), p.DeepCopy())
		return last == nil
	}, func() string { return fmt.Sprintf("no token can be asked for: %v", last) })
}

// A wish that was judged waits for quota while the guards are upgraded and reinstalled, and the CA is replaced. The operator is
// killed at each step. Once there is quota, one token is issued.
func TestCase51_AWaitingWishOutlivesTheGuards(t *testing.T) {
	long.Only(t)
	ns := team(t)
	deliveries := watchDeliveries(t, ns)
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "no-secrets"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/secrets": resource.MustParse("0")}},
	}
	create(t, admin, quota)
	eventually(t, patience, func() bool {
		return admin.Get(t.Context(), client.ObjectKeyFromObject(quota), quota) == nil && len(quota.Status.Hard) > 0
	}, func() string { return "nobody reckons with the quota" })
	create(t, alice, pat(ns, "my-pat"))
	waitFor(t, ns, "my-pat", v1alpha1.ConditionReady, "False/IssuingFailed")
	waits := func(after string) {
		t.Helper()
		if rec := recordOf(t, ns, "my-pat"); rec.Granted == nil || rec.Refused != "" || rec.Current != nil {
			t.Fatalf("after %s the record is %+v", after, rec)
		}
	}
	restart := func(after string) {
		t.Helper()
		killOperator(t)
		startOperator(t)
		if *soak > 0 {
			if err := cl.WaitAccepted(t.Context()); err != nil {
				t.Fatal(err)
			}
			killOperator(t)
			startOperator(t)
		}
		waits(after)
	}
	waits("the quota was met")
	changePolicy(t, func(p *admissionregistrationv1.ValidatingAdmissionPolicy) { // to that of a newer release
		p.Annotations["pat-operator.io/rules"] = "1000"
		p.Spec.AuditAnnotations = []admissionregistrationv1.AuditAnnotation{{Key: "release", ValueExpression: "'next'"}}
	})
	t.Cleanup(func() {
		changePolicy(t, func(p *admissionregistrationv1.ValidatingAdmissionPolicy) {
			p.Annotations["pat-operator.io/rules"] = "1"
			p.Spec.AuditAnnotations = nil
		})
	})
	restart("the upgrade")
	uninstallGuards(t)()
	restart("the reinstallation")
	ca := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.OperatorNamespace, Name: "pat-operator-ca"}}
	if err := admin.Delete(t.Context(), ca); err != nil {
		t.Fatal(err)
	}
	restart("the CA was replaced")
	if err := cl.WaitAccepted(t.Context()); err != nil {
		t.Fatal(err)
	}
	waits("the acceptance")
	killOperator(t)
	startOperator(t)
	if err := admin.Delete(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	// The operator tries again by and by.
	eventually(t, 5*patience, func() bool { return recordOf(t, ns, "my-pat").Current != nil }, func() string { return "no token is issued" })
	accepted(t, take(t, alice, ns, "my-pat"))
	waitFor(t, ns, "my-pat", v1alpha1.ConditionReady, "True/Reconciled")
	if got := deliveries(); len(got) != 1 {
		t.Errorf("delivered in %q; want one Secret", got)
	}
}

// watchDeliveries tells which delivery Secrets there were in a namespace since.
func watchDeliveries(t *testing.T, ns string) func() []string {
	t.Helper()
	watch, err := admin.Watch(t.Context(), &corev1.SecretList{}, client.InNamespace(ns))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(watch.Stop)
	var names []string
	return func() []string {
		t.Helper()
		marker := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, GenerateName: "marker-"}}
		create(t, admin, marker)
		for event := range watch.ResultChan() {
			switch s, ok := event.Object.(*corev1.Secret); {
			case !ok:
				t.Fatalf("the watch of Secrets says %v", event.Object)
			case s.Name == marker.Name:
				return names
			case s.Type == v1alpha1.SecretTypeToken && event.Type == "ADDED":
				names = append(names, s.Name)
			}
		}
		t.Fatal("the watch of Secrets has ended")
		return nil
	}
}
