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
	"slices"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
)

// Values of --dry-run, as kubectl has them.
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

// handover is how a token, and what was asked for beside it, is handed over.
type handover struct {
	*session
	to     destinationFlags
	output string
}

// Created is what create and rotate print with -o json and -o yaml.
type Created struct {
	PersonalAccessToken *v1alpha1.PersonalAccessToken `json:"personalAccessToken"`
	// Token is the token itself. It is absent where it went elsewhere (--token-file, --copy), where it is encrypted, in
	// status.encryptedToken of the resource, and in a dry run.
	Token string `json:"token,omitempty"`
}

func newCreateCommand(s *session) *cobra.Command {
	o := &createOptions{handover: handover{session: s}}
	cmd := &cobra.Command{
		Use:        "create NAME",
		SuggestFor: []string{"new", "add", "make", "issue"},
		Short:      "Make a token and print it once",
		Long: `Make a PersonalAccessToken, wait until its token works, and print the token: once, alone on standard output.

The token is made on this machine. The cluster only gets its ID and a digest, from which nobody gets the token back. With
--recipient the operator makes it, and what is printed is an age file that nobody but the holders of these keys can open.

With -o json and -o yaml an object is printed that has the resource in "personalAccessToken" and the token in "token". It
has no "token" where that goes elsewhere or is encrypted.

If the token does not work within --timeout it is printed all the same, since it could not be had again. The exit code is
1 then, and standard error says why, and how to end the token.`,
		Example: `  # A token for yourself, for 90 days
  kubectl pat create my-script

  # Into a shell variable, for twelve hours
  TOKEN=$(kubectl pat create try-out --expires-in 12h)

  # Onto the clipboard
  kubectl pat create dashboard --display-name "Dashboard at home" --copy

  # For somebody else, whom you may impersonate
  kubectl pat create ci -n team-a --for alice --group developers --token-file ci.token

  # For a vendor, who opens it with: age -d -i ~/.ssh/id_ed25519 polite-mail.age
  kubectl pat create polite-mail --recipient @vendor.pub > polite-mail.age`,
		Args:              oneName,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args[0]) },
	}
	flags := cmd.Flags()
	o.spec.bind(flags)
	flags.StringArrayVar(&o.recipients, "recipient", nil,
		"encrypt the token to this age or SSH public `KEY`, or to those in a file, one on each line: @FILE; repeat it for more")
	o.to.bind(flags)
	flags.DurationVar(&o.timeout, "timeout", 30*time.Second, "how long to wait until the token works")
	flags.StringVar(&o.dryRun, "dry-run", dryRunNone, "`WHERE` to stop: none, client (nothing is sent) or server (it is judged, and not kept)")
	flags.StringVarP(&o.output, "output", "o", outputToken, "the `FORMAT`: token, json, yaml or name")
	completeValues(cmd, "dry-run", dryRunNone, dryRunClient, dryRunServer)
	completeValues(cmd, "output", outputToken, outputJSON, outputYAML, outputName)
	return cmd
}

func (o *createOptions) validate() error {
	switch {
	case !slices.Contains([]string{outputToken, outputJSON, outputYAML, outputName}, o.output):
		return usagef("--output %q is none of token, json, yaml and name", o.output)
	case !slices.Contains([]string{dryRunNone, dryRunClient, dryRunServer}, o.dryRun):
		return usagef("--dry-run %q is none of none, client and server", o.dryRun)
	case o.timeout <= 0:
		return usagef("--timeout %v is not positive: name a time to wait, such as 30s", o.timeout)
	case o.output == outputName && o.dryRun == dryRunNone && len(o.recipients) == 0 && !o.to.elsewhere():
		return usagef("-o name prints no token, which could not be had again: add --token-file FILE or --copy")
	}
	return nil
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
		return o.dry(ctx, pat, keys)
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
		return o.taken(ctx, c, pat, err)
	}
	// From here on the token is handed over, whatever happens.
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
	}
	if inactive != nil {
		inactive = fmt.Errorf("the token is not active: %w; see kubectl describe pat %s -n %s, and end it by kubectl delete pat %[2]s -n %[3]s",
			inactive, pat.Name, pat.Namespace)
	}
	if err != nil && inactive != nil {
		return fmt.Errorf("%w; and %w", err, inactive)
	}
	return errors.Join(err, inactive)
}

