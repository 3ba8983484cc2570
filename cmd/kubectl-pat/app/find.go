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

// maxFindInput is how much text find looks through.
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
		Short:      "Tell which resource a token or an ID belongs to",
		Long: `Tell which PersonalAccessToken a token belongs to that has turned up somewhere, and how to end it. Standard input is searched
for tokens and IDs: it may be a token, whole or cut off, an ID, the ID of a credential as audit logs have it (PAT=...), or any
text with such in it, also in base64 (a Secret, a Basic header), in UTF-16 or broken into lines. What cannot be read, such as
compressed data, is reported. On a terminal it is asked for and not shown. It is never taken from the arguments, which others can
see, and the secret part of a token is neither sent nor printed.

All namespaces are searched; where you may not list them all, the current one, and that is said. What is not found there may be
in another namespace, and still work.

A digest that is in spec.token is compared with a whole token: "matches" says that it is the token itself, "differs" that it
only has its ID. The cluster keeps the digests of other tokens to itself. IDs are no secrets: whoever wrote the text may have
chosen which are in it, so look at what is found before you end it.

-o name takes -n, since names say nothing of their namespace. It is for what ends tokens by their resources, so it leaves out
what "differs", what has ended already, and what is not the resource's present token, such as a predecessor.`,
		Example: `  # Asks for the token
  kubectl pat find

  # What is in a log, with what ends each
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
	flags.BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "in all namespaces, and in nothing less")
	flags.StringVarP(&o.output, "output", "o", "", "the `FORMAT`: json, yaml or name (default: a table)")
	completeValues(cmd, "output", outputJSON, outputYAML, outputName)
	return cmd
}

// nothingButInput refuses arguments without an echo: an ID is no secret, but a token may be misspelt.
func nothingButInput(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments: give it the token, ID or text on standard input (%[1]s < FILE, or without anything: it asks)", cmd.CommandPath())
	}
	return nil
}

func (o *findOptions) run(ctx context.Context, namespaceGiven bool) error {
	switch {
	case !slices.Contains([]string{"", outputJSON, outputYAML, outputName}, o.output):
		return usagef("--output %q is none of json, yaml and name", o.output)
	case o.allNamespaces && namespaceGiven:
		return usagef("--all-namespaces and --namespace are two places to search: give one of them")
	case o.output == outputName && !namespaceGiven: // it would be taken for one of the same name in the current namespace
		return usagef("-o name says nothing of namespaces: name one by -n NAMESPACE, or take -o json, which has them")
	}
	text, err := o.readInput(ctx, stdin, "Token or ID (it is not shown): ", maxFindInput)
	if err != nil {
		return err
	}
	sightings, unread := scan(string(text))
	switch {
	case len(sightings) == 0 && unread:
		return errUnread
	case unread:
		o.sayf("Parts of standard input look compressed, encrypted or binary, and a token in them is not found. Decode them, and give the result to kubectl pat find.")
	case len(sightings) == 0:
		return errors.New("there is no token and no ID in standard input; an ID is 16 of a-z and 2-7, and a token begins with kubepat_")
	}
	c, err := o.client()
	if err != nil {
		return err
	}
	pats, only, err := o.search(ctx, c, namespaceGiven)
	if err != nil {
		return err
	}
	findings := match(sightings, pats)
	o.sayMissing(sightings, findings, only)
	if len(findings) == 0 {
		return nowhere(only)
	}
	return o.print(findings)
}

var errUnread = errors.New("no token and no ID was found, but parts of standard input look compressed, encrypted or binary, and may hold one: decode them, and give the result to kubectl pat find")

// nowhere says what it means that nothing was found. That a token does not work follows from all namespaces alone.
func nowhere(only string) error {
	if only != "" {
		return fmt.Errorf("no PersonalAccessToken in namespace %s has it: it may be in another, and still work; somebody who may list all namespaces should run kubectl pat find -A", only)
	}
	return errors.New("no PersonalAccessToken in any namespace has it: it was deleted, which ends its token, or rotated out long ago, or it is of another cluster; one that was made just now may not be in status yet: try again")
}

// search reads the resources of all namespaces, or of one only: of that which was asked for, or where nothing was and not
// all may be listed, the current one.
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
		o.sayf("You may not list tokens in all namespaces: only namespace %s is searched. Somebody who may can find it in others.", namespace)
	}
	pats, err = holder.ReadAll(ctx, c, client.InNamespace(namespace))
	return pats, namespace, err
}

// sayMissing names the tokens that are nowhere, beside others that are. A word of 16 letters may be no ID.
func (o *findOptions) sayMissing(sightings []sighting, findings []Finding, only string) {
	known := map[string]bool{}
	for _, f := range findings {
		known[f.TokenID] = true
	}
	for _, s := range sightings {
		switch {
		case known[s.id] || !s.certain || len(sightings) == 1:
		case only != "":
			o.sayf("No PersonalAccessToken in namespace %s has %s; it may be in another.", only, s.id)
		default:
			o.sayf("No PersonalAccessToken in any namespace has %s.", s.id)
		}
	}
}

func (o *findOptions) print(findings []Finding) error {
	switch o.output {
	case outputJSON, outputYAML:
		for i := range findings {
			withKind(findings[i].PersonalAccessToken)
			findings[i].PersonalAccessToken.ManagedFields = nil
		}
		return write(o.Out, o.output, Findings{findings})
	case outputName:
		return o.printNames(findings)
	}
	if err := o.printFindings(findings); err != nil {
		return err
	}
	o.sayEnds(findings)
	return nil
}

// printNames prints what people pipe into what ends tokens: no resource that is not to be deleted for what was found.
func (o *findOptions) printNames(findings []Finding) error {
	printed := map[string]bool{}
	for _, f := range findings {
		name := f.PersonalAccessToken.Name
		if why := f.notThisOne(); why != "" {
			o.sayf("Left out: %s, since the %s", holder.ResourceName(name), why)
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
		return errors.New("nothing is left of what was found; see it without -o name")
	}
	return nil
}

// sayEnds says how to end what was found.
func (o *findOptions) sayEnds(findings []Finding) {
	var said []string
	for _, f := range findings {
		if f.Digest == digestDiffers { // it is another token, which is not the one that leaked
			o.sayf("What was found is not the token of %s/%s, but has its ID.", f.PersonalAccessToken.Namespace, f.PersonalAccessToken.Name)
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
