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
	"errors"
	"fmt"
	"slices"
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
		Short:      "Replace a token by a new one, and print it once",
		Long: `Replace a token by a new one, wait until that works, and print it: once, alone on standard output.

The new token is made where the present one was. One that was made on its holder's machine is made on this one, and lives
as long as the present one had; else the operator makes it, for as long as spec says. To recipients an age file is printed.
A token that is delivered in a Secret is taken from there, and the Secret deleted; with -o name it is left there for
whoever reads it. A token that has expired or was revoked may be rotated, too.

The present token ends at once, or after --overlap, or in that time as soon as the new one is first used. An overlap stays in
spec, and later rotations have it too: for a token that has leaked give --overlap 0, and --retire-on-first-use=false if spec
has that, which ends it at once and takes both out of spec.

With -o json and -o yaml an object is printed as create prints it. If the new token does not work within --timeout it is
printed all the same, since it could not be had again; the exit code is 1 then, and standard error says why.`,
		Example: `  # A new token; the old one ends at once, or after the overlap that spec has
  kubectl pat rotate my-script

  # It has leaked: the old one ends at once
  kubectl pat rotate my-script --overlap 0

  # Time to put the new one everywhere: the old one works for a day, at most until the new one is used
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
	flags.StringVar(&o.dryRun, "dry-run", dryRunNone, "`WHERE` to stop: none or server (it is judged, and not kept)")
	flags.StringVarP(&o.output, "output", "o", outputToken, "the `FORMAT`: token, json, yaml or name")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask where the resource is kept as Git has it")
	completeValues(cmd, "dry-run", dryRunNone, dryRunServer)
	completeValues(cmd, "output", outputToken, outputJSON, outputYAML, outputName)
	return cmd
}

func (o *rotateOptions) validate() error {
	switch {
	case !slices.Contains([]string{outputToken, outputJSON, outputYAML, outputName}, o.output):
		return usagef("--output %q is none of token, json, yaml and name", o.output)
	case !slices.Contains([]string{dryRunNone, dryRunServer}, o.dryRun):
		return usagef("--dry-run %q is neither none nor server", o.dryRun)
	case o.timeout <= 0:
		return usagef("--timeout %v is not positive: name a time to wait, such as 30s", o.timeout)
	}
	return nil
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
	if err := r.Edit(was.DeepCopy()); err != nil { // what is refused here, nobody is asked about
		return o.inFlags(err)
	}
	if o.dryRun != dryRunNone {
		return o.dry(ctx, c, r)
	}
	if was.Spec.Token != nil && o.output == outputName && !o.to.elsewhere() {
		return errNowhere
	}
	if o.takes(was) && !holder.MayReadSecrets(ctx, c, was.Namespace) {
		return fmt.Errorf("nothing was done: the new token would be delivered in a Secret, and you may not read those of namespace %s; add -o name to rotate it all the same, and leave the token there for somebody who may", was.Namespace)
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
	// From here on a token that was made here is handed over, whatever happens.
	o.sayf("%s rotated in namespace %s, for %s", holder.ResourceName(name), pat.Namespace, userOf(pat))
	waiting, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	o.progress("Waiting until the new token works, for at most %v…", o.timeout)
	pat, inactive := holder.WaitFor(waiting, c, pat, r.Over)
	o.clear()
	if inactive == nil && was.Status.TokenID != "" {
		o.sayf("%s", r.Predecessor(pat))
		if former := was.Status.TokenID; r.Overlap == nil && former == pat.Status.PreviousTokenID { // nobody has asked for it now
			o.sayf("That overlap was in spec. To end the former token now: %s", revokeOne(pat, former))
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

var errNowhere = usagef("-o name prints no token, which could not be had again: add --token-file FILE or --copy")

// takes tells whether the new token is taken from a Secret.
func (o *rotateOptions) takes(pat *v1alpha1.PersonalAccessToken) bool {
	return pat.Spec.Token == nil && !holder.Sealed(pat) && (o.output != outputName || o.to.elsewhere())
}

// hand hands the new token over, from where it is.
func (o *rotateOptions) hand(ctx context.Context, c client.Client, r *holder.Rotation, pat *v1alpha1.PersonalAccessToken, to *destination, active bool) error {
	plaintext, taken := r.Plaintext(), (*holder.Delivery)(nil)
	var err error
	switch {
	case plaintext != "":
	case !r.Issued(pat):
		return nil // said already
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
		o.sayf("Warning: the Secret %s, which the token was taken from, could not be deleted: %v; it stays until %s.",
			taken.Secret.Name, err, holder.DeliveryEnd(pat))
	}
	return nil
}

// consent warns of a rotation that Git would undo, and asks.
func (o *rotateOptions) consent(ctx context.Context, r *holder.Rotation) error {
	tool := holder.GitOps(r.Was)
	if tool == "" {
		return nil
	}
	switch name, namespace := r.Was.Name, r.Was.Namespace; {
	case r.Was.Spec.Token != nil:
		o.sayf("Warning: %s keeps %s as Git has it, and would put the old spec back: the token that it names stays ended then. Better make another by kubectl pat generate %[2]s -n %[3]s, and commit its manifest.",
			tool, name, namespace)
	case r.Undone():
		o.sayf("Warning: %s keeps %s as Git has it, and would put the old spec back, which may end the new token early, or ask for yet another. Better set a new spec.rotation.trigger in Git.",
			tool, name)
	default:
		o.sayf("Note: %s keeps %s as Git has it, but Git says nothing of what is changed here.", tool, name)
		return nil
	}
	if o.yes {
		return nil
	}
	return o.confirm(ctx, "Rotate it here?", "rotate it all the same")
}

// dry shows what would be asked for. Its token is nobody's.
func (o *rotateOptions) dry(ctx context.Context, c client.WithWatch, r *holder.Rotation) error {
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

// rotateCommand is the command that makes another token.
func rotateCommand(pat *v1alpha1.PersonalAccessToken) string {
	return fmt.Sprintf("kubectl pat rotate %s -n %s", pat.Name, pat.Namespace)
}
