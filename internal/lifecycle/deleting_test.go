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

package lifecycle

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

func TestCase59_AResourceThatIsHeldNamesItsFinalizers(t *testing.T) {
	const ended = "This resource was deleted, so its token no longer works. "
	for name, tc := range map[string]struct {
		finalizers []string
		want       string
	}{
		"none":                      {nil, ended + "Kubernetes is removing the resource; if it stays, ask an administrator of the cluster."},
		"the garbage collector's":   {[]string{metav1.FinalizerDeleteDependents, metav1.FinalizerOrphanDependents}, ended + "Kubernetes is removing the resource; if it stays, ask an administrator of the cluster."},
		"one":                       {[]string{"example.com/hold"}, ended + "Finalizers still hold the resource: example.com/hold. Ask their owners, or an administrator of the cluster, to remove them from metadata.finalizers."},
		"several":                   {[]string{"a.example.com/x", metav1.FinalizerDeleteDependents, "b.example.com/y"}, ended + "Finalizers still hold the resource: a.example.com/x, b.example.com/y. Ask their owners, or an administrator of the cluster, to remove them from metadata.finalizers."},
		"more than a message lists": {manyFinalizers(40), "example.com/finalizer-number-11 and 28 more. Ask"},
	} {
		t.Run(name, func(t *testing.T) {
			c := DeletingCondition(&v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Finalizers: tc.finalizers}})
			if c.Status || c.Reason != v1alpha1.ReasonDeleting {
				t.Errorf("got %v/%s", c.Status, c.Reason)
			}
			if c.Message != tc.want && (len(tc.finalizers) < 40 || !strings.Contains(c.Message, tc.want)) {
				t.Errorf("says %q; want %q", c.Message, tc.want)
			}
			if len(c.Message) > 1024 {
				t.Errorf("%d bytes do not fit into an event", len(c.Message))
			}
		})
	}
}

func manyFinalizers(n int) []string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("example.com/finalizer-number-%02d", i))
	}
	return names
}
