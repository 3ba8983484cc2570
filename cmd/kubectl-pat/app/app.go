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

// Package app is the commands of kubectl pat. Each is in a file of its own: a constructor that binds flags, and a run that
// takes what it needs of the process (streams, clock, randomness, the way to the cluster) from its session.
//
// What goes to standard output is what was asked for, so that it can be piped: a token, a manifest, a table. Everything
// else, also what has gone wrong, goes to standard error. What the cluster says is printed by way of holder.Visible,
// or encoded.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/token"
)

// Exit codes.
const (
	exitOK = iota
	exitError
	exitUsage
)

// Environment is what the commands take from the process that they run in. Tests bring their own.
type Environment struct {
	genericiooptions.IOStreams
	Clock clock.PassiveClock
	// Random is what tokens are made of: crypto/rand.Reader everywhere but in tests.
	Random io.Reader
	// Copy puts a text on the clipboard; nil where there is none.
	Copy func(text string) error
	// Width returns the columns of the terminal that a stream writes to, 0 if it writes elsewhere. It is TerminalWidth but in tests.
	Width func(w io.Writer) int
	// Connect returns a client of the cluster that kubectl's flags name.
	Connect func(cluster genericclioptions.RESTClientGetter, warnings io.Writer) (client.WithWatch, error)
	// Version is what --version prints.
	Version string
}

// Run runs `kubectl pat` with these arguments and returns its exit code.
func Run(ctx context.Context, env Environment, args []string) int {
	err := errTokenGiven
	if !tokenAmong(args) {
		root := newRootCommand(env)
		root.SetArgs(args)
		err = root.ExecuteContext(ctx)
	}
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(env.ErrOut, "error: %s\n", holder.Visible(explain(err)))
	if _, wrong := errors.AsType[usageError](err); wrong {
		return exitUsage
	}
	return exitError
}

// Version is what --version prints: what the linker has set, else what Go has recorded of the source, which names the commit.
func Version(set string) string {
	if set != "" {
		return set
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel (" + runtime.Version() + ")"
}

func newRootCommand(env Environment) *cobra.Command {
	s := &session{Environment: env, flags: kubectlFlags()}
	root := &cobra.Command{
		Use:         "kubectl-pat",
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl pat"},
		Short:       "Personal access tokens for Kubernetes",
		Long: `Make, list and end personal access tokens for the Kubernetes API.

What was asked for goes to standard output, everything else to standard error. Exit codes: 0 it is done, 1 it is not,
2 the command line is wrong and nothing was done.`,
		Example: `  # A token for yourself, for 30 days; it is printed once
  kubectl pat create my-script --expires-in 30d

  # One for a vendor, which only the owner of that SSH key can read
  kubectl pat create polite-mail --display-name PoliteMail --recipient @vendor.pub > polite-mail.age

  # A manifest for Git; the token goes into a file
  kubectl pat generate ci --token-file ci.token > ci.yaml

  # Everything in all namespaces that ends within a week
  kubectl pat list -A --expiring-within 7d

  # Which of our tokens are in this log
  kubectl pat find < build.log

  # Alice has left
  kubectl pat revoke --user alice -A`,
		Version: env.Version,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return nil
		},
		PersistentPreRunE:          func(cmd *cobra.Command, _ []string) error { return noEmptyFlags(cmd) },
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceUsage:               true,
		SilenceErrors:              true,
		SuggestionsMinimumDistance: 2,
		CompletionOptions:          cobra.CompletionOptions{DisableDefaultCmd: true}, // kubectl's own asks us
	}
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.ErrOut)
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetUsageTemplate(foldedFlags.Replace(root.UsageTemplate()))
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok && invalid.GetFlag().DefValue != "" {
			err = fmt.Errorf("%w; set it as --%s=%s", err, invalid.GetFlag().Name, invalid.GetFlag().DefValue)
		}
		return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	})
	s.flags.AddFlags(root.PersistentFlags())
	s.completeNamespaces(root)
	root.AddCommand(
		newCreateCommand(s),
		newGenerateCommand(s),
		newListCommand(s),
		newRotateCommand(s),
		newSuspendCommand(s),
		newResumeCommand(s),
		newRevokeCommand(s),
		newDescribeCommand(s),
		newDecryptCommand(s),
		newWhoamiCommand(s),
		newFindCommand(s),
		newKubeconfigCommand(s),
	)
	helpFails(root)
	return root
}

// helpFails lets "help" refuse a command that is not there; cobra's prints the help of the root and ends well.
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

// foldedFlags names kubectl's twenty flags in one line, where the template of the help lists each of them.
var foldedFlags = strings.NewReplacer(
	"{{.LocalFlags.FlagUsages", "{{.LocalNonPersistentFlags.FlagUsages",
	"{{if .HasAvailableInheritedFlags}}", "",
	"Global Flags:\n{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}",
	`Flags of kubectl:
  -n NAMESPACE, --context NAME, --kubeconfig FILE and what else "kubectl options" lists, but for --user and --cache-dir.
  They come after pat: kubectl pat list -n team-a`,
)

// tokenAmong tells whether there is a token among the arguments, be it by mistake for a name or as part of a reason: it would
// go into requests, the API server's audit log and onto the screen. kubectl's own --token takes one.
func tokenAmong(args []string) bool {
	for i, arg := range args {
		flag, _, _ := strings.Cut(arg, "=")
		if !strings.HasPrefix(arg, "-") && i > 0 {
			flag = args[i-1]
		}
		arg = strings.ToLower(arg)
		switch {
		case flag == "--token":
		case slices.Contains(fileFlags, flag):
			if tokenLike.MatchString(arg) {
				return true
			}
		case strings.Contains(arg, token.Prefix):
			return true
		}
	}
	return false
}

// fileFlags are those whose values are files, or may be: one may be called kubepat_ci.txt.
var fileFlags = []string{
	"--token-file", "--token-path", "--manifest", "--output", "-o", "--filename", "-f", "--identity", "-i", "--recipient",
	"--kubeconfig", "--client-certificate", "--client-key", "--certificate-authority",
}

// noEmptyFlags refuses a flag of ours that was given and is empty, as a variable that is not set makes it. Without the flag
// the command would do something else: print a token that was to go into a file, or make one for who runs it.
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

// usageError is that the command line is wrong: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// unknownCommand says which commands may be meant: those that are spelt nearly so, those whose SuggestFor has this name, and
// a flag that has it.
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

// explain returns the text of an error, with its cause and the way out where the cluster does not name them.
func explain(err error) string {
	if status, ok := errors.AsType[*apierrors.StatusError](err); ok {
		switch {
		case apierrors.IsNotFound(err) && (status.Status().Details == nil || status.Status().Details.Name == ""):
			return err.Error() + "; pat-operator is not installed on this cluster: install it, or name another by --context"
		case apierrors.IsUnauthorized(err):
			return err.Error() + "; the API server does not accept your credentials: they have ended, or they are a personal access token and no verifier answers; kubectl pat whoami tells more"
		}
		return err.Error()
	}
	request, ok := errors.AsType[*url.Error](err)
	if !ok || errors.Is(err, context.Canceled) {
		return err.Error()
	}
	text := err.Error()
	if server, wrong := url.Parse(request.URL); wrong == nil && holder.IsRefusal(request) {
		text = strings.Replace(text, request.Error(), fmt.Sprintf("no cluster answers at %s://%s: %v", server.Scheme, server.Host, request.Err), 1)
	}
	return text + "; is this the right cluster (--context, --kubeconfig)?"
}
