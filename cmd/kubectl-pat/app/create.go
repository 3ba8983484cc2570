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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
)

// Values of --dry-run, as in kubectl.
const (
	dryRunNone   = "none"
	dryRunClient = "client"
	dryRunServer = "server"
)

type createOptions struct {
	handover
	spec       specFlags
	recipients []string
	timeout    time.Duration
	dryRun     string
}

func newCreateCommand(s *session) *cobra.Command {
	o := &createOptions{handover: handover{session: s}}
	cmd := &cobra.Command{
		Use:        "create NAME",
		SuggestFor: []string{"new", "add", "make", "issue"},
		Short:      "Create a token and print it once",
		Long: `Create a PersonalAccessToken, wait until its token works, and print the token: once, alone on standard output.

This machine makes the token. The cluster gets only its ID and a digest, from which nobody can recover the token. With
--recipient the operator makes the token, and this command prints an age file that only the holders of these keys can open.

With -o json and -o yaml the output is an object with the resource in "personalAccessToken" and the token in "token". The
"token" is absent if it goes elsewhere or is encrypted.

If the token does not work within --timeout, it is printed anyway, because it cannot be shown later. The exit code is then 1,
and standard error says why and how to revoke the token.`,
		Example: `  # A token for yourself, for 90 days
  kubectl pat create my-script

  # For twelve hours, into a shell variable
  TOKEN=$(kubectl pat create try-out --expires-in 12h)

  # Onto the clipboard
  kubectl pat create dashboard --display-name "Dashboard at home" --copy

  # Only for reading; and only for two kinds of resources in a namespace
  kubectl pat create dashboard --read-only
  kubectl pat create restarter --scope 'get,list,patch deployments.apps,pods -n team-a'

  # Only from the networks of the office, by the proxy
  kubectl pat create backup --from 203.0.113.0/24,2001:db8:1::/48

  # For another user, whom you may impersonate
  kubectl pat create ci -n team-a --for alice --group developers --token-file ci.token

  # For one API: nothing else takes it, not the API server either
  kubectl pat create polite-mail --audience https://mail.example.com

  # For a vendor, who opens it with: age -d -i ~/.ssh/id_ed25519 polite-mail.age
  kubectl pat create polite-mail --audience https://mail.example.com --recipient @vendor.pub > polite-mail.age`,
		Args:              oneName,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args[0]) },
	}
	flags := cmd.Flags()
	o.spec.bind(cmd)
	flags.StringArrayVar(&o.recipients, "recipient", nil,
		"encrypt the token to this age or SSH public `KEY`, or to the keys in @FILE, one per line; repeat it for more")
	o.to.bind(flags)
	flags.DurationVar(&o.timeout, "timeout", 30*time.Second, "how long to wait until the token works")
	flags.StringVar(&o.dryRun, "dry-run", dryRunNone, "the `MODE`: none, client (send nothing) or server (validate, and save nothing)")
	flags.StringVarP(&o.output, "output", "o", outputToken, "the `FORMAT`: token, json, yaml or name")
	completeValues(cmd, "dry-run", dryRunNone, dryRunClient, dryRunServer)
	completeValues(cmd, "output", outputToken, outputJSON, outputYAML, outputName)
	return cmd
}

func (o *createOptions) validate() error {
	err := cmp.Or(o.checkOutput(), oneOf("dry-run", o.dryRun, dryRunNone, dryRunClient, dryRunServer), positive(o.timeout))
	if err == nil && o.output == outputName && o.dryRun == dryRunNone && len(o.recipients) == 0 && !o.to.elsewhere() {
		return errNowhere
	}
	return err
}

