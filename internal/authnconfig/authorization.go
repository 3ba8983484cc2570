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

package authnconfig

import (
	"fmt"
	"strconv"
)

// firstUncached is the first minor version of Kubernetes 1 whose authorizers can be told to cache nothing. Earlier ones do not
// start with these fields, and keep answers for the shortest time that there is.
const firstUncached = 34

// Authorizer is our item of an AuthorizationConfiguration for kube-apiserver 1.minor; the path of its kubeconfig is absolute. Only
// requests of tokens with scopes reach it. An unknown minor, 0, gets what every version takes.
func Authorizer(minor int, kubeconfig string) string {
	caching := "authorizedTTL: 1ns\n    unauthorizedTTL: 1ns"
	if minor >= firstUncached {
		caching = "authorizedTTL: 1s\n    unauthorizedTTL: 1s\n    cacheAuthorizedRequests: false\n    cacheUnauthorizedRequests: false"
	}
	return fmt.Sprintf(`- type: Webhook
  name: pat-operator
  webhook:
    %s
    timeout: 3s
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: Deny
    connectionInfo:
      type: KubeConfigFile
      kubeConfigFile: %s
    matchConditions:
    - expression: has(request.extra) && 'pat-operator.io/scopes' in request.extra
`, caching, strconv.Quote(kubeconfig))
}

// AuthorizationConfiguration has first the Authorizer, then Node and RBAC.
func AuthorizationConfiguration(minor int, kubeconfig string) []byte {
	return []byte("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n" + Authorizer(minor, kubeconfig) +
		"- type: Node\n  name: node\n- type: RBAC\n  name: rbac\n")
}
