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

// Package admission decides what may be written into a PersonalAccessToken, and by whom: one handler stamps spec.user, one
// validates. Neither has any side effect, so a dry run is answered like the real request.
//
// Authority is what the API server says at that moment: to be the user, or the plain verb impersonate on every part of
// the user, checked by SubjectAccessReview as kube-apiserver does for impersonation. If a check cannot be made, the
// request is refused.
//
// No error here speaks of immutability, though much may not change, and no update is refused with 422: GitOps tools that are
// told to use force take either for leave to delete the resource and create it again, which would revoke its token.
package admission

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrladmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/audit"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/record"
)

// Paths of the webhooks, as config/webhook names them.
const (
	MutatePath   = "/mutate-pat-operator-io-v1alpha1-personalaccesstoken"
	ValidatePath = "/validate-pat-operator-io-v1alpha1-personalaccesstoken"
)

// Config is what the operator's flags say.
type Config struct {
	// Config is what issuing goes by too.
	lifecycle.Config
	// RestrictingExtraKeys are keys of a user's extra that say that the user is held to less than what their name and
	// groups may do, which a token could not keep. Case does not matter.
	RestrictingExtraKeys []string
	// RequireScopes refuses tokens without scopes, which may do all that their user may.
	RequireScopes bool
	// Policies are the TokenPolicies; nil knows none. With it, TokensOf and APIAudiences are required.
	Policies Policies
	// TokensOf counts the tokens of a user that have not ended, that of a resource left out.
	TokensOf func(ctx context.Context, username string, except types.NamespacedName) (int, error)
	// APIAudiences returns the API server's own audiences, as far as they are known.
	APIAudiences func() []string
	// BindingGroups matches the groups that a token of one's own must not leave out, besides those that TokenPolicies name; nil
	// matches none.
	BindingGroups *regexp.Regexp
	// OwnNamespaces are those of the operator and the records, which hold no tokens.
	OwnNamespaces []string
	// Client creates SubjectAccessReviews. Required.
	Client Creator
	// ServiceAccounts reads the metadata of service accounts, live: a cache would pin a token to an account that is gone.
	// Required.
	ServiceAccounts client.Reader
	// Record returns the record of a resource, live; nil where it has none. Status would say what was issued too, but who may
	// patch status must gain nothing by it. Required.
	Record func(ctx context.Context, pat *v1alpha1.PersonalAccessToken) (*record.Record, error)
	// HistoryFull reports whether the ids that have to be remembered leave no room for spec.token. Required.
	HistoryFull func(ctx context.Context, pat *v1alpha1.PersonalAccessToken) bool
	// Guards returns why the operator does not act on admitted changes yet: the guards are not accepted. Required.
	Guards func() error
	// Audit takes refusals; nil is allowed.
	Audit *audit.Log
	// Now is the clock.
	Now func() time.Time

	// advice answers questions that only lead to warnings.
	advice Creator
}

// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

// Creator is the part of a client.Client that access reviews need.
type Creator interface {
	Create(ctx context.Context, object client.Object, options ...client.CreateOption) error
}

// Handlers returns what to serve under MutatePath and ValidatePath. The scheme must know v1alpha1.
func Handlers(cfg Config, scheme *runtime.Scheme) (map[string]http.Handler, error) {
	if cfg.Client == nil || cfg.ServiceAccounts == nil || cfg.Record == nil || cfg.HistoryFull == nil || cfg.Guards == nil || cfg.Now == nil {
		return nil, errors.New("admission needs Client, ServiceAccounts, Record, HistoryFull, Guards and Now")
	}
	if cfg.Policies != nil && (cfg.TokensOf == nil || cfg.APIAudiences == nil) {
		return nil, errors.New("admission with Policies needs TokensOf and APIAudiences")
	}
	cfg = cfg.inTurn(newTurns(allQuestions))
	cfg.advice = &remembering{Creator: cfg.Client, ttl: adviceTTL}
	hooks := map[string]*ctrladmission.Webhook{
		MutatePath:   {Handler: NewDefaulter(cfg)},
		ValidatePath: ctrladmission.WithValidator(scheme, NewValidator(cfg)),
	}
	handlers := make(map[string]http.Handler, len(hooks))
	for path, hook := range hooks {
		hook.Handler = &observed{hook.Handler, webhooks[path], cfg.Audit}
		handler, err := ctrladmission.StandaloneWebhook(hook.WithRecoverPanic(true), ctrladmission.StandaloneOptions{MetricsPath: path})
		if err != nil {
			return nil, fmt.Errorf("preparing the webhook at %s: %w", path, err)
		}
		handlers[path] = handler
	}
	return handlers, nil
}
