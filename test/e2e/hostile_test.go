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
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/long"
)

// A mutating webhook behind ours puts another user into what ours has stamped: validating webhook and policy each refuse
// that, on creation and on an update that does not touch spec.
func TestCase04_HostileMutatingWebhook(t *testing.T) {
	long.Only(t)
	ns, elsewhere := team(t), team(t)
	create(t, alice, pat(ns, "hers"))
	take(t, alice, ns, "hers")
	for name, path := range map[string]struct{ pointer, value string }{
		"another user": {"/spec/user", `{"username":"admin"}`},
		"another name": {"/spec/user/username", `"bob"`},
		"a group":      {"/spec/user/groups/-", `"ops"`},
	} {
		t.Run(name, func(t *testing.T) {
			hostileWebhook(t, ns, fmt.Sprintf(`[{"op":"add","path":%q,"value":%s}]`, path.pointer, path.value))
			attack := func(t *testing.T, by string) {
				wantStatus(t, alice.Create(t.Context(), pat(ns, "x"), client.DryRunAll), 403, "spec.user", by)
				p := get(t, ns, "hers")
				p.Labels = map[string]string{"reviewed": "yes"}
				wantStatus(t, alice.Update(t.Context(), p, client.DryRunAll), 403, "spec.user", by)
			}
			attack(t, usersPolicy)
			withoutUsersPolicy(t, elsewhere, func() { attack(t, "validate.personalaccesstokens.pat-operator.io") })
		})
	}
}

// hostileWebhook has kube-apiserver apply a JSON patch to every PersonalAccessToken of a namespace, after our webhook.
func hostileWebhook(t *testing.T, ns, patch string) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
			http.Error(w, "no review", http.StatusBadRequest)
			return
		}
		review.Response = &admissionv1.AdmissionResponse{
			UID: review.Request.UID, Allowed: true, Patch: []byte(patch), PatchType: ptr.To(admissionv1.PatchTypeJSONPatch),
		}
		review.Request = nil
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(server.Close)
	config := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "zz-hostile"}, // They are asked in the order of their names.
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "hostile.example.com",
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL:      ptr.To(server.URL),
				CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
			},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"pat-operator.io"}, APIVersions: []string{"*"}, Resources: []string{"personalaccesstokens"}},
			}},
			NamespaceSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: ns}},
			FailurePolicy:           ptr.To(admissionregistrationv1.Fail),
			SideEffects:             ptr.To(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
		}},
	}
	create(t, admin, config)
	t.Cleanup(func() {
		if err := admin.Delete(context.Background(), config); err != nil {
			t.Error(err)
		}
		eventually(t, patience, func() bool {
			return alice.Create(context.Background(), pat(ns, "x"), client.DryRunAll) == nil
		}, func() string { return "the hostile webhook stays" })
	})
	eventually(t, patience, func() bool { return alice.Create(t.Context(), pat(ns, "x"), client.DryRunAll) != nil },
		func() string { return "the hostile webhook is not asked" })
}

// withoutUsersPolicy lifts the policy, so that only the validating webhook judges. It watches that in ns.
func withoutUsersPolicy(t *testing.T, ns string, do func()) {
	t.Helper()
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
	if err := admin.Get(t.Context(), types.NamespacedName{Name: "pat-operator-users"}, binding); err != nil {
		t.Fatal(err)
	}
	judged := func() bool {
		err := bob.Create(context.Background(), pat(ns, "probe", func(s *spec) { s.User = &v1alpha1.UserInfo{Username: "alice"} }), client.DryRunAll)
		return err != nil && strings.Contains(err.Error(), usersPolicy)
	}
	if err := admin.Delete(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	defer func() {
		binding.ResourceVersion, binding.UID = "", ""
		create(t, admin, binding)
		eventually(t, patience, judged, func() string { return "the policy does not come back into force" })
	}()
	eventually(t, patience, func() bool { return !judged() }, func() string { return "the policy stays in force" })
	do()
}
