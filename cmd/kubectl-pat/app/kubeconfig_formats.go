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
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Values of --output of kubeconfig that are not a file.
const (
	outputArgoCD    = "argocd"
	outputTerraform = "terraform"
)

// argoConfig is the config of a cluster of Argo CD (argo-cd.readthedocs.io, Declarative Setup).
type argoConfig struct {
	BearerToken        string  `json:"bearerToken"`
	TLSClientConfig    argoTLS `json:"tlsClientConfig"`
	DisableCompression bool    `json:"disableCompression,omitempty"`
	ProxyURL           string  `json:"proxyUrl,omitempty"`
}

type argoTLS struct {
	Insecure   bool   `json:"insecure"`
	ServerName string `json:"serverName,omitempty"`
	// CAData is PEM, in base64.
	CAData []byte `json:"caData,omitempty"`
}

// argoClusterLabel is how Argo CD finds the Secrets of clusters.
const argoClusterLabel = "argocd.argoproj.io/secret-type"

// terraformVariables are arguments of Terraform's kubernetes provider.
type terraformVariables struct {
	Host string `json:"host"`
	// Token is the plaintext.
	Token string `json:"token"`
	// ClusterCACertificate is PEM.
	ClusterCACertificate string `json:"cluster_ca_certificate,omitempty"`
	TLSServerName        string `json:"tls_server_name,omitempty"`
	Insecure             bool   `json:"insecure,omitempty"`
	ProxyURL             string `json:"proxy_url,omitempty"`
}

// parseOutput tells the format and the file of --output.
func (o *kubeconfigOptions) parseOutput() error {
	format, file, found := strings.Cut(o.output, "=")
	switch {
	case o.output == "":
		return usagef("--output is empty: give a file, as in -o ci.kubeconfig, or leave it out")
	case slices.Contains([]string{outputJSON, outputYAML, outputName}, o.output):
		return usagef("-o is the file to write, argocd or terraform, and a kubeconfig is always YAML; for a file of this name use -o ./%s", o.output)
	case format != outputArgoCD && format != outputTerraform:
		o.file = o.output
		return nil
	case found && file == "":
		return usagef("-o %s names no file: give one, as in -o %[1]s%s.secret, or leave = out", o.output, format)
	case o.tokenPath != "":
		return usagef("-o %s contains the token, which --token-path does not give: use --token-file FILE", format)
	}
	o.format, o.file = format, stdin
	if found {
		o.file = file
	}
	return nil
}

// write writes the output in its format.
func (o *kubeconfigOptions) write(out io.Writer, w written) error {
	switch o.format {
	case outputArgoCD:
		secret, err := o.argoCD(w)
		if err != nil {
			return err
		}
		return write(out, outputYAML, secret)
	case outputTerraform:
		return write(out, outputJSON, terraformVariables{
			Host: w.cluster.Server, Token: w.plaintext, ClusterCACertificate: string(w.cluster.CertificateAuthorityData),
			TLSServerName: w.cluster.TLSServerName, Insecure: w.cluster.InsecureSkipTLSVerify, ProxyURL: w.cluster.ProxyURL,
		})
	}
	return write(out, outputYAML, o.document(w.pat, w.cluster, w.holder))
}

// argoCD returns the Secret of a cluster. It has no namespace, which is that of Argo CD.
func (o *kubeconfigOptions) argoCD(w written) (*corev1.Secret, error) {
	cluster := w.cluster
	config, err := encodeJSON(argoConfig{
		BearerToken: w.plaintext,
		TLSClientConfig: argoTLS{
			Insecure: cluster.InsecureSkipTLSVerify, ServerName: cluster.TLSServerName, CAData: cluster.CertificateAuthorityData,
		},
		DisableCompression: cluster.DisableCompression, ProxyURL: cluster.ProxyURL,
	})
	if err != nil {
		return nil, err
	}
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: w.pat.Name + "-cluster", Labels: map[string]string{argoClusterLabel: "cluster"}},
		Type:       corev1.SecretTypeOpaque,
		StringData: map[string]string{
			"name": w.pat.Name + "@" + o.nameOfCluster(), "server": cluster.Server, "config": string(config),
		},
	}, nil
}
