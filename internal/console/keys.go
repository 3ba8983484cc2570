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

package console

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-logr/logr"
	"golang.org/x/sync/singleflight"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

const (
	// KeySecretName is the Secret with the keys for cookies. Deleting it signs all visitors out, in each replica within
	// keyInterval.
	KeySecretName = "pat-operator-console"
	// KeySecretType is its type, by which policies recognize it.
	KeySecretType = corev1.SecretType("pat-operator.io/console")

	keyCurrent, keyPrevious, keySince = "current", "previous", "since"
	keySize                           = 32 // bytes: AES-256
	// keyLife is how long a key seals; it opens for as long again. It is longer than any session.
	keyLife = 24 * time.Hour
	// keyInterval is how often the Secret is read. keyRetry is the delay after a failure, or before reading it for a cookie with an
	// unknown key, which another replica may have made.
	keyInterval, keyRetry = time.Minute, 2 * time.Second
	keyTimeout            = 10 * time.Second
)

// errNotOpened reports a value that was sealed elsewhere, sealed for another purpose, or changed.
var errNotOpened = errors.New("it was not sealed here")

// The verifier's Role has these without a console too: one Secret by name is not worth a Role of its own.
// +kubebuilder:rbac:groups="",namespace=pat-operator-system,resources=secrets,verbs=create
// +kubebuilder:rbac:groups="",namespace=pat-operator-system,resources=secrets,resourceNames=pat-operator-console,verbs=get;update

// Keys seal and open cookies with AES-256-GCM in JWE (RFC 7516). The replicas share the keys in a Secret.
type Keys struct {
	client    client.Client
	namespace string
	clock     clock.PassiveClock
	log       logr.Logger

	mu    sync.Mutex
	keys  []jose.JSONWebKey // the current one first
	err   error             // of the last reading of the Secret
	asked time.Time         // the time of the last reading

	reading singleflight.Group
}

var _ manager.LeaderElectionRunnable = (*Keys)(nil)

// NewKeys returns Keys that work once they are started. c must not read from a cache. It needs permission to create Secrets in the
// namespace, and to get and update KeySecretName.
func NewKeys(c client.Client, namespace string, clock clock.PassiveClock, log logr.Logger) *Keys {
	return &Keys{client: c, namespace: namespace, clock: clock, log: log, err: errors.New("the session key has not been read yet")}
}

// Start keeps the keys up to date until ctx ends.
func (k *Keys) Start(ctx context.Context) error {
	for {
		delay := keyInterval
		if err := k.sync(ctx); err != nil && ctx.Err() == nil {
			k.log.Error(err, "Cannot read the key of the console's sessions; trying again", "secret", k.namespace+"/"+KeySecretName)
			delay = keyRetry
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay):
		}
	}
}

// NeedLeaderElection is false: every replica serves.
func (*Keys) NeedLeaderElection() bool { return false }

// sync reads the Secret. It creates the Secret or a new key when due.
func (k *Keys) sync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, keyTimeout)
	defer cancel()
	var err error
	for range 3 { // another replica may write at the same time
		var keys []jose.JSONWebKey
		if keys, err = k.load(ctx); err == nil {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.keys, k.err, k.asked = keys, nil, k.clock.Now()
			return nil
		}
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			break
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err, k.asked = err, k.clock.Now()
	return err
}

func (k *Keys) load(ctx context.Context) ([]jose.JSONWebKey, error) {
	secret := &corev1.Secret{}
	err := k.client.Get(ctx, client.ObjectKey{Namespace: k.namespace, Name: KeySecretName}, secret)
	switch {
	case apierrors.IsNotFound(err):
		secret = &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: k.namespace, Name: KeySecretName},
			Type:       KeySecretType,
			Data:       map[string][]byte{keyCurrent: newKey(), keySince: k.now()},
		}
		if err := k.client.Create(ctx, secret); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	}
	if len(secret.Data[keyCurrent]) != keySize || secret.Type != KeySecretType {
		return nil, fmt.Errorf("no key of %d bytes under %q in Secret %s/%s of type %s: delete the Secret, and a new one is created", keySize, keyCurrent, k.namespace, KeySecretName, KeySecretType)
	}
	since, err := time.Parse(time.RFC3339, string(secret.Data[keySince]))
	if err != nil || k.clock.Since(since) >= keyLife {
		secret.Data[keyPrevious], secret.Data[keyCurrent], secret.Data[keySince] = secret.Data[keyCurrent], newKey(), k.now()
		if err := k.client.Update(ctx, secret); err != nil {
			return nil, err
		}
	}
	var keys []jose.JSONWebKey
	for _, name := range []string{keyCurrent, keyPrevious} {
		if key := secret.Data[name]; len(key) == keySize {
			id := sha256.Sum256(key)
			keys = append(keys, jose.JSONWebKey{Key: bytes.Clone(key), KeyID: hex.EncodeToString(id[:8])})
		}
	}
	return keys, nil
}

func newKey() []byte {
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // never fails
	return key
}

func (k *Keys) now() []byte { return []byte(k.clock.Now().UTC().Format(time.RFC3339)) }

// seal returns value, sealed for a purpose. open needs the same purpose.
func (k *Keys) seal(purpose string, value any) (string, error) {
	k.mu.Lock()
	keys, err := k.keys, k.err
	k.mu.Unlock()
	if len(keys) == 0 {
		return "", err
	}
	plain, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	encrypter, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.DIRECT, Key: keys[0]},
		(&jose.EncrypterOptions{}).WithType(jose.ContentType(purpose)))
	if err != nil {
		return "", err
	}
	sealed, err := encrypter.Encrypt(plain)
	if err != nil {
		return "", err
	}
	return sealed.CompactSerialize()
}

// open reverses seal. It returns errNotOpened for a value that was not sealed here; other errors are about the keys.
func (k *Keys) open(ctx context.Context, purpose, sealed string, value any) error {
	parsed, err := jose.ParseEncryptedCompact(sealed, []jose.KeyAlgorithm{jose.DIRECT}, []jose.ContentEncryption{jose.A256GCM})
	if err != nil || parsed.Header.ExtraHeaders[jose.HeaderType] != purpose {
		return errNotOpened
	}
	key := k.known(parsed.Header.KeyID)
	if key == nil {
		if err := k.refresh(ctx); err != nil {
			return err
		}
		if key = k.known(parsed.Header.KeyID); key == nil {
			return errNotOpened
		}
	}
	plain, err := parsed.Decrypt(key)
	if err != nil || json.Unmarshal(plain, value) != nil {
		return errNotOpened
	}
	return nil
}

// known returns the key with an id, or nil.
func (k *Keys) known(id string) *jose.JSONWebKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.keys {
		if k.keys[i].KeyID == id {
			return &k.keys[i]
		}
	}
	return nil
}

// refresh reads the Secret, which may have a new key of another replica, unless that was done a moment ago. Concurrent callers
// share one reading, which goes on if the first of them leaves.
func (k *Keys) refresh(ctx context.Context) error {
	k.mu.Lock()
	err, stale := k.err, k.clock.Since(k.asked) >= keyRetry
	k.mu.Unlock()
	if !stale {
		return err
	}
	read := k.reading.DoChan("", func() (any, error) { return nil, k.sync(context.WithoutCancel(ctx)) })
	select {
	case <-ctx.Done():
		return ctx.Err()
	case result := <-read:
		return result.Err
	}
}
