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
	"fmt"
	"net/http"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// policed makes a TokenPolicy, and returns what removes it.
func policed(t *testing.T, spec v1alpha1.TokenPolicySpec) (remove func()) {
	t.Helper()
	p := &v1alpha1.TokenPolicy{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}, Spec: spec}
	create(t, admin, p)
	remove = func() {
		if err := client.IgnoreNotFound(admin.Delete(t.Context(), p)); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() { _ = admin.Delete(t.Context(), p) })
	return remove
}

func ofUser(name string) *v1alpha1.PolicyMatch {
	return &v1alpha1.PolicyMatch{Subjects: []v1alpha1.PolicySubject{{Kind: v1alpha1.SubjectUser, Name: name}}}
}

var left = &v1alpha1.PolicyDenial{Reason: "Left the company."}

// A person leaves: one object stops all of their tokens, keeps new ones from being made, and gives them back when it goes.
func TestAPersonLeaves(t *testing.T) {
	ns := team(t)
	alices, bobs := issued(t, alice, pat(ns, "alices")), issued(t, bob, pat(ns, "bobs"))
	accepted(t, alices)
	accepted(t, bobs)
	id := get(t, ns, "alices").Status.TokenID
	comeBack := policed(t, v1alpha1.TokenPolicySpec{Match: ofUser("alice"), Deny: left})
	refused(t, alices)
	accepted(t, bobs)
	waitFor(t, ns, "alices", v1alpha1.ConditionActive, "False/DeniedByPolicy")
	eventually(t, patience, func() bool {
		err := alice.Create(t.Context(), pat(ns, "another"))
		if err == nil {
			t.Fatal("alice makes another token")
		}
		wantStatus(t, err, http.StatusForbidden, "spec.user", "denies this user's tokens here: Left the company; an administrator can change the policy")
		return true
	}, func() string { return "admission does not know the policy" })
	wantStatus(t, merge(t, alice, ns, "alices", `{"spec":{"rotation":{"trigger":"now"}}}`), http.StatusForbidden, "spec.user", "Left the company")
	comeBack()
	accepted(t, alices)
	waitFor(t, ns, "alices", v1alpha1.ConditionActive, "True/Active")
	if is := get(t, ns, "alices").Status.TokenID; is != id {
		t.Errorf("the token is %s, and was %s", is, id)
	}
}

// What stops every token does not stop the administrators, who do not come with a token of ours, and nothing of ours has to run for
// them to remove it.
func TestAPolicyThatMatchesEverythingCanBeRemoved(t *testing.T) {
	ns := team(t)
	root := issued(t, clusterAdmin(t, "policy-root"), pat(ns, "roots"))
	accepted(t, root)
	restore := policed(t, v1alpha1.TokenPolicySpec{Deny: &v1alpha1.PolicyDenial{Reason: "Maintenance."}})
	refused(t, root)
	if err := operator.Stop(); err != nil {
		t.Error(err)
	}
	restore()
	startOperator(t)
	accepted(t, root)
}

// Many tokens at once, before admission knows of any of them: the operator keeps to the number.
func TestManyTokensAtOnceKeepToTheNumber(t *testing.T) {
	ns := team(t)
	carol := env.Must[user](t)(product.User("carol-"+ns, "team-devs"))
	most := int32(10)
	policed(t, v1alpha1.TokenPolicySpec{Match: ofUser("carol-" + ns), MaxTokensPerUser: &most})
	rounds := 1
	if long.Form() {
		rounds = 3
	}
	for round := range rounds {
		var creating sync.WaitGroup
		for i := range 30 {
			creating.Go(func() {
				err := carol.Create(t.Context(), pat(ns, fmt.Sprintf("pat-%d-%d", round, i)))
				if err != nil && !apierrors.IsForbidden(err) {
					t.Error(err)
				}
			})
		}
		creating.Wait()
		var all v1alpha1.PersonalAccessTokenList
		count := func(reason string) (n int) {
			if err := admin.List(t.Context(), &all, client.InNamespace(ns)); err != nil {
				t.Fatal(err)
			}
			for i := range all.Items {
				if env.Condition(&all.Items[i], v1alpha1.ConditionReady) == reason {
					n++
				}
			}
			return n
		}
		eventually(t, patience, func() bool {
			return count("True/Reconciled")+count("False/TooManyTokens") == len(all.Items)
		}, func() string { return fmt.Sprintf("not all of %d resources have a state", len(all.Items)) })
		if n := count("True/Reconciled"); n != int(most) {
			t.Fatalf("%d tokens are active, and the policy allows %d", n, most)
		}
		if err := admin.DeleteAllOf(t.Context(), &v1alpha1.PersonalAccessToken{}, client.InNamespace(ns)); err != nil {
			t.Fatal(err)
		}
	}
}

// Without the API of policies nothing is verified, unless the process is told to do without.
func TestWithoutTheAPIOfPolicies(t *testing.T) {
	long.Only(t)
	ns := team(t)
	plaintext := issued(t, alice, pat(ns, "alices"))
	accepted(t, plaintext)
	crd := &unstructured.Unstructured{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	key := types.NamespacedName{Name: "tokenpolicies.pat-operator.io"}
	if err := admin.Get(t.Context(), key, crd); err != nil {
		t.Fatal(err)
	}
	restartVerifier(t, "--max-staleness=20s")
	accepted(t, plaintext)
	if err := admin.Delete(t.Context(), crd.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, func() bool { return apierrors.IsNotFound(admin.Get(t.Context(), key, crd.DeepCopy())) },
		func() string { return "the CRD does not go away" })
	reinstall := func() {
		crd.SetResourceVersion("")
		if err := client.IgnoreAlreadyExists(admin.Create(t.Context(), crd.DeepCopy())); err != nil {
			t.Error(err)
		}
	}
	defer reinstall()
	eventually(t, patience, func() bool { // It answers nothing that could be remembered.
		status, err := product.Review(t.Context(), plaintext)
		return err != nil || !status.Authenticated
	}, func() string { return "the verifier still accepts the token" })
	restartVerifier(t, "--policies=false")
	eventually(t, patience, func() bool { return directReview(t, plaintext).Authenticated },
		func() string { return "--policies=false does not do without the API" })
	if err := verifier.Stop(); err != nil {
		t.Error(err)
	}
	reinstall()
	startVerifier(t)
	accepted(t, plaintext)
}
