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
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
)

const (
	// completionTimeout bounds the wait after pressing Tab.
	completionTimeout = 3 * time.Second
	// maxCompletions is more than users read.
	maxCompletions = 500
)

// completeNames offers the PersonalAccessTokens of the namespace, with their display names.
func (s *session) completeNames(cmd *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	list := &v1alpha1.PersonalAccessTokenList{}
	namespace, err := s.namespace()
	if err != nil || !s.completionList(cmd, list, client.InNamespace(namespace)) {
		return nil, cobra.ShellCompDirectiveError
	}
	taken := map[string]bool{}
	for _, name := range given {
		taken[name] = true
	}
	var names []cobra.Completion
	for _, pat := range list.Items {
		if !taken[pat.Name] {
			names = append(names, cobra.CompletionWithDesc(pat.Name, holder.Visible(pat.Spec.DisplayName)))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeOneName is completeNames for commands that take one name.
func (s *session) completeOneName(cmd *cobra.Command, given []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return s.completeNames(cmd, given, begun)
}

// completeNamespaces offers namespaces for -n.
func (s *session) completeNamespaces(root *cobra.Command) {
	register(root, "namespace", func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		list := &corev1.NamespaceList{}
		if !s.completionList(cmd, list) {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []cobra.Completion
		for _, namespace := range list.Items {
			names = append(names, namespace.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
}

// completePolicies offers the TokenPolicies.
func (s *session) completePolicies(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	list := &v1alpha1.TokenPolicyList{}
	if !s.completionList(cmd, list) {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []cobra.Completion
	for _, policy := range list.Items {
		names = append(names, policy.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeOnePolicy is completePolicies for one argument.
func (s *session) completeOnePolicy(cmd *cobra.Command, given []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return s.completePolicies(cmd, given, begun)
}

// completeUsers offers the users who have tokens in any namespace.
func (s *session) completeUsers(cmd *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	list := &v1alpha1.PersonalAccessTokenList{}
	switch {
	case len(given) > 0:
		return nil, cobra.ShellCompDirectiveNoFileComp
	case !s.completionList(cmd, list):
		return nil, cobra.ShellCompDirectiveError
	}
	users := map[string]bool{}
	for i := range list.Items {
		if name := holder.Username(&list.Items[i]); name != "" && holder.Visible(name) == name {
			users[name] = true
		}
	}
	return slices.Sorted(maps.Keys(users)), cobra.ShellCompDirectiveNoFileComp
}

func (s *session) completionList(cmd *cobra.Command, list client.ObjectList, opts ...client.ListOption) bool {
	c, err := s.client()
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	return c.List(ctx, list, append(opts, client.Limit(maxCompletions))...) == nil
}

// completeValues offers fixed values for a flag.
func completeValues(cmd *cobra.Command, flag string, values ...cobra.Completion) {
	register(cmd, flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

func register(cmd *cobra.Command, flag string, complete cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
		panic(err) // the flag does not exist
	}
}

// namesOf returns the names in args, each once. Arguments may have the form of -o name, ours or kubectl's.
func namesOf(args []string) []string {
	var names []string
	given := map[string]bool{}
	for _, arg := range args {
		name := nameOf(arg)
		if !given[name] {
			given[name] = true
			names = append(names, name)
		}
	}
	return names
}

func nameOf(arg string) string {
	kind, name, ok := strings.Cut(arg, "/")
	if kind, _, _ = strings.Cut(kind, "."); ok && (kind == "pat" || kind == "personalaccesstoken" || kind == "personalaccesstokens") {
		return name
	}
	return arg
}
