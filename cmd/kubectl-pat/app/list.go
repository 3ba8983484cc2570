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
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/policy"
)

type listOptions struct {
	*session
	user           string
	policyName     string
	policy         *policy.Policy // of policyName; nil without one
	expiringWithin period
	unusedFor      period
	allNamespaces  bool
	selector       string
	output         outputFlags
	sortBy         string
	noHeaders      bool
	ignoreNotFound bool
	watch          bool
}

func newListCommand(s *session) *cobra.Command {
	o := &listOptions{session: s}
	cmd := &cobra.Command{
		Use:        "list [WORD...]",
		Aliases:    []string{"ls"},
		SuggestFor: []string{"get", "show", "search"},
		Short:      "List and search tokens",
		Long: `List PersonalAccessTokens. Each WORD must occur in the token's name, display name, user, ID or audiences, in any case. A
token's ID is the part between "kubepat_" and the next "_".`,
		Example: `  # All tokens of this namespace
  kubectl pat list

  # Tokens that match mail, in all namespaces
  kubectl pat list -A mail

  # Tokens that expire within a week, the next to expire first
  kubectl pat list -A --expiring-within 7d --sort-by expires

  # Tokens of alice that she does not use
  kubectl pat list -A --user alice --unused-for 30d

  # Tokens with a label, and their changes until you press Ctrl-C
  kubectl pat list -l team=mail --watch

  # For a script
  kubectl pat list -o custom-columns=NAME:.metadata.name,ENDS:.status.expiresAt --no-headers`,
		ValidArgsFunction: s.completeNames,
		RunE:              func(cmd *cobra.Command, words []string) error { return o.run(cmd.Context(), words) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.user, "user", "", "only tokens of this `USER`")
	flags.StringVar(&o.policyName, "policy", "", "only tokens that the TokenPolicy of this `NAME` matches")
	flags.Var(&o.expiringWithin, "expiring-within", "only tokens that expire within this time: 7d, 12h")
	flags.Var(&o.unusedFor, "unused-for", "only tokens that were issued and last used longer ago than this: 30d")
	flags.BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "in all namespaces")
	flags.StringVarP(&o.selector, "selector", "l", "", "only tokens whose labels match this `SELECTOR`: team=mail, team!=mail, 'team in (mail,web)'")
	flags.BoolVarP(&o.watch, "watch", "w", false, "keep running, and print each token that changes")
	flags.BoolVar(&o.ignoreNotFound, "ignore-not-found", false, "print nothing if there are none")
	flags.StringVar(&o.sortBy, "sort-by", sortByName, "the `ORDER`: name, expires (the next to expire first), created, modified or last-used (the latest first)")
	flags.BoolVar(&o.noHeaders, "no-headers", false, "omit the table's headers")
	o.output.bind(cmd, "a table", outputWide, outputJSON, outputYAML, outputName)
	register(cmd, "policy", s.completePolicies)
	completeValues(cmd, "sort-by", sortByName, sortByCreated, sortByModified, sortByExpires, sortByLastUsed)
	return cmd
}

func (o *listOptions) run(ctx context.Context, words []string) error {
	if err := oneOf("sort-by", o.sortBy, sortByName, sortByCreated, sortByModified, sortByExpires, sortByLastUsed); err != nil {
		return err
	}
	if err := o.output.validate(o.noHeaders); err != nil {
		return err
	}
	labeled, err := labels.Parse(o.selector)
	if err != nil {
		return usagef("--selector: %w; write it as team=mail, or 'team in (mail,web)'", err)
	}
	namespace, err := o.namespace()
	if err != nil {
		return err
	}
	if o.allNamespaces {
		namespace = ""
	}
	c, err := o.client()
	if err != nil {
		return err
	}
	if o.policyName != "" {
		object, err := readPolicy(ctx, c, policyNameOf(o.policyName))
		if err != nil {
			return err
		}
		o.policy = policy.Parse(object)
	}
	selected := []client.ListOption{client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: labeled}}
	if o.user != "" {
		selected = append(selected, holder.OfUser(o.user))
	}
	pats, revision, err := o.readAll(ctx, c, selected)
	if err != nil {
		return err
	}
	now := o.Clock.Now()
	pats = slices.DeleteFunc(pats, func(pat v1alpha1.PersonalAccessToken) bool { return !o.wants(&pat, words, now) })
	slices.SortStableFunc(pats, func(a, b v1alpha1.PersonalAccessToken) int {
		return cmp.Or(orders[o.sortBy](&a, &b), holder.ByName(&a, &b))
	})
	if o.watch {
		return o.follow(ctx, c, selected, revision, pats, words)
	}
	err = o.print(pats, now)
	if o.output.format == "" || o.output.format == outputWide {
		o.warnOfLimits(ctx, c, pats...)
	}
	return err
}

