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

package proxy

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// DefaultImpersonator is the service account that requests are sent on as.
const DefaultImpersonator = "pat-operator-impersonator"

const (
	tokenLife      = time.Hour
	tokenTimeout   = 10 * time.Second
	firstTokenWait = 250 * time.Millisecond
	maxTokenWait   = 30 * time.Second
	// refusedWait is the least time from one request for a token to the next that a 401 causes: a pod can answer 401, too.
	refusedWait = 10 * time.Second
)

// +kubebuilder:rbac:groups="",namespace=pat-operator-system,resources=serviceaccounts/token,resourceNames=pat-operator-impersonator,verbs=create

// Impersonator keeps a token of the account that can impersonate and nothing else. The process's own account, which reads the
// records, cannot impersonate. It is a Runnable of every replica.
type Impersonator struct {
	client  client.Client
	account client.ObjectKey
	log     logr.Logger
	token   atomic.Pointer[impersonatorToken]
	refused chan struct{}
	// tried is when a token was last asked for, in nanoseconds of Unix time.
	tried atomic.Int64
}

type impersonatorToken struct {
	bearer string
	until  time.Time
}

// NewImpersonator returns the Runnable; c needs to create tokens of the account.
func NewImpersonator(c client.Client, account client.ObjectKey, log logr.Logger) *Impersonator {
	return &Impersonator{client: c, account: account, log: log, refused: make(chan struct{}, 1)}
}

// Token returns a token that is valid now.
func (i *Impersonator) Token() (string, bool) {
	t := i.token.Load()
	if t == nil || !time.Now().Before(t.until) {
		return "", false
	}
	return t.bearer, true
}

// Refused replaces a token that the API server does not take: the account was deleted and made again, or the server has other keys.
func (i *Impersonator) Refused(bearer string) {
	if t := i.token.Load(); t == nil || t.bearer != bearer || time.Since(time.Unix(0, i.tried.Load())) < refusedWait {
		return
	}
	select {
	case i.refused <- struct{}{}:
	default:
	}
}

// NeedLeaderElection is false: every replica serves.
func (*Impersonator) NeedLeaderElection() bool { return false }

// Start keeps a token until ctx ends, each replaced after four fifths of its life, or when it is refused. Whatever fails is tried
// again.
func (i *Impersonator) Start(ctx context.Context) error {
	retries := wait.Backoff{Duration: firstTokenWait, Factor: 2, Jitter: 0.2, Steps: 1 << 30, Cap: maxTokenWait}
	backoff := retries
	for ctx.Err() == nil {
		pause, err := i.renew(ctx)
		if err != nil {
			pause = backoff.Step()
			i.log.Info("Cannot get a token of the account that impersonates; trying again", "account", i.account.String(), "reason", err.Error(), "after", pause.String())
		} else {
			backoff = retries
		}
		select {
		case <-ctx.Done():
		case <-i.refused:
			i.log.Info("The API server refuses the token of the account that impersonates; getting another", "account", i.account.String())
		case <-time.After(pause):
		}
	}
	return nil
}

// renew gets a token, and returns when to get the next.
func (i *Impersonator) renew(ctx context.Context) (time.Duration, error) {
	i.tried.Store(time.Now().UnixNano())
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: i.account.Namespace, Name: i.account.Name}}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To(int64(tokenLife / time.Second))}}
	if err := i.client.SubResource("token").Create(ctx, account, request); err != nil {
		return 0, fmt.Errorf("creating a token of service account %s: %w", i.account, err)
	}
	life := time.Until(request.Status.ExpirationTimestamp.Time)
	if request.Status.Token == "" || life <= 0 {
		return 0, errors.New("the API server's token has ended already; compare the clocks")
	}
	i.token.Store(&impersonatorToken{bearer: request.Status.Token, until: request.Status.ExpirationTimestamp.Time})
	return life * 4 / 5, nil
}
