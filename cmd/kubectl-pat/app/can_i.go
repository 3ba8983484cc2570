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
	"strings"

	"github.com/spf13/cobra"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apiserver/pkg/authentication/user"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/scope"
)

// errNo is the exit code of a question whose answer was printed, and is not yes.
var errNo = errors.New("no")

type canIOptions struct {
	*session
	in            string
	allNamespaces bool
}

func newCanICommand(s *session) *cobra.Command {
	o := &canIOptions{session: s}
	cmd := &cobra.Command{
		Use:        "can-i NAME VERB RESOURCE [OBJECT]",
		SuggestFor: []string{"auth", "allowed", "may"},
		Short:      "Tell whether a token may do something, and if not, why",
		Long: `Tell whether a token may do something: whether its scopes allow it, and whether RBAC allows it to its user. RESOURCE is as
kubectl has it, with a subresource after a slash: pods, deployments.apps, pods/log, or a path like /metrics.

Prints yes, or no and the reason. It prints unknown if the scopes allow it and you may not ask what RBAC allows the user. The
exit code is 0 for yes, else 1.`,
		Example: `  # In the namespace of the token
  kubectl pat can-i ci create deployments

  # In another namespace, and in all
  kubectl pat can-i ci get pods/log --in team-b
  kubectl pat can-i ci list secrets -A`,
		Args: noTokens(func(cmd *cobra.Command, args []string) error {
			if len(args) < 3 || len(args) > 4 {
				return usagef("%s takes NAME VERB RESOURCE [OBJECT], as in %[1]s ci get pods; see %[1]s --help", cmd.CommandPath())
			}
			return nil
		}),
		ValidArgsFunction: func(cmd *cobra.Command, given []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(given) == 1 {
				return []cobra.Completion{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}, cobra.ShellCompDirectiveNoFileComp
			}
			return s.completeOneName(cmd, given, begun)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.in, "in", "", "the `NAMESPACE` that the question is about (default: that of the token)")
	flags.BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "the question is about all namespaces at once")
	return cmd
}

func (o *canIOptions) run(ctx context.Context, args []string) error {
	switch {
	case o.allNamespaces && o.in != "":
		return usagef("give either --all-namespaces or --in, not both")
	case o.in != "" && len(validation.IsDNS1123Label(o.in)) > 0:
		return usagef("--in %q is not a valid namespace: use at most 63 of a-z, 0-9 and '-'", o.in)
	}
	pat, err := o.get(ctx, nameOf(args[0]))
	if err != nil {
		return err
	}
	object := ""
	if len(args) > 3 {
		object = args[3]
	}
	request, err := o.request(pat, args[1], args[2], object)
	if err != nil {
		return err
	}
	answer, err := o.answer(ctx, pat, request)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(o.Out, holder.Visible(answer)); err != nil || answer == "yes" {
		return err
	}
	return errNo
}

// request returns the question in the terms of the API server, which knows the resources' groups.
func (o *canIOptions) request(pat *v1alpha1.PersonalAccessToken, verb, thing, object string) (*scope.Request, error) {
	if strings.HasPrefix(thing, "/") {
		if object != "" || o.in != "" || o.allNamespaces {
			return nil, usagef("the path %s is in no namespace and has no objects: leave out --in, -A and OBJECT", thing)
		}
		return &scope.Request{Verb: verb, Path: thing}, nil
	}
	main, sub, _ := strings.Cut(thing, "/")
	name, group, _ := strings.Cut(main, ".")
	r := &scope.Request{Verb: verb, Group: group, Resource: name, Subresource: sub, Name: object, Namespace: pat.Namespace}
	if o.in != "" || o.allNamespaces {
		r.Namespace = o.in
	}
	known, namespaced, err := o.resource(schema.GroupResource{Group: group, Resource: name})
	if err != nil {
		o.sayf("Warning: the cluster does not know the resource %s; the answer is for this name", main)
	} else {
		r.Group, r.Resource = known.Group, known.Resource
	}
	switch {
	case err != nil || namespaced:
	case r.Group == "" && r.Resource == "namespaces": // the API server counts a request for a namespace as in it
		r.Namespace = object
	default:
		r.Namespace = ""
	}
	return r, nil
}

// resource finds a resource by a name as kubectl takes it: deploy, deployment, deployments, deployments.apps.
func (o *canIOptions) resource(named schema.GroupResource) (found schema.GroupVersionResource, namespaced bool, err error) {
	mapper, err := o.Resources(o.flags)
	if err != nil {
		return found, false, err
	}
	if found, err = mapper.ResourceFor(named.WithVersion("")); err != nil {
		return found, false, err
	}
	kind, err := mapper.KindFor(found)
	if err != nil {
		return found, false, err
	}
	mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return found, false, err
	}
	return found, mapping.Scope.Name() == meta.RESTScopeNameNamespace, nil
}

