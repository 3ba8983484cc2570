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

package record

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"
	kjson "sigs.k8s.io/json"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/token"
)

const (
	// SecretType is the type of the Secret that holds a record.
	SecretType corev1.SecretType = "pat-operator.io/record"
	// LabelNamespace leads from a record's Secret to its resource.
	LabelNamespace = "pat-operator.io/namespace"
	// LabelName does too.
	LabelName = "pat-operator.io/name"
	// LabelUnreadable marks a Secret whose record cannot be read. The policy of the records namespace lets administrators
	// delete it.
	LabelUnreadable = "pat-operator.io/unreadable"
	// LabelNoBackup keeps records out of Velero's backups: a restored one would bring revoked tokens back.
	LabelNoBackup = "velero.io/exclude-from-backup"

	payloadKey = "record"
	namePrefix = "pat-"
	// maxLife is the longest life that spec can ask for.
	maxLife = v1alpha1.MaxExpiresInDays * v1alpha1.Day
	// maxCiphertext is as much as status.encryptedToken holds.
	maxCiphertext = 1 << 16
)

// ErrTooNew is that a newer version of this program wrote the record; it is to be left untouched.
var ErrTooNew = errors.New("written by a newer version of the operator")

var nameEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// SecretName is the name of the Secret that holds the record of the resource with this name: a SHA-256 of it, in 56
// characters.
func SecretName(namespace, name string) string {
	sum := sha256.Sum256([]byte(namespace + "/" + name)) // neither has a slash
	return namePrefix + nameEncoding.EncodeToString(sum[:])
}

// InPlaceOfRecord reports whether a Secret is a record by its type, or takes the name of one.
func InPlaceOfRecord(s *corev1.Secret) bool {
	if s.Type == SecretType {
		return true
	}
	hash, ok := strings.CutPrefix(s.Name, namePrefix)
	sum, err := nameEncoding.DecodeString(hash)
	return ok && err == nil && len(sum) == sha256.Size
}

// ToSecret writes a record as its Secret, without a resourceVersion.
func ToSecret(r *Record, namespace string) (*corev1.Secret, error) {
	written := *r
	written.V = r.lowestVersion()
	if err := written.validate(); err != nil {
		return nil, fmt.Errorf("refusing to write the %v: %w", r, err)
	}
	payload, err := json.Marshal(&written)
	if err != nil {
		return nil, fmt.Errorf("encoding the %v: %w", r, err)
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace,
			Name:      SecretName(r.Resource.Namespace, r.Resource.Name),
			Labels: map[string]string{
				LabelNamespace: r.Resource.Namespace,
				LabelName:      r.Resource.Name,
				LabelNoBackup:  "true",
			},
		},
		Type: SecretType,
		Data: map[string][]byte{payloadKey: payload},
	}, nil
}

