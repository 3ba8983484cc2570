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
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/admission"
	"github.com/pat-operator/pat-operator/internal/authn"
	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/console"
	"github.com/pat-operator/pat-operator/test/abuse"
	"github.com/pat-operator/pat-operator/test/cluster"
)

// The slots of cmd/manager; those of other packages are in their Limits.
const admissionSlots, healthSlots, metricsSlots = 1024, 256, 64

// port is one of an installation.
type port struct {
	name    string
	of      *cluster.Manager
	target  abuse.Target
	others  abuse.Load
	attacks []abuse.Attack
}

// ports makes a token, and clients of each port that get what the port is for.
func (h *hostile) ports(ctx context.Context) ([]port, error) {
	bearers, _, err := createTokens(ctx, h.admin, 0, 1)
	if err != nil {
		return nil, err
	}
	if err := h.letDevelopersRead(ctx); err != nil {
		return nil, err
	}
	visitor, err := newVisitor(h.Cluster, bearers[0])
	if err != nil {
		return nil, err
	}
	// A verifier knows a token milliseconds after it is active, longer on a busy machine.
	if err := eventually(ctx, func() error { return visitor.signIn(ctx) }); err != nil {
		return nil, err
	}
	victim := &v1alpha1.PersonalAccessToken{}
	if err := h.admin.Get(ctx, benchKey(0), victim); err != nil {
		return nil, err
	}
	h.victim = victim.Spec.Token.ID
	own, err := admissionReview(func(*v1alpha1.PersonalAccessToken) {})
	if err != nil {
		return nil, err
	}
	forOthers, err := admissionReview(func(pat *v1alpha1.PersonalAccessToken) { forOther(pat, 0) })
	if err != nil {
		return nil, err
	}
	everything := abuse.All()
	claiming := append(everything, abuse.Attack{Name: claims, Unit: "resources", Run: h.claim})
	var ports []port
	add := func(name string, of *cluster.Manager, target abuse.Target, attacks []abuse.Attack, as asking) *port {
		target.Sources = sources
		p := port{name: name, of: of, target: target, attacks: attacks}
		for _, client := range abuse.Clients(target) {
			client.Jar = as.jar
			p.others = append(p.others, as.by(client, target))
		}
		ports = append(ports, p)
		return &ports[len(ports)-1]
	}
	local := func(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
	trust := visitor.transport.TLSClientConfig

	add("verifier", h.verifier, abuse.Target{Address: local(h.verifier.VerifierPort), TLS: trust, Path: authnconfig.TokenReviewPath, Slots: authn.Limits.Slots},
		claiming, asking{method: http.MethodPost, path: authnconfig.TokenReviewPath, body: abuse.ReviewOf(bearers[0]), want: `"authenticated":true`})
	anyone := trust.Clone() // the admission port has a CA of its own, which only the webhook configurations say
	anyone.InsecureSkipVerify = true
	add("admission", h.operator, abuse.Target{Address: local(h.operator.AdmissionPort), TLS: anyone, Path: admission.ValidatePath, Body: forOthers, Slots: admissionSlots},
		claiming, asking{method: http.MethodPost, path: admission.ValidatePath, body: own, want: `"allowed":true`})
	ports[1].others = append(ports[1].others, func(ctx context.Context, _ int) error { // by kube-apiserver
		pat, _, err := newToken(newKeys(1)[0], holders)
		if err != nil {
			return err
		}
		return h.alice.Create(ctx, pat, client.DryRunAll)
	})
	add("console", h.verifier, abuse.Target{Address: strings.TrimPrefix(h.ConsoleURL, "https://"), TLS: trust, Path: "/sign-in", Slots: console.Limits.Slots},
		everything, asking{method: http.MethodGet, path: tablePath, jar: visitor.Jar, want: "Benchmark"})
	for _, m := range []*cluster.Manager{h.verifier, h.operator} {
		add(m.Command+"'s metrics", m, abuse.Target{Address: fmt.Sprintf("127.0.0.1:%d", m.MetricsPort), TLS: anyone, Path: "/metrics", Slots: metricsSlots},
			everything, asking{method: http.MethodGet, path: "/metrics", bearer: bearers[0], want: "pat_operator_"})
		add(m.Command+"'s health", m, abuse.Target{Address: local(m.HealthPort), Path: "/readyz", Slots: healthSlots},
			everything, asking{method: http.MethodGet, path: "/readyz", want: "ok"})
	}
	return ports, errors.Join(h.addProxy(ctx, add, bearers[0]), h.addAPI(ctx, add, bearers[0]))
}

// letDevelopersRead gives the group of the existing tokens what the console and the metrics are for.
func (h *hostile) letDevelopersRead(ctx context.Context) error {
	developers := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "developers"}}
	role := func(name string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
	}
	metrics := metav1.ObjectMeta{Name: "bench-metrics"}
	for _, object := range []client.Object{
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "bench"}, RoleRef: role("pat-operator-personalaccesstoken-view"), Subjects: developers},
		&rbacv1.ClusterRole{ObjectMeta: metrics, Rules: []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metrics, RoleRef: role(metrics.Name), Subjects: developers},
	} {
		if err := h.admin.Create(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// admissionReview is alice's wish for a token, as kube-apiserver asks about it.
func admissionReview(change func(*v1alpha1.PersonalAccessToken)) (string, error) {
	pat, _, err := newToken(newKeys(1)[0], holders)
	if err != nil {
		return "", err
	}
	groups := []string{makers, "system:authenticated"}
	pat.Spec.User = &v1alpha1.UserInfo{Username: "alice", Groups: groups}
	change(pat)
	object, err := json.Marshal(pat)
	if err != nil {
		return "", err
	}
	review, err := json.Marshal(&admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: "bench", Namespace: pat.Namespace, Name: pat.Name, Operation: admissionv1.Create,
			Resource: metav1.GroupVersionResource(v1alpha1.GroupVersion.WithResource("personalaccesstokens")),
			UserInfo: authenticationv1.UserInfo{Username: "alice", Groups: groups},
			Object:   runtime.RawExtension{Raw: object},
		},
	})
	return string(review), err
}

