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
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/long"
)

// Nobody serves the API for 16 seconds, while one operator runs, is killed, and others try to start: no record goes, and
// each token works again. What is deleted afterwards still ends at once.
func TestCase43_AnAPIThatIsNotServedForAWhile(t *testing.T) {
	long.Only(t)
	ns, gone := team(t), team(t)
	plaintexts := map[string]string{
		"in-a-secret":  issued(t, alice, pat(ns, "in-a-secret")),
		"in-a-secret2": issued(t, alice, pat(ns, "in-a-secret2")),
	}
	going := issued(t, alice, pat(gone, "going"))
	before := recordsOf(t, ns)

	serve(t, false)
	t.Cleanup(func() { serve(t, true) })
	eventually(t, patience, func() bool {
		err := admin.List(t.Context(), &v1alpha1.PersonalAccessTokenList{})
		return apierrors.IsNotFound(err) || meta.IsNoMatchError(err)
	}, func() string { return "the API is still served" })
	operator.Kill() // The next one replays every record.
	startWhileUnserved(t)
	for name, plaintext := range plaintexts {
		accepted(t, plaintext)
		waitFor(t, ns, name, "Active", "True/Active")
	}
	for name, uid := range recordsOf(t, ns) {
		if before[name] != uid {
			t.Errorf("record %s is another", name)
		}
		delete(before, name)
	}
	if len(before) > 0 {
		t.Errorf("records %v are gone", before)
	}
	// Its watch is back once it sees what is new; what is deleted before is deleted unseen, and kept for an hour.
	create(t, alice, pat(gone, "after"))
	eventually(t, 3*patience, func() bool {
		p := &v1alpha1.PersonalAccessToken{}
		return admin.Get(t.Context(), types.NamespacedName{Namespace: gone, Name: "after"}, p) == nil && p.Status.TokenID != ""
	}, func() string { return "nothing is issued any more" })
	if err := admin.Delete(t.Context(), pat(gone, "going")); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, func() bool { return len(recordsOf(t, gone)) == 1 }, func() string { return "what is deleted keeps its record" })
	refused(t, going)
}

// startWhileUnserved starts operators until one stays, and has the API served again after 16 seconds.
func startWhileUnserved(t *testing.T) {
	t.Helper()
	started := make(chan *cluster.Manager)
	var enough atomic.Bool
	go func() {
		defer close(started)
		for !enough.Load() {
			if m, err := cl.StartOperator(context.Background(), verbose...); err == nil {
				started <- m
				return
			}
		}
	}()
	deadline := time.After(5 * patience)
	unserved := time.After(16 * time.Second)
	for starting := started; ; {
		select {
		case m, ok := <-starting:
			if operator, starting = m, nil; !ok {
				t.Fatal("no operator starts")
			}
			continue
		case <-unserved:
			serve(t, true)
			unserved = nil
			continue
		case <-deadline:
			enough.Store(true)
			t.Fatal("no operator stays")
		case <-time.After(50 * time.Millisecond):
		}
		if starting == nil && unserved == nil {
			return
		}
	}
}

// recordsOf are the records of a namespace, by name.
func recordsOf(t *testing.T, ns string) map[string]types.UID {
	t.Helper()
	var secrets corev1.SecretList
	if err := admin.List(t.Context(), &secrets, client.InNamespace(cluster.RecordsNamespace), client.MatchingLabels{"pat-operator.io/namespace": ns}); err != nil {
		t.Fatal(err)
	}
	uids := map[string]types.UID{}
	for i := range secrets.Items {
		uids[secrets.Items[i].Name] = secrets.Items[i].UID
	}
	return uids
}

// serve says whether the API server serves our API.
func serve(t *testing.T, served bool) {
	t.Helper()
	crd := &unstructured.Unstructured{}
	crd.SetAPIVersion("apiextensions.k8s.io/v1")
	crd.SetKind("CustomResourceDefinition")
	crd.SetName("personalaccesstokens.pat-operator.io")
	patch := client.RawPatch(types.JSONPatchType, fmt.Appendf(nil, `[{"op": "replace", "path": "/spec/versions/0/served", "value": %t}]`, served))
	if err := admin.Patch(context.Background(), crd, patch); err != nil {
		t.Fatal(err)
	}
}
