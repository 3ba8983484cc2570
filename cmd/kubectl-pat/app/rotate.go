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
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
)

type rotateOptions struct {
	handover
	rotationFlags
	timeout time.Duration
	dryRun  string
	yes     bool
}

func newRotateCommand(s *session) *cobra.Command {
	o := &rotateOptions{handover: handover{session: s}}
	cmd := &cobra.Command{
		Use:        "rotate NAME",
		SuggestFor: []string{"renew", "replace", "regenerate", "extend"},
		Short:      "Replace a token with a new one, and print it once",
		Long: `Replace a token with a new one, wait until the new one works, and print it: once, alone on standard output.

If a holder's machine made the current token, this machine makes the new one, with the same lifetime. Otherwise the operator
makes it, with the lifetime in spec. For recipients this command prints an age file. It reads a token that is delivered in a
Secret from there and deletes the Secret; with -o name the token stays in the Secret. You can also rotate a token that has
expired or was revoked.

The current token ends at once, or after --overlap, or within that time when the new one is first used. An overlap stays in spec
and applies to later rotations. For a leaked token give --overlap 0, and --retire-on-first-use=false if spec has that: this ends
the token at once and removes both from spec.

With -o json and -o yaml the output is an object as of create. If the new token does not work within --timeout, it is printed
anyway, because it cannot be shown later. The exit code is then 1, and standard error says why.`,
		Example: `  # A new token; the old one ends at once, or after the overlap in spec
  kubectl pat rotate my-script

  # After a leak: the old token ends at once
  kubectl pat rotate my-script --overlap 0

  # With time to install the new one: the old one works for a day, or until the new one is first used
  kubectl pat rotate ci --overlap 24h --retire-on-first-use --token-file ci.token

  # For the vendor, who opens it with: age -d -i ~/.ssh/id_ed25519 polite-mail.age
  kubectl pat rotate polite-mail > polite-mail.age`,
		Args:              oneName,
		ValidArgsFunction: s.completeOneName,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), nameOf(args[0])) },
	}
	flags := cmd.Flags()
	o.bind(flags)
	o.to.bind(flags)
	flags.DurationVar(&o.timeout, "timeout", 30*time.Second, "how long to wait until the new token works")
	flags.StringVar(&o.dryRun, "dry-run", dryRunNone, "the `MODE`: none or server (validate, and save nothing)")
	flags.StringVarP(&o.output, "output", "o", outputToken, "the `FORMAT`: token, json, yaml or name")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask when the resource is managed from Git")
	completeValues(cmd, "dry-run", dryRunNone, dryRunServer)
	completeValues(cmd, "output", outputToken, outputJSON, outputYAML, outputName)
	return cmd
}

func (o *rotateOptions) validate() error {
	return cmp.Or(o.checkOutput(), oneOf("dry-run", o.dryRun, dryRunNone, dryRunServer), positive(o.timeout))
}

func (o *rotateOptions) run(ctx context.Context, name string) error {
	if err := o.validate(); err != nil {
		return err
	}
	c, err := o.client()
	if err != nil {
		return err
	}
	was, err := o.read(ctx, c, name)
	if err != nil {
		return err
	}
	r := &holder.Rotation{RotateOptions: o.options(), Clock: o.Clock, Random: o.Random, Was: was}
	if err := r.Edit(was.DeepCopy()); err != nil { // fail before asking anything
		return o.inFlags(err)
	}
	if o.dryRun != dryRunNone {
		return o.printDry(ctx, c, r)
	}
	if was.Spec.Token != nil && o.output == outputName && !o.to.elsewhere() {
		return errNowhere
	}
	if o.takes(was) && !holder.MayReadSecrets(ctx, c, was.Namespace) {
		return fmt.Errorf("nothing was changed: the new token would be delivered in a Secret, and you may not read Secrets in namespace %s; add -o name to rotate it anyway and leave the token in the Secret", was.Namespace)
	}
	if err := o.consent(ctx, r); err != nil {
		return err
	}
	to, err := o.to.open(o.Environment)
	if err != nil {
		return err
	}
	defer to.close()
	pat, err := holder.Change{Client: c, FieldOwner: fieldOwner, Edit: r.Edit, Made: r.Made}.To(ctx, was)
	if err != nil {
		return o.inFlags(err)
	}
	// A token that was made here may work from here on, so hand it over whatever happens.
	o.sayf("%s rotated in namespace %s, for %s", holder.ResourceName(name), pat.Namespace, userOf(pat))
	waiting, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	o.progress("Waiting until the new token works, for at most %v…", o.timeout)
	pat, inactive := holder.WaitFor(waiting, c, pat, r.Over)
	o.clear()
	if inactive == nil && was.Status.TokenID != "" {
		o.sayf("%s", r.Predecessor(pat))
		if former := was.Status.TokenID; r.Overlap == nil && former == pat.Status.PreviousTokenID { // not requested now
			o.sayf("This overlap comes from spec.rotation. To end the old token now: %s", revokeOne(pat, former))
		}
	}
	if inactive != nil {
		inactive = fmt.Errorf("the new token is not active: %w; see kubectl describe pat %s -n %s", inactive, pat.Name, pat.Namespace)
	}
	if err = o.hand(ctx, c, r, pat, to, inactive == nil); err == nil && inactive == nil {
		o.sayNext(pat, to)
	}
	if err != nil && inactive != nil {
		return fmt.Errorf("%w; and %w", err, inactive)
	}
	return errors.Join(err, inactive)
}

