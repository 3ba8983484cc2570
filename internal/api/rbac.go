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

package api

// config/rbac/api is made from the markers of this package and internal/verifier. These are what `manager verifier --faces=api`
// needs.

// Who asks, and what about. The metrics need it, too.
// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

// Revocations. A ValidatingAdmissionPolicy lets it add to status.revoked, and nothing else.
// +kubebuilder:rbac:groups=pat-operator.io,resources=personalaccesstokens,verbs=get
// +kubebuilder:rbac:groups=pat-operator.io,resources=personalaccesstokens/status,verbs=patch

// Where other APIs find it.
// +kubebuilder:rbac:groups="",namespace=pat-operator-system,resources=configmaps,resourceNames=pat-operator-api,verbs=get;patch

// The CA of its certificates.
// +kubebuilder:rbac:groups="",namespace=pat-operator-system,resources=secrets,verbs=create
// +kubebuilder:rbac:groups="",namespace=pat-operator-system,resources=secrets,resourceNames=pat-operator-api-ca,verbs=get;update
