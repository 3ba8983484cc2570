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

package guards

import (
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// errAccepting reports that the operator has not accepted the guards yet: they were installed, changed or replaced.
var errAccepting = errors.New("the admission configuration of pat-operator has changed and is being accepted; try again in 15 seconds")

// Missing reports a guard that is not in force. It implements error.
type Missing struct {
	// Object is the kind and name of the guard, as in "ValidatingWebhookConfiguration pat-operator".
	Object string
	// Field is the path of the field that is wrong, as in "webhooks[0].failurePolicy". It is empty if the object does not exist.
	Field string
	// Detail describes the problem and its fix, as in "is Ignore; set it to Fail".
	Detail string

	// regarding is what an event is about.
	regarding *metav1.PartialObjectMetadata
}

func (m *Missing) Error() string {
	if m.Field == "" {
		return m.Object + " " + m.Detail
	}
	return m.Object + ": " + m.Field + " " + m.Detail
}

// applyAgain is the way out of most faults.
const applyAgain = "apply the manifests of this release again"

func missing(kind, name, field, detail string) *Missing {
	return &Missing{Object: kind + " " + name, Field: field, Detail: detail, regarding: metadata(kind, name)}
}

func absent(kind, name string) *Missing {
	return missing(kind, name, "", "does not exist; "+applyAgain)
}
