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

package gitops

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/ssa"
	ssaerrors "github.com/fluxcd/pkg/ssa/errors"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/long"
)

// A change in Git that we refuse never makes Flux's force delete and re-create the resource, which would revoke the token: it
// is a 403. What the schema refuses is a 422, as everywhere in Kubernetes, and force re-creates on those (docs/gitops.md).
func TestWhatForceInFluxRecreatesOn(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n := newTenant(t, "flux-force")
	f := newFlux(t, n)
	_, ofHolder := n.holder(t, "mine", time.Hour)
	_, other := n.holder(t, "mine", time.Hour)
	_, elsewhere := n.holder(t, "another", time.Hour)
	days, until := spec{"expiresInDays": int64(30)}, spec{"expiresAt": in(30 * 24 * time.Hour)}
	f.apply(t, ssa.CreatedAction, n.manifest("days", days), n.manifest("until", until), n.manifest("mine", ofHolder))
	for _, name := range []string{"days", "until", "mine"} {
		n.waitFor(t, name, v1alpha1.ConditionActive, "True/Active")
	}
	user := func(username string, groups ...any) map[string]any {
		return map[string]any{"username": username, "groups": groups}
	}
	sameID := func(s spec) map[string]any {
		token := s["token"].(map[string]any)
		return map[string]any{"id": ofHolder["token"].(map[string]any)["id"], "sha256": token["sha256"], "boundTo": token["boundTo"]}
	}
	trigger := map[string]any{"trigger": "2"}
	for name, tc := range map[string]struct {
		of        string
		git       spec
		text      string
		recreates bool
	}{
		"another user":                   {"days", days.with("user", user("bob")), "spec.user", false},
		"another user, who may":          {"days", days.with("user", user("system:serviceaccount:"+n.ns+":ci")), "spec.user", false},
		"a group more":                   {"days", days.with("user", user("alice", n.ns+"-devs", "admins")), "spec.user", false},
		"more days":                      {"days", days.with("expiresInDays", int64(60)), "cannot live longer", false},
		"no days, so 90":                 {"days", days.with("expiresInDays", nil), "cannot live longer", false},
		"a later end":                    {"until", until.with("expiresAt", in(60*24*time.Hour)), "cannot live longer", false},
		"a holder's later end":           {"mine", ofHolder.with("expiresAt", in(2*time.Hour)), "cannot live longer", false},
		"no trigger, delivery changed":   {"days", days.with("delivery", map[string]any{"secret": map[string]any{"ttlSeconds": int64(60)}}), "set a new spec.rotation.trigger", false},
		"bad recipients":                 {"days", days.with("delivery", map[string]any{"recipients": []any{"age1nonsense"}}).with("rotation", trigger), "spec.delivery.recipients[0]", false},
		"everyDays without recipients":   {"days", days.with("rotation", map[string]any{"everyDays": int64(7)}), "spec.rotation.everyDays", false},
		"rotated into too long a life":   {"days", days.with("expiresInDays", int64(400)).with("rotation", trigger), "a token lives 366 days at most", false},
		"no such number of days":         {"days", days.with("expiresInDays", int64(0)), "expiresInDays", true},
		"both ways to end":               {"days", days.with("expiresAt", in(time.Hour)), "at most one of", true},
		"a name too long to show":        {"days", days.with("displayName", strings.Repeat("x", 129)), "displayName", true},
		"a trigger for a holder's token": {"mine", ofHolder.with("rotation", trigger), "spec.rotation.trigger", false},
		"another digest of the same id":  {"mine", ofHolder.with("token", sameID(other)), "a new token has a new id", false},
		"a digest bound elsewhere":       {"mine", elsewhere, "spec.token.boundTo", false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.try(t, n.manifest(tc.of, tc.git))
			if err == nil {
				t.Fatal("it is taken")
			}
			if got := ssaerrors.IsImmutableError(errors.Unwrap(err)); got != tc.recreates {
				t.Errorf("Flux's force re-creates: %v; want %v: %v", got, tc.recreates, err)
			}
			if !strings.Contains(err.Error(), tc.text) {
				t.Errorf("got %q; want %q in it", err, tc.text)
			}
			forced := *f
			forced.force = true
			was := n.get(t, tc.of)
			if !tc.recreates {
				if _, err := forced.try(t, n.manifest(tc.of, tc.git)); !apierrors.IsForbidden(errors.Unwrap(err)) {
					t.Errorf("with force: %v", err)
				}
			}
			if is := n.get(t, tc.of); is.UID != was.UID || is.Status.TokenID != was.Status.TokenID {
				t.Errorf("token %s of %s became %s of %s", was.Status.TokenID, was.UID, is.Status.TokenID, is.UID)
			}
		})
	}
}

