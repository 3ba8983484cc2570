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

package verifier

// What `manager verifier` may do: config/rbac/verifier is made from these lines. It writes its own CA, and in status when a
// token was used.

// The feeds.
// +kubebuilder:rbac:groups="",namespace=pat-operator-records,resources=secrets,verbs=list;watch
// +kubebuilder:rbac:groups=pat-operator.io,resources=personalaccesstokens,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=list;watch

// When a token was used.
// +kubebuilder:rbac:groups=pat-operator.io,resources=personalaccesstokens/status,verbs=patch

// The API server's audiences, from a review of the verifier's own token; who may read the metrics.
// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

// The CA of its certificates.
// +kubebuilder:rbac:groups="",namespace=pat-operator-system,resources=secrets,verbs=create
// +kubebuilder:rbac:groups="",namespace=pat-operator-system,resources=secrets,resourceNames=pat-operator-verifier-ca,verbs=get;update

// The key of the console's cookies. It is granted without a console, too: controller-gen makes one Role of these lines, and one
// Secret by name, which only the console writes, is not worth a Role of its own.
// +kubebuilder:rbac:groups="",namespace=pat-operator-system,resources=secrets,resourceNames=pat-operator-console,verbs=get;update
