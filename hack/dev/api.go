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
	"context"
	"fmt"

	"github.com/pat-operator/pat-operator/test/cluster"
)

// devConfig is samplesProxy with the API face.
const devConfig = "hack/dev/config"

func startAPI(ctx context.Context, c *cluster.Cluster) (*cluster.Manager, error) {
	return c.StartManager(ctx, cluster.ManagerOptions{Command: cluster.API})
}

// hasAPI reports whether the API face is installed.
func hasAPI(ctx context.Context, c *cluster.Cluster) (bool, error) {
	found, _, err := c.Kubectl(ctx, c.AdminKubeconfig, "", "get", "clusterrole", "pat-operator-api", "--ignore-not-found", "-o", "name")
	return found != "", err
}

// aboutAPI says how to use the API face, if there is one.
func aboutAPI(m *cluster.Manager) string {
	if m == nil {
		return ""
	}
	return fmt.Sprintf("The API face, which other APIs ask about tokens (PAT_API_URL): %s\n\n"+
		"  kubectl -n $PAT_NAMESPACE get configmap pat-operator-api -o jsonpath='{.data.ca\\.crt}' >api-ca.crt\n"+
		"  curl --cacert api-ca.crt $PAT_API_URL/openapi.json\n\nIts log: %s\n", m.APIURL(), m.LogFile)
}
