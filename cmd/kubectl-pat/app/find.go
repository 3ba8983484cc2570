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

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
)

// maxFindInput is the most text that find searches, in bytes.
const maxFindInput = 16 << 20

type findOptions struct {
	*session
	allNamespaces bool
	output        string
}

func newFindCommand(s *session) *cobra.Command {
	o := &findOptions{session: s}
	cmd := &cobra.Command{
		Use:        "find",
		SuggestFor: []string{"lookup"},
		Short:      "Find the resource of a token or an ID",
		Long: `Find the PersonalAccessToken of a token that has turned up somewhere, and show how to revoke it. This command searches
standard input for tokens and IDs: a token, complete or cut off, an ID, the credential ID of audit logs (PAT=...), or any text
with these in it, also in base64 (a Secret, a Basic header), in UTF-16 or broken into lines. It reports what it cannot read, such
as compressed data. On a terminal it asks for the token without showing it. It takes no token from the arguments, which others
can see, and it never sends or prints the secret part of a token.

It searches all namespaces or, if you may not list them all, the current one, and says so. A token that is not found there may be
in another namespace and still work.

A complete token is compared with the digest in spec.token: "matches" means that it is this token, "differs" that it only has the
same ID. Other tokens have no digest that you can read. IDs are not secret, and the author of the text may have chosen them: look
at the result before you revoke anything.

-o name requires -n, because names do not include the namespace. It is input for commands that delete resources, so it leaves out
tokens that differ, that have ended, or that are not the resource's current token, such as a predecessor.`,
		Example: `  # A token that you type or paste
  kubectl pat find

  # The tokens in a log, each with the command that revokes it
  kubectl pat find < build.log

  # As data, with the resources
  kubectl pat find -o yaml < build.log`,
		Args:              noTokens(nothingButInput),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), cmd.Flags().Changed("namespace"))
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "in all namespaces; fail if you may not list them")
	flags.StringVarP(&o.output, "output", "o", "", "the `FORMAT`: json, yaml or name (default: a table)")
	completeValues(cmd, "output", outputJSON, outputYAML, outputName)
	return cmd
}

// nothingButInput refuses arguments without quoting them: an ID is public, but a token may be misspelled.
func nothingButInput(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments: pass the token, ID or text on standard input, as in %[1]s < FILE", cmd.CommandPath())
	}
	return nil
}

func (o *findOptions) run(ctx context.Context, namespaceGiven bool) error {
	if o.output != "" {
		if err := oneOf("output", o.output, outputJSON, outputYAML, outputName); err != nil {
			return err
		}
	}
	switch {
	case o.allNamespaces && namespaceGiven:
		return usagef("give either --all-namespaces or --namespace, not both")
	case o.output == outputName && !namespaceGiven: // a reader would look for the name in the current namespace
		return usagef("-o name prints no namespaces: give one with -n NAMESPACE, or use -o json")
	}
	text, err := o.readInput(ctx, stdin, "Token or ID (it is not shown): ", maxFindInput)
	if err != nil {
		return err
	}
	matches, unread := scan(string(text))
	switch {
	case len(matches) == 0 && unread:
		return errUnread
	case unread:
		o.sayf("Parts of standard input look compressed, encrypted or binary, and a token in them is not found. Decode them, and pass the result to kubectl pat find.")
	case len(matches) == 0:
		return errors.New("standard input holds no token and no ID; an ID has 16 characters of a-z and 2-7, and a token begins with kubepat_")
	}
	c, err := o.client()
	if err != nil {
		return err
	}
	pats, only, err := o.search(ctx, c, namespaceGiven)
	if err != nil {
		return err
	}
	findings := match(matches, pats)
	o.sayMissing(matches, findings, only)
	if len(findings) == 0 {
		return notFound(only)
	}
	return o.print(findings)
}

var errUnread = errors.New("found no token and no ID, but parts of standard input look compressed, encrypted or binary and may hold one: decode them, and pass the result to kubectl pat find")

