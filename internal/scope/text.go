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

package scope

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// Example is a scope as people write it.
const Example = "get,list pods,deployments.apps -n team-a"

// Format is a scope as people write it, in one line: a preset, a scope of another API as api:SCOPE, or VERBS RESOURCES, as
// kubectl names resources: pods,pods/log,deployments.apps/scale, or paths like /metrics. -n lists namespaces, --name names.
func Format(s *v1alpha1.Scope) string {
	text := s.Preset
	names := []string(nil)
	switch {
	case s.API != "":
		text = "api:" + s.API
	case s.Rule != nil:
		things := slices.Clone(s.Rule.NonResourceURLs)
		for _, group := range s.Rule.APIGroups {
			for _, resource := range s.Rule.Resources {
				things = append(things, withGroup(resource, group))
			}
		}
		text = strings.Join(s.Rule.Verbs, ",") + " " + strings.Join(things, ",")
		names = s.Rule.ResourceNames
	}
	if len(s.Namespaces) > 0 {
		text += " -n " + strings.Join(s.Namespaces, ",")
	}
	if len(names) > 0 {
		text += " --name " + strings.Join(names, ",")
	}
	return text
}

func withGroup(resource, group string) string {
	if group == "" {
		return resource
	}
	main, sub, isSub := strings.Cut(resource, "/")
	if main += "." + group; isSub {
		main += "/" + sub
	}
	return main
}

// Parse reads what Format writes. Resources of several API groups become a scope for each group.
func Parse(text string) ([]v1alpha1.Scope, error) {
	var inNamespaces, ofNames []string
	flags := pflag.NewFlagSet("scope", pflag.ContinueOnError)
	flags.StringArrayVarP(&inNamespaces, "namespace", "n", nil, "")
	flags.StringArrayVar(&ofNames, "name", nil, "")
	flags.SetOutput(io.Discard)
	if err := flags.Parse(strings.Fields(text)); err != nil {
		return nil, fmt.Errorf("%w; write a scope like %q", err, Example)
	}
	words, namespaces, names := flags.Args(), split(inNamespaces...), split(ofNames...)
	switch {
	case len(words) == 1 && len(names) == 0:
		if api, ok := strings.CutPrefix(words[0], "api:"); ok && api != "" && len(namespaces) == 0 {
			return []v1alpha1.Scope{{API: api}}, nil
		}
		if findPreset(words[0]) == nil {
			return nil, fmt.Errorf("%q is not a preset; use %s, or write a scope like %q", words[0], strings.Join(presetNames(), ", "), Example)
		}
		return []v1alpha1.Scope{{Preset: words[0], Namespaces: namespaces}}, nil
	case len(words) == 2:
		return parseRule(split(words[0]), split(words[1]), names, namespaces)
	}
	return nil, fmt.Errorf("a scope is a preset, or verbs and resources, for example %q", Example)
}

func parseRule(verbs, things, names, namespaces []string) ([]v1alpha1.Scope, error) {
	if len(verbs) == 0 || len(things) == 0 {
		return nil, fmt.Errorf("verbs or resources are missing; write a scope like %q", Example)
	}
	for _, verb := range verbs {
		if strings.HasPrefix(verb, "-") {
			return nil, fmt.Errorf("%q is not a verb; write it like get or list", verb)
		}
	}
	var urls, groups []string
	byGroup := map[string][]string{}
	for _, thing := range things {
		if strings.HasPrefix(thing, "/") {
			urls = append(urls, thing)
			continue
		}
		main, sub, isSub := strings.Cut(thing, "/")
		resource, group, _ := strings.Cut(main, ".")
		if resource == "" || resource[0] == '-' || isSub && sub == "" {
			return nil, fmt.Errorf("%q is not a resource; write it like pods, pods/log or deployments.apps", thing)
		}
		if isSub {
			resource += "/" + sub
		}
		if !slices.Contains(groups, group) {
			groups = append(groups, group)
		}
		if !slices.Contains(byGroup[group], resource) {
			byGroup[group] = append(byGroup[group], resource)
		}
	}
	var all []v1alpha1.Scope
	if len(urls) > 0 {
		if len(names) > 0 || len(namespaces) > 0 {
			return nil, errors.New("a path has no namespace and no name; write a scope of its own for it")
		}
		all = append(all, v1alpha1.Scope{Rule: &v1alpha1.ScopeRule{Verbs: verbs, NonResourceURLs: urls}})
	}
	for _, group := range groups {
		all = append(all, v1alpha1.Scope{Namespaces: namespaces, Rule: &v1alpha1.ScopeRule{
			Verbs: verbs, APIGroups: []string{group}, Resources: byGroup[group], ResourceNames: names,
		}})
	}
	return all, nil
}

// split returns what is between the commas of lists; nil if there is nothing.
func split(lists ...string) (all []string) {
	for _, list := range lists {
		for item := range strings.SplitSeq(list, ",") {
			if item != "" {
				all = append(all, item)
			}
		}
	}
	return all
}

func presetNames() []string {
	names := make([]string, 0, len(presets))
	for i := range presets {
		names = append(names, presets[i].name)
	}
	return names
}
