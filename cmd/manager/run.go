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

package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func runCommand() *cobra.Command {
	common, operator, verifier := &commonOptions{}, &operatorOptions{}, &verifierOptions{}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the operator and a verifier in one process, for small installations",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(common.validate(), operator.validate(), operator.goesWith(common), verifier.validate()); err != nil {
				return err
			}
			return common.serve(cmd.Context(), operator.leaderElect, append([]component{operator.component(common)}, verifier.components(common)...)...)
		},
	}
	common.bind(cmd.Flags())
	operator.bind(cmd.Flags())
	verifier.bind(cmd.Flags())
	return cmd
}
