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

package proxy

// config/rbac/proxy is made from the markers of this package, internal/verifier and internal/lastused. These are what
// `manager proxy` needs for packages that other processes use, too.

// Who may read the metrics.
// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

// Where clients find the proxy.
// +kubebuilder:rbac:groups="",namespace=pat-operator-system,resources=configmaps,resourceNames=pat-operator-proxy,verbs=get;patch

// Tokens that have too many open requests.
// +kubebuilder:rbac:groups=events.k8s.io,namespace=pat-operator-system,resources=events,verbs=create;patch

// The CA of its certificates.
// +kubebuilder:rbac:groups="",namespace=pat-operator-system,resources=secrets,verbs=create
// +kubebuilder:rbac:groups="",namespace=pat-operator-system,resources=secrets,resourceNames=pat-operator-proxy-ca,verbs=get;update
