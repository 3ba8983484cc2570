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

package browser

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/long"
)

// limit makes a TokenPolicy for a namespace, and returns what deletes it.
func limit(t *testing.T, namespace string, spec v1alpha1.TokenPolicySpec) (lift func()) {
	t.Helper()
	spec.Match = &v1alpha1.PolicyMatch{Namespaces: []string{namespace}}
	p := &v1alpha1.TokenPolicy{ObjectMeta: metav1.ObjectMeta{GenerateName: "limit-"}, Spec: spec}
	create(t, p)
	lift = func() {
		if err := admin.Delete(context.Background(), p); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	}
	t.Cleanup(lift)
	return lift
}

// The form keeps to a policy before anything is typed. A token that another one denies is Stopped, says why, and works again later.
func TestPoliciesAreSeenOnThePage(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	pat := hers(t, namespace, "Monthly report")
	b := newTab(t)
	b.signIn("alice", namespace)
	b.says("#table", "Active")

	limit(t, namespace, v1alpha1.TokenPolicySpec{MaxLifetimeDays: ptr.To[int32](30), RequireScopes: true, MaxTokensPerUser: ptr.To[int32](10_000)})
	eventually(t, "the form keeps to the policy", func() bool {
		b.open("/new")
		return eval[bool](b, `document.body.innerText.includes("At most 30 days here.")`)
	})
	b.says("main", "A user has 10000 tokens at most.")
	if eval[bool](b, `document.body.innerText.includes("Same as yours") || document.body.innerText.includes("90 days")`) {
		t.Error("the form offers what the policy does not allow")
	}
	if axeScript != "" {
		b.accessible("form with limits")
	}
	b.fill("#f-name", "Read only")
	b.press("Save")
	b.says("main", "Your new token")

	lift := limit(t, namespace, v1alpha1.TokenPolicySpec{Deny: &v1alpha1.PolicyDenial{Reason: "Incident 7"}})
	b.open("/tokens/" + namespace + "/" + pat.Name)
	eventually(t, "the token is stopped", func() bool {
		b.open("/tokens/" + namespace + "/" + pat.Name)
		return eval[bool](b, `document.body.innerText.includes("Stopped by your administrators: Incident 7")`)
	})
	if eval[bool](b, `[...document.querySelectorAll(".acts a")].some((a) => /Rotate|Suspend|Resume/.test(a.innerText))`) {
		t.Error("the page offers what does not help")
	}
	if axeScript != "" {
		b.accessible("details of a stopped token")
	}
	b.open("/?state=stopped")
	b.says("#table", "Monthly report")
	b.says("#table", "Stopped")
	lift()
	b.open("/")
	b.until("it works again", `[...document.querySelectorAll("#table tbody tr")].some((r) =>
		r.querySelector(".title").innerText === "Monthly report" && r.querySelector(".badge").innerText === "Active")`)
}
