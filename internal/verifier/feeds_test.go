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
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllertest"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

const recordsNamespace = "pat-operator-records"

// fakeFeeds are informers that have not synced, by the object they are of.
func fakeFeeds(t *testing.T) (*informertest.FakeInformers, func(client.Object) *controllertest.FakeInformer) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, metav1.AddMetaToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	informers := &informertest.FakeInformers{Scheme: scheme}
	informers.InformersByGVK = map[schema.GroupVersionKind]toolscache.SharedIndexInformer{
		corev1.SchemeGroupVersion.WithKind("Secret"):                         controllertest.NewFakeInformer(),
		v1alpha1.GroupVersion.WithKind("PersonalAccessToken"):                controllertest.NewFakeInformer(),
		{Group: "meta.k8s.io", Version: "v1", Kind: "PartialObjectMetadata"}: controllertest.NewFakeInformer(),
	}
	return informers, func(obj client.Object) *controllertest.FakeInformer {
		f, err := informers.FakeInformerFor(t.Context(), obj)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
}

func TestRegisterFeedsTheIndex(t *testing.T) {
	informers, of := fakeFeeds(t)
	x := NewIndex(logr.Discard())
	x.SetAPIAudiences([]string{apiAudience})
	if err := x.Register(t.Context(), informers, recordsNamespace); err != nil {
		t.Fatal(err)
	}
	secrets, pats, accounts := of(&corev1.Secret{}), of(&v1alpha1.PersonalAccessToken{}), of(ServiceAccounts())
	p := newPAT(t, "team-a", "ci", "uid-1", ofServiceAccount("team-a", "bot", "sa-1"))
	account := ServiceAccounts()
	account.Namespace, account.Name, account.UID = "team-a", "bot", "sa-1"

	secrets.Add(p.secret(t))
	pats.Add(p.resource.DeepCopy())
	accounts.Add(account)
	secrets.Synced()
	pats.Synced()
	want(t, x, p.bearer, start, NotReady, ReasonNotReady)
	accounts.Synced()
	want(t, x, p.bearer, start, Authenticated, ReasonHonoured)

	elsewhere := p.secret(t)
	elsewhere.Namespace = "team-a"
	secrets.Delete(elsewhere)
	want(t, x, p.bearer, start, Authenticated, ReasonHonoured)
	elsewhere.Data = nil
	secrets.Add(elsewhere)
	want(t, x, p.bearer, start, Authenticated, ReasonHonoured)

	suspended := p.resource.DeepCopy()
	suspended.Spec.Suspend = true
	pats.Update(p.resource, suspended)
	want(t, x, p.bearer, start, Unknown, ReasonSuspended)
	pats.Update(suspended, p.resource.DeepCopy())
	want(t, x, p.bearer, start, Authenticated, ReasonHonoured)

	accounts.Delete(account)
	want(t, x, p.bearer, start, Unknown, ReasonOwnerNotSeen)
	accounts.Add(account)
	pats.Delete(p.resource)
	want(t, x, p.bearer, start, Unknown, ReasonResourceNotSeen)
	pats.Add(p.resource.DeepCopy())
	secrets.Delete(p.secret(t))
	want(t, x, p.bearer, start, Unknown, ReasonUnknownID)
}

func TestDeletionThatTheWatchMissed(t *testing.T) {
	p := newPAT(t, "team-a", "ci", "uid-1")
	for name, missed := range map[string]func(*Index){
		"record": func(x *Index) {
			handler(x.SetRecord, func(_, name string) { x.DeleteRecord(name) }).
				OnDelete(toolscache.DeletedFinalStateUnknown{Key: recordsNamespace + "/" + p.secretName()})
		},
		"resource": func(x *Index) {
			handler(x.SetResource, x.DeleteResource).OnDelete(toolscache.DeletedFinalStateUnknown{Key: "team-a/ci", Obj: p.resource})
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := newIndex(t, p)
			missed(x)
			if r := x.Verify(p.bearer, nil, start); r.Verdict != Unknown {
				t.Errorf("%s/%s, want an error", r.Verdict, r.Reason)
			}
		})
	}
}

func TestStripKeepsWhatVerificationNeeds(t *testing.T) {
	meta := metav1.ObjectMeta{Namespace: "team-a", Name: "ci", UID: "uid-1", ResourceVersion: "7", Generation: 2,
		CreationTimestamp: metav1.Time{Time: start}, DeletionTimestamp: &metav1.Time{Time: start}}
	full := *meta.DeepCopy()
	full.Labels, full.Annotations, full.Finalizers = map[string]string{"a": "b"}, map[string]string{"a": "b"}, []string{"a"}
	full.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	full.OwnerReferences = []metav1.OwnerReference{{Name: "a"}}
	spec := newPAT(t, "team-a", "ci", "uid-1").resource.Spec

	got, err := StripResource(&v1alpha1.PersonalAccessToken{ObjectMeta: *full.DeepCopy(), Spec: spec,
		Status: v1alpha1.PersonalAccessTokenStatus{TokenID: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&v1alpha1.PersonalAccessToken{ObjectMeta: meta, Spec: spec}, got); diff != "" {
		t.Errorf("StripResource (-want +got):\n%s", diff)
	}
	account := ServiceAccounts()
	account.ObjectMeta = full
	if got, err = StripServiceAccount(account); err != nil {
		t.Fatal(err)
	}
	stripped := ServiceAccounts()
	stripped.ObjectMeta = meta
	if diff := cmp.Diff(stripped, got); diff != "" {
		t.Errorf("StripServiceAccount (-want +got):\n%s", diff)
	}
	tombstone := toolscache.DeletedFinalStateUnknown{Key: "a/b"}
	for _, strip := range []toolscache.TransformFunc{StripResource, StripServiceAccount} {
		if got, err := strip(tombstone); err != nil || got != any(tombstone) {
			t.Errorf("a tombstone became %v, %v", got, err)
		}
	}
}