// takes reports whether the command reads the new token from a Secret.
func (o *rotateOptions) takes(pat *v1alpha1.PersonalAccessToken) bool {
	return pat.Spec.Token == nil && !holder.Sealed(pat) && (o.output != outputName || o.to.elsewhere())
}

// hand gets the new token and hands it over.
func (o *rotateOptions) hand(ctx context.Context, c client.Client, r *holder.Rotation, pat *v1alpha1.PersonalAccessToken, to *destination, active bool) error {
	plaintext, taken := r.Plaintext(), (*holder.Delivery)(nil)
	var err error
	switch {
	case plaintext != "":
	case !r.Issued(pat):
		return nil // the caller reports why
	case holder.Sealed(pat):
		plaintext, err = holder.Encrypted(pat)
	case o.takes(pat):
		if taken, err = holder.FindDelivery(ctx, c, pat); err == nil {
			plaintext = taken.Plaintext
		}
	default:
		o.sayf("The token is in Secret %s in namespace %s, under the key %q, until %s.",
			pat.Status.DeliverySecretName, pat.Namespace, v1alpha1.SecretKeyToken, holder.DeliveryEnd(pat))
	}
	if err != nil {
		return err
	}
	if plaintext != "" {
		o.announce(pat, to, active)
	}
	if err := o.print(pat, plaintext, to); err != nil || taken == nil {
		return err
	}
	if err := taken.Remove(ctx, c); err != nil {
		o.sayf("Warning: cannot delete Secret %s, which the token was taken from: %v; it stays until %s.",
			taken.Secret.Name, err, holder.DeliveryEnd(pat))
	}
	return nil
}

// consent warns of a rotation that Git would undo, and asks whether to go on.
func (o *rotateOptions) consent(ctx context.Context, r *holder.Rotation) error {
	tool := holder.GitOps(r.Was)
	if tool == "" {
		return nil
	}
	switch name, namespace := r.Was.Name, r.Was.Namespace; {
	case r.Was.Spec.Token != nil:
		o.sayf("Warning: %s manages %s from Git and would restore the old spec, whose token has then ended. Instead, run kubectl pat generate %[2]s -n %[3]s and commit its manifest.",
			tool, name, namespace)
	case r.Undone():
		o.sayf("Warning: %s manages %s from Git and would restore the old spec, which may end the new token early or request yet another. Instead, set a new spec.rotation.trigger in Git.",
			tool, name)
	default:
		o.sayf("Note: %s manages %s from Git, but Git does not set the fields that change here.", tool, name)
		return nil
	}
	if o.yes {
		return nil
	}
	return o.confirm(ctx, "Rotate it here?", "rotate it anyway")
}

// printDry prints what would be requested. It discards the token.
func (o *rotateOptions) printDry(ctx context.Context, c client.WithWatch, r *holder.Rotation) error {
	pat, err := holder.Change{Client: c, FieldOwner: fieldOwner, DryRun: true, Edit: r.Edit, Made: r.Made}.To(ctx, r.Was)
	if err != nil {
		return o.inFlags(err)
	}
	if o.output == outputToken {
		_, err := fmt.Fprintf(o.Out, "%s rotated (server dry run)\n", holder.ResourceName(pat.Name))
		return err
	}
	return o.print(pat, "", nil)
}

// rotateCommand returns the command that replaces the token.
func rotateCommand(pat *v1alpha1.PersonalAccessToken) string {
	return fmt.Sprintf("kubectl pat rotate %s -n %s", pat.Name, pat.Namespace)
}