// The same for Argo CD's sync option Force, which is kubectl apply --force: it keeps what is refused with 403, and deletes and
// creates on a 422. Where that is refused it puts back what was there, as a new resource, so the token is another all the
// same.
func TestForceInArgoCDRevokes(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n := newTenant(t, "argocd-forced")
	git := n.manifest("my-pat", spec{"expiresInDays": int64(30)})
	n.sync(t, clientSide, git)
	plaintext := n.take(t, "my-pat")
	force := append(slices.Clone(clientSide), "--force")
	for want, change := range map[string]spec{
		"cannot live longer":              {"expiresInDays": int64(60)},
		"set a new spec.rotation.trigger": {"expiresInDays": int64(30), "delivery": map[string]any{"secret": map[string]any{"ttlSeconds": int64(60)}}},
	} {
		if _, _, err := n.try(t, n.argocd, text(t, n.manifest("my-pat", change)), force...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v; want %q", err, want)
		}
	}
	n.sync(t, force, git)
	works(t, plaintext)
	for name, tc := range map[string]struct {
		change  spec
		refused bool
	}{
		"no such number of days": {spec{"expiresInDays": int64(0)}, true},
		"both ways to end":       {spec{"expiresInDays": int64(30), "expiresAt": in(time.Hour)}, true},
	} {
		was := n.get(t, "my-pat")
		plaintext := n.take(t, "my-pat")
		if _, _, err := n.try(t, n.argocd, text(t, n.manifest("my-pat", tc.change)), force...); (err != nil) != tc.refused {
			t.Errorf("%s: %v", name, err)
		}
		over(t, plaintext)
		works(t, n.take(t, "my-pat"))
		if is := n.get(t, "my-pat"); is.UID == was.UID {
			t.Errorf("%s: it is the same resource: docs/gitops.md says it is not", name)
		}
		n.sync(t, force, git)
		n.take(t, "my-pat")
	}
}

// Flux deletes nothing while the operator is away, even with force: the refusal is not a 422. An unchanged manifest is
// applied as before, and its token works. Not in parallel: the others need the operator.
func TestFluxWhileTheOperatorIsDown(t *testing.T) {
	long.Only(t)
	n := newTenant(t, "operator-down")
	f := newFlux(t, n)
	f.force = true
	git := []*unstructured.Unstructured{
		n.manifest("my-pat", spec{"expiresInDays": int64(30)}),
		n.manifest("ci", spec{"user": map[string]any{"username": "system:serviceaccount:" + n.ns + ":ci"}}),
	}
	f.apply(t, ssa.CreatedAction, git...)
	plaintext := n.take(t, "my-pat")
	n.waitFor(t, "ci", v1alpha1.ConditionReady, "True/Reconciled")
	works(t, plaintext)
	if err := operator.Stop(); err != nil {
		t.Fatal(err)
	}
	was := n.get(t, "my-pat")
	f.quiet(t, git...)
	for _, change := range []spec{{"expiresInDays": int64(20)}, {"expiresInDays": int64(60)}, {"expiresInDays": int64(30), "rotation": map[string]any{"trigger": "2"}}} {
		if _, err := f.try(t, n.manifest("my-pat", change)); err == nil || !strings.Contains(err.Error(), "failed calling webhook") {
			t.Errorf("got %v", err)
		}
	}
	if is := n.get(t, "my-pat"); is.UID != was.UID {
		t.Error("it was deleted and created")
	}
	works(t, plaintext)
	var err error
	if operator, err = cl.StartOperator(context.Background()); err != nil {
		t.Fatal(err)
	}
	f.quiet(t, git...)
	works(t, plaintext)
}

// What docs/gitops.md warns of: with force a refused change of how a token is delivered revokes it, and a mistake leaves
// nothing at all.
func TestForceInFluxRevokes(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n := newTenant(t, "flux-forced")
	f := newFlux(t, n)
	f.force = true
	git := n.manifest("my-pat", nil)
	f.apply(t, ssa.CreatedAction, git)
	first := n.take(t, "my-pat")
	if _, err := f.try(t, n.manifest("my-pat", spec{"delivery": map[string]any{"secret": map[string]any{"ttlSeconds": int64(60)}}})); err == nil {
		t.Error("another delivery is taken")
	}
	works(t, first)
	f.force = false
	mistaken := n.manifest("my-pat", spec{"expiresInDays": int64(0)})
	mistaken.SetAnnotations(map[string]string{fluxGroup + "/force": "enabled"})
	if _, err := f.try(t, mistaken); err == nil {
		t.Error("it is taken")
	}
	over(t, first)
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(git), git); !apierrors.IsNotFound(err) {
		t.Errorf("the resource: %v; want that it is gone", err)
	}
}
