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
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/identity"
	"github.com/pat-operator/pat-operator/internal/policy"
)

// madeByLabel marks the policies of offboard. --undo deletes no others.
const (
	madeByLabel = "pat-operator.io/made-by"
	madeByValue = "kubectl-pat-offboard"
)

// defaultReason is shown to the holders of the tokens.
const defaultReason = "The user was offboarded"

type offboardOptions struct {
	*session
	user    string
	reason  string
	remove  bool
	undo    bool
	yes     bool
	wait    bool
	timeout time.Duration
	dryRun  string
	output  string
}

func newOffboardCommand(s *session) *cobra.Command {
	o := &offboardOptions{session: s}
	cmd := &cobra.Command{
		Use:        "offboard USER",
		SuggestFor: []string{"disable-user", "deprovision", "deny", "block"},
		Short:      "Stop all tokens of a user who leaves",
		Long: `Stop all tokens of a user, in all namespaces: those that exist, and those that would be made later. This command makes a
TokenPolicy that denies them, waits until the operator has processed it, and lists the tokens that it stops. Verifiers refuse
them within a second, kube-apiserver within 10 seconds.

USER is the name that "kubectl auth whoami" shows to the user, with any prefix of the identity provider. A service account is
system:serviceaccount:NAMESPACE:NAME. The user need not have a token: later ones are refused, too.

Nothing is lost: --undo deletes the policy, and the tokens work again. It deletes only a policy that this command has made. To end
the tokens for good, add --delete, which deletes their resources.

What this command does not stop:

  - logins of the user by other means: sessions and tokens of the identity provider, client certificates, tokens of service
    accounts. Disable the user there, too
  - tokens that the user made for other users, and Secrets that the user has read

This takes the ClusterRole pat-operator-policy-admin. To list the tokens takes permission to list them in all
namespaces, and --delete to delete them.`,
		Example: `  # Alice has left
  kubectl pat offboard alice@example.com --reason "Left the company"

  # She comes back
  kubectl pat offboard alice@example.com --undo

  # For good
  kubectl pat offboard alice@example.com --delete

  # The policy for Git
  kubectl pat offboard alice@example.com --dry-run client -o yaml > offboard-alice.yaml`,
		Args: noTokens(func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return usagef("%s takes one USER, and %d were given; see %[1]s --help", cmd.CommandPath(), len(args))
			}
			return nil
		}),
		ValidArgsFunction: s.completeUsers,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.user = args[0]
			return o.run(cmd.Context(), cmd.Flags().Changed("reason"))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.reason, "reason", defaultReason, "a `TEXT` that says why, for the user and for other administrators")
	flags.BoolVar(&o.remove, "delete", false, "then delete the PersonalAccessTokens, which ends their tokens for good")
	flags.BoolVar(&o.undo, "undo", false, "delete the policy, and let the tokens work again")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	flags.BoolVar(&o.wait, "wait", true, "wait until the operator has processed the policy")
	flags.DurationVar(&o.timeout, "timeout", 30*time.Second, "how long to wait until the operator has processed the policy")
	flags.StringVar(&o.dryRun, "dry-run", dryRunNone, "the `MODE`: none, client (send nothing) or server (validate, and save nothing)")
	flags.StringVarP(&o.output, "output", "o", "", "the `FORMAT` in which to print the policy: json, yaml or name (default: a text, and a table of the tokens)")
	completeValues(cmd, "dry-run", dryRunNone, dryRunClient, dryRunServer)
	completeValues(cmd, "output", outputJSON, outputYAML, outputName)
	return cmd
}

func (o *offboardOptions) validate(reasonGiven bool) error {
	if o.output != "" {
		if err := oneOf("output", o.output, outputJSON, outputYAML, outputName); err != nil {
			return err
		}
	}
	switch {
	case o.undo && o.remove:
		return usagef("give either --delete or --undo, not both: what is deleted does not come back")
	case o.undo && reasonGiven:
		return usagef("--reason does not go with --undo: leave it out")
	case o.undo && o.dryRun == dryRunClient:
		return usagef("--dry-run client does not go with --undo: use --dry-run server")
	case o.remove && o.output != "":
		return usagef("--output does not go with --delete: leave it out")
	case utf8.RuneCountInString(o.reason) > maxReason:
		return usagef("--reason has %d characters: use at most %d", utf8.RuneCountInString(o.reason), maxReason)
	case strings.ContainsFunc(o.reason, holder.Hostile):
		return usagef("--reason has a character that cannot be seen, such as a line end: leave it out")
	}
	return cmp.Or(oneOf("dry-run", o.dryRun, dryRunNone, dryRunClient, dryRunServer), positive(o.timeout))
}

