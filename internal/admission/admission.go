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

// Package admission says what may be written into a PersonalAccessToken, and by whom: one handler stamps spec.user, one
// validates. Neither has any side effect, so a dry run is answered like the real request.
//
// No error here speaks of immutability, though much may not change: GitOps tools take such words for leave to delete the
// resource and create it again, which would revoke its token.
package admission

import (
	"fmt"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	ctrladmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// Paths of the webhooks, as config/webhook names them.
const (
	MutatePath   = "/mutate-pat-operator-io-v1alpha1-personalaccesstoken"
	ValidatePath = "/validate-pat-operator-io-v1alpha1-personalaccesstoken"
)

// Config is what the operator's flags say.
type Config struct {
	// MaxLifetime is the longest life of a token.
	MaxLifetime time.Duration
	// SecretDelivery tells whether tokens may be delivered in Secrets.
	SecretDelivery bool
	// Now is the clock.
	Now func() time.Time
}

// Handlers returns what to serve under MutatePath and ValidatePath. The scheme must know v1alpha1.
func Handlers(cfg Config, scheme *runtime.Scheme) (map[string]http.Handler, error) {
	hooks := map[string]*ctrladmission.Webhook{
		MutatePath:   {Handler: NewDefaulter()},
		ValidatePath: ctrladmission.WithValidator(scheme, NewValidator(cfg)),
	}
	handlers := make(map[string]http.Handler, len(hooks))
	for path, hook := range hooks {
		handler, err := ctrladmission.StandaloneWebhook(hook.WithRecoverPanic(true), ctrladmission.StandaloneOptions{MetricsPath: path})
		if err != nil {
			return nil, fmt.Errorf("preparing the webhook at %s: %w", path, err)
		}
		handlers[path] = handler
	}
	return handlers, nil
}
