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

package chart

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The test of everything-values.yaml: it has each name that values.yaml has, so a value that cannot be rendered is found.
func TestEverythingSetsEveryValue(t *testing.T) {
	all := file(t, dir+"/ci/everything-values.yaml")
	var missing []string
	var walk func(path string, defaults, set map[string]any)
	walk = func(path string, defaults, set map[string]any) {
		for name, value := range defaults {
			if _, ok := set[name]; !ok {
				missing = append(missing, path+name)
				continue
			}
			if inner, ok := value.(map[string]any); ok {
				if set, ok := set[name].(map[string]any); ok {
					walk(path+name+".", inner, set)
				}
			}
		}
	}
	walk("", file(t, dir+"/values.yaml"), all)
	slices.Sort(missing)
	want := []string{
		"console.proxyAuthorization", // excludes oidc
		"console.service.clusterIP", "console.service.ipFamilyPolicy",
		"proxy.impersonation.namespaces", "proxy.service.clusterIP",
		"proxy.podSecurityContext.runAsNonRoot", "proxy.podSecurityContext.seccompProfile",
		"proxy.securityContext.allowPrivilegeEscalation", "proxy.securityContext.capabilities", "proxy.securityContext.readOnlyRootFilesystem",
		"api.service.clusterIP", "api.podSecurityContext.runAsNonRoot", "api.podSecurityContext.seccompProfile",
		"api.securityContext.allowPrivilegeEscalation", "api.securityContext.capabilities", "api.securityContext.readOnlyRootFilesystem",
		"crds.enabled", "image.digest", "image.registry", "mode", "rbac.secretDelivery", "recordsNamespace.create", "verifier.topologySpreadConstraints",
		"operator.podSecurityContext.runAsNonRoot", "operator.podSecurityContext.seccompProfile",
		"operator.securityContext.allowPrivilegeEscalation", "operator.securityContext.capabilities", "operator.securityContext.readOnlyRootFilesystem",
		"verifier.pdb.maxUnavailable",
		"verifier.podSecurityContext.runAsNonRoot", "verifier.podSecurityContext.seccompProfile",
		"verifier.securityContext.allowPrivilegeEscalation", "verifier.securityContext.capabilities", "verifier.securityContext.readOnlyRootFilesystem",
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, missing); diff != "" {
		t.Errorf("values that ci/everything-values.yaml does not set (-want +got):\n%s", diff)
	}
}