func (o *offboardOptions) run(ctx context.Context, reasonGiven bool) error {
	if err := o.validate(reasonGiven); err != nil {
		return err
	}
	if o.dryRun == dryRunClient {
		return o.print(o.policy(), "created (dry run)")
	}
	c, err := o.client()
	if err != nil {
		return err
	}
	if o.undo {
		return o.takeBack(ctx, c)
	}
	there, err := o.find(ctx, c)
	if err != nil {
		return err
	}
	if there == nil {
		if there, err = o.deny(ctx, c); err != nil {
			return err
		}
	} else if there, err = o.again(ctx, c, there, reasonGiven); err != nil {
		return err
	}
	if o.dryRun != dryRunNone {
		return nil
	}
	unsure := o.settle(ctx, c, there)
	pats, err := o.tokens(ctx, c)
	if err != nil {
		return errors.Join(err, unsure)
	}
	if err := o.sayStopped(pats); err != nil {
		return err
	}
	if o.remove && len(pats) > 0 {
		return errors.Join(o.deleteAll(ctx, c, pats), unsure)
	}
	o.sayRest(len(pats))
	return unsure
}

// subject is the user as RBAC names it.
func (o *offboardOptions) subject() v1alpha1.PolicySubject {
	if account, ok := identity.ServiceAccount(o.user); ok {
		return v1alpha1.PolicySubject{Kind: v1alpha1.SubjectServiceAccount, Namespace: account.Namespace, Name: account.Name}
	}
	return v1alpha1.PolicySubject{Kind: v1alpha1.SubjectUser, Name: o.user}
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// offboardName is the name of the policy for a user, for people to recognize: the hash alone tells users apart.
func offboardName(user string) string {
	readable := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(user), "-"), "-")
	const most = 40
	readable = strings.Trim(readable[:min(most, len(readable))], "-")
	sum := sha256.Sum256([]byte(user))
	return strings.ReplaceAll(fmt.Sprintf("offboard-%s-%x", readable, sum[:5]), "--", "-")
}

// policy is what stops the tokens of the user.
func (o *offboardOptions) policy() *unstructured.Unstructured {
	typed := v1alpha1.TokenPolicySpec{
		Match: &v1alpha1.PolicyMatch{Subjects: []v1alpha1.PolicySubject{o.subject()}},
		Deny:  &v1alpha1.PolicyDenial{Reason: o.reason},
	}
	spec, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&typed)
	if err != nil {
		panic(err) // a struct of strings
	}
	object := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	object.SetGroupVersionKind(policy.Kind)
	object.SetName(offboardName(o.user))
	object.SetLabels(map[string]string{madeByLabel: madeByValue})
	return object
}

// stops reports whether a policy denies this user's tokens everywhere, and says nothing else: what offboard makes, whatever its
// reason.
func (o *offboardOptions) stops(p *policy.Policy) bool {
	deny := p.Spec.Deny
	if deny == nil || len(p.Unknown) > 0 {
		return false
	}
	mine := policy.Parse((&offboardOptions{user: o.user, reason: deny.Reason}).policy())
	return equality.Semantic.DeepEqual(mine.Spec, p.Spec)
}

// find reads the user's policy; nil without one.
func (o *offboardOptions) find(ctx context.Context, c client.Client) (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(policy.Kind)
	switch err := c.Get(ctx, client.ObjectKey{Name: offboardName(o.user)}, object); {
	case isMissing(err) && !noPolicies(err):
		return nil, nil //nolint:nilnil // most users have none
	case err != nil:
		return nil, aboutPolicies(err)
	}
	return object, nil
}

// deny makes the policy, after asking.
func (o *offboardOptions) deny(ctx context.Context, c client.Client) (*unstructured.Unstructured, error) {
	object, opts := o.policy(), []client.CreateOption{fieldOwner}
	if o.dryRun == dryRunServer {
		opts = append(opts, client.DryRunAll)
	} else if !o.yes {
		if err := o.confirm(ctx, fmt.Sprintf("Stop all tokens of %s, in all namespaces?", o.user), "stop all tokens of "+o.user); err != nil {
			return nil, err
		}
	}
	if err := c.Create(ctx, object, opts...); err != nil {
		return nil, aboutPolicies(err)
	}
	done := "created"
	if o.dryRun == dryRunServer {
		done = "created (server dry run)"
	}
	return object, o.print(object, done)
}

