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

package docs

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

// The sample selects the pods of both processes, admits what asks them, and closes every other port.
func TestTheNetworkPolicyNamesOurPorts(t *testing.T) {
	var policy networkingv1.NetworkPolicy
	if err := yaml.UnmarshalStrict([]byte(read(t, "config/samples/network-policies.yaml")), &policy); err != nil {
		t.Fatal(err)
	}
	var admitted []string
	for _, rule := range policy.Spec.Ingress {
		for _, port := range rule.Ports {
			admitted = append(admitted, port.Port.String())
		}
	}
	var served []string
	for _, file := range []string{"operator", "verifier"} {
		first, _, _ := strings.Cut(read(t, "config/manager/"+file+".yaml"), "\n---\n")
		var deployment appsv1.Deployment
		if err := yaml.UnmarshalStrict([]byte(first), &deployment); err != nil {
			t.Fatal(err)
		}
		if got := deployment.Namespace; got != policy.Namespace {
			t.Errorf("%s is in namespace %s, the policy in %s", file, got, policy.Namespace)
		}
		pod := deployment.Spec.Template
		for key, value := range policy.Spec.PodSelector.MatchLabels {
			if pod.Labels[key] != value {
				t.Errorf("the policy does not select the pods of the %s", file)
			}
		}
		for _, port := range pod.Spec.Containers[0].Ports {
			served = append(served, port.Name)
		}
	}
	slices.Sort(served)
	slices.Sort(admitted)
	if served = slices.Compact(served); !slices.Equal(served, admitted) {
		t.Errorf("the policy admits to %v, and the pods serve %v", admitted, served)
	}
}
