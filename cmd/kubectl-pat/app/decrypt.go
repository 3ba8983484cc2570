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
		Short:      "Decrypt a token that was encrypted to your key",
		Long: `Decrypt a token that the operator encrypted to your age or SSH key (spec.delivery.recipients), and print it alone on
standard output. It comes from status.encryptedToken of the PersonalAccessToken, or from a file, which needs no cluster.

If the private key has a passphrase, this command asks for it on the terminal.`,
		Example: `  # A token of this namespace, with your default SSH key
  kubectl pat decrypt polite-mail

  # A file that you received, without access to the cluster
  kubectl pat decrypt -f polite-mail.age -i ~/.ssh/id_ed25519 --token-file polite-mail.token

  # With an age key, onto the clipboard
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
		return usagef("give either a NAME or -f FILE, not both")
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

// readAgeFile reads the file of -f. On a terminal it asks the user to paste it.
func (o *decryptOptions) readAgeFile(ctx context.Context) ([]byte, error) {
	if terminal := terminalOf(o.In); o.file == stdin && terminal != nil {
		return o.askPasted(ctx, terminal, "Paste the age file, up to "+armor.Footer+" (or press Ctrl-D at its end):\n", armor.Footer, maxAgeFile)
	}
	return o.readInput(ctx, o.file, "", maxAgeFile)
}

func (o *decryptOptions) announce(what string, to *destination) {
	if to.place != "" {
		what = fmt.Sprintf("%s It is %s.", what, to.place)
	}
	o.sayf("%s", what)
}

// openDelivered decrypts the token in pat's status.
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

// whyNotEncrypted says why status has no encrypted token, and where the token is.
func whyNotEncrypted(pat *v1alpha1.PersonalAccessToken) string {
	delivery := pat.Spec.Delivery
	switch {
	case pat.Spec.Token != nil:
		return "its holder made it, and nobody else has it"
	case delivery != nil && len(delivery.Recipients) > 0:
		why := "the operator has not processed it yet; is it running?"
		if c := holder.Active(pat); c != nil {
			why = holder.Says(c).Error()
		}
		return why
	case takeCommand(pat) != "":
		return "it is in a Secret: " + takeCommand(pat)
	case pat.Status.DeliverySecretName != "":
		return fmt.Sprintf("it is in a Secret, which status calls %q", pat.Status.DeliverySecretName)
	}
	return "it was delivered in a Secret, which no longer exists; for a new token run kubectl pat rotate"
}

// tellOpened says which token was decrypted and whether it works.
func tellOpened(pat *v1alpha1.PersonalAccessToken, id string) string {
	active := holder.Active(pat)
	switch {
	case id == pat.Status.PreviousTokenID:
		return fmt.Sprintf("Warning: this is token %s, the predecessor of the current one (%s).", id, pat.Status.TokenID)
	case id != pat.Status.TokenID:
		return fmt.Sprintf("Warning: this is token %s, and %s/%s has another (%s): its status was changed.", id, pat.Namespace, pat.Name, pat.Status.TokenID)
	case active != nil && active.Status != "True":
		return fmt.Sprintf("Warning: this is token %s, for %s, and it is not active: %s", id, userOf(pat), holder.Says(active))
	}
	return fmt.Sprintf("This is token %s, for %s. It works until %s.", id, userOf(pat), endOf(pat))
}
