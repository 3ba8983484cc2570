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
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

func from(networks ...string) func(*spec) { return func(s *spec) { s.From = networks } }

// kube-apiserver's webhook knows no client address, so it refuses a token with networks. Status and a warning say so.
func TestCase75_TheWebhookRefusesATokenWithNetworks(t *testing.T) {
	t.Parallel()
	ns := team(t)
	const says = "It works only through the proxy and only from 192.0.2.0/24; the API server's webhook refuses it."
	manifest := "apiVersion: pat-operator.io/v1alpha1\nkind: PersonalAccessToken\nmetadata: {name: bound}\nspec: {from: [192.0.2.0/24]}\n"
	_, stderr, err := cl.Kubectl(t.Context(), alice.Kubeconfig, manifest, "-n", ns, "apply", "-f", "-")
	if err != nil || !strings.Contains(stderr, "with spec.from the token works only through the proxy") {
		t.Errorf("no warning: %v %s", err, stderr)
	}
	plaintext := take(t, alice, ns, "bound")
	waitFor(t, ns, "bound", v1alpha1.ConditionActive, "True/"+v1alpha1.ReasonActive)
	eventually(t, patience, func() bool { return strings.Contains(activeMessage(t, ns, "bound"), says) },
		func() string { return "the condition says " + activeMessage(t, ns, "bound") })
	// The error keeps kube-apiserver from remembering this no.
	eventually(t, patience, func() bool {
		answer := directReview(t, plaintext)
		return !answer.Authenticated && answer.Error != ""
	},
		func() string { return fmt.Sprintf("the verifier says %+v", directReview(t, plaintext)) })
	if code, text := raw(t, plaintext, http.MethodGet, "/version", ""); code != http.StatusUnauthorized {
		t.Errorf("kube-apiserver: %d %s", code, text)
	}
}

func activeMessage(t *testing.T, ns, name string) string {
	t.Helper()
	for _, c := range get(t, ns, name).Status.Conditions {
		if c.Type == v1alpha1.ConditionActive {
			return c.Message
		}
	}
	return ""
}

// A token that works at the API server gets networks by RBAC alone, and stops there. Only who may create it widens or removes
// them.
func TestCase75_NetworksAreNarrowedByRBACAndWidenedByRight(t *testing.T) {
	t.Parallel()
	ns := team(t)
	plaintext := issued(t, alice, pat(ns, "mine"))
	verifies := func(want bool) {
		t.Helper()
		eventually(t, patience, func() bool {
			answer := directReview(t, plaintext)
			return answer.Authenticated == want && (want || answer.Error != "")
		},
			func() string { return fmt.Sprintf("the verifier says %+v; want %v", directReview(t, plaintext), want) })
	}
	verifies(true)
	narrow := func(by client.Client, networks ...string) error {
		return merge(t, by, ns, "mine", fmt.Sprintf(`{"spec":{"from":["%s"]}}`, strings.Join(networks, `","`)))
	}
	if err := narrow(bob, "192.0.2.0/24", "2001:db8::/32"); err != nil {
		t.Fatal(err)
	}
	verifies(false)
	if err := narrow(bob, "192.0.2.128/25"); err != nil {
		t.Errorf("fewer: %v", err)
	}
	for name, patch := range map[string]string{
		"more":  `{"spec":{"from":["192.0.2.0/24"]}}`,
		"other": `{"spec":{"from":["192.0.2.128/25","198.51.100.0/24"]}}`,
		"none":  `{"spec":{"from":null}}`,
	} {
		if err := merge(t, bob, ns, "mine", patch); err == nil || !strings.Contains(err.Error(), "This hands over, renews or widens the token") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := merge(t, alice, ns, "mine", `{"spec":{"from":null}}`); err != nil {
		t.Fatal(err)
	}
	verifies(true)
}

// As many networks as the schema allows fit into the policy's budget, each inside of the last one that was there.
func TestTheMostNetworksCanBeNarrowed(t *testing.T) {
	t.Parallel()
	ns := team(t)
	were, are := make([]string, 64), make([]string, 64)
	for i := range were {
		were[i], are[i] = fmt.Sprintf("2001:db8:ffff:%x::/64", i+1), fmt.Sprintf("2001:db8:ffff:40:ffff:ffff:%x:0/112", 0xf000+i)
	}
	create(t, alice, pat(ns, "many", from(were...)))
	if err := merge(t, bob, ns, "many", fmt.Sprintf(`{"spec":{"from":["%s"]}}`, strings.Join(are, `","`))); err != nil {
		t.Error(err)
	}
	wantStatus(t, alice.Create(t.Context(), pat(ns, "more", from(append(are, "192.0.2.0/24")...))), http.StatusUnprocessableEntity, "spec.from", "at most 64 items")
}
