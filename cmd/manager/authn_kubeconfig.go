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
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/certs"
)

func authnKubeconfigCommand() *cobra.Command {
	var kubeconfig, operatorNamespace, server, out string
	var present certs.ClientCertificate
	cmd := &cobra.Command{
		Use:   "authn-kubeconfig",
		Short: "Write the files that kube-apiserver needs, with a client certificate or another address than the published ones",
		Long: `Write, for kube-apiserver's --authentication-token-webhook-config-file, a kubeconfig that names the verifier,
and the file of its certificate authority into the same directory. The authority is in a file of its own because kube-apiserver
follows a file that changes, and not an authority that is embedded.`,
		Example: `  manager authn-kubeconfig --out /etc/kubernetes/pat-operator`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := certs.CheckAuthnKubeconfig(server, present); err != nil {
				return err
			}
			if len(validation.IsDNS1123Label(operatorNamespace)) > 0 {
				return notANamespace("--operator-namespace", operatorNamespace)
			}
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
			key := client.ObjectKey{Namespace: operatorNamespace, Name: verifierService}
			if server == "" {
				if server, err = certs.ServiceURL(cmd.Context(), c, key, "--server"); err != nil {
					return err
				}
			}
			path, err := certs.WriteAuthnKubeconfig(out, server, serviceHost(key.Name, key.Namespace), bundle, present)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), `Wrote %s.
Start kube-apiserver with
  --authentication-token-webhook-config-file=%[1]s
  --authentication-token-webhook-cache-ttl=10s
`, path)
			return err
		},
	}
	bindCluster(cmd.Flags(), &kubeconfig, &operatorNamespace)
	cmd.Flags().StringVar(&server, "server", "", "URL at which kube-apiserver reaches the verifier, https://HOST[:PORT]/authenticate; the ClusterIP of its Service when empty")
	cmd.Flags().StringVar(&out, "out", ".", "folder for the two files")
	cmd.Flags().StringVar(&present.CertFile, "client-certificate", "", "file, on kube-apiserver's host, of the client certificate that it presents (see --verifier-client-ca-file)")
	cmd.Flags().StringVar(&present.KeyFile, "client-key", "", "file of that certificate's key")
	return cmd
}
