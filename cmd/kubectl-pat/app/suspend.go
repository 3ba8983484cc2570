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

package app

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
)

// suspendOptions are the options of suspend and resume.
type suspendOptions struct {
	*session
	suspend bool
	done    string // a participle
	timeout time.Duration
}

func newSuspendCommand(s *session) *cobra.Command {
	return (&suspendOptions{session: s, suspend: true, done: "suspended"}).command(&cobra.Command{
		Use:        "suspend NAME...",
		SuggestFor: []string{"disable", "pause"},
		Short:      "Suspend tokens until you resume them",
		Long: `Suspend tokens until you resume them. Verifiers refuse a suspended token at once, kube-apiserver within 10 seconds. Its
expiration date does not change.

Tokens that are already suspended do not change.`,
		Example: `  # Suspend tokens whose users are unknown
  kubectl pat suspend ci old-backup

  # Resume one of them
  kubectl pat resume ci`,
	})
}

func newResumeCommand(s *session) *cobra.Command {
	return (&suspendOptions{session: s, done: "resumed"}).command(&cobra.Command{
		Use:        "resume NAME...",
		SuggestFor: []string{"enable", "activate", "unsuspend"},
		Short:      "Let suspended tokens work again",
		Long: `Let suspended tokens work again, and wait until they do. You must be the token's user, or be allowed to impersonate them.

If a token still does not work, for example because it has expired, the exit code is 1, and standard error says why.`,
		Example: `  kubectl pat resume ci`,
	})
}

func (o *suspendOptions) command(cmd *cobra.Command) *cobra.Command {
	cmd.Args = oneOrMoreNames
	cmd.ValidArgsFunction = o.completeNames
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), namesOf(args)) }
	cmd.Flags().DurationVar(&o.timeout, "timeout", 15*time.Second, "how long to wait for the operator, for each token")
	return cmd
}

func (o *suspendOptions) run(ctx context.Context, names []string) error {
	if err := positive(o.timeout); err != nil {
		return err
	}
	c, err := o.client()
	if err != nil {
		return err
	}
	all := batchResult{session: o.session, of: len(names)}
	for _, name := range names {
		err := errInterrupted
		if ctx.Err() == nil {
			err = o.one(ctx, c, name)
		}
		if err != nil {
			all.fail(name, err)
		}
	}
	return all.err(o.done)
}

func (o *suspendOptions) one(ctx context.Context, c client.WithWatch, name string) error {
	pat, err := o.read(ctx, c, name)
	if err != nil {
		return err
	}
	if pat.Spec.Suspend == o.suspend {
		state := "already suspended"
		if !o.suspend {
			state = "not suspended"
		}
		_, err := fmt.Fprintf(o.Out, "%s %s\n", holder.ResourceName(name), state)
		return err
	}
	tool := holder.GitOps(pat)
	pat, err = holder.Change{
		Client: c, FieldOwner: fieldOwner,
		Edit: func(pat *v1alpha1.PersonalAccessToken) error { pat.Spec.Suspend = o.suspend; return nil },
		Made: func(pat *v1alpha1.PersonalAccessToken) bool { return pat.Spec.Suspend == o.suspend },
	}.To(ctx, pat)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(o.Out, "%s %s\n", holder.ResourceName(name), o.done); err != nil {
		return err
	}
	if tool != "" {
		o.sayf("Note: %s manages %s from Git: set spec.suspend there too, or this change is undone.", tool, name)
	}
	waiting, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	over := holder.Resumed
	if o.suspend {
		over = holder.Suspended
	}
	switch pat, err = holder.WaitFor(waiting, c, pat, over); {
	case err == nil:
		return nil
	case !o.suspend && holder.StateOf(pat, o.Clock.Now()) == holder.StateExpired:
		return fmt.Errorf("it is resumed, but its token has expired; for a new one run: %s", rotateCommand(pat))
	case !o.suspend:
		return fmt.Errorf("it is resumed, but its token does not work: %w; see kubectl describe pat %s -n %s", err, pat.Name, pat.Namespace)
	case waiting.Err() != nil:
		return fmt.Errorf("it is suspended, and verifiers refuse its token; the operator has not confirmed this yet: %w", err)
	}
	return fmt.Errorf("it was suspended, but %w", err)
}
