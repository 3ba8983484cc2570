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

// AuthorizationConfiguration is an AuthorizationConfiguration for kube-apiserver 1.minor: first the authorizer of the kubeconfig, whose path
// is absolute, then Node and RBAC. Only requests of tokens with scopes reach the authorizer.
func AuthorizationConfiguration(minor int, kubeconfig string) []byte {
	caching := "authorizedTTL: 1ns\n    unauthorizedTTL: 1ns"
	if minor >= firstUncached {
		caching = "authorizedTTL: 1s\n    unauthorizedTTL: 1s\n    cacheAuthorizedRequests: false\n    cacheUnauthorizedRequests: false"
	}
	return fmt.Appendf(nil, `apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- type: Webhook
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
- type: Node
  name: node
- type: RBAC
  name: rbac
`, caching, strconv.Quote(kubeconfig))
}