// FromSecret reads a record and checks that it adds up. The error says which part does not, and quotes none of it.
func FromSecret(s *corev1.Secret) (*Record, error) {
	if s.Type != SecretType {
		return nil, fmt.Errorf("its type is not %s", SecretType)
	}
	payload, ok := s.Data[payloadKey]
	if !ok || len(s.Data) != 1 {
		return nil, fmt.Errorf("its data is not the one key %q", payloadKey)
	}
	// The version first: a newer payload may look like anything.
	var version struct {
		V int `json:"v"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(payload, &version); err != nil {
		return nil, errors.New("its payload is not a JSON object with a version")
	}
	if version.V > Version {
		return nil, ErrTooNew
	}
	var r Record
	strict, err := kjson.UnmarshalStrict(payload, &r)
	if err != nil {
		return nil, errors.New("its payload does not have a record's shape")
	}
	if len(strict) > 0 {
		return nil, errors.New("its payload has unknown or repeated fields")
	}
	if err := r.validate(); err != nil {
		return nil, err
	}
	switch {
	case s.Name != SecretName(r.Resource.Namespace, r.Resource.Name):
		return nil, errors.New("resource.namespace and resource.name are not those of its Secret's name")
	case s.Labels[LabelNamespace] != r.Resource.Namespace, s.Labels[LabelName] != r.Resource.Name:
		return nil, errors.New("resource.namespace and resource.name are not those of its Secret's labels")
	}
	return &r, nil
}

// Get reads the record of a name: nil without an error if it does not exist, and only the Secret, with invalid set, if it
// is inconsistent.
func Get(ctx context.Context, r client.Reader, namespace string, key client.ObjectKey) (rec *Record, secret *corev1.Secret, invalid, err error) {
	secret = &corev1.Secret{}
	if err := r.Get(ctx, client.ObjectKey{Namespace: namespace, Name: SecretName(key.Namespace, key.Name)}, secret); err != nil {
		return nil, nil, nil, client.IgnoreNotFound(err)
	}
	rec, invalid = FromSecret(secret)
	return rec, secret, invalid, nil
}

// validate checks that the parts of a record are consistent.
func (r *Record) validate() error {
	if lowest := r.lowestVersion(); r.V != lowest {
		return fmt.Errorf("v is not %d", lowest)
	}
	if len(validation.IsDNS1123Label(r.Resource.Namespace)) > 0 || len(r.Resource.Name) > validation.DNS1123LabelMaxLength ||
		len(validation.IsDNS1123Subdomain(r.Resource.Name)) > 0 {
		return errors.New("resource is not the namespace and name of a PersonalAccessToken")
	}
	tokens := r.Current != nil || r.Pending != nil || r.Previous != nil
	switch {
	case r.Tombstone():
		if len(r.Ended) == 0 || r.Granted != nil || r.Refused != "" || r.MissingSince != nil || tokens || len(r.Removals) > 0 || r.Ciphertext != "" || r.User.Username != "" {
			return errors.New("resource.uid is missing, and there is more than what has ended")
		}
	case r.Granted == nil:
		if tokens || r.User.Username != "" || !r.AuthorizedAt.IsZero() || len(r.Ended) == 0 && r.Refused == "" {
			return errors.New("granted is missing, and there is more than what has ended or was refused")
		}
	case r.User.Username == "":
		return errors.New("user.username is empty")
	case r.Granted.User != nil || r.Granted.DisplayName != "":
		return errors.New("granted names a user or a display name")
	case r.AuthorizedAt.IsZero():
		return errors.New("authorizedAt is missing")
	}
	switch r.Refused {
	case "", RefusedNotJudged, RefusedNoRoom, RefusedRecordLost:
	default:
		return errors.New("refused is unknown")
	}
	if r.MissingSince != nil && r.MissingSince.IsZero() {
		return errors.New("missingSince is not a time")
	}
	if len(r.Ended) > MaxEnded {
		return fmt.Errorf("ended has more than %d entries", MaxEnded)
	}
	ended := map[string]bool{}
	for i, e := range r.Ended {
		if !token.ValidID(e.ID) || ended[e.ID] || e.Until.IsZero() {
			return fmt.Errorf("ended[%d] is not an id of its own with an until", i)
		}
		switch e.Reason {
		case EndedExpired, EndedRevoked, EndedReplaced, EndedDeleted:
		default:
			return fmt.Errorf("ended[%d].reason is unknown", i)
		}
		ended[e.ID] = true
	}
	for i, rm := range r.Removals {
		if id, ok := strings.CutPrefix(rm.Secret, namePrefix); !ok || !token.ValidID(id) || rm.Until.IsZero() {
			return fmt.Errorf("removals[%d] is not a delivery Secret with an until", i)
		}
	}
	seen := map[string]bool{}
	for field, t := range map[string]*Token{"current": r.Current, "pending": r.Pending, "previous": r.Previous} {
		if t == nil {
			continue
		}
		if seen[t.ID] {
			return errors.New("current, pending and previous share an id")
		}
		seen[t.ID] = true
		if err := t.validate(field, ended[t.ID]); err != nil {
			return err
		}
	}
	if sealed := r.Current != nil && !ended[r.Current.ID] && r.Current.Delivery != nil && len(r.Current.Delivery.Recipients) > 0; sealed != (r.Ciphertext != "") {
		return errors.New("ciphertext and current.delivery.recipients do not go together")
	}
	if len(r.Ciphertext) > maxCiphertext {
		return fmt.Errorf("ciphertext is longer than %d bytes", maxCiphertext)
	}
	if r.Previous != nil && r.Current == nil {
		return errors.New("previous is there and current is not")
	}
	if r.Pending != nil && r.Pending.RetiresAt != nil {
		return errors.New("pending.retiresAt is set before the token is issued")
	}
	if r.Pending != nil && (r.Pending.Source != SourceOperator || r.Pending.Delivery.Secret == nil || ended[r.Pending.ID]) {
		return errors.New("pending is not a token that the operator is making")
	}
	return nil
}

func (t *Token) validate(field string, ended bool) error {
	if !token.ValidID(t.ID) {
		return fmt.Errorf("%s.id is not an id", field)
	}
	if t.Digest == "" && !ended {
		return fmt.Errorf("%s.digest is empty and its id has not ended", field)
	}
	if t.Digest != "" {
		if d, err := token.ParseDigest(t.Digest); err != nil || d.IsZero() || ended {
			return fmt.Errorf("%s.digest is not a digest, or is kept though its id has ended", field)
		}
	}
	switch {
	case t.Source == SourceHolder && t.Delivery == nil:
	case t.Source == SourceOperator && t.Delivery != nil && (t.Delivery.Secret != nil) != (len(t.Delivery.Recipients) > 0):
	default:
		return fmt.Errorf("%s.source and %s.delivery do not go together", field, field)
	}
	if t.Delivery != nil && t.Delivery.Secret != nil && t.Delivery.Secret.TTLSeconds <= 0 {
		return fmt.Errorf("%s.delivery.secret.ttlSeconds is not positive", field)
	}
	if t.IssuedAt.IsZero() || !t.ExpiresAt.After(t.IssuedAt) || t.ExpiresAt.Sub(t.IssuedAt) > maxLife {
		return fmt.Errorf("%s.issuedAt and %s.expiresAt are not a life of at most %d days", field, field, v1alpha1.MaxExpiresInDays)
	}
	return nil
}

// DeliveryOf is how spec asks for a token that the operator makes to be delivered, its defaults filled in.
func DeliveryOf(spec *v1alpha1.PersonalAccessTokenSpec) *Delivery {
	if spec.Delivery != nil && len(spec.Delivery.Recipients) > 0 {
		return &Delivery{Recipients: append([]string(nil), spec.Delivery.Recipients...)}
	}
	ttl := int32(v1alpha1.DefaultDeliveryTTLSeconds)
	if spec.Delivery != nil && spec.Delivery.Secret != nil && spec.Delivery.Secret.TTLSeconds != nil {
		ttl = *spec.Delivery.Secret.TTLSeconds
	}
	return &Delivery{Secret: &SecretDelivery{TTLSeconds: ttl}}
}
