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
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/internal/token"
)

func TestIssueToRecipients(t *testing.T) {
	w := newWorld(t)
	w.create("vendor", forRecipients)
	w.settle("vendor")
	w.expect("vendor", "True/Active", "True/Reconciled", "")
	if n := w.api.count(); n > 2 {
		t.Errorf("%d API writes; want at most 2: %q", n, w.api.log)
	}
	if got := w.events.reasons(); !slices.Equal(got, []string{"Issued"}) || !strings.Contains(w.events.text(), "its 1 recipients can open it in status.encryptedToken") {
		t.Errorf("events:\n%s", w.events.text())
	}
	pat := w.get("vendor")
	rec := w.record(pat.UID)
	if rec.Current.Source != record.SourceOperator || len(w.deliveries()) != 0 || pat.Status.DeliverySecretName != "" {
		t.Errorf("record %+v, %d delivery Secrets, status names %q", *rec.Current, len(w.deliveries()), pat.Status.DeliverySecretName)
	}
	plaintext := w.open(pat.Status.EncryptedToken)
	if token.NewDigest(w.namespace, "vendor", plaintext).Hex() != rec.Current.Digest {
		t.Error("what the vendor reads is not the token")
	}

	t.Run("a forged value in status is corrected", func(t *testing.T) {
		forged := w.get("vendor")
		forged.Status.EncryptedToken = "-----BEGIN AGE ENCRYPTED FILE-----"
		if err := admin.Status().Update(w.ctx, forged); err != nil {
			t.Fatal(err)
		}
		w.settle("vendor")
		if got := w.get("vendor").Status.EncryptedToken; got != pat.Status.EncryptedToken {
			t.Errorf("it is %q", got)
		}
	})
	t.Run("it goes when the token ends", func(t *testing.T) {
		w.advance(91 * 24 * time.Hour)
		w.settle("vendor")
		w.expect("vendor", "False/Expired", "True/Reconciled", "")
		if got, rec := w.get("vendor").Status.EncryptedToken, w.record(pat.UID); got != "" || rec.Ciphertext != "" {
			t.Errorf("status %q, record %q", got, rec.Ciphertext)
		}
	})
}

// Where the admission webhook was not asked, the controller refuses what it would have.
func TestCase40_NothingIsIssuedToWhatIsNoKey(t *testing.T) {
	w := newWorld(t)
	w.create("vendor", forRecipients, func(p *v1alpha1.PersonalAccessToken) {
		p.Spec.Delivery.Recipients = append(p.Spec.Delivery.Recipients, "AGE-SECRET-KEY-1GFPYYSJ")
	})
	w.settle("vendor")
	w.expect("vendor", "False/RecipientsRefused", "False/RecipientsRefused", "True/RecipientsRefused")
	pat := w.get("vendor")
	if pat.Status.EncryptedToken != "" || w.record(pat.UID) != nil {
		t.Error("it was issued")
	}
	if text := w.events.text(); !strings.Contains(text, "spec.delivery.recipients[1]: Invalid value: is a private key") || strings.Contains(text, "GFPYYSJ") {
		t.Errorf("events:\n%s", text)
	}
	if err := admin.Delete(w.ctx, pat, client.Preconditions{UID: &pat.UID}); err != nil {
		t.Fatal(err)
	}
}