// notFound says what it means that nothing was found. Only after a search of all namespaces has the token ended.
func notFound(only string) error {
	if only != "" {
		return fmt.Errorf("no PersonalAccessToken in namespace %s has it: it may be in another namespace and still work; ask a user who may list all namespaces to run kubectl pat find -A", only)
	}
	return errors.New("no PersonalAccessToken in any namespace has it: its resource was deleted, which ended it, or it was rotated out long ago, or it belongs to another cluster; if it is only seconds old, try again")
}

// search reads the resources of all namespaces, or only of one: the given one or, if none is given and the user may not list
// all, the current one.
func (o *findOptions) search(ctx context.Context, c client.Client, namespaceGiven bool) (pats []v1alpha1.PersonalAccessToken, only string, err error) {
	namespace, err := o.namespace()
	if err != nil {
		return nil, "", err
	}
	if !namespaceGiven {
		pats, err = holder.ReadAll(ctx, c)
		if err == nil || o.allNamespaces || !apierrors.IsForbidden(err) {
			return pats, "", err
		}
		o.sayf("You may not list tokens in all namespaces: only namespace %s is searched. The token may be in another one.", namespace)
	}
	pats, err = holder.ReadAll(ctx, c, client.InNamespace(namespace))
	return pats, namespace, err
}

// sayMissing names the tokens that were not found, if others were. A word of 16 letters may be something else than an ID.
func (o *findOptions) sayMissing(matches []tokenMatch, findings []finding, only string) {
	known := map[string]bool{}
	for _, f := range findings {
		known[f.TokenID] = true
	}
	for _, s := range matches {
		switch {
		case known[s.id] || !s.certain || len(matches) == 1:
		case only != "":
			o.sayf("No PersonalAccessToken in namespace %s has %s; it may be in another.", only, s.id)
		default:
			o.sayf("No PersonalAccessToken in any namespace has %s.", s.id)
		}
	}
}

func (o *findOptions) print(findings []finding) error {
	switch o.output {
	case outputJSON, outputYAML:
		for i := range findings {
			withKind(findings[i].PersonalAccessToken)
			findings[i].PersonalAccessToken.ManagedFields = nil
		}
		return write(o.Out, o.output, findResult{findings})
	case outputName:
		return o.printNames(findings)
	}
	if err := o.printFindings(findings); err != nil {
		return err
	}
	o.sayEnds(findings)
	return nil
}

// printNames prints the resources to delete. It leaves out those whose deletion would not end exactly the token that was found.
func (o *findOptions) printNames(findings []finding) error {
	printed := map[string]bool{}
	for _, f := range findings {
		name := f.PersonalAccessToken.Name
		if why := f.notThisOne(); why != "" {
			o.sayf("Left out: %s, because the %s", holder.ResourceName(name), why)
			continue
		}
		if printed[name] {
			continue
		}
		printed[name] = true
		if _, err := fmt.Fprintln(o.Out, holder.ResourceName(name)); err != nil {
			return err
		}
	}
	if len(printed) == 0 {
		return errors.New("every match was left out; run this without -o name to see them")
	}
	return nil
}

// sayEnds prints how to revoke the tokens that were found.
func (o *findOptions) sayEnds(findings []finding) {
	var said []string
	for _, f := range findings {
		if f.Digest == digestDiffers { // the resource's token did not leak
			o.sayf("The token that was found is not that of %s/%s, but has its ID.", f.PersonalAccessToken.Namespace, f.PersonalAccessToken.Name)
			continue
		}
		if why := f.over(); why != "" {
			o.sayf("Nothing to end at %s/%s: the %s.", f.PersonalAccessToken.Namespace, f.PersonalAccessToken.Name, why)
			continue
		}
		if command := f.end(); !slices.Contains(said, command) {
			said = append(said, command)
			o.sayf("To end it: %s", command)
		}
	}
}
