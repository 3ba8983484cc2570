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
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/identity"
)

type generateOptions struct {
	*session
	spec     specFlags
	to       destinationFlags
	manifest string
	output   string
}

func newGenerateCommand(s *session) *cobra.Command {
	o := &generateOptions{session: s}
	cmd := &cobra.Command{
		Use:        "generate NAME",
		SuggestFor: []string{"manifest"},
		Short:      "Make a token, and a manifest for Git with its digest",
		Long: `Make a token on this machine, and the manifest of a PersonalAccessToken with its ID and digest. Nobody can recover the token
from the manifest, so a public repository may hold it. The token works from when the manifest is applied; its lifetime counts
from now. This command needs no cluster.

One of the two goes to standard output and the other into a file: with --token-file (or --copy) this command prints the
manifest, with --manifest the token.

The digest is bound to the namespace and the name in the manifest. The cluster refuses a copy under another name, and a
namespace or name prefix that kustomize adds.`,
		Example: `  # The manifest into the repository, the token into a file
  kubectl pat generate ci -n team-a --for alice --group developers --token-file ci.token > team-a/ci.yaml

  # For a pipeline that deploys to team-a, and may do nothing else
  kubectl pat generate deploy -n team-a --for alice --scope ci-deploy --token-file deploy.token > team-a/deploy.yaml

  # The token into a secret store (here pass)
  kubectl pat generate ci -n team-a --for alice --manifest team-a/ci.yaml | pass insert -e team-a/ci`,
		Args:              oneName,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(_ *cobra.Command, args []string) error { return o.run(args[0]) },
	}
	flags := cmd.Flags()
	o.spec.bind(cmd)
	o.to.bind(flags)
	flags.StringVar(&o.manifest, "manifest", "", "write the manifest into this `FILE`, a new one, instead of standard output")
	flags.StringVarP(&o.output, "output", "o", outputYAML, "the manifest's `FORMAT`: yaml or json")
	completeValues(cmd, "output", outputYAML, outputJSON)
	return cmd
}

func (o *generateOptions) validate() error {
	err := oneOf("output", o.output, outputYAML, outputJSON)
	if err == nil && o.manifest == "" && !o.to.elsewhere() {
		return usagef("manifest and token cannot both go to standard output: name a file for the token, which is secret (--token-file FILE), or for the manifest (--manifest FILE)")
	}
	return err
}

func (o *generateOptions) run(name string) error {
	if err := o.validate(); err != nil {
		return err
	}
	namespace, err := o.namespace()
	if err != nil {
		return err
	}
	pat, err := o.spec.object(namespace, name)
	if err != nil {
		return err
	}
	if pat.Spec.User != nil {
		// Refuse now what admission would refuse when the commit is applied.
		if errs := identity.Check(field.NewPath("spec", "user"), pat.Spec.User); len(errs) > 0 {
			return usageError{errs[0]}
		}
	}
	to, err := o.to.open(o.Environment)
	if err != nil {
		return err
	}
	defer to.close()
	manifest, keep := o.Out, func() error { return nil }
	if o.manifest != "" {
		file, err := createNew("--manifest", o.manifest, 0o644)
		if err != nil {
			return err
		}
		defer file.discard()
		manifest, keep = file, file.keep
	}

	plaintext, err := holder.MakeToken(pat, o.Random, holder.EndAfter(o.Clock.Now(), time.Duration(o.spec.expiresIn)))
	if err != nil {
		return err
	}
	if err := write(manifest, o.output, pat); err != nil {
		return err
	}
	if err := to.put(plaintext); err != nil {
		return err
	}
	if to.place != "" {
		o.sayf("The token is %s, and nowhere else.", to.place)
	}
	o.sayf("Next: apply the manifest. The token works from then until %s.", endOf(pat))
	if pat.Spec.User == nil {
		o.sayf("The token will belong to the user who applies the manifest. A GitOps controller has to name another user: add --for USER.")
	}
	return keep()
}
