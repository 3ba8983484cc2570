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
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/policy"
)

type policiesOptions struct {
	*session
	output    outputFlags
	noHeaders bool
}

func newPoliciesCommand(s *session) *cobra.Command {
	o := &policiesOptions{session: s}
	cmd := &cobra.Command{
		Use:        "policies [NAME]",
		Aliases:    []string{"policy"},
		SuggestFor: []string{"tokenpolicies", "limits"},
		Short:      "Show TokenPolicies and the tokens that they limit",
		Long: `Show the TokenPolicies of the cluster: what each matches, and what it limits. MATCHED counts the tokens that it matches, and
AFFECTED those of them that do not keep to it, as the operator has found. Ended tokens are left out.

With a NAME, show the tokens that this policy matches, in all namespaces or in that of -n, and what it does to each:

  stopped           it is refused everywhere, until the policy is changed or deleted
  ends              its life is cut
  only from         it works from fewer networks
  without groups    it gives fewer groups than it was made with
  refused if new    it works, but another like it would not be made, and no rotation makes its successor

-o prints the policies themselves.`,
		Example: `  # All policies
  kubectl pat policies

  # The tokens that one of them limits, and how
  kubectl pat policies contractors

  # The same tokens, as kubectl pat list shows them
  kubectl pat list -A --policy contractors`,
		Args: noTokens(func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("%s takes one NAME at most, and %d were given; see %[1]s --help", cmd.CommandPath(), len(args))
			}
			return nil
		}),
		ValidArgsFunction: s.completeOnePolicy,
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) == 1 {
				return o.one(cmd.Context(), policyNameOf(names[0]))
			}
			return o.all(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&o.noHeaders, "no-headers", false, "omit the table's headers")
	o.output.bind(cmd, "a table", outputJSON, outputYAML, outputName)
	return cmd
}

// policyNameOf takes a name in the form of -o name, too.
func policyNameOf(arg string) string {
	kind, name, ok := strings.Cut(arg, "/")
	if kind, _, _ = strings.Cut(kind, "."); ok && strings.HasPrefix(kind, "tokenpolic") {
		return name
	}
	return arg
}

func (o *policiesOptions) all(ctx context.Context) error {
	if err := o.output.validate(o.noHeaders); err != nil {
		return err
	}
	c, err := o.client()
	if err != nil {
		return err
	}
	list, err := readPolicies(ctx, c)
	if err != nil {
		return err
	}
	switch o.output.format {
	case "":
	case outputName:
		for i := range list.Items {
			if _, err := fmt.Fprintln(o.Out, policyResource(list.Items[i].GetName())); err != nil {
				return err
			}
		}
		return nil
	default:
		return o.output.print(o.Out, list)
	}
	if len(list.Items) == 0 {
		o.sayf("No TokenPolicies: tokens are limited only by the operator's flags.")
		return nil
	}
	t := o.table(o.Out, "NAME", "MATCHES", "LIMITS", "MATCHED", "AFFECTED", "READY")
	t.cut, t.noHeaders = []int{1, 2}, o.noHeaders
	var rows [][]string
	for i := range list.Items {
		p, status := policy.Parse(&list.Items[i]), policyStatus(&list.Items[i])
		rows = append(rows, []string{
			p.Name, matchWords(p), strings.Join(limitWords(p), "; "), count(status.MatchedTokens), count(status.AffectedTokens), readyWord(status, p.Generation),
		})
	}
	return t.print(o.Out, rows)
}