// again takes the policy of an earlier run. It changes nothing but the reason, and that only on request.
func (o *offboardOptions) again(ctx context.Context, c client.Client, object *unstructured.Unstructured, reasonGiven bool) (*unstructured.Unstructured, error) {
	p := policy.Parse(object)
	if !o.stops(p) {
		return nil, fmt.Errorf("%s exists, and is not one that stops %s and nothing else; nothing was changed: look at it with kubectl get tokenpolicy %s -o yaml, and delete or rename it",
			policyResource(object.GetName()), o.user, object.GetName())
	}
	if !reasonGiven || p.Spec.Deny.Reason == o.reason {
		return object, o.print(object, "unchanged")
	}
	tool := holder.GitOps(object)
	opts, done := []client.PatchOption{fieldOwner}, "changed"
	if o.dryRun == dryRunServer {
		opts, done = append(opts, client.DryRunAll), "changed (server dry run)"
	}
	var changed *unstructured.Unstructured
	if err := o.whileUnchanged(ctx, c, object, func(object *unstructured.Unstructured) error {
		changed = object.DeepCopy()
		if err := unstructured.SetNestedField(changed.Object, o.reason, "spec", "deny", "reason"); err != nil {
			return err
		}
		return c.Patch(ctx, changed, client.MergeFromWithOptions(object, client.MergeFromWithOptimisticLock{}), opts...)
	}); err != nil {
		return nil, err
	}
	if tool != "" {
		o.sayf("Note: %s manages %s from Git: set spec.deny.reason there too, or this change is undone.", tool, object.GetName())
	}
	return changed, o.print(changed, done)
}

// whileUnchanged sends a request under the policy's revision. It sends it again if only others than people have written to the
// policy, such as the operator its status.
func (o *offboardOptions) whileUnchanged(ctx context.Context, c client.Client, object *unstructured.Unstructured, send func(*unstructured.Unstructured) error) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		err := send(object)
		if !apierrors.IsConflict(err) {
			return aboutPolicies(err)
		}
		now, unread := o.find(ctx, c)
		switch {
		case unread != nil:
			return unread
		case now == nil || now.GetUID() != object.GetUID() || now.GetGeneration() != object.GetGeneration():
			return fmt.Errorf("%s was changed in the meantime: run it again", policyResource(object.GetName()))
		}
		object = now
		return err
	})
}

// print prints the policy, or what was done to it.
func (o *offboardOptions) print(object *unstructured.Unstructured, done string) error {
	o.clear()
	switch o.output {
	case "":
		_, err := fmt.Fprintf(o.Out, "%s %s\n", policyResource(object.GetName()), done)
		return err
	case outputName:
		_, err := fmt.Fprintln(o.Out, policyResource(object.GetName()))
		return err
	}
	object = object.DeepCopy()
	object.SetManagedFields(nil)
	return write(o.Out, o.output, object)
}

// settle waits until the operator has taken up the policy, and says what is wrong if it does not.
func (o *offboardOptions) settle(ctx context.Context, c client.Client, object *unstructured.Unstructured) error {
	if !o.wait {
		return nil
	}
	o.progress("Waiting for the operator, for at most %v…", o.timeout)
	defer o.clear()
	var last error
	var ready *metav1.Condition
	err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, o.timeout, true, func(ctx context.Context) (bool, error) {
		now := &unstructured.Unstructured{}
		now.SetGroupVersionKind(policy.Kind)
		if last = c.Get(ctx, client.ObjectKeyFromObject(object), now); last != nil {
			if apierrors.IsNotFound(last) {
				return false, fmt.Errorf("%s was deleted in the meantime: the tokens work again", policyResource(object.GetName()))
			}
			return false, nil //nolint:nilerr // it is tried again
		}
		status := policyStatus(now)
		ready = meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
		return status.ObservedGeneration >= object.GetGeneration() && ready != nil, nil
	})
	switch {
	case err == nil && holder.HasStatus(ready, metav1.ConditionFalse):
		return fmt.Errorf("the policy was made, and the operator does not understand it: %w", holder.Says(ready))
	case err == nil:
		return nil
	case wait.Interrupted(err) && last != nil:
		return fmt.Errorf("the policy was made; its status cannot be read: %w", last)
	case wait.Interrupted(err):
		return fmt.Errorf("the policy was made, and the operator has not processed it within %v: an administrator can check with kubectl pat doctor that it runs, and without --policies=false, which ignores TokenPolicies", o.timeout)
	}
	return err
}
