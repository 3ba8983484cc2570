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

// Package app has the commands of kubectl pat. Each command has a file with a constructor that binds flags and a run method. Its
// session gives it streams, clock, randomness and the connection to the cluster.
//
// A command writes its result (a token, a manifest, a table) to standard output, so that it can be piped, and everything else to
// standard error. It prints texts from the cluster through holder.Visible, or encoded.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/holder"
)

// Exit codes.
const (
	exitOK = iota
	exitError
	exitUsage
)

// Environment is what the commands use of their process. Tests have their own.
type Environment struct {
	genericiooptions.IOStreams
	Clock clock.PassiveClock
	// Random is the source of tokens: crypto/rand.Reader, except in tests.
	Random io.Reader
	// Copy puts a text on the clipboard; nil without a clipboard.
	Copy func(text string) error
	// Width returns the columns of the terminal that a stream writes to, 0 if it writes elsewhere. It is TerminalWidth, except in tests.
	Width func(w io.Writer) int
	// Connect returns a client of the cluster that kubectl's flags select.
	Connect func(cluster genericclioptions.RESTClientGetter, warnings io.Writer) (client.WithWatch, error)
	// Resources knows the resources of that cluster.
	Resources func(cluster genericclioptions.RESTClientGetter) (meta.RESTMapper, error)
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
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errNo):
		return exitError
	}
	fmt.Fprintf(env.ErrOut, "error: %s\n", holder.Visible(explain(err)))
	if _, wrong := errors.AsType[usageError](err); wrong {
		return exitUsage
	}
	return exitError
}

// Version returns what --version prints: the linker's value, or else the version that Go recorded, which names the commit.
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
		Long: `Create, list and revoke personal access tokens for the Kubernetes API.

Results go to standard output, everything else to standard error. Exit codes: 0 for success, 1 for failure, 2 for a wrong
command line; then nothing was changed.`,
		Example: `  # A token for yourself, for 30 days; it is printed once
  kubectl pat create my-script --expires-in 30d

  # A token for a vendor, which only the owner of that SSH key can read
  kubectl pat create polite-mail --display-name PoliteMail --recipient @vendor.pub > polite-mail.age

  # A manifest for Git; the token goes into a file
  kubectl pat generate ci --token-file ci.token > ci.yaml

  # Tokens of all namespaces that expire within a week
  kubectl pat list -A --expiring-within 7d

  # Tokens in a log, and how to revoke them
  kubectl pat find < build.log

  # Stop the tokens of alice, who has left
  kubectl pat offboard alice`,
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
		CompletionOptions:          cobra.CompletionOptions{DisableDefaultCmd: true}, // kubectl completes
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
		newSetupCommand(s),
		newDoctorCommand(s),
		newScopesCommand(s),
		newCanICommand(s),
		newPoliciesCommand(s),
		newOffboardCommand(s),
	)
	helpFails(root)
	return root
}

// explain returns the text of an error, and adds the cause and the next step if the cluster does not name them.
func explain(err error) string {
	if status, ok := errors.AsType[*apierrors.StatusError](err); ok {
		switch {
		case apierrors.IsNotFound(err) && (status.Status().Details == nil || status.Status().Details.Name == ""):
			return err.Error() + "; pat-operator is not installed on this cluster: install it, or choose another cluster with --context"
		case apierrors.IsUnauthorized(err):
			return err.Error() + "; the API server does not accept your credentials: they have ended, or they are a personal access token and no verifier answers; for more run kubectl pat whoami"
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
