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
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/console/page"
	"github.com/pat-operator/pat-operator/internal/proxyconfig"
)

// Cluster is how token holders reach the API server, or the proxy in front of it.
type Cluster struct {
	// Server is its URL, which needs no quoting in a shell.
	Server string
	// CA verifies it, in PEM; empty: the system's CAs.
	CA []byte
	// proxy reports that Server is the proxy.
	proxy bool
}

// proxyWithin bounds what the page of a new token waits for the proxy's address.
const proxyWithin = 2 * time.Second

// clusterOf returns how token holders reach the API server: by the proxy where there is one that the visitor may know of. It is nil
// if nobody knows.
func (c *Console) clusterOf(ctx context.Context, v *visitor) *Cluster {
	if c.operatorNamespace == "" {
		return c.cluster
	}
	ctx, cancel := context.WithTimeout(ctx, proxyWithin)
	defer cancel()
	published := &corev1.ConfigMap{}
	err := v.client.Get(ctx, client.ObjectKey{Namespace: c.operatorNamespace, Name: proxyconfig.ConfigMapName}, published)
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return c.cluster
	}
	var proxy proxyconfig.Config
	if err == nil {
		proxy, err = proxyconfig.FromData(published.Data)
	}
	if err != nil {
		c.log.Info("Cannot read where the proxy is, so the page shows no commands", "error", err.Error())
		return nil
	}
	return &Cluster{Server: proxy.URL, CA: proxy.CA, proxy: true}
}

// use returns commands that use a new token as $TOKEN; nil if none would work.
func (c *Cluster) use(pat *v1alpha1.PersonalAccessToken) *page.Use {
	if len(pat.Spec.Audiences) > 0 {
		return &page.Use{APIs: visible(pat.Spec.Audiences), Curl: `curl -H "Authorization: Bearer $TOKEN" https://YOUR-API`}
	}
	if c == nil || len(pat.Spec.From) > 0 && !c.proxy {
		return nil
	}
	server, file := c.Server, pat.Name+".kubeconfig"
	curlCA, kubectlCA, ca := "", "", ""
	if len(c.CA) > 0 {
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
	if len(pat.Spec.Audiences) > 0 {
		return &refusal{http.StatusNotFound, page.Problem{
			Title: "This token is for another API", Detail: "A kubeconfig with it would not work: only the APIs that its details name take it.", Link: pathOf(pat), LinkText: "To its details",
		}}
	}
	cluster := c.clusterOf(r.Context(), v)
	if cluster != nil && len(pat.Spec.From) > 0 && !cluster.proxy {
		return &refusal{http.StatusNotFound, page.Problem{
			Title: "The address of the proxy is not known here", Detail: "This token is limited to networks, so it works only through the proxy of this cluster.",
			Next: "Ask those who run the cluster for a kubeconfig.", Link: pathOf(pat), LinkText: "To its details",
		}}
	}
	if cluster == nil {
		return &refusal{http.StatusNotFound, page.Problem{
			Title: "The address of the API server is not known here", Next: "Ask those who run the cluster for a kubeconfig.", Link: "/", LinkText: "To my tokens",
		}}
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["kubernetes"] = &clientcmdapi.Cluster{Server: cluster.Server, CertificateAuthorityData: cluster.CA}
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

// sendCA sends the CA of the API server or of the proxy.
func (c *Console) sendCA(w http.ResponseWriter, r *http.Request, v *visitor) error {
	cluster := c.clusterOf(r.Context(), v)
	if cluster == nil || len(cluster.CA) == 0 {
		return &refusal{http.StatusNotFound, page.Problem{
			Title: "Page not found", Detail: "The API server has no CA of its own, or none that is known here.", Link: "/", LinkText: "To my tokens",
		}}
	}
	sendFile(w, "application/x-pem-file", "ca.crt", cluster.CA)
	return nil
}

// sendFile sends a download. The name must need no quoting.
func sendFile(w http.ResponseWriter, kind, name string, content []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	_, _ = w.Write(content) // fails only if the visitor has left
}