func (o *createOptions) run(ctx context.Context, name string) error {
	if err := o.validate(); err != nil {
		return err
	}
	namespace, err := o.namespace()
	if err != nil {
		return err
	}
	pat, err := o.spec.object(namespace, name)
	if err != nil {
		return err
	}
	keys, err := readKeys(o.recipients)
	if err != nil {
		return err
	}
	if o.dryRun != dryRunNone {
		return o.printDry(ctx, pat, keys)
	}
	c, err := o.client()
	if err != nil {
		return err
	}
	to, err := o.to.open(o.Environment)
	if err != nil {
		return err
	}
	defer to.close()
	plaintext, err := o.fill(pat, keys)
	if err != nil {
		return err
	}
	if err := holder.Submit(ctx, c, pat); err != nil {
		return o.nameTaken(ctx, c, pat, err)
	}
	// The token may work from here on, so hand it over whatever happens.
	o.sayf("%s created in namespace %s, for %s", holder.ResourceName(pat.Name), pat.Namespace, userOf(pat))
	waiting, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	o.progress("Waiting until the token works, for at most %v…", o.timeout)
	pat, inactive := holder.WaitActive(waiting, c, pat)
	o.clear()
	if len(keys) > 0 {
		if plaintext, err = holder.Encrypted(pat); err != nil && inactive == nil {
			return fmt.Errorf("%s/%s: %w", pat.Namespace, pat.Name, err)
		}
	}
	if plaintext != "" {
		o.announce(pat, to, inactive == nil)
	}
	if err = o.print(pat, plaintext, to); err == nil && inactive == nil {
		o.sayNext(pat, to)
		o.warnOfLimits(ctx, c, *pat)
	}
	if inactive != nil {
		inactive = fmt.Errorf("the token is not active: %w; see kubectl describe pat %s -n %s, and revoke it with kubectl delete pat %[2]s -n %[3]s",
			inactive, pat.Name, pat.Namespace)
	}
	if err != nil && inactive != nil {
		return fmt.Errorf("%w; and %w", err, inactive)
	}
	return errors.Join(err, inactive)
}

// nameTaken adds the next step to an error for a name that exists already.
func (o *createOptions) nameTaken(ctx context.Context, c client.Client, pat *v1alpha1.PersonalAccessToken, err error) error {
	exists, ok := errors.AsType[*apierrors.StatusError](err)
	if !apierrors.IsAlreadyExists(err) || !ok {
		return err
	}
	there := &v1alpha1.PersonalAccessToken{}
	switch unread := c.Get(ctx, client.ObjectKeyFromObject(pat), there); {
	case unread != nil:
		return fmt.Errorf("%w in namespace %s, and you may not read it; choose another name", exists, pat.Namespace)
	case holder.StateOf(there, o.Clock.Now()) == holder.StateExpired:
		return fmt.Errorf("%w in namespace %s, and its token has expired; for a new one run: %s", exists, pat.Namespace, rotateCommand(there))
	}
	return fmt.Errorf("%w in namespace %s; to replace its token run: %s; or choose another name", exists, pat.Namespace, rotateCommand(there))
}

// fill makes a token for pat, or lets the operator make one for keys and returns "".
func (o *createOptions) fill(pat *v1alpha1.PersonalAccessToken, keys []string) (plaintext string, err error) {
	if len(keys) > 0 {
		holder.DeliverTo(pat, keys, o.Clock.Now(), time.Duration(o.spec.expiresIn))
		return "", nil
	}
	return holder.MakeToken(pat, o.Random, holder.EndAfter(o.Clock.Now(), time.Duration(o.spec.expiresIn)))
}

// printDry prints what would be created. It discards the token.
func (o *createOptions) printDry(ctx context.Context, pat *v1alpha1.PersonalAccessToken, keys []string) error {
	if _, err := o.fill(pat, keys); err != nil {
		return err
	}
	how := "dry run"
	if o.dryRun == dryRunServer {
		how = "server dry run"
		c, err := o.client()
		if err != nil {
			return err
		}
		if err := c.Create(ctx, pat, client.DryRunAll); err != nil {
			return o.nameTaken(ctx, c, pat, holder.Refused(err))
		}
	}
	if o.output == outputToken {
		_, err := fmt.Fprintf(o.Out, "%s created (%s)\n", holder.ResourceName(pat.Name), how)
		return err
	}
	if len(keys) == 0 && o.output != outputName {
		o.sayf("This is a %s: the token of this digest was discarded. For a manifest and its token run: kubectl pat generate", how)
	}
	return o.print(pat, "", nil)
}

func userOf(pat *v1alpha1.PersonalAccessToken) string {
	return cmp.Or(holder.Username(pat), "nobody yet")
}
