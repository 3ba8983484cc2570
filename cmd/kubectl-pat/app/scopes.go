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
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/scope"
)

const (
	readOnlyPreset    = "read-only"
	outputClusterRole = "clusterrole"
)

type scopesOptions struct {
	*session
	output string
}

func newScopesCommand(s *session) *cobra.Command {
	o := &scopesOptions{session: s}
	cmd := &cobra.Command{
		Use:        "scopes [PRESET]",
		SuggestFor: []string{"presets", "permissions"},
		Short:      "List the scopes that have a name, or show the rules of one",
		Long: `List the presets of --scope, which limit what a token may do. With a PRESET show its rules.

A token with scopes may do what one of them allows and its user may do. Scopes never add a permission. With -o clusterrole the
rules are printed as a ClusterRole, for a user or a service account that is to have the same permissions by RBAC. This command
needs no cluster.`,
		Example: `  kubectl pat scopes

  # What a token with the preset may do
  kubectl pat scopes ci-deploy

  # The same for a service account, by RBAC
  kubectl pat scopes ci-deploy -o clusterrole > role.yaml`,
		Args: noTokens(func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("%s takes at most one PRESET, and %d were given; see %[1]s --help", cmd.CommandPath(), len(args))
			}
			return nil
		}),
		ValidArgsFunction: func(_ *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(given) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return presetCompletions(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error { return o.run(args) },
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "the `FORMAT` of one preset: clusterrole (default: text)")
	completeValues(cmd, "output", outputClusterRole)
	return cmd
}

func (o *scopesOptions) run(args []string) error {
	if o.output != "" {
		if err := oneOf("output", o.output, outputClusterRole); err != nil {
			return err
		}
	}
	presets := scope.Presets()
	if len(args) == 0 {
		if o.output != "" {
			return usagef("-o %s prints the role of one preset: name it, as in kubectl pat scopes %s -o %[1]s", o.output, readOnlyPreset)
		}
		return o.list(presets)
	}
	i := slices.IndexFunc(presets, func(p scope.Preset) bool { return p.Name == args[0] })
	if i < 0 {
		var names []string
		for _, p := range presets {
			names = append(names, p.Name)
		}
		return usagef("%q is not a preset; use %s", args[0], strings.Join(names, ", "))
	}
	if o.output == outputClusterRole {
		return o.printRole(&presets[i])
	}
	_, err := fmt.Fprint(o.Out, describePreset(&presets[i]))
	return err
}

func (o *scopesOptions) list(presets []scope.Preset) error {
	rows := make([][]string, 0, len(presets))
	for _, p := range presets {
		where := "everywhere"
		if p.OwnNamespace {
			where = "the token's own namespace"
		}
		rows = append(rows, []string{p.Name, p.Summary, where})
	}
	t := o.table(o.Out, "PRESET", "ALLOWS", "WHERE")
	t.cut = []int{1}
	if err := t.print(o.Out, rows); err != nil {
		return err
	}
	o.sayf("For its rules run: kubectl pat scopes PRESET. For other namespaces name them: --scope 'PRESET -n team-a,team-b'")
	return nil
}

func describePreset(p *scope.Preset) string {
	s := newDescribeWriter()
	s.say("Preset", p.Name)
	s.say("Allows", p.Summary)
	if p.OwnNamespace {
		s.say("Where", "in the token's own namespace, or in those named with it: --scope '"+p.Name+" -n team-a,team-b'")
	} else {
		s.say("Where", "everywhere, or in the namespaces named with it: --scope '"+p.Name+" -n team-a,team-b'")
	}
	if coversEverything(p) {
		s.say("Except", exceptions...)
	}
	s.say("Always", "discovery, health and version, and questions about oneself: kubectl auth whoami, kubectl auth can-i")
	s.say("Words", "read is get, list and watch; write is create, update, patch and delete")
	var rows [][]string
	for i := range p.Rules {
		rule := &p.Rules[i]
		verbs := strings.Join(words(rule.Verbs), ", ")
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				thing := formatResource(group, resource, "")
				if group == rbacv1.APIGroupAll {
					thing = "everything"
				}
				rows = append(rows, []string{thing, verbs})
			}
		}
		for _, url := range rule.NonResourceURLs {
			rows = append(rows, []string{url, verbs})
		}
	}
	s.table("Rules", []string{"Resource", "May"}, rows)
	return s.String()
}

// words shortens the verbs that go together.
func words(verbs []string) []string {
	verbs = slices.Clone(verbs)
	var short []string
	for _, word := range []struct {
		name  string
		verbs []string
	}{{"read", []string{"get", "list", "watch"}}, {"write", []string{"create", "update", "patch", "delete"}}} {
		if !slices.ContainsFunc(word.verbs, func(verb string) bool { return !slices.Contains(verbs, verb) }) {
			short = append(short, word.name)
			verbs = slices.DeleteFunc(verbs, func(verb string) bool { return slices.Contains(word.verbs, verb) })
		}
	}
	return append(short, verbs...)
}

// exceptions are what a scope for "*" in every group does not allow to read.
var exceptions = []string{
	"Secrets",
	"shells, files and ports of pods: pods/exec, pods/attach, pods/portforward, pods/proxy, pods/ephemeralcontainers",
	"services/proxy and nodes/proxy",
	"serviceaccounts/token, tokenreviews, personalaccesstokens, tokenpolicies",
	"every other subresource, except status, scale and log",
}

// coversEverything reports whether a rule is for every group, where RBAC's "*" allows more than the scope's.
func coversEverything(p *scope.Preset) bool {
	return slices.ContainsFunc(p.Rules, func(r rbacv1.PolicyRule) bool { return slices.Contains(r.APIGroups, rbacv1.APIGroupAll) })
}

// printRole prints the preset as a ClusterRole. Comments say what differs.
func (o *scopesOptions) printRole(p *scope.Preset) error {
	lines := []string{
		"The rules of the scope " + p.Name + ": " + p.Summary + ".",
		"A role adds permissions, while a scope only limits a token to those of its user.",
	}
	if p.OwnNamespace {
		lines = append(lines, "Bind it with a RoleBinding in one namespace: the scope counts in the token's own.")
	}
	if coversEverything(p) {
		lines = append(lines, `RBAC's "*" allows more than the scope, which does not include:`)
		for _, exception := range exceptions {
			lines = append(lines, "- "+exception)
		}
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(o.Out, "# "+line); err != nil {
			return err
		}
	}
	return write(o.Out, outputYAML, &rbacv1.ClusterRole{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole"},
		ObjectMeta: metav1.ObjectMeta{Name: "pat-operator-scope-" + p.Name},
		Rules:      p.Rules,
	})
}

func presetCompletions() []cobra.Completion {
	var presets []cobra.Completion
	for _, p := range scope.Presets() {
		presets = append(presets, cobra.CompletionWithDesc(p.Name, p.Summary))
	}
	return presets
}

// formatScopes formats each scope as --scope takes it.
func formatScopes(scopes []v1alpha1.Scope) []string {
	lines := make([]string, 0, len(scopes))
	for i := range scopes {
		lines = append(lines, scope.Format(&scopes[i]))
	}
	return lines
}