// readAll reads in pages. To watch it reads all at once, because it needs the list's revision.
func (o *listOptions) readAll(ctx context.Context, c client.Client, selected []client.ListOption) (pats []v1alpha1.PersonalAccessToken, revision string, err error) {
	if !o.watch {
		pats, err = holder.ReadAll(ctx, c, selected...)
		return pats, "", err
	}
	list := &v1alpha1.PersonalAccessTokenList{}
	err = c.List(ctx, list, selected...)
	return list.Items, list.ResourceVersion, err
}

func (o *listOptions) wants(pat *v1alpha1.PersonalAccessToken, words []string, now time.Time) bool {
	if o.policy != nil && !governs(o.policy, pat) {
		return false
	}
	if within := time.Duration(o.expiringWithin); within > 0 {
		end := pat.Status.ExpiresAt
		if end == nil || !end.After(now) || end.After(now.Add(within)) {
			return false
		}
	}
	if idle := time.Duration(o.unusedFor); idle > 0 {
		used := cmp.Or(pat.Status.LastUsedAt, pat.Status.IssuedAt)
		if used == nil || used.After(now.Add(-idle)) {
			return false
		}
	}
	return holder.Matches(pat, words)
}

func (o *listOptions) print(pats []v1alpha1.PersonalAccessToken, now time.Time) error {
	switch o.output.format {
	case "", outputWide, outputName:
	default:
		return o.output.print(o.Out, listOf(pats))
	}
	if len(pats) == 0 {
		return o.sayNone()
	}
	if o.output.format == outputName {
		return o.printNames(pats)
	}
	rows, expired := make([][]string, 0, len(pats)), false
	for i := range pats {
		state := holder.StateOf(&pats[i], now)
		expired = expired || state == holder.StateExpired
		rows = append(rows, o.row(&pats[i], state, now))
	}
	if err := o.table().print(o.Out, rows); err != nil {
		return err
	}
	if expired && o.Width(o.Out) > 0 {
		o.sayf("To replace an expired token run: kubectl pat rotate NAME")
	}
	return nil
}

func (s *session) printNames(pats []v1alpha1.PersonalAccessToken) error {
	for _, pat := range pats {
		if _, err := fmt.Fprintln(s.Out, holder.ResourceName(pat.Name)); err != nil {
			return err
		}
	}
	return nil
}

func (o *listOptions) wide() bool { return o.output.format == outputWide }

func (o *listOptions) table() *table {
	t := o.tokenTable(o.wide(), o.allNamespaces)
	t.noHeaders = o.noHeaders
	return t
}

func (o *listOptions) row(pat *v1alpha1.PersonalAccessToken, state holder.State, now time.Time) []string {
	return tokenRow(pat, state, now, o.wide(), o.allNamespaces)
}

func (o *listOptions) sayNone() error {
	if o.ignoreNotFound {
		return nil
	}
	if o.allNamespaces {
		o.sayf("No tokens found")
		return nil
	}
	namespace, err := o.namespace()
	if err == nil {
		o.sayf("No tokens found in %s namespace.", namespace)
	}
	return err
}

// Values of --sort-by.
const (
	sortByName     = "name"
	sortByCreated  = "created"
	sortByModified = "modified"
	sortByExpires  = "expires"
	sortByLastUsed = "last-used"
)

var orders = map[string]holder.Order{
	sortByName:     holder.ByName,
	sortByCreated:  holder.LatestFirst(holder.Created),
	sortByModified: holder.LatestFirst(holder.Modified),
	sortByLastUsed: holder.LatestFirst(holder.LastUsed),
	sortByExpires:  holder.EarliestFirst(holder.Expires),
}