// one shows the tokens that a policy matches.
func (o *policiesOptions) one(ctx context.Context, name string) error {
	if err := o.output.validate(o.noHeaders); err != nil {
		return err
	}
	c, err := o.client()
	if err != nil {
		return err
	}
	object, err := readPolicy(ctx, c, name)
	if err != nil {
		return err
	}
	switch o.output.format {
	case "":
	case outputName:
		_, err := fmt.Fprintln(o.Out, policyResource(name))
		return err
	default:
		return o.output.print(o.Out, object)
	}
	p := policy.Parse(object)
	o.sayf("TokenPolicy %s: %s", name, strings.Join(limitWords(p), "; "))
	o.sayf("It matches the tokens of %s.", matchWords(p))
	if c := meta.FindStatusCondition(policyStatus(object).Conditions, v1alpha1.ConditionReady); holder.HasStatus(c, metav1.ConditionFalse) {
		o.sayf("It is not ready: %s", c.Message)
	}
	pats, err := holder.ReadAll(ctx, c, client.InNamespace(*o.flags.Namespace))
	if apierrors.IsForbidden(err) && *o.flags.Namespace == "" {
		return fmt.Errorf("%w; -n NAMESPACE shows the tokens of one namespace", err)
	}
	if err != nil {
		return err
	}
	now := o.Clock.Now()
	pats = slices.DeleteFunc(pats, func(pat v1alpha1.PersonalAccessToken) bool { return !governs(p, &pat) || ended(&pat, now) })
	slices.SortFunc(pats, func(a, b v1alpha1.PersonalAccessToken) int { return holder.ByName(&a, &b) })
	if len(pats) == 0 {
		o.sayf("No token that has not ended matches it.")
		return nil
	}
	t := o.table(o.Out, "NAMESPACE", "NAME", "USER", "STATUS", "EFFECT")
	t.cut, t.status, t.noHeaders = []int{2, 4}, 3, o.noHeaders
	rows := make([][]string, 0, len(pats))
	for i := range pats {
		pat := &pats[i]
		rows = append(rows, []string{pat.Namespace, pat.Name, holder.Username(pat), string(holder.StateOf(pat, now)), effect(p, pat, now)})
	}
	return t.print(o.Out, rows)
}

// governs reports whether a policy matches a token. Of one without a user yet, only what matches everyone is known.
func governs(p *policy.Policy, pat *v1alpha1.PersonalAccessToken) bool {
	user := pat.Spec.User
	if user == nil {
		user = &v1alpha1.UserInfo{}
	}
	return p.Matches(pat.Namespace, user)
}

func policyResource(name string) string { return "tokenpolicy.pat-operator.io/" + name }

// readPolicies reads all TokenPolicies as they are stored: a type would drop the fields that this version does not know.
func readPolicies(ctx context.Context, c client.Client) (*unstructured.UnstructuredList, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(policy.ListKind)
	if err := c.List(ctx, list); err != nil {
		return nil, aboutPolicies(err)
	}
	list.SetGroupVersionKind(policy.ListKind)
	for i := range list.Items {
		list.Items[i].SetManagedFields(nil)
	}
	slices.SortFunc(list.Items, func(a, b unstructured.Unstructured) int { return strings.Compare(a.GetName(), b.GetName()) })
	return list, nil
}

func readPolicy(ctx context.Context, c client.Client, name string) (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(policy.Kind)
	err := c.Get(ctx, client.ObjectKey{Name: name}, object)
	if isMissing(err) && !noPolicies(err) {
		err = fmt.Errorf("%w; for all policies run: kubectl pat policies", err)
	}
	if err != nil {
		return nil, aboutPolicies(err)
	}
	object.SetManagedFields(nil)
	return object, nil
}

// policyStatus is what the operator has found of a policy; empty where it is not understood.
func policyStatus(object *unstructured.Unstructured) v1alpha1.TokenPolicyStatus {
	var status v1alpha1.TokenPolicyStatus
	raw, _, _ := unstructured.NestedMap(object.Object, "status")
	if runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &status) != nil {
		return v1alpha1.TokenPolicyStatus{}
	}
	return status
}

// noPolicies reports that the API server does not know the kind.
func noPolicies(err error) bool {
	return meta.IsNoMatchError(err) || apierrors.IsNotFound(err) && (apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) || !isMissing(err))
}

// aboutPolicies adds the next step to an error about TokenPolicies.
func aboutPolicies(err error) error {
	switch {
	case noPolicies(err):
		return fmt.Errorf("the cluster has no TokenPolicies (%v): an administrator can install pat-operator's CustomResourceDefinition tokenpolicies.pat-operator.io; without it, kubectl pat revoke --user USER -A ends tokens for good", err) //nolint:errorlint // explain would say that nothing is installed
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w; TokenPolicies have no namespace: a cluster administrator can bind the ClusterRole pat-operator-policy-admin to you by a ClusterRoleBinding, or view for reading alone", err)
	}
	return err
}

func count(n *int32) string {
	if n == nil {
		return "unknown"
	}
	return strconv.Itoa(int(*n))
}

// readyWord is the condition Ready in a word, with the reason where something is wrong.
func readyWord(status v1alpha1.TokenPolicyStatus, generation int64) string {
	switch c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady); {
	case c == nil || status.ObservedGeneration < generation:
		return "unknown"
	case c.Status == metav1.ConditionTrue:
		return "yes"
	default:
		return "no: " + c.Reason
	}
}
