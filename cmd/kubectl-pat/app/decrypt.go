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

	"filippo.io/age/armor"
	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
)

type decryptOptions struct {
	*session
	keys identityFlags
	to   destinationFlags
	file string
}

func newDecryptCommand(s *session) *cobra.Command {
	o := &decryptOptions{session: s}
	cmd := &cobra.Command{
		Use:        "decrypt (NAME | -f FILE)",
		SuggestFor: []string{"open"},
		Short:      "Open a token that was encrypted to your key",
		Long: `Open a token that the operator has encrypted to your age or SSH key (spec.delivery.recipients), and print it alone on
standard output. It is read from status.encryptedToken of the PersonalAccessToken, or from a file: then no cluster is asked.

Where the private key is protected by a passphrase, that is asked for on the terminal.`,
		Example: `  # One of this namespace, by the SSH key of yours that is where ssh looks for it
  kubectl pat decrypt polite-mail

  # A file that you were sent, without access to the cluster
  kubectl pat decrypt -f polite-mail.age -i ~/.ssh/id_ed25519 --token-file polite-mail.token

  # By an age key, onto the clipboard
  kubectl pat decrypt polite-mail -i key.txt --copy`,
		Args:              noTokens(o.oneSource),
		ValidArgsFunction: s.completeOneName,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args) },
	}
	flags := cmd.Flags()
	o.keys.bind(flags)
	flags.StringVarP(&o.file, "filename", "f", "", "the age `FILE` that holds the token; - is standard input")
	o.to.bind(flags)
	return cmd
}

// oneSource takes a name or -f.
func (o *decryptOptions) oneSource(cmd *cobra.Command, args []string) error {
	switch {
	case o.file == "":
		return oneName(cmd, args)
	case len(args) > 0:
		return usagef("a NAME and -f FILE are two places that the token would be in: give one of them")
	}
	return nil
}

func (o *decryptOptions) run(ctx context.Context, args []string) error {
	keys, err := o.keyring(ctx, o.keys.files)
	if err != nil {
		return err
	}
	to, err := o.to.open(o.Environment)
	if err != nil {
		return err
	}
	defer to.close()
	if o.file != "" {
		text, err := o.readAgeFile(ctx)
		if err != nil {
			return fmt.Errorf("-f: %w", err)
		}
		plaintext, id, err := keys.open(string(text))
		if err != nil {
			return fmt.Errorf("%s: %w", fileName(o.file), err)
		}
		o.announce(fmt.Sprintf("This is token %s.", id), to)
		return to.put(plaintext)
	}
	pat, err := o.get(ctx, nameOf(args[0]))
	if err != nil {
		return err
	}
	plaintext, id, err := openDelivered(pat, keys)
	if err != nil {
		return err
	}
	o.announce(tellOpened(pat, id), to)
	return to.put(plaintext)
}

// readAgeFile reads the file that -f names. On a terminal it is pasted.
func (o *decryptOptions) readAgeFile(ctx context.Context) ([]byte, error) {
	if terminal := terminalOf(o.In); o.file == stdin && terminal != nil {
		return o.askPasted(ctx, terminal, "The age file, as far as "+armor.Footer+" (Ctrl-D ends it as well):\n", armor.Footer, maxAgeFile)
	}
	return o.readInput(ctx, o.file, "", maxAgeFile)
}

func (o *decryptOptions) announce(what string, to *destination) {
	if to.place != "" {
		what = fmt.Sprintf("%s It is %s.", what, to.place)
	}
	o.sayf("%s", what)
}

// get reads one PersonalAccessToken of the namespace.
func (s *session) get(ctx context.Context, name string) (*v1alpha1.PersonalAccessToken, error) {
	namespace, err := s.namespace()
	if err != nil {
		return nil, err
	}
	c, err := s.client()
	if err != nil {
		return nil, err
	}
	pat := &v1alpha1.PersonalAccessToken{}
	err = c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, pat)
	return pat, missing(err, namespace)
}

// openDelivered opens what is in pat's status, or says why there is nothing that could be opened.
func openDelivered(pat *v1alpha1.PersonalAccessToken, keys *keyring) (plaintext, id string, err error) {
	where := pat.Namespace + "/" + pat.Name
	if pat.Status.EncryptedToken == "" {
		return "", "", fmt.Errorf("%s has no encrypted token: %s", where, whyNotEncrypted(pat))
	}
	plaintext, id, err = keys.open(pat.Status.EncryptedToken)
	if wrong, ok := errors.AsType[wrongKeyError](err); ok && pat.Spec.Delivery != nil && len(pat.Spec.Delivery.Recipients) > 0 {
		err = wrongKeyError{nameKeys(pat.Spec.Delivery.Recipients), wrong.skipped}
	}
	if err != nil {
		return "", "", fmt.Errorf("the encrypted token of %s: %w", where, err)
	}
	return plaintext, id, nil
}

// whyNotEncrypted says where the token is instead.
func whyNotEncrypted(pat *v1alpha1.PersonalAccessToken) string {
	delivery := pat.Spec.Delivery
	switch {
	case pat.Spec.Token != nil:
		return "its holder has made it, and nobody else ever had it"
	case delivery != nil && len(delivery.Recipients) > 0:
		why := "the operator has not looked at it; is it running?"
		if c := holder.Active(pat); c != nil {
			why = holder.Says(c).Error()
		}
		return why
	case takeCommand(pat) != "":
		return "it is in a Secret: " + takeCommand(pat)
	case pat.Status.DeliverySecretName != "":
		return fmt.Sprintf("it is in a Secret, which status calls %q", pat.Status.DeliverySecretName)
	}
	return "it was delivered in a Secret, which is gone; a rotation makes another (kubectl pat rotate)"
}

// tellOpened says whose token was opened and whether it works.
func tellOpened(pat *v1alpha1.PersonalAccessToken, id string) string {
	active := holder.Active(pat)
	switch {
	case id == pat.Status.PreviousTokenID:
		return fmt.Sprintf("Warning: this is token %s, the predecessor of the current one (%s).", id, pat.Status.TokenID)
	case id != pat.Status.TokenID:
		return fmt.Sprintf("Warning: this is token %s, and %s/%s has another (%s): somebody has changed its status.", id, pat.Namespace, pat.Name, pat.Status.TokenID)
	case active != nil && active.Status != "True":
		return fmt.Sprintf("Warning: this is token %s, for %s, and it is not active: %s", id, userOf(pat), holder.Says(active))
	}
	return fmt.Sprintf("This is token %s, for %s. It works until %s.", id, userOf(pat), endOf(pat))
}