// What a few values change, each by the place where it must be.
func TestValuesReachTheirFields(t *testing.T) {
	const operator, verifier = "Deployment pat-operator-system/pat-operator", "Deployment pat-operator-system/pat-operator-verifier"
	const proxyPods = "Deployment pat-operator-system/pat-operator-proxy"
	const apiPods = "Deployment pat-operator-system/pat-operator-api"
	const pdb = "PodDisruptionBudget pat-operator-system/pat-operator"
	pod := []string{"spec", "template", "spec"}
	container := func(field string) []string { return append(slices.Clone(pod), "containers", "0", field) }
	console := func(more string) string {
		return "console: {enabled: true, url: 'https://tokens.example.com:8443', " + more + "}"
	}
	for _, tc := range []struct {
		name, values, object string
		path                 []string
		want                 any // nil: the field is absent
	}{
		{"no replicas", "operator: {replicas: null}", operator, []string{"spec", "replicas"}, nil},
		{"a budget without replicas", "operator: {replicas: null}", pdb, []string{"spec", "maxUnavailable"}, int64(1)},
		{"tag", "image: {tag: v1}", operator, container("image"), "pat-operator:v1"},
		{"digest", "image: {tag: v1, digest: sha256:" + strings.Repeat("0", 64) + "}", verifier, container("image"), "pat-operator@sha256:" + strings.Repeat("0", 64)},
		{"registry", "image: {registry: a.example}", operator, container("image"), "a.example/pat-operator:dev"},
		{"global registry", "{global: {imageRegistry: b.example/}, image: {registry: a.example}}", operator, container("image"), "b.example/pat-operator:dev"},
		{"pull secrets", "global: {imagePullSecrets: [a, {name: b}]}", operator, append(slices.Clone(pod), "imagePullSecrets"),
			[]any{map[string]any{"name": "a"}, map[string]any{"name": "b"}}},
		{"the host's network has its DNS policy", "verifier: {hostNetwork: true}", verifier, append(slices.Clone(pod), "dnsPolicy"), "ClusterFirstWithHostNet"},
		{"the host's network has no room for a surge", "verifier: {hostNetwork: true}", verifier, []string{"spec", "strategy", "rollingUpdate"},
			map[string]any{"maxSurge": int64(0), "maxUnavailable": int64(1)}},
		{"a fixed address", "verifier: {service: {clusterIP: 10.96.0.20}}", "Service pat-operator-system/pat-operator-verifier", []string{"spec", "clusterIP"}, "10.96.0.20"},
		{"an endpoint is published", "verifier: {endpoint: 'https://[fd00::20]:30444'}", verifier, container("args"),
			[]any{"verifier", "--operator-namespace=pat-operator-system", "--records-namespace=pat-operator-records", "--verifier-url=https://[fd00::20]:30444/authenticate"}},
		{"client certificates", "verifier: {clientCA: {configMap: clients, key: pem}}", verifier, container("args"),
			[]any{"verifier", "--operator-namespace=pat-operator-system", "--records-namespace=pat-operator-records",
				"--verifier-client-ca-file=/etc/pat-operator/verifier/client-ca.crt"}},
		{"client certificates are mounted", "verifier: {clientCA: {configMap: clients, key: pem}}", verifier, append(slices.Clone(pod), "volumes"),
			[]any{map[string]any{"name": "pat-operator", "projected": map[string]any{"sources": []any{map[string]any{"configMap": map[string]any{
				"name": "clients", "items": []any{map[string]any{"key": "pem", "path": "verifier/client-ca.crt"}},
			}}}}}}},
		{"client certificates in mode single", "{mode: single, verifier: {clientCA: {configMap: clients}}}", operator, container("volumeMounts"),
			[]any{map[string]any{"name": "pat-operator", "mountPath": "/etc/pat-operator", "readOnly": true}}},
		{"another token webhook", "verifier: {upstreamTokenWebhook: {secret: other, timeout: 5s}}", verifier, container("args"),
			[]any{"verifier", "--operator-namespace=pat-operator-system", "--records-namespace=pat-operator-records",
				"--upstream-token-webhook-kubeconfig=/etc/pat-operator/kubeconfig", "--upstream-token-webhook-timeout=5s"}},
		{"its kubeconfig is mounted, with the files that it names", "verifier: {upstreamTokenWebhook: {secret: other}}", verifier,
			append(slices.Clone(pod), "volumes"), []any{map[string]any{"name": "pat-operator", "projected": map[string]any{"sources": []any{
				map[string]any{"secret": map[string]any{"name": "other"}},
			}}}}},
		{"a lifetime for the operator", "maxLifetime: 720h", operator, container("args"),
			[]any{"operator", "--operator-namespace=pat-operator-system", "--records-namespace=pat-operator-records", "--max-lifetime=720h"}},
		{"the same for the console", "maxLifetime: 720h", verifier, container("args"),
			[]any{"verifier", "--operator-namespace=pat-operator-system", "--records-namespace=pat-operator-records", "--max-lifetime=720h"}},
		{"ports that a firewall lets through", "operator: {ports: {admission: 10250, health: 10251}}", operator, container("args"),
			[]any{"operator", "--operator-namespace=pat-operator-system", "--records-namespace=pat-operator-records",
				"--health-probe-bind-address=:10251", "--admission-bind-address=:10250"}},
		{"the container has them", "operator: {ports: {admission: 10250, health: 10251}}", operator, container("ports"),
			[]any{map[string]any{"name": "admission", "containerPort": int64(10250)}, map[string]any{"name": "health", "containerPort": int64(10251)},
				map[string]any{"name": "metrics", "containerPort": int64(8443)}}},
		{"no metrics", "metrics: {enabled: false}", operator, container("args"),
			[]any{"operator", "--operator-namespace=pat-operator-system", "--records-namespace=pat-operator-records", "--metrics-bind-address=0"}},
		{"metrics elsewhere", "verifier: {ports: {metrics: 10252}}", verifier, container("args"),
			[]any{"verifier", "--operator-namespace=pat-operator-system", "--records-namespace=pat-operator-records", "--metrics-bind-address=:10252"}},
		{"an audit log", "auditLog: '-'", verifier, container("args"),
			[]any{"verifier", "--operator-namespace=pat-operator-system", "--records-namespace=pat-operator-records", "--audit-log=-"}},
		{"the Service leads to them by name", "operator: {ports: {admission: 10250}}", "Service pat-operator-system/pat-operator-admission", []string{"spec", "ports"},
			[]any{map[string]any{"name": "https", "port": int64(443), "targetPort": "admission"}}},
		{"both families", "verifier: {service: {ipFamilyPolicy: PreferDualStack}}", "Service pat-operator-system/pat-operator-verifier",
			[]string{"spec", "ipFamilyPolicy"}, "PreferDualStack"},
		{"the Ingress has the console's host", console("ingress: {enabled: true, tlsSecret: tls}"), "Ingress pat-operator-system/pat-operator-console",
			[]string{"spec", "tls"}, []any{map[string]any{"hosts": []any{"tokens.example.com"}, "secretName": "tls"}}},
		{"the Ingress leads to the console", console("ingress: {enabled: true}"), "Ingress pat-operator-system/pat-operator-console",
			[]string{"spec", "rules"}, []any{map[string]any{"host": "tokens.example.com", "http": map[string]any{"paths": []any{map[string]any{
				"path": "/", "pathType": "Prefix",
				"backend": map[string]any{"service": map[string]any{"name": "pat-operator-console", "port": map[string]any{"name": "https"}}},
			}}}}}},
		{"the route", console("httpRoute: {enabled: true, parentRefs: [{name: web}]}"), "HTTPRoute pat-operator-system/pat-operator-console", []string{"spec"},
			map[string]any{
				"parentRefs": []any{map[string]any{"name": "web"}}, "hostnames": []any{"tokens.example.com"},
				"rules": []any{map[string]any{"backendRefs": []any{map[string]any{"name": "pat-operator-console", "port": int64(443)}}}},
			}},
		{"the Gateway verifies the console", console("httpRoute: {enabled: true, parentRefs: [{name: web}], caConfigMap: ca}"),
			"BackendTLSPolicy pat-operator-system/pat-operator-console", []string{"spec", "validation", "hostname"}, "pat-operator-console.pat-operator-system.svc"},
		{"selectors cannot be changed", "operator: {podLabels: {app.kubernetes.io/name: other, a: b}}", operator, []string{"spec", "template", "metadata", "labels"},
			map[string]any{"app.kubernetes.io/name": "pat-operator", "app.kubernetes.io/component": "operator", "a": "b"}},
		{"common labels are in no selector", "commonLabels: {a: b}", operator, []string{"spec", "selector", "matchLabels"},
			map[string]any{"app.kubernetes.io/name": "pat-operator", "app.kubernetes.io/component": "operator"}},
		{"edit is not extended", "rbac: {aggregateToDefaultRoles: [view]}", "ClusterRole /pat-operator-personalaccesstoken-edit", []string{"metadata", "labels", "rbac.authorization.k8s.io/aggregate-to-edit"}, nil},
		{"view is", "rbac: {aggregateToDefaultRoles: [view]}", "ClusterRole /pat-operator-personalaccesstoken-view", []string{"metadata", "labels", "rbac.authorization.k8s.io/aggregate-to-view"}, "true"},
		{"only tokens with limited permissions", "operator: {requireScopes: true}", operator, container("args"),
			[]any{"operator", "--operator-namespace=pat-operator-system", "--records-namespace=pat-operator-records", "--require-scopes"}},
		{"a managed proxy is told where it is", proxy("form: managed"), proxyPods, container("args"),
			[]any{"proxy", "--operator-namespace=pat-operator-system", "--records-namespace=pat-operator-records", "--proxy-external-url=https://pat.example.com"}},
		{"its operator keeps the list", proxy("form: managed"), operator, container("args"),
			[]any{"operator", "--operator-namespace=pat-operator-system", "--records-namespace=pat-operator-records", "--managed-impersonation"}},
		{"another's does not", proxy("form: listed, users: [a]"), operator, container("args"),
			[]any{"operator", "--operator-namespace=pat-operator-system", "--records-namespace=pat-operator-records"}},
		{"in one process it does too", "{mode: single, " + proxy("form: managed") + "}", operator, container("args"),
			[]any{"run", "--operator-namespace=pat-operator-system", "--records-namespace=pat-operator-records", "--managed-impersonation"}},
		{"an unlimited proxy is told so", proxy("form: unlimited"), proxyPods, container("args"),
			[]any{"proxy", "--operator-namespace=pat-operator-system", "--records-namespace=pat-operator-records", "--proxy-external-url=https://pat.example.com",
				"--proxy-allow-unlimited-impersonation"}},
		{"a proxy that drops groups is told so", proxy("form: managed, unlistedGroups: drop"), proxyPods, container("args"),
			[]any{"proxy", "--operator-namespace=pat-operator-system", "--records-namespace=pat-operator-records", "--proxy-external-url=https://pat.example.com",
				"--proxy-unlisted-groups=drop"}},
		{"the list of a managed proxy is the operator's", proxy("form: managed"), "ClusterRole /pat-operator-impersonator-users", []string{"rules"}, nil},
		{"a list", proxy("form: listed, users: [a, b], groups: [c]"), "ClusterRole /pat-operator-impersonator-listed", []string{"rules"}, []any{
			map[string]any{"apiGroups": []any{""}, "resources": []any{"users"}, "resourceNames": []any{"pat-operator.io:self-test", "a", "b"}, "verbs": []any{"impersonate"}},
			map[string]any{"apiGroups": []any{""}, "resources": []any{"groups"}, "resourceNames": []any{"pat-operator.io:self-test", "c"}, "verbs": []any{"impersonate"}},
		}},
		{"a namespace", proxy("form: namespaces, namespaces: [a]"), "RoleBinding a/pat-operator-impersonator-actions", []string{"subjects"},
			[]any{map[string]any{"kind": "ServiceAccount", "name": "pat-operator-impersonator", "namespace": "pat-operator-system"}}},
		{"service accounts of a namespace", proxy("form: managed, serviceAccountNamespaces: [a]"), "RoleBinding a/pat-operator-impersonator-service-accounts",
			[]string{"roleRef", "name"}, "pat-operator-impersonator-service-accounts"},
		{"another extra key", proxy("form: managed, extraKeys: [example.com/tenant]"), "ClusterRole /pat-operator-impersonator", []string{"rules", "0", "resources"},
			[]any{"uids", "userextras/authentication.kubernetes.io/credential-id", "userextras/pat-operator.io/name", "userextras/pat-operator.io/scopes",
				"userextras/example.com/tenant"}},
		{"and in constrained impersonation", proxy("form: namespaces, namespaces: [a], extraKeys: [example.com/tenant]"),
			"ClusterRole /pat-operator-impersonator-constrained", []string{"rules", "0", "resources"},
			[]any{"users", "groups", "uids", "userextras/authentication.kubernetes.io/credential-id", "userextras/pat-operator.io/name",
				"userextras/pat-operator.io/scopes", "userextras/example.com/tenant"}},
		{"who finds the proxy", "proxy: {enabled: true, externalURL: https://a, impersonation: {form: managed}, discovery: {groups: [devs]}}",
			"RoleBinding pat-operator-system/pat-operator-proxy-discovery", []string{"subjects"},
			[]any{map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "devs"}}},
		{"who finds its namespace", "proxy: {enabled: true, externalURL: https://a, impersonation: {form: managed}, discovery: {groups: [devs]}}",
			"ClusterRoleBinding /pat-operator-proxy-discovery", []string{"subjects"},
			[]any{map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "devs"}}},
		{"a certificate of your own", "proxy: {enabled: true, externalURL: https://a, impersonation: {form: managed}, tls: {secretName: tls}}", proxyPods,
			append(slices.Clone(pod), "volumes"), []any{map[string]any{"name": "pat-operator", "projected": map[string]any{"sources": []any{map[string]any{
				"secret": map[string]any{"name": "tls", "items": []any{map[string]any{"key": "tls.crt", "path": "proxy/tls.crt"}, map[string]any{"key": "tls.key", "path": "proxy/tls.key"}}},
			}}}}}},
		{"time to drain", "proxy: {enabled: true, externalURL: https://a, impersonation: {form: managed}, drainDelaySeconds: 10, drainSeconds: 20}", proxyPods,
			append(slices.Clone(pod), "terminationGracePeriodSeconds"), int64(45)},
		{"an autoscaler sets the replicas", "proxy: {enabled: true, externalURL: https://a, impersonation: {form: managed}, autoscaling: {enabled: true}}", proxyPods,
			[]string{"spec", "replicas"}, nil},
		{"the proxy keeps the client's address", "proxy: {enabled: true, externalURL: https://a, impersonation: {form: managed}, service: {type: LoadBalancer}}",
			"Service pat-operator-system/pat-operator-proxy", []string{"spec", "externalTrafficPolicy"}, "Local"},
		{"a port for the proxy", "{networkPolicy: {enabled: true}, " + proxy("form: managed") + "}", "NetworkPolicy pat-operator-system/pat-operator",
			[]string{"spec", "ingress"}, []any{
				map[string]any{"ports": []any{map[string]any{"port": "admission"}, map[string]any{"port": "verifier"}}},
				map[string]any{"ports": []any{map[string]any{"port": "health"}}},
				map[string]any{"ports": []any{map[string]any{"port": "proxy"}}},
				map[string]any{"ports": []any{map[string]any{"port": "metrics"}}},
			}},
		{"the API face is told where it is", api(""), apiPods, container("args"),
			[]any{"verifier", "--operator-namespace=pat-operator-system", "--records-namespace=pat-operator-records", "--faces=api",
				"--api-external-url=https://pat-api.example.com"}},
		{"the verifier does not answer other APIs", api(""), verifier, container("args"),
			[]any{"verifier", "--operator-namespace=pat-operator-system", "--records-namespace=pat-operator-records"}},
		{"nor does the one process", "{mode: single, " + api("") + "}", operator, container("args"),
			[]any{"run", "--operator-namespace=pat-operator-system", "--records-namespace=pat-operator-records"}},
		{"the account of the API face", api(""), apiPods, append(slices.Clone(pod), "serviceAccountName"), "pat-operator-api"},
		{"settings of the API face", "{metrics: {enabled: false}, " + api("audience: tokens, trustedProxies: [10.0.0.0/8, 'fd00::/8'], introspectionMaxAgeSeconds: 5, revokeRate: 3, "+
			"ports: {api: 9447, health: 8082}, tls: {secretName: tls}, clientCA: {configMap: clients}") + "}", apiPods, container("args"),
			[]any{"verifier", "--operator-namespace=pat-operator-system", "--records-namespace=pat-operator-records", "--health-probe-bind-address=:8082",
				"--metrics-bind-address=0", "--faces=api", "--api-external-url=https://pat-api.example.com", "--api-bind-address=:9447", "--api-audience=tokens",
				"--api-trusted-proxies=10.0.0.0/8,fd00::/8", "--introspection-max-age=5s", "--revoke-rate=3",
				"--api-tls-cert-file=/etc/pat-operator/api/tls.crt", "--api-tls-key-file=/etc/pat-operator/api/tls.key",
				"--api-client-ca-file=/etc/pat-operator/api/client-ca.crt"}},
		{"their files", api("tls: {secretName: tls}, clientCA: {configMap: clients, key: pem}"), apiPods,
			append(slices.Clone(pod), "volumes"), []any{map[string]any{"name": "pat-operator", "projected": map[string]any{"sources": []any{
				map[string]any{"secret": map[string]any{"name": "tls", "items": []any{map[string]any{"key": "tls.crt", "path": "api/tls.crt"}, map[string]any{"key": "tls.key", "path": "api/tls.key"}}}},
				map[string]any{"configMap": map[string]any{"name": "clients", "items": []any{map[string]any{"key": "pem", "path": "api/client-ca.crt"}}}},
			}}}}},
		{"who finds the API face", api("discovery: {groups: [devs]}"), "RoleBinding pat-operator-system/pat-operator-api-discovery", []string{"subjects"},
			[]any{map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "devs"}}},
		{"the API face keeps the client's address", api("service: {type: LoadBalancer}"), "Service pat-operator-system/pat-operator-api",
			[]string{"spec", "externalTrafficPolicy"}, "Local"},
		{"a port for the API face", "{metrics: {enabled: false}, networkPolicy: {enabled: true, apiFrom: [{podSelector: {}}]}, " + api("") + "}",
			"NetworkPolicy pat-operator-system/pat-operator", []string{"spec", "ingress"}, []any{
				map[string]any{"ports": []any{map[string]any{"port": "admission"}, map[string]any{"port": "verifier"}}},
				map[string]any{"ports": []any{map[string]any{"port": "health"}}},
				map[string]any{"ports": []any{map[string]any{"port": "api"}}, "from": []any{map[string]any{"podSelector": map[string]any{}}}},
			}},
		{"delivery off", "rbac: {secretDelivery: false}", operator, container("args"),
			[]any{"operator", "--operator-namespace=pat-operator-system", "--records-namespace=pat-operator-records", "--secret-delivery=false"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got any = find(t, render(t, Release{Values: []map[string]any{values(t, tc.values)}}), tc.object).Object
			for _, step := range tc.path {
				switch at := got.(type) {
				case map[string]any:
					got = at[step]
				case []any:
					got = at[0]
				default:
					got = nil
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s of %s (-want +got):\n%s", strings.Join(tc.path, "."), tc.object, diff)
			}
		})
	}
	without := map[string]string{
		"operator: {replicas: 1}":                                    pdb,
		"operator: {replicas: 0}":                                    pdb,
		"operator: {pdb: {enabled: false}}":                          pdb,
		"verifier: {kind: DaemonSet}":                                pdb + "-verifier",
		"rbac: {secretDelivery: false}":                              "ClusterRoleBinding /pat-operator-secret-delivery",
		"recordsNamespace: {create: false}":                          "Namespace /pat-operator-records",
		"{mode: single, verifier: {service: {type: NodePort}}}":      verifier,
		"mode: single":                                               "Service pat-operator-system/pat-operator-verifier-metrics",
		"metrics: {enabled: false}":                                  "ClusterRole /pat-operator-metrics-reader",
		"metrics: {enabled: false, prometheusRule: {enabled: true}}": "PrometheusRule pat-operator-system/pat-operator",
		console("httpRoute: {enabled: true, parentRefs: [{}]}"):      "BackendTLSPolicy pat-operator-system/pat-operator-console",
		"{}":                   proxyPods,
		proxy("form: managed"): "HorizontalPodAutoscaler pat-operator-system/pat-operator-proxy",
		"proxy: {enabled: true, externalURL: https://a, impersonation: {form: managed}, discovery: {groups: []}}": "RoleBinding pat-operator-system/pat-operator-proxy-discovery",
		api("discovery: {groups: []}"):                    "RoleBinding pat-operator-system/pat-operator-api-discovery",
		"networkPolicy: {apiServerCIDRs: [192.0.2.0/28]}": "NetworkPolicy pat-operator-system/pat-operator",
	}
	for v, object := range without {
		if byKey(render(t, Release{Values: []map[string]any{values(t, v)}}).Objects)[object] != nil {
			t.Errorf("with %q there is a %s", v, object)
		}
	}
}