func (o *canIOptions) answer(ctx context.Context, pat *v1alpha1.PersonalAccessToken, r *scope.Request) (string, error) {
	if state := holder.StateOf(pat, o.Clock.Now()); pat.Spec.User == nil || state != holder.StateActive && state != holder.StateExpiring {
		return fmt.Sprintf("no - the token does not work (%s)", state), nil
	}
	if len(pat.Spec.Audiences) > 0 {
		o.sayf("The token is for %s. The API server accepts it only if one of these is its own audience.", strings.Join(pat.Spec.Audiences, ", "))
	}
	inside := true
	if scopes := pat.Spec.Scopes; len(scopes) > 0 {
		set, err := scope.Compile(scopes, pat.Namespace)
		if err != nil {
			return "", fmt.Errorf("this version of kubectl pat does not know all scopes of the token: %w; install the version of the operator", err)
		}
		inside = set.Allows(r)
	}
	if active := holder.Active(pat); active.ObservedGeneration < pat.Generation {
		o.sayf("The operator has not processed the last change yet. Until then the former scopes count too; this answer is by the new ones.")
	}
	c, err := o.client()
	if err != nil {
		return "", err
	}
	rbac, err := o.askRBAC(ctx, c, pat.Spec.User, r)
	denied := fmt.Sprintf("%s may not %s", pat.Spec.User.Username, phrase(r))
	switch {
	case !inside && err == nil && !rbac.Allowed:
		return fmt.Sprintf("no - outside of the scopes %s; RBAC does not allow it either: %s", permissions(pat.Spec.Scopes), denied), nil
	case !inside:
		return "no - outside of the scopes " + permissions(pat.Spec.Scopes), nil
	case err != nil:
		return "unknown - the scopes allow it; RBAC was not asked: " + err.Error(), nil
	case !rbac.Allowed && rbac.EvaluationError != "":
		return fmt.Sprintf("no - RBAC: %s (%s)", denied, rbac.EvaluationError), nil
	case !rbac.Allowed:
		return "no - RBAC: " + denied, nil
	}
	return "yes", nil
}

// askRBAC asks the API server what it allows the token's user, without the token's scopes. An error says why it was not asked.
func (o *canIOptions) askRBAC(ctx context.Context, c client.Client, u *v1alpha1.UserInfo, r *scope.Request) (authorizationv1.SubjectAccessReviewStatus, error) {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		// The API server adds this group to each user that it has authenticated.
		User: u.Username, UID: u.UID, Groups: append(slices.Clone(u.Groups), user.AllAuthenticated),
	}}
	if len(u.Extra) > 0 {
		review.Spec.Extra = map[string]authorizationv1.ExtraValue{}
		for key, values := range u.Extra {
			review.Spec.Extra[key] = authorizationv1.ExtraValue(values)
		}
	}
	review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes = attributes(r)
	err := c.Create(ctx, review)
	if !apierrors.IsForbidden(err) {
		return review.Status, err
	}
	me := &authenticationv1.SelfSubjectReview{}
	if err := c.Create(ctx, me); err != nil {
		return review.Status, err
	}
	if why := anotherUser(&me.Status.UserInfo, u); why != "" {
		return review.Status, fmt.Errorf("you may not create subjectaccessreviews.authorization.k8s.io, and %s", why)
	}
	self := &authorizationv1.SelfSubjectAccessReview{}
	self.Spec.ResourceAttributes, self.Spec.NonResourceAttributes = attributes(r)
	err = c.Create(ctx, self)
	return self.Status, err
}

// anotherUser returns why the caller's own permissions are not those of a token's user, "" if they are.
func anotherUser(me *authenticationv1.UserInfo, u *v1alpha1.UserInfo) string {
	_, limited := me.Extra[authnconfig.ExtraScopes]
	switch {
	case me.Username != u.Username, me.UID != "" && u.UID != "" && me.UID != u.UID:
		return fmt.Sprintf("the token is that of %s", u.Username)
	case limited:
		return "your own credential is a token with scopes"
	case !slices.Equal(groupsOf(me.Groups), groupsOf(u.Groups)):
		return "the token has other groups than you have now"
	}
	return ""
}

func groupsOf(groups []string) []string {
	groups = slices.DeleteFunc(slices.Clone(groups), func(group string) bool { return group == user.AllAuthenticated })
	slices.Sort(groups)
	return slices.Compact(groups)
}

func attributes(r *scope.Request) (*authorizationv1.ResourceAttributes, *authorizationv1.NonResourceAttributes) {
	if r.Path != "" {
		return nil, &authorizationv1.NonResourceAttributes{Verb: r.Verb, Path: r.Path}
	}
	return &authorizationv1.ResourceAttributes{
		Verb: r.Verb, Namespace: r.Namespace, Group: r.Group, Resource: r.Resource, Subresource: r.Subresource, Name: r.Name,
	}, nil
}

// phrase formats a request, as in: get pods/log ci-7 in namespace team-a.
func phrase(r *scope.Request) string {
	text := r.Verb + " " + r.Path
	if r.Path == "" {
		text = r.Verb + " " + formatResource(r.Group, r.Resource, r.Subresource)
	}
	if r.Name != "" {
		text += " " + r.Name
	}
	if r.Namespace != "" && r.Resource != "namespaces" {
		text += " in namespace " + r.Namespace
	}
	return text
}

func formatResource(group, resource, subresource string) string {
	if subresource != "" {
		resource += "/" + subresource
	}
	return strings.TrimSpace(scope.Format(&v1alpha1.Scope{Rule: &v1alpha1.ScopeRule{APIGroups: []string{group}, Resources: []string{resource}}}))
}
