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
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usageError reports a wrong command line: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// oneOf refuses a flag's value that is not allowed.
func oneOf(flag, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return usagef("--%s %q is not one of %s", flag, value, strings.Join(allowed, ", "))
}

// positive refuses a timeout that is not positive.
func positive(timeout time.Duration) error {
	if timeout > 0 {
		return nil
	}
	return usagef("--timeout %v is not positive: give a time to wait, such as 30s", timeout)
}

// unknownCommand suggests commands with a similar name or with this name in SuggestFor, and a flag of this name.
func unknownCommand(root *cobra.Command, name string) error {
	near := root.SuggestionsFor(name)
	if root.LocalNonPersistentFlags().Lookup(name) != nil {
		near = append(near, "--"+name)
	}
	if len(near) > 0 {
		return usagef("unknown command %q; did you mean %s? See %s --help", name, strings.Join(near, " or "), root.CommandPath())
	}
	return usagef("unknown command %q; see %s --help", name, root.CommandPath())
}

// oneName takes exactly one argument, which is the name of a PersonalAccessToken.
func oneName(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef("%s takes one NAME, and %d were given; see %[1]s --help", cmd.CommandPath(), len(args))
	}
	return nil
}

// oneOrMoreNames takes the names of PersonalAccessTokens.
func oneOrMoreNames(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("%s takes one NAME or more, and none was given; see %[1]s --help", cmd.CommandPath())
	}
	return nil
}

// noArguments refuses arguments without quoting them: one may be a token.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments, and %d were given; see %[1]s --help", cmd.CommandPath(), len(args))
	}
	return nil
}

// noEmptyFlags refuses a flag of ours with an empty value, such as from an unset variable. If it took such a flag as absent, a
// command would do something else: print a token instead of writing it to a file, or create one for the caller.
func noEmptyFlags(cmd *cobra.Command) (err error) {
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		var values []string
		if many, ok := f.Value.(pflag.SliceValue); ok {
			values = many.GetSlice()
		} else if f.Value.Type() == "string" && f.Name != "output" {
			values = []string{f.Value.String()}
		}
		if err == nil && f.Changed && slices.Contains(values, "") {
			err = usagef("--%s is empty: give it a value, or leave it out", f.Name)
		}
	})
	return err
}

// helpFails makes "help" fail for an unknown command, where cobra's prints the root's help and succeeds.
func helpFails(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() != "help" {
			continue
		}
		cmd.Run, cmd.PersistentPreRun, cmd.PersistentPostRun = nil, nil, nil
		cmd.RunE = func(_ *cobra.Command, args []string) error {
			of, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(root, strings.Join(args, " "))
			}
			of.InitDefaultHelpFlag()
			of.InitDefaultVersionFlag()
			return of.Help()
		}
	}
}

// foldedFlags changes the help template to name kubectl's twenty flags in one line instead of listing each.
var foldedFlags = strings.NewReplacer(
	"{{.LocalFlags.FlagUsages", "{{.LocalNonPersistentFlags.FlagUsages",
	"{{if .HasAvailableInheritedFlags}}", "",
	"Global Flags:\n{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}",
	`Flags of kubectl:
  -n NAMESPACE, --context NAME, --kubeconfig FILE and all others of "kubectl options", except --user and --cache-dir.
  They follow pat: kubectl pat list -n team-a`,
)
