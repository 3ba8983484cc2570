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

package scope

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// preset is a scope with a name.
type preset struct {
	name, summary string
	rules         []rule
	// home: without namespaces the preset counts in the token's own.
	home bool
}

var presets = []preset{
	{name: "read-only", summary: "Read everything but Secrets", rules: []rule{
		allow("*", "*", "get list watch"),
		paths("/healthz/* /livez/* /readyz/*"),
	}},
	{name: "namespace-admin", summary: "Administer a namespace, without Secrets, shells and roles", home: true, rules: []rule{
		allow("", "configmaps events persistentvolumeclaims pods replicationcontrollers replicationcontrollers/scale serviceaccounts services",
			"get list watch create update patch delete deletecollection"),
		allow("", "endpoints limitranges resourcequotas bindings pods/log namespaces namespaces/status persistentvolumeclaims/status "+
			"pods/status replicationcontrollers/status resourcequotas/status services/status", "get list watch"),
		allow("", "pods/eviction", "create"),
		allow("apps", "daemonsets deployments replicasets statefulsets deployments/scale replicasets/scale statefulsets/scale",
			"get list watch create update patch delete deletecollection"),
		allow("apps", "controllerrevisions daemonsets/status deployments/status replicasets/status statefulsets/status", "get list watch"),
		allow("autoscaling", "horizontalpodautoscalers", "get list watch create update patch delete deletecollection"),
		allow("autoscaling", "horizontalpodautoscalers/status", "get list watch"),
		allow("batch", "jobs cronjobs", "get list watch create update patch delete deletecollection"),
		allow("batch", "jobs/status cronjobs/status", "get list watch"),
		allow("policy", "poddisruptionbudgets", "get list watch create update patch delete deletecollection"),
		allow("policy", "poddisruptionbudgets/status", "get list watch"),
		allow("networking.k8s.io", "ingresses networkpolicies", "get list watch create update patch delete deletecollection"),
		allow("networking.k8s.io", "ingresses/status", "get list watch"),
		allow("coordination.k8s.io", "leases", "get list watch create update patch delete deletecollection"),
		allow("events.k8s.io", "events", "get list watch create update patch delete deletecollection"),
		allow("resource.k8s.io", "resourceclaims resourceclaimtemplates", "get list watch create update patch delete deletecollection"),
		allow("resource.k8s.io", "resourceclaims/status", "get list watch"),
		allow("discovery.k8s.io", "endpointslices", "get list watch"),
		allow("rbac.authorization.k8s.io", "roles rolebindings", "get list watch"),
		allow("authorization.k8s.io", "localsubjectaccessreviews", "create"),
	}},
	{name: "ci-deploy", summary: "Deploy workloads to a namespace, without Secrets and shells", home: true, rules: []rule{
		allow("", "configmaps services serviceaccounts persistentvolumeclaims", "get list watch create update patch delete"),
		allow("", "pods pods/log pods/status events endpoints namespaces", "get list watch"),
		allow("apps", "deployments statefulsets daemonsets deployments/scale statefulsets/scale", "get list watch create update patch delete"),
		allow("apps", "replicasets controllerrevisions deployments/status statefulsets/status daemonsets/status", "get list watch"),
		allow("batch", "jobs cronjobs", "get list watch create update patch delete"),
		allow("batch", "jobs/status cronjobs/status", "get list watch"),
		allow("autoscaling", "horizontalpodautoscalers", "get list watch create update patch delete"),
		allow("policy", "poddisruptionbudgets", "get list watch create update patch delete"),
		allow("networking.k8s.io", "ingresses networkpolicies", "get list watch create update patch delete"),
		allow("gateway.networking.k8s.io", "httproutes grpcroutes tlsroutes", "get list watch create update patch delete"),
		allow("discovery.k8s.io", "endpointslices", "get list watch"),
		allow("events.k8s.io", "events", "get list watch"),
	}},
	{name: "metrics", summary: "Read metrics, and find what to scrape", rules: []rule{
		paths("/metrics /metrics/* /healthz/* /livez/* /readyz/*"),
		allow("", "nodes/metrics nodes/stats", "get"),
		allow("", "nodes pods services endpoints", "get list watch"),
		allow("discovery.k8s.io", "endpointslices", "get list watch"),
		allow("metrics.k8s.io", "nodes pods", "get list"),
		// A subresource is the name of a metric.
		{PolicyRule: allow("custom.metrics.k8s.io external.metrics.k8s.io", "*", "get list").PolicyRule, anySubresource: true},
	}},
}

// allow is a rule; each list is separated by spaces. The core group is "".
func allow(groups, resources, verbs string) rule {
	apiGroups := strings.Fields(groups)
	if groups == "" {
		apiGroups = []string{""}
	}
	return rule{PolicyRule: rbacv1.PolicyRule{APIGroups: apiGroups, Resources: strings.Fields(resources), Verbs: strings.Fields(verbs)}}
}

func paths(urls string) rule {
	return rule{PolicyRule: rbacv1.PolicyRule{NonResourceURLs: strings.Fields(urls), Verbs: []string{"get"}}}
}

// Preset describes a scope that has a name.
type Preset struct {
	Name string
	// Summary is a line for people.
	Summary string
	// OwnNamespace: without namespaces the preset counts in the token's own.
	OwnNamespace bool
	// Rules are those of a ClusterRole that allows the same, and in "*" more (the package comment says what).
	Rules []rbacv1.PolicyRule
}

// Presets are all of them, the most common first.
func Presets() []Preset {
	all := make([]Preset, 0, len(presets))
	for i := range presets {
		p := Preset{Name: presets[i].name, Summary: presets[i].summary, OwnNamespace: presets[i].home}
		for _, r := range presets[i].rules {
			p.Rules = append(p.Rules, *r.DeepCopy())
		}
		all = append(all, p)
	}
	return all
}

func findPreset(name string) *preset {
	if i := slices.IndexFunc(presets, func(p preset) bool { return p.name == name }); i >= 0 {
		return &presets[i]
	}
	return nil
}