// taken names the way out where the name is one that is there already.
func (o *createOptions) taken(ctx context.Context, c client.Client, pat *v1alpha1.PersonalAccessToken, err error) error {
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

// fill gives pat a token of our own, or has one made for keys and returns "".
func (o *createOptions) fill(pat *v1alpha1.PersonalAccessToken, keys []string) (plaintext string, err error) {
	if len(keys) > 0 {
		holder.DeliverTo(pat, keys, o.Clock.Now(), time.Duration(o.spec.expiresIn))
		return "", nil
	}
	return holder.MakeToken(pat, o.Random, holder.EndAfter(o.Clock.Now(), time.Duration(o.spec.expiresIn)))
}

// dry shows what would be created. Its token is nobody's.
func (o *createOptions) dry(ctx context.Context, pat *v1alpha1.PersonalAccessToken, keys []string) error {
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
			return o.taken(ctx, c, pat, holder.Refused(err))
		}
	}
	if o.output == outputToken {
		_, err := fmt.Fprintf(o.Out, "%s created (%s)\n", holder.ResourceName(pat.Name), how)
		return err
	}
	if len(keys) == 0 && o.output != outputName {
		o.sayf("This is a %s: nobody has the token of this digest. For a manifest with its token: kubectl pat generate", how)
	}
	return o.print(pat, "", nil)
}

// announce says, ahead of the token, what it is.
func (o *handover) announce(pat *v1alpha1.PersonalAccessToken, to *destination, active bool) {
	state := "It is not active."
	if active {
		state = "It works until " + endOf(pat) + "."
	}
	switch {
	case holder.Sealed(pat):
		o.sayf("This is the token, encrypted: only the recipients can open it (age --decrypt -i KEYFILE). %s", state)
	case to.place != "":
		o.sayf("The token is %s, and nowhere else: the cluster has a digest of it. %s", to.place, state)
	default:
		o.sayf("This is the token. It is shown this once: the cluster has a digest of it. %s", state)
	}
}

// print writes what --output asks for, and hands the token over where it is not part of that.
func (o *handover) print(pat *v1alpha1.PersonalAccessToken, plaintext string, to *destination) (err error) {
	defer func() {
		if err != nil && plaintext != "" && !errors.Is(err, errPrinted) {
			err = fmt.Errorf("%w; the token of %s was not handed over, so make another: %s", err, holder.ResourceName(pat.Name), rotateCommand(pat))
		}
	}()
	if plaintext != "" && (o.output == outputToken || o.to.elsewhere()) {
		if err := to.putOrPrint(plaintext); err != nil {
			return err
		}
		plaintext = ""
	}
	switch o.output {
	case outputName:
		_, err := fmt.Fprintln(o.Out, holder.ResourceName(pat.Name))
		return err
	case outputJSON, outputYAML:
		withKind(pat)
		pat.ManagedFields = nil
		if holder.Sealed(pat) {
			plaintext = "" // it is in status
		}
		return write(o.Out, o.output, Created{pat, plaintext})
	}
	return nil
}

// sayNext says on a terminal, below the token, until when it works and what to do with it.
func (o *handover) sayNext(pat *v1alpha1.PersonalAccessToken, to *destination) {
	if o.Width(o.ErrOut) == 0 || o.output != outputToken {
		return
	}
	name := pat.Name + " -n " + pat.Namespace
	next := "for kubectl: kubectl pat kubeconfig " + name + " -o " + pat.Name + ".kubeconfig, which asks for it; for curl: -H \"Authorization: Bearer $TOKEN\""
	switch {
	case holder.Sealed(pat):
		next = "send it to its recipients, who open it by: kubectl pat decrypt " + name + " -i KEYFILE"
	case to.file != nil:
		next = "for kubectl: kubectl pat kubeconfig " + name + " --token-file FILE -o " + pat.Name + ".kubeconfig; for curl: -H \"Authorization: Bearer $(cat FILE)\""
	}
	o.sayf("\nIt works until %s (%s). Before that, replace it: %s", endOf(pat), untilOrAgo(end(pat), o.Clock.Now()), rotateCommand(pat))
	o.sayf("Next, %s", next)
}

func userOf(pat *v1alpha1.PersonalAccessToken) string {
	if pat.Spec.User == nil {
		return "nobody yet"
	}
	return pat.Spec.User.Username
}

// endOf is when pat's token ends, as far as it is known.
func endOf(pat *v1alpha1.PersonalAccessToken) string {
	if end(pat) == nil {
		return "an unknown time"
	}
	return holder.Stamp(end(pat))
}

func end(pat *v1alpha1.PersonalAccessToken) *metav1.Time {
	return cmp.Or(pat.Status.ExpiresAt, pat.Spec.ExpiresAt)
}