// asking is a question, and what is in the answer.
type asking struct {
	method, path, body, bearer, want string
	jar                              http.CookieJar
}

// by asks by a client.
func (a asking) by(client *http.Client, target abuse.Target) func(context.Context, int) error {
	target.Path = a.path
	return func(ctx context.Context, _ int) error {
		request, err := http.NewRequestWithContext(ctx, a.method, target.URL(), strings.NewReader(a.body))
		if err != nil {
			return err
		}
		if a.body != "" {
			request.Header.Set("Content-Type", "application/json")
		}
		if a.bearer != "" {
			request.Header.Set("Authorization", "Bearer "+a.bearer)
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		if err == nil && (response.StatusCode != http.StatusOK || !strings.Contains(string(body), a.want)) {
			err = fmt.Errorf("%s without %s", response.Status, a.want)
		}
		return err
	}
}

// memoryLimits are what config lets each pod have, in bytes.
func memoryLimits() (map[string]int, error) {
	root, err := cluster.ModuleRoot()
	if err != nil {
		return nil, err
	}
	limits := map[string]int{}
	for command, name := range map[string]string{"verifier": "manager/verifier", "operator": "manager/operator", "proxy": "proxy/deployment", "api": "api/deployment"} {
		file, err := os.Open(filepath.Join(root, "config", name+".yaml"))
		if err != nil {
			return nil, err
		}
		var deployment appsv1.Deployment
		err = yaml.NewYAMLOrJSONDecoder(file, 4096).Decode(&deployment) // the first of several
		_ = file.Close()
		if err != nil {
			return nil, err
		}
		for _, container := range deployment.Spec.Template.Spec.Containers {
			limits[command] = int(container.Resources.Limits.Memory().Value())
		}
	}
	return limits, nil
}
