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
	"fmt"
	"os"
	"regexp"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/pat-operator/pat-operator/test/long"
)

// Of its webhook configurations the operator patches the caBundle, and names the version that it has read: whatever else the audit
// log shows of its account is not the operator.
func TestTheOperatorPatchesTheBundleAlone(t *testing.T) {
	long.Only(t)
	mutate := &mutating{ObjectMeta: metav1.ObjectMeta{Name: "pat-operator"}}
	changeObject(t, mutate, func() { mutate.Webhooks[0].ClientConfig.CABundle = nil })
	changeWebhook(t, func(v *validating) { v.Webhooks[0].ClientConfig.CABundle = nil })
	known := regexp.MustCompile(`^(test /metadata/resourceVersion|add /webhooks/\d+/clientConfig/caBundle)$`)
	patched := map[string]bool{}
	eventually(t, patience, func() bool {
		for _, event := range patchesOfTheOperator(t) {
			var operations []struct{ Op, Path string }
			if err := json.Unmarshal(event.RequestObject.Raw, &operations); err != nil {
				t.Fatal(err)
			}
			for _, o := range operations {
				if operation := o.Op + " " + o.Path; !known.MatchString(operation) {
					t.Errorf("the operator does %q to %s", operation, event.ObjectRef.Resource)
				}
			}
			patched[event.ObjectRef.Resource] = true
		}
		return patched["mutatingwebhookconfigurations"] && patched["validatingwebhookconfigurations"]
	}, func() string { return fmt.Sprintf("the audit log has patches of %v alone", patched) })
	if err := cl.WaitAccepted(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// patchesOfTheOperator are its patches of webhook configurations in the audit log.
func patchesOfTheOperator(t *testing.T) (events []auditv1.Event) {
	t.Helper()
	log, err := os.ReadFile(cl.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
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
		events = append(events, event)
	}
	return events
}
