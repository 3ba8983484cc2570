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
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/certs"
)

// loadConfig reads the kubeconfig named, or finds one as every controller does.
func loadConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig != "" {
		return clientcmd.BuildConfigFromFlags("", kubeconfig)
	}
	return ctrl.GetConfig()
}

func authnKubeconfigCommand() *cobra.Command {
	var kubeconfig, operatorNamespace, server, out string
	cmd := &cobra.Command{
		Use:   "authn-kubeconfig",
		Short: "Write the files that kube-apiserver needs to verify tokens with this verifier",
		Long: `Write, for kube-apiserver's --authentication-token-webhook-config-file, a kubeconfig that names the verifier,
and beside it the file of its certificate authority. The authority is named by path and not embedded:
kube-apiserver follows a file that changes, and only a file.`,
		Example: `  manager authn-kubeconfig --server https://10.96.0.15/authenticate --out /etc/kubernetes/pat-operator`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := restConfig(kubeconfig)
			if err != nil {
				return err
			}
			c, err := client.New(config, client.Options{})
			if err != nil {
				return err
			}
			bundle, err := certs.Bundle(cmd.Context(), c, operatorNamespace)
			if err != nil {
				return err
			}
			path, err := certs.WriteAuthnKubeconfig(out, server, bundle)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), `Wrote %s.
Start kube-apiserver with
  --authentication-token-webhook-config-file=%[1]s
  --authentication-token-webhook-version=v1
  --authentication-token-webhook-cache-ttl=10s
`, path)
			return err
		},
	}
	bindCluster(cmd.Flags(), &kubeconfig, &operatorNamespace)
	cmd.Flags().StringVar(&server, "server", "", "URL at which kube-apiserver reaches the verifier, https://HOST[:PORT]/authenticate (required)")
	cmd.Flags().StringVar(&out, "out", ".", "folder for the two files")
	if err := cmd.MarkFlagRequired("server"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}
