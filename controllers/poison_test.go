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

package controllers

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// What the API server takes, every client of ours can read: one object that cannot be decoded would spoil each list and
// each watch that it is in, and so stop operator and verifiers for everybody.
func TestCase05_NoWriteSpoilsTheList(t *testing.T) {
	w := newWorld(t)
	w.create("my-pat")
	condition := func(key, value string) string {
		fields := map[string]json.RawMessage{
			"type": json.RawMessage(`"X"`), "status": json.RawMessage(`"True"`), "reason": json.RawMessage(`"X"`), "message": json.RawMessage(`""`),
			"lastTransitionTime": json.RawMessage(`"2027-01-01T00:00:00Z"`), key: json.RawMessage(value),
		}
		b, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`{"status":{"conditions":[%s]}}`, b)
	}
	var patches []string
	for _, time := range []string{
		`"2027-01-01t00:00:00z"`, `"2027-01-01T00:00:00z"`, `"2027-01-01T00:00:00Ztail"`, `"2027-01-01T00:00:00+99:99"`, `"2027-01-01T00:00:00"`,
		`"2027-01-01T00:00:00+0000"`, `"2027-01-01 00:00:00Z"`, `"2027-01-01T24:00:00Z"`, `"2027-01-01T00:00:60Z"`, `"2027-01-01T00:00:00,5Z"`, `""`, `"0000-01-01T00:00:00Z"`,
		`"2027-01-01T00:00:00.123456789012345Z"`, `"99999-01-01T00:00:00Z"`, `"2027-02-30T00:00:00Z"`,
	} {
		for _, field := range []string{"issuedAt", "modifiedAt", "expiresAt", "firstUsedAt", "lastUsedAt"} {
			patches = append(patches, fmt.Sprintf(`{"status":{%q:%s}}`, field, time))
		}
		patches = append(patches,
			fmt.Sprintf(`{"status":{"revoked":[{"tokenID":"abcdefghijklmnop","at":%s}]}}`, time),
			condition("lastTransitionTime", time),
			fmt.Sprintf(`{"spec":{"expiresAt":%s}}`, time))
	}
	for _, number := range []string{"9223372036854775807", "9223372036854775808", "1e30", "1.5", "-1e19"} {
		patches = append(patches, fmt.Sprintf(`{"status":{"observedGeneration":%s}}`, number), condition("observedGeneration", number),
			fmt.Sprintf(`{"spec":{"expiresInDays":%s}}`, number), fmt.Sprintf(`{"spec":{"delivery":{"secret":{"ttlSeconds":%s}}}}`, number))
	}
	for _, patch := range patches {
		target := &v1alpha1.PersonalAccessToken{}
		target.Namespace, target.Name = w.namespace, "my-pat"
		raw := client.RawPatch(types.MergePatchType, []byte(patch))
		// What comes back is decoded too, so an error says nothing yet.
		_ = admin.Patch(w.ctx, target.DeepCopy(), raw)
		_ = admin.Status().Patch(w.ctx, target.DeepCopy(), raw)
		var list v1alpha1.PersonalAccessTokenList
		if err := admin.List(w.ctx, &list, client.InNamespace(w.namespace)); err != nil {
			t.Fatalf("%s is taken, and then: %v", patch, err)
		}
	}
}

// A time that is written in another way is refused with an example, by the schema, whatever webhooks there are.
func TestASpecTakesTimesOfRFC3339Only(t *testing.T) {
	w := newWorld(t)
	w.create("my-pat")
	for time, taken := range map[string]bool{
		"2027-01-31T12:00:00Z": true, "2027-01-31T12:00:00.5Z": true, "2027-01-31T12:00:00+02:00": true, "2027-01-31T12:00:00-11:30": true,
		"2027-01-31": false, "2027-01-31T12:00:00": false, "2027-01-31T12:00:00,5Z": false, "2027-01-31 12:00:00Z": false, "2027-01-31t12:00:00z": false,
		"2027-01-31T12:00:00Z\n": false, "2027-02-30T12:00:00Z": false, "2027-01-31T24:00:00Z": false, "2027-01-31T12:00:00+99:99": false,
		"1969-12-31T23:59:59Z": false, "tomorrow": false, "": false,
	} {
		target := &v1alpha1.PersonalAccessToken{}
		target.Namespace, target.Name = w.namespace, "my-pat"
		err := admin.Patch(w.ctx, target, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"expiresInDays":null,"expiresAt":%q}}`, time)))
		switch {
		case taken && err != nil:
			t.Errorf("%q: %v", time, err)
		case !taken && (err == nil || !strings.Contains(err.Error(), "expiresAt must be a time as RFC 3339 writes it and not before 1970, for example 2027-01-31T12:00:00Z")):
			t.Errorf("%q: got %v", time, err)
		}
	}
}
