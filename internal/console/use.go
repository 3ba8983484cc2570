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

package console

import (
	"fmt"
	"net/http"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/console/page"
)

// Cluster is how token holders reach the API server.
type Cluster struct {
	// Server is its URL, which needs no quoting in a shell.
	Server string
	// CA verifies it, in PEM; empty: the system's CAs.
	CA []byte
}

// useOf returns commands that use a new token as $TOKEN; nil if none would work.
func (c *Console) useOf(pat *v1alpha1.PersonalAccessToken) *page.Use {
	if c.cluster == nil || len(pat.Spec.Audiences) > 0 {
		return nil
	}
	server, file := c.cluster.Server, pat.Name+".kubeconfig"
	curlCA, kubectlCA, ca := "", "", ""
	if len(c.cluster.CA) > 0 {
		curlCA, kubectlCA, ca = "--cacert ca.crt ", "--certificate-authority=ca.crt ", "/ca.crt"
	}
	return &page.Use{
		Curl: fmt.Sprintf(`curl %s-H "Authorization: Bearer $TOKEN" %s/api`, curlCA, server),
		// A client certificate of another kubeconfig would take precedence over the token.
		Kubectl: fmt.Sprintf(`kubectl --kubeconfig=/dev/null --server=%s %s--token="$TOKEN" auth whoami`, server, kubectlCA),
		Kubeconfig: strings.Join([]string{
			"chmod 600 " + file,
			fmt.Sprintf(`kubectl config set-credentials %s --kubeconfig=%s --token="$TOKEN"`, pat.Name, file),
			fmt.Sprintf("kubectl --kubeconfig=%s auth whoami", file),
		}, "\n"),
		CA: ca, File: file, Download: pathOf(pat) + "/kubeconfig",
	}
}

// sendKubeconfig sends a kubeconfig for a token, without the token.
func (c *Console) sendKubeconfig(w http.ResponseWriter, r *http.Request, v *visitor) error {
	pat, err := read(r, v)
	if err != nil {
		return err
	}
	if c.cluster == nil {
		return &refusal{http.StatusNotFound, page.Problem{
			Title: "The address of the API server is not known here", Next: "Ask those who run the cluster for a kubeconfig.", Link: "/", LinkText: "To my tokens",
		}}
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["kubernetes"] = &clientcmdapi.Cluster{Server: c.cluster.Server, CertificateAuthorityData: c.cluster.CA}
	config.AuthInfos[pat.Name] = &clientcmdapi.AuthInfo{}
	config.Contexts[pat.Name] = &clientcmdapi.Context{Cluster: "kubernetes", AuthInfo: pat.Name, Namespace: pat.Namespace}
	config.CurrentContext = pat.Name
	text, err := clientcmd.Write(*config)
	if err != nil {
		return err
	}
	sendFile(w, "application/yaml", pat.Name+".kubeconfig", text)
	return nil
}

// sendCA sends the CA of the API server.
func (c *Console) sendCA(w http.ResponseWriter, _ *http.Request, _ *visitor) error {
	if c.cluster == nil || len(c.cluster.CA) == 0 {
		return &refusal{http.StatusNotFound, page.Problem{
			Title: "Page not found", Detail: "The API server has no CA of its own, or none that is known here.", Link: "/", LinkText: "To my tokens",
		}}
	}
	sendFile(w, "application/x-pem-file", "ca.crt", c.cluster.CA)
	return nil
}

// sendFile sends a download. The name must need no quoting.
func sendFile(w http.ResponseWriter, kind, name string, content []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	_, _ = w.Write(content) // fails only if the visitor has left
}
