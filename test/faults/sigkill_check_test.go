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

package faults

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
)

// verdicts counts what a verifier says wrongly.
type verdicts struct {
	t                 *testing.T
	face              *face
	accepted, refused int
}

// want asks the verifier about a token, until it says what is wanted or time is up.
func (v *verdicts) want(what, plaintext string, valid bool) {
	v.t.Helper()
	err := env.Poll(v.t.Context(), patience, func() error {
		got, err := v.face.accepts(v.t.Context(), plaintext)
		if err == nil && got != valid {
			err = fmt.Errorf("accepted: %v, want %v", got, valid)
		}
		return err
	})
	switch {
	case err == nil:
		return
	case valid:
		v.refused++
	default:
		v.accepted++
	}
	v.t.Errorf("%s: %v", what, err)
}

// checkAll holds the cluster, left alone, against what the witness has seen.
func checkAll(t *testing.T, items []*item, seen *witness, kills int) {
	t.Helper()
	ns := seen.namespace
	ask := &verdicts{t: t, face: theFace()}
	defer func() { report.Add(Row{Fault: killed, Injected: kills, Accepted: ask.accepted, Refused: ask.refused}) }()

	living := map[types.UID]*v1alpha1.PersonalAccessToken{}
	var list v1alpha1.PersonalAccessTokenList
	if err := admin.List(t.Context(), &list, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		living[list.Items[i].UID] = &list.Items[i]
	}
	plaintexts := 0
	for _, uid := range seen.resources() {
		for id, plaintext := range seen.delivered(uid) {
			plaintexts++
			p := living[uid]
			lives := p != nil && !p.Spec.Suspend && p.Status.TokenID == id
			ask.want(fmt.Sprintf("token %s of %s (lives: %v)", id, uid, p != nil), plaintext, lives)
		}
	}
	for _, p := range living {
		if p.Spec.Token == nil && seen.delivered(p.UID)[p.Status.TokenID] == "" {
			t.Errorf("nobody has ever seen the token %q of %s", p.Status.TokenID, p.Name)
			ask.refused++
		}
	}
	t.Logf("%d resources live; %d plaintexts were delivered", len(living), plaintexts)
	checkHolders(t, items, seen, ask)
	for _, complaint := range seen.complaints() {
		t.Error(complaint)
		ask.accepted++
	}
	checkDeliveries(t, ns, living)
	checkRecords(t, ns, living)
}

// checkHolders asks about every token that a holder ever made.
func checkHolders(t *testing.T, items []*item, seen *witness, ask *verdicts) {
	t.Helper()
	for _, it := range items {
		if it.plaintext == "" {
			continue
		}
		for _, plaintext := range it.past {
			ask.want("a holder's former token, of "+it.name, plaintext, false)
		}
		p, err := it.get(t.Context())
		id := mustID(t, it.plaintext)
		switch {
		case client.IgnoreNotFound(err) != nil:
			t.Fatal(err)
		case err != nil, p.Spec.Suspend:
			ask.want("a holder's token, of "+it.name+", which is gone or suspended", it.plaintext, false)
		case seen.wasActive(id, p.UID):
			ask.want("a holder's token, of "+it.name+", which was revoked before", it.plaintext, false)
		case env.Condition(p, v1alpha1.ConditionActive) == "True/Active":
			ask.want("a holder's token, of "+it.name, it.plaintext, true)
		default: // it was applied before, and revoked before it was ever accepted
			ask.want("a holder's token, of "+it.name+", which is said to be revoked", it.plaintext, false)
		}
	}
}

// checkDeliveries expects a delivery Secret for the current token of each living resource, and no other.
func checkDeliveries(t *testing.T, ns string, living map[types.UID]*v1alpha1.PersonalAccessToken) {
	t.Helper()
	if err := env.Poll(t.Context(), patience, func() error {
		var secrets corev1.SecretList
		if err := admin.List(t.Context(), &secrets, client.InNamespace(ns)); err != nil {
			return err
		}
		has := map[types.UID]int{}
		for i := range secrets.Items {
			s := &secrets.Items[i]
			if s.Type != v1alpha1.SecretTypeToken {
				continue
			}
			var p *v1alpha1.PersonalAccessToken
			if len(s.OwnerReferences) == 1 {
				p = living[s.OwnerReferences[0].UID]
			}
			if p == nil || p.Status.DeliverySecretName != s.Name || record.DeliverySecretName(p.Status.TokenID) != s.Name {
				return fmt.Errorf("the delivery Secret %s of %v is left over", s.Name, s.OwnerReferences)
			}
			has[p.UID]++
		}
		for uid, p := range living {
			if p.Spec.Token == nil && has[uid] != 1 {
				return fmt.Errorf("%s has %d delivery Secrets", p.Name, has[uid])
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// checkRecords expects a record for each living resource, and besides these only tombstones and records whose resource is
// noted as missing.
func checkRecords(t *testing.T, ns string, living map[types.UID]*v1alpha1.PersonalAccessToken) {
	t.Helper()
	tombstones := 0
	if err := env.Poll(t.Context(), patience, func() error {
		tombstones = 0
		var secrets corev1.SecretList
		if err := admin.List(t.Context(), &secrets, client.InNamespace(cluster.RecordsNamespace),
			client.MatchingLabels{record.LabelNamespace: ns}); err != nil {
			return err
		}
		has := map[types.UID]bool{}
		for i := range secrets.Items {
			rec, err := record.FromSecret(&secrets.Items[i])
			if err != nil {
				return err
			}
			p := living[rec.Resource.UID]
			switch {
			case rec.Tombstone() && p == nil:
				tombstones++
			case p == nil && rec.MissingSince != nil: // Deleted while no operator ran: its record goes after an hour.
				continue
			case p == nil:
				return fmt.Errorf("%v has no resource", rec)
			case rec.Pending != nil:
				return fmt.Errorf("%v has a pending token", rec)
			}
			has[rec.Resource.UID] = true
		}
		for uid, p := range living {
			if !has[uid] && env.Condition(p, v1alpha1.ConditionActive) != "False/"+v1alpha1.ReasonTokenRevoked {
				return fmt.Errorf("%s (%s) has no record", p.Name, uid)
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	t.Logf("%d tombstones", tombstones)
}
