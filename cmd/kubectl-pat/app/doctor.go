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
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pat-operator/pat-operator/internal/doctor"
	"github.com/pat-operator/pat-operator/internal/holder"
)

type doctorOptions struct {
	*session
	operator  operatorFlags
	makeToken bool
	output    string
}

// doctorResult is the output of doctor with -o json.
type doctorResult struct {
	// OK is false if something failed or kube-apiserver was not asked.
	OK       bool             `json:"ok"`
	Findings []doctor.Finding `json:"findings"`
}

func newDoctorCommand(s *session) *cobra.Command {
	o := &doctorOptions{session: s}
	cmd := &cobra.Command{
		Use:        "doctor",
		SuggestFor: []string{"status", "diagnose", "troubleshoot", "test"},
		Short:      "Find out whether pat-operator works, and what to do if not",
		Long: `Find out whether pat-operator works. It asks each kube-apiserver about a token that nobody has, and the answer says whether
kube-apiserver asks the verifier and trusts it, and whether it enforces the scopes of tokens. It sends a request without a
credential to the proxy and to the API face, if there are any. It looks at webhooks and policies, workloads, the CA, clocks and versions.
It has your rights, and changes nothing unless --make-token is given.

Each line begins with ✓ (well), ✗ (not, with what to do), ! (to be done in time) or - (not checked). The exit code is 1 if
something is not well, or if neither kube-apiserver nor the proxy could be asked.`,
		Example: `  # As a cluster administrator
  kubectl pat doctor

  # Measure how long a revoked token is accepted, by a token in the namespace team-a
  kubectl pat doctor --make-token -n team-a

  # For a program
  kubectl pat doctor -o json`,
		Args:              noTokens(noArguments),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	o.operator.bind(flags)
	flags.BoolVar(&o.makeToken, "make-token", false, "make a token for yourself in the namespace, use it and revoke it, to measure how long it is accepted")
	flags.StringVarP(&o.output, "output", "o", "", "the `FORMAT`: json (default: text)")
	completeValues(cmd, "output", outputJSON)
	return cmd
}

func (o *doctorOptions) run(ctx context.Context) error {
	if o.output != "" {
		if err := oneOf("output", o.output, outputJSON); err != nil {
			return err
		}
	}
	if err := o.operator.validate(); err != nil {
		return err
	}
	namespace, err := o.namespace()
	if err != nil {
		return err
	}
	c, err := o.client()
	if err != nil {
		return err
	}
	config, err := restConfig(o.flags)
	if err != nil {
		return err
	}
	o.operator.find(ctx, c)
	findings, err := doctor.Run(ctx, doctor.Options{
		Config: config, Client: c, OperatorNamespace: o.operator.namespace, Namespace: namespace, MakeToken: o.makeToken,
		Version: o.Version, Clock: o.Clock, Random: o.Random, Progress: o.progress,
	})
	o.clear()
	if err != nil {
		return err
	}
	passed := doctor.Passed(findings)
	if o.output == outputJSON {
		err = write(o.Out, outputJSON, doctorResult{passed, findings})
	} else {
		_, err = fmt.Fprint(o.Out, findingsText(findings))
	}
	failed, unchecked := doctor.Count(findings, doctor.Failed), doctor.Count(findings, doctor.Unchecked)
	switch {
	case err != nil:
		return err
	case failed > 0:
		return fmt.Errorf("%d of %d checks failed, and %d could not be made", failed, len(findings), unchecked)
	case !passed:
		return fmt.Errorf("kube-apiserver could not be asked, so this does not say that tokens work; %d of %d checks could not be made", unchecked, len(findings))
	case unchecked > 0:
		o.sayf("%d of %d checks could not be made: see the lines that begin with -", unchecked, len(findings))
	}
	return nil
}

var marks = map[doctor.Result]string{doctor.OK: "✓", doctor.Failed: "✗", doctor.Due: "!", doctor.Unchecked: "-"}

func findingsText(findings []doctor.Finding) string {
	var b strings.Builder
	for _, f := range findings {
		text := f.Message
		if f.Result == doctor.Unchecked {
			text = "not checked: " + text
		}
		if f.Fix != "" {
			text += " — " + f.Fix
		}
		fmt.Fprintf(&b, "%s %s: %s\n", marks[f.Result], holder.Visible(f.Check), holder.Visible(text))
	}
	return b.String()
}
