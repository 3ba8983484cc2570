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
	"strings"

	"github.com/spf13/cobra"
)

// someNames takes at least one argument, each the name of a PersonalAccessToken.
func someNames(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("%s takes one NAME or more, and none was given; see %[1]s --help", cmd.CommandPath())
	}
	return nil
}

// namesOf are the names that people mean, each once. They may come from -o name of ours or of kubectl's.
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

// completeName is completeNames for a command that takes one.
func (s *session) completeName(cmd *cobra.Command, given []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return s.completeNames(cmd, given, word)
}