// The page's values fit the chart.
func TestValuesOfThePage(t *testing.T) {
	page, err := os.ReadFile(root + "/docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(page), "/values.yaml <<'EOF'\n")
	shown, _, found := strings.Cut(after, "EOF\n")
	if !found {
		t.Fatal("docs/install.md shows no values.yaml")
	}
	out := text(t, render(t, Release{Values: []map[string]any{values(t, shown)}}))
	for _, want := range []string{"image: registry.example.com/pat-operator:v0.1.0"} {
		if !strings.Contains(out, want) {
			t.Errorf("the values of docs/install.md render no %q", want)
		}
	}
}

// In Helm, null takes a default away.
func TestNullIsTheEmptyValue(t *testing.T) {
	workload := `{extraArgs: null, env: null, volumes: null, volumeMounts: null, resources: null, nodeSelector: null, tolerations: null,
  affinity: null, topologySpreadConstraints: null, podSecurityContext: null, securityContext: null, replicas: null,
  labels: null, annotations: null, podLabels: null, podAnnotations: null}`
	r := render(t, Release{Values: []map[string]any{values(t, `
global: null
commonLabels: null
extraObjects: null
rbac: {aggregateToDefaultRoles: null}
operator: `+workload+`
verifier: `+workload)}})
	if got, want := len(r.Objects), len(render(t, Release{}).Objects); got != want {
		t.Errorf("%d objects, want %d", got, want)
	}
}

// The schema is strict everywhere but where Kubernetes or the user names the fields.
func TestSchemaIsStrict(t *testing.T) {
	data, err := os.ReadFile(dir + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	schema := map[string]any{}
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	definitions := schema["$defs"].(map[string]any)
	var walk func(path string, properties, defaults map[string]any)
	walk = func(path string, properties, defaults map[string]any) {
		for name, value := range defaults {
			if properties[name] == nil {
				t.Errorf("the schema does not know %s%s of values.yaml", path, name)
				continue
			}
			inner, _ := value.(map[string]any)
			property, _ := properties[name].(map[string]any)
			if ref, ok := property["$ref"].(string); ok {
				property, _ = definitions[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
			}
			if len(inner) == 0 || property["properties"] == nil {
				continue
			}
			if property["additionalProperties"] != false && path+name != "global" {
				t.Errorf("the schema lets any name into %s%s", path, name)
			}
			walk(path+name+".", property["properties"].(map[string]any), inner)
		}
		for name := range properties {
			if _, ok := defaults[name]; !ok {
				t.Errorf("values.yaml does not have %s%s of the schema", path, name)
			}
		}
	}
	walk("", schema["properties"].(map[string]any), file(t, dir+"/values.yaml"))
}

func TestValuesThatCannotBeAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name, values string
		namespace    string
		want         []string
	}{
		{name: "typo at the top", values: "verifer: {}", want: []string{"verifer"}},
		{name: "typo in a workload", values: "operator: {replcas: 3}", want: []string{"/operator", "replcas"}},
		{name: "typo in a service", values: "verifier: {service: {clusterIp: 10.0.0.1}}", want: []string{"/verifier/service", "clusterIp"}},
		{name: "typo in the console", values: "console: {oidc: {issuerUrl: https://a}}", want: []string{"/console/oidc", "issuerUrl"}},
		{name: "text for a number", values: "operator: {replicas: three}", want: []string{"/operator/replicas"}},
		{name: "no port", values: "operator: {ports: {admission: 70000}}", want: []string{"/operator/ports/admission"}},
		{name: "no kind", values: "verifier: {kind: StatefulSet}", want: []string{"/verifier/kind"}},
		{name: "no mode", values: "mode: both", want: []string{"/mode"}},
		{name: "no digest", values: "image: {digest: abc}", want: []string{"/image/digest"}},
		{name: "no role", values: "rbac: {aggregateToDefaultRoles: [cluster-admin]}", want: []string{"/rbac/aggregateToDefaultRoles/0"}},
		{name: "no namespace", values: "recordsNamespace: {name: Records}", want: []string{"/recordsNamespace/name"}},
		{name: "a failure policy", values: "webhooks: {failurePolicy: Ignore}", want: []string{"webhooks"}},
		{name: "one namespace for both", values: "recordsNamespace: {name: pats}", namespace: "pats",
			want: []string{`recordsNamespace.name and the release namespace are both "pats"`, "Set recordsNamespace.name to another namespace"}},
		{name: "one namespace for both, created by hand", values: "recordsNamespace: {create: false, name: pats}", namespace: "pats",
			want: []string{`recordsNamespace.name and the release namespace are both "pats"`}},
		{name: "a DaemonSet that would not exist", values: "{mode: single, verifier: {kind: DaemonSet}}", want: []string{"leave verifier.kind at Deployment"}},
		{name: "a console without its address", values: "console: {enabled: true}", want: []string{"console.url is empty"}},
		{name: "an issuer without a client", values: "console: {enabled: true, url: https://a, oidc: {issuerURL: https://b}}", want: []string{"console.oidc.clientID is empty"}},
		{name: "an endpoint with a path", values: "verifier: {endpoint: https://a/authenticate}", want: []string{"/verifier/endpoint"}},
		{name: "an endpoint without TLS", values: "verifier: {endpoint: http://a}", want: []string{"/verifier/endpoint"}},
		{name: "an API server's address for a shell", values: "console: {apiServer: {url: https://a;b}}", want: []string{"/console/apiServer/url"}},
		{name: "a CA of no API server", values: "console: {apiServer: {ca: {configMap: a}}}", want: []string{"console.apiServer.url, which is empty"}},
		{name: "a lifetime in days", values: "maxLifetime: 30d", want: []string{"/maxLifetime"}},
		{name: "an Ingress to nothing", values: "console: {ingress: {enabled: true}}", want: []string{"console.ingress.enabled is true and console.enabled is false"}},
		{name: "a route to nothing", values: "console: {httpRoute: {enabled: true}}", want: []string{"console.httpRoute.enabled is true and console.enabled is false"}},
		{name: "a route from nothing", values: "console: {enabled: true, url: https://a, httpRoute: {enabled: true}}", want: []string{"console.httpRoute.parentRefs is empty"}},
		{name: "two ways to sign in", values: "console: {proxyAuthorization: true, oidc: {issuerURL: https://b}}", want: []string{"console.proxyAuthorization and console.oidc.issuerURL"}},
		{name: "an audit log in the working folder", values: "auditLog: audit.log", want: []string{"/auditLog"}},
		{name: "one port twice", values: "operator: {ports: {admission: 8081}}", want: []string{"operator.ports names one port twice"}},
		{name: "one port of the verifier twice", values: "verifier: {ports: {verifier: 8081}}", want: []string{"verifier.ports names one port twice"}},
		{name: "one port of one process twice", values: "{mode: single, verifier: {ports: {verifier: 9443}}}", want: []string{"in mode single one process has them all"}},
		{name: "a proxy for nobody knows whom", values: "proxy: {enabled: true, externalURL: https://a}",
			want: []string{"proxy.impersonation.form is empty: choose whom the proxy may act for", "managed (recommended)", "listed:", "namespaces:", "unlimited:"}},
		{name: "no form", values: "proxy: {impersonation: {form: all}}", want: []string{"/proxy/impersonation/form"}},
		{name: "a proxy without its address", values: "proxy: {enabled: true, impersonation: {form: managed}}", want: []string{"proxy.externalURL is empty"}},
		{name: "a proxy at a path", values: "proxy: {externalURL: https://a/kubernetes}", want: []string{"/proxy/externalURL"}},
		{name: "a list without users", values: proxy("form: listed, groups: [a]"), want: []string{"proxy.impersonation.users is empty, and the form is listed"}},
		{name: "a list of Kubernetes' own", values: proxy("form: listed, users: [a], groups: ['system:masters']"),
			want: []string{`proxy.impersonation names "system:masters": the proxy acts for none of Kubernetes' own`}},
		{name: "an empty name in a list", values: proxy("form: listed, users: ['']"), want: []string{"/proxy/impersonation/users/0"}},
		{name: "a list of another form", values: proxy("form: managed, users: [a]"), want: []string{"are of the form listed, and the form is managed"}},
		{name: "no namespaces", values: proxy("form: namespaces"), want: []string{"proxy.impersonation.namespaces is empty, and the form is namespaces"}},
		{name: "namespaces of another form", values: proxy("form: unlimited, namespaces: [a]"), want: []string{"is of the form namespaces, and the form is unlimited"}},
		{name: "the operator's namespace", values: proxy("form: namespaces, namespaces: [a, pat-operator-system]"),
			want: []string{`proxy.impersonation names the namespace "pat-operator-system", which is pat-operator's own`}},
		{name: "service accounts of the records", values: proxy("form: managed, serviceAccountNamespaces: [pat-operator-records]"),
			want: []string{`proxy.impersonation names the namespace "pat-operator-records", which is pat-operator's own`}},
		{name: "every extra key", values: proxy("form: managed, extraKeys: ['*']"), want: []string{"/proxy/impersonation/extraKeys/0"}},
		{name: "another way with groups", values: proxy("form: managed, unlistedGroups: ignore"), want: []string{"/proxy/impersonation/unlistedGroups"}},
		{name: "an address without a network", values: "proxy: {trustedProxies: [10.0.0.1]}", want: []string{"/proxy/trustedProxies/0"}},
		{name: "the PROXY protocol of nobody", values: "proxy: {enabled: true, externalURL: https://a, impersonation: {form: managed}, proxyProtocol: true}",
			want: []string{"proxy.proxyProtocol is true and proxy.trustedProxies is empty: name the networks of the load balancers"}},
		{name: "one port of the proxy twice", values: "proxy: {enabled: true, externalURL: https://a, impersonation: {form: managed}, ports: {health: 6443}}",
			want: []string{"proxy.ports names one port twice"}},
		{name: "one port of the proxy and another", values: "{operator: {hostNetwork: true}, proxy: {enabled: true, externalURL: https://a, impersonation: {form: managed}, hostNetwork: true}}",
			want: []string{"the proxy is in the network of the host and shares a port"}},
		{name: "fewer pods than the least", values: "proxy: {enabled: true, externalURL: https://a, impersonation: {form: managed}, autoscaling: {minReplicas: 20}}",
			want: []string{"proxy.autoscaling.minReplicas is more than maxReplicas"}},
		{name: "an API face without its address", values: "api: {enabled: true}",
			want: []string{"api.externalURL is empty: set it to where other APIs reach the API face, for example https://pat-api.example.com"}},
		{name: "an API face at a path", values: "api: {externalURL: https://a/tokens}", want: []string{"/api/externalURL"}},
		{name: "no audience", values: api("audience: ''"), want: []string{"/api/audience"}},
		{name: "an address without a network in front of the API face", values: api("trustedProxies: [10.0.0.1]"), want: []string{"/api/trustedProxies/0"}},
		{name: "answers for a second", values: api("introspectionMaxAgeSeconds: 1"), want: []string{"/api/introspectionMaxAgeSeconds"}},
		{name: "answers for two hours", values: api("introspectionMaxAgeSeconds: 7200"), want: []string{"/api/introspectionMaxAgeSeconds"}},
		{name: "no revocations", values: api("revokeRate: 0"), want: []string{"/api/revokeRate"}},
		{name: "typo in the API face", values: "api: {externalUrl: https://a}", want: []string{"/api", "externalUrl"}},
		{name: "one port of the API face twice", values: api("ports: {health: 9446}"), want: []string{"api.ports names one port twice: give each its own"}},
		{name: "one port of the API face and the operator", values: "{operator: {hostNetwork: true}, " + api("hostNetwork: true") + "}",
			want: []string{"the API face is in the network of the host and shares a port with operator, verifier or proxy", "give api.ports other numbers"}},
		{name: "one port of the API face and the proxy", values: "{proxy: {enabled: true, externalURL: https://a, impersonation: {form: managed}, hostNetwork: true}, " +
			api("hostNetwork: true, ports: {health: 8082}") + "}", want: []string{"the API face is in the network of the host and shares a port"}},
		{name: "one port of one node twice", values: "{operator: {hostNetwork: true}, verifier: {hostNetwork: true}}", want: []string{"a node cannot run both"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Render(dir, Release{Namespace: tc.namespace, Values: []map[string]any{values(t, tc.values)}})
			if err == nil {
				t.Fatal("rendered; want an error")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}
