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

package main

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"sigs.k8s.io/controller-runtime/pkg/healthz"

	"github.com/pat-operator/pat-operator/internal/authn"
)

// The flags of upstreamOptions.
const (
	flagUpstream        = "upstream-token-webhook-kubeconfig"
	flagUpstreamTimeout = "upstream-token-webhook-timeout"
)

// upstreamOptions are the flags for a cluster that has another token webhook.
type upstreamOptions struct {
	kubeconfig string
	timeout    time.Duration
}

func (o *upstreamOptions) bind(fs *pflag.FlagSet) {
	fs.StringVar(&o.kubeconfig, flagUpstream, "", "kubeconfig of another TokenReview webhook, which is asked about tokens that are not personal access tokens; read once. Without it, they are refused")
	fs.DurationVar(&o.timeout, flagUpstreamTimeout, authn.MaxUpstreamTimeout, "how long the webhook of --"+flagUpstream+" may take")
}

func (o *upstreamOptions) validate() error {
	var errs []error
	if o.timeout < authn.MinUpstreamTimeout || o.timeout > authn.MaxUpstreamTimeout {
		errs = append(errs, fmt.Errorf("--%s %v is not between %v and %v; set it as --%s=%v",
			flagUpstreamTimeout, o.timeout, authn.MinUpstreamTimeout, authn.MaxUpstreamTimeout, flagUpstreamTimeout, authn.MaxUpstreamTimeout))
	}
	if o.kubeconfig != "" {
		if err := authn.CheckUpstream(o.kubeconfig); err != nil {
			errs = append(errs, fmt.Errorf("--%s %q: %w", flagUpstream, o.kubeconfig, err))
		}
	}
	return errors.Join(errs...)
}

// webhook returns nil without a kubeconfig.
func (o *upstreamOptions) webhook(log logr.Logger) (*authn.Upstream, error) {
	if o.kubeconfig == "" {
		return nil, nil
	}
	upstream, err := authn.NewUpstream(o.kubeconfig, o.timeout, log)
	if err != nil {
		return nil, fmt.Errorf("--%s %q: %w", flagUpstream, o.kubeconfig, err)
	}
	return upstream, nil
}

// onceReady is a check that does not fail any more once it has passed. A verifier that is stale answers about the tokens of
// another webhook all the same, and says of ours that another replica is to be asked. If all were unready, a fault of ours would
// lock out everybody whose tokens are not ours.
func onceReady(check healthz.Checker) healthz.Checker {
	var passed atomic.Bool
	return func(r *http.Request) error {
		err := check(r)
		if err == nil {
			passed.Store(true)
		}
		if passed.Load() {
			return nil
		}
		return err
	}
}
