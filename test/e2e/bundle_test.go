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
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"testing"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// Of its webhook configurations the operator patches the caBundle, and names the version that it has read: whatever else the audit
// log shows of its account is not the operator.
func TestTheOperatorPatchesTheBundleAlone(t *testing.T) {
	t.Parallel()
	log, err := os.ReadFile(cl.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	known := regexp.MustCompile(`^(test /metadata/resourceVersion|add /webhooks/\d+/clientConfig/caBundle)$`)
	patches := map[string]int{}
	for line := range bytes.Lines(log) {
		var event auditv1.Event
		if err := json.Unmarshal(line, &event); err != nil {
			continue // the last one may be half written
		}
		if event.User.Username != operatorAccount || event.Verb != "patch" || event.ObjectRef == nil || event.ObjectRef.APIGroup != "admissionregistration.k8s.io" {
			continue
		}
		if event.RequestObject == nil {
			t.Fatalf("a patch is logged without its content: %s", line)
		}
		var operations []struct{ Op, Path string }
		if err := json.Unmarshal(event.RequestObject.Raw, &operations); err != nil {
			t.Fatal(err)
		}
		for _, o := range operations {
			if operation := o.Op + " " + o.Path; !known.MatchString(operation) {
				t.Errorf("the operator does %q to %s", operation, event.ObjectRef.Resource)
			}
		}
		patches[event.ObjectRef.Resource]++
	}
	for _, resource := range []string{"mutatingwebhookconfigurations", "validatingwebhookconfigurations"} {
		if patches[resource] == 0 {
			t.Errorf("the audit log has no patch of %s, so this shows nothing", resource)
		}
	}
}
