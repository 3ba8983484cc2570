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

// suspendOptions are of suspend and of resume.
type suspendOptions struct {
	*session
	suspend bool
	done    string // the participle
	timeout time.Duration
}

func newSuspendCommand(s *session) *cobra.Command {
	return (&suspendOptions{session: s, suspend: true, done: "suspended"}).command(&cobra.Command{
		Use:        "suspend NAME...",
		SuggestFor: []string{"disable", "pause"},
		Short:      "Stop tokens for a while",
		Long: `Stop tokens until they are resumed. A token that is suspended is refused at once by verifiers, and within 10 seconds by
kube-apiserver. It ends when it would have ended anyway: its time goes on.

What is suspended already is left as it is.`,
		Example: `  # Nobody knows who uses these
  kubectl pat suspend ci old-backup

  # Nobody is surprised
  kubectl pat resume ci`,
	})
}

func newResumeCommand(s *session) *cobra.Command {
	return (&suspendOptions{session: s, done: "resumed"}).command(&cobra.Command{
		Use:        "resume NAME...",
		SuggestFor: []string{"enable", "activate", "unsuspend"},
		Short:      "Let suspended tokens work again",
		Long: `Let suspended tokens work again, and wait until they do. It takes the right to have such a token: you are its user, or may
impersonate them.

If a token does not work then, because it has expired for instance, the exit code is 1, and standard error says why.`,
		Example: `  kubectl pat resume ci`,
	})
}

func (o *suspendOptions) command(cmd *cobra.Command) *cobra.Command {
	cmd.Args = oneOrMoreNames
	cmd.ValidArgsFunction = o.completeNames
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), namesOf(args)) }
	cmd.Flags().DurationVar(&o.timeout, "timeout", 15*time.Second, "how long to wait for each until the operator says so")
	return cmd
}

func (o *suspendOptions) run(ctx context.Context, names []string) error {
	if o.timeout <= 0 {
		return usagef("--timeout %v is not positive: name a time to wait, such as 15s", o.timeout)
	}
	c, err := o.client()
	if err != nil {
		return err
	}
	all := tally{session: o.session, of: len(names)}
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
		o.sayf("Note: %s keeps %s as Git has it: put spec.suspend there as well, lest it is put back.", tool, name)
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
		return fmt.Errorf("it is suspended, and verifiers refuse its token, which they do without the operator; that has not said so %w", err)
	}
	return fmt.Errorf("it was suspended, but %w", err)
}
