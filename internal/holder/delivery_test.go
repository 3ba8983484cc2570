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

package holder

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/token"
)

// A user who may write status, but no Secrets, cannot make another user print and delete one.
func TestOnlyTheSecretThatDeliversTheTokenIsTaken(t *testing.T) {
	id, plaintext, err := token.New(zeros{})
	if err != nil {
		t.Fatal(err)
	}
	const changed = "the Secret s, which status names, does not hold token "
	for name, tc := range map[string]struct {
		modify func(pat *v1alpha1.PersonalAccessToken, secret *corev1.Secret)
		err    string
	}{
		"it":                  {func(*v1alpha1.PersonalAccessToken, *corev1.Secret) {}, ""},
		"of another kind":     {func(_ *v1alpha1.PersonalAccessToken, s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }, changed},
		"of another resource": {func(_ *v1alpha1.PersonalAccessToken, s *corev1.Secret) { s.OwnerReferences[0].UID = "another's" }, changed},
		"without owner":       {func(_ *v1alpha1.PersonalAccessToken, s *corev1.Secret) { s.OwnerReferences = nil }, changed},
		"with another token":  {func(p *v1alpha1.PersonalAccessToken, _ *corev1.Secret) { p.Status.TokenID = "bbbbbbbbbbbbbbbb" }, changed},
		"with another text":   {func(_ *v1alpha1.PersonalAccessToken, s *corev1.Secret) { s.Data["token"] = []byte("hunter2") }, changed},
		"with nothing":        {func(_ *v1alpha1.PersonalAccessToken, s *corev1.Secret) { s.Data = nil }, changed},
		"it no longer exists": {func(p *v1alpha1.PersonalAccessToken, _ *corev1.Secret) { p.Status.DeliverySecretName = "t" }, "the Secret t no longer exists: the new token"},
		"status names none":   {func(p *v1alpha1.PersonalAccessToken, _ *corev1.Secret) { p.Status.DeliverySecretName = "" }, "status names no Secret for the new token " + id + ": it was already taken"},
	} {
		t.Run(name, func(t *testing.T) {
			pat := withConditions(1)
			pat.UID, pat.Status.TokenID, pat.Status.DeliverySecretName = "mine", id, "s"
			secret := &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: pat.Namespace, Name: "s",
					OwnerReferences: []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "PersonalAccessToken", Name: "ci", UID: "mine"}},
				},
				Type: v1alpha1.SecretTypeToken,
				Data: map[string][]byte{v1alpha1.SecretKeyToken: []byte(plaintext)},
			}
			tc.modify(pat, secret)
			c := cluster(t, interceptor.Funcs{})
			if err := c.Create(t.Context(), secret); err != nil {
				t.Fatal(err)
			}
			d, err := FindDelivery(t.Context(), c, pat)
			switch {
			case tc.err == "" && (err != nil || d.Plaintext != plaintext):
				t.Errorf("got %v", err)
			case tc.err != "" && (err == nil || !strings.HasPrefix(err.Error(), tc.err) || strings.Contains(err.Error(), "hunter2")):
				t.Errorf("got %v; want %s", err, tc.err)
			}
		})
	}
}

func TestCase39_OnlyAnAgeFileIsPrinted(t *testing.T) {
	for _, text := range []string{"\x1b[2J", "-----BEGIN AGE ENCRYPTED FILE-----\n\x1b[2J\n-----END AGE ENCRYPTED FILE-----\n"} {
		pat := &v1alpha1.PersonalAccessToken{Status: v1alpha1.PersonalAccessTokenStatus{EncryptedToken: text}}
		if got, err := Encrypted(pat); err == nil || err.Error() != "status.encryptedToken is not an age file: another user or program changed it" {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
}
