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

package doctor

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/holder"
)

const (
	// life is more than the measurement takes; a token that cannot be revoked ends then.
	life = time.Hour
	// startTimeout is how long a new token may take to work.
	startTimeout = 30 * time.Second
	// endTimeout is the cache's time, and what the verifiers take to learn of the revocation.
	endTimeout = authnconfig.CacheTTL + 5*time.Second
	pause      = 250 * time.Millisecond

	theProxy = "the proxy"
)

// newToken returns a resource with a name that nobody has, and its token.
func (d *doctor) newToken() (*v1alpha1.PersonalAccessToken, string, error) {
	var random [5]byte
	if _, err := io.ReadFull(d.Random, random[:]); err != nil {
		return nil, "", err
	}
	pat := &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: "pat-doctor-" + hex.EncodeToString(random[:])}}
	pat.Spec.DisplayName = "kubectl pat doctor"
	plaintext, err := holder.MakeToken(pat, d.Random, holder.EndAfter(d.Clock.Now(), life))
	return pat, plaintext, err
}

var errAccepted = errors.New("the API server still accepts a revoked token")

// measure makes, uses and revokes a token.
func (d *doctor) measure(ctx context.Context) {
	const check = "revocation"
	took, err := d.revoke(ctx)
	switch {
	case err == nil:
		_, where := d.whereTokensWork()
		d.ok(check, "%s refuses a token %v after its revocation", where, took.Round(100*time.Millisecond))
	case errors.Is(err, errAccepted):
		_, where := d.whereTokensWork()
		wayOut := fmt.Sprintf("set --%s=%v: kubectl pat setup", authnconfig.FlagCacheTTL, authnconfig.CacheTTL)
		if where == theProxy {
			wayOut = fixProxyLog
		}
		d.add(Failed, check, fmt.Sprintf("%s accepts a token %v after its revocation", where, endTimeout),
			wayOut)
	case holder.IsRefusal(err):
		d.add(Unchecked, check, fmt.Sprintf("you cannot make a token in the namespace %s: %v", d.Namespace, err), "name another namespace with -n; a member of system:masters adds --as USER")
	default:
		d.add(Failed, check, err.Error(), "see the lines above, and the log of the operator: kubectl -n NAMESPACE logs deployment/pat-operator --tail=20")
	}
}

func (d *doctor) revoke(ctx context.Context) (took time.Duration, err error) {
	d.Progress("Making, using and revoking a token…")
	pat, plaintext, err := d.newToken()
	if err != nil {
		return 0, err
	}
	what := "a new token"
	if d.scoped { // it shows as well that kube-apiserver has the kubeconfig for tokens with scopes
		what = "a new token with scopes; kubectl pat setup --scopes writes the kubeconfig for them"
		pat.Spec.Scopes = []v1alpha1.Scope{{Preset: "read-only"}}
	}
	if err := holder.Submit(ctx, d.Client, pat); err != nil {
		return 0, err
	}
	defer func() {
		gone := d.Client.Delete(context.WithoutCancel(ctx), pat)
		if client.IgnoreNotFound(gone) != nil {
			err = errors.Join(err, fmt.Errorf("the token %s/%s, which ends in an hour, is not deleted: %w", pat.Namespace, pat.Name, gone))
		}
	}()
	waiting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if _, err := holder.WaitActive(waiting, d.Client, pat); err != nil {
		return 0, fmt.Errorf("the operator does not issue a token: %w", err)
	}
	config, where := d.whereTokensWork()
	config.BearerToken = plaintext
	s, err := newServer(config, "")
	if err != nil {
		return 0, err
	}
	if err := s.startsToAccept(ctx, startTimeout); err != nil {
		return 0, fmt.Errorf("%s does not accept %s: %w", where, what, err)
	}
	if err := d.Client.Delete(ctx, pat); err != nil {
		return 0, err
	}
	revoked := time.Now()
	err = wait.PollUntilContextTimeout(ctx, pause, endTimeout, true, func(ctx context.Context) (bool, error) {
		accepts, err := s.accepts(ctx)
		return !accepts, err
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = errAccepted
	}
	return time.Since(revoked), err
}

// whereTokensWork returns the way to kube-apiserver, or to the proxy if no kube-apiserver asks the verifier.
func (d *doctor) whereTokensWork() (config *rest.Config, where string) {
	asks := func(s *server) bool { return read(s.review.Error).holds != notAsked }
	if d.proxy == nil || slices.ContainsFunc(d.servers, asks) {
		return rest.AnonymousClientConfig(d.Config), "the API server"
	}
	return &rest.Config{Host: d.proxy.URL, TLSClientConfig: rest.TLSClientConfig{CAData: d.proxy.CA}}, theProxy
}

// startsToAccept waits until the server authenticates the client. A proxy may act for the user of a new token a moment after the
// token is active: the operator keeps the list.
func (s *server) startsToAccept(ctx context.Context, within time.Duration) error {
	var last *answerError
	err := wait.PollUntilContextTimeout(ctx, pause, within, true, func(context.Context) (bool, error) {
		accepts, err := s.accepts(ctx)
		if errors.As(err, &last) && (last.status == http.StatusForbidden || last.status == http.StatusServiceUnavailable) {
			return false, nil
		}
		return accepts, err
	})
	if wait.Interrupted(err) && last != nil {
		return last
	}
	return err
}

// answerError is an answer that says neither yes nor no.
type answerError struct{ status int }

func (e *answerError) Error() string { return fmt.Sprintf("it answers HTTP %d", e.status) }

// accepts reports whether the server authenticates the client.
func (s *server) accepts(ctx context.Context) (bool, error) {
	review := &authenticationv1.SelfSubjectReview{TypeMeta: metav1.TypeMeta{APIVersion: authenticationv1.SchemeGroupVersion.String(), Kind: "SelfSubjectReview"}}
	status, _, err := s.do(ctx, http.MethodPost, "/apis/authentication.k8s.io/v1/selfsubjectreviews", "application/json", review, nil)
	switch {
	case err != nil:
		return false, err
	case status != http.StatusCreated && status != http.StatusUnauthorized:
		return false, &answerError{status}
	}
	return status == http.StatusCreated, nil
}
