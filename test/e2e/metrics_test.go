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

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pat-operator/pat-operator/internal/impersonation"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// Metrics are for those who may get /metrics, with any credential that the API server takes.
func TestMetricsAreForThoseWhoMayGetThem(t *testing.T) {
	long.Only(t)
	bearer := issued(t, alice, pat(team(t), "my-pat"))
	accepted(t, bearer)
	address := fmt.Sprintf("127.0.0.1:%d", operator.MetricsPort)
	client := face(t) // one: a source gets few connections here
	get := func(path, bearer string) (int, string, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+path, nil)
		if err != nil {
			return 0, "", err
		}
		if bearer != "" {
			req.Header.Set("Authorization", "Bearer "+bearer)
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body), err
	}
	for _, tc := range []struct {
		path, bearer string
		want         int
	}{{"/metrics", "", http.StatusUnauthorized}, {"/metrics", bearer, http.StatusForbidden}, {"/", bearer, http.StatusNotFound}} {
		if status, body, err := get(tc.path, tc.bearer); err != nil || status != tc.want || strings.Contains(body, "pat_operator_") {
			t.Errorf("%s: HTTP %d, %v; want %d and no metric", tc.path, status, err, tc.want)
		}
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "metrics-reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "pat-operator-metrics-reader"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "alice"}},
	}
	if err := admin.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Delete(context.Background(), binding) }()
	NewWithT(t).Eventually(func() error {
		status, body, err := get("/metrics", bearer)
		if err != nil || status != http.StatusOK || !strings.Contains(body, "pat_operator_clock_skew_seconds") {
			return fmt.Errorf("HTTP %d, %d bytes, %w", status, len(body), err)
		}
		return nil
	}).WithTimeout(patience).Should(Succeed())
}

// Every metric of the alerts and of the dashboard is in a scrape of an operator, a verifier, a proxy and an API face, as the chart's role
// allows it, and every metric of ours in that scrape has a row in docs/operations.md.
func TestMetricsOfAlertsAndDashboardAreExported(t *testing.T) {
	root, err := cluster.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	proxied(t)
	front, err := cl.StartManager(t.Context(), cluster.ManagerOptions{Command: "proxy", Args: []string{"--proxy-audit-log=off", "--proxy-drain-delay=0s", "--proxy-drain=1s"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := front.Stop(); err != nil {
			t.Error(err)
		}
	}()
	face := startAPI(t)
	// What counts by labels begins with the first of each.
	for path, form := range map[string]url.Values{"/oauth2/introspect": {"token": {"x"}}, "/oauth2/revoke": {"token": {"x"}}} {
		face.post(t, path, "", form)
	}
	exported := scrape(t, operator, verifier, front, face.Manager)
	for where, expressions := range map[string][]string{"rules": ruleExpressions(t, root), "dashboards": dashboardExpressions(t, root)} {
		if len(expressions) < 10 {
			t.Errorf("%s have %d expressions", where, len(expressions))
		}
		for _, expression := range expressions {
			names := metricNames(expression)
			if len(names) == 0 {
				t.Errorf("%s: %q names no metric", where, expression)
			}
			for _, name := range names {
				if !slices.Contains(exported, name) {
					t.Errorf("%s use %s, which no process exports: %s", where, name, expression)
				}
			}
		}
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	var documented, ours []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(pat_operator_[a-z_]+)[`{]").FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, m[1])
	}
	for _, name := range append(exported, exportedByKeeper()...) {
		name = regexp.MustCompile("_(bucket|sum|count)$").ReplaceAllString(name, "")
		if strings.HasPrefix(name, "pat_operator_") && !slices.Contains(ours, name) {
			ours = append(ours, name)
		}
	}
	slices.Sort(documented)
	slices.Sort(ours)
	if diff := cmp.Diff(ours, documented); diff != "" {
		t.Errorf("metrics (-exported +docs/operations.md):\n%s", diff)
	}
}

// exportedByKeeper returns the names of the metrics of an operator that keeps the proxy's ClusterRole.
func exportedByKeeper() (names []string) {
	descs := make(chan *prometheus.Desc, 8)
	(*impersonation.Keeper)(nil).Describe(descs)
	close(descs)
	for desc := range descs {
		names = append(names, regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(desc.String())[1])
	}
	return names
}

// scrape returns the names of all series of some processes.
func scrape(t *testing.T, processes ...*cluster.Manager) (names []string) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "monitoring-"}}
	create(t, admin, ns)
	create(t, admin, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "prometheus"}})
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: ns.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "pat-operator-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: ns.Name, Name: "prometheus"}},
	}
	create(t, admin, binding)
	t.Cleanup(func() {
		for _, o := range []client.Object{ns, binding} {
			_ = admin.Delete(context.Background(), o)
		}
	})
	account, err := cl.ServiceAccount(t.Context(), ns.Name, "prometheus")
	if err != nil {
		t.Fatal(err)
	}
	// A manager that has once refused a client remembers it for half a minute.
	NewWithT(t).Eventually(func() (bool, error) {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:                  "system:serviceaccount:" + ns.Name + ":prometheus",
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"},
		}}
		err := admin.Create(t.Context(), review)
		return review.Status.Allowed, err
	}).WithTimeout(patience).Should(BeTrue())
	series := regexp.MustCompile(`(?m)^([a-zA-Z_:][a-zA-Z0-9_:]*)[{ ]`)
	collector := env.Must[*http.Client](t)(env.Face(caBundle(t, "pat-operator-ca"), caBundle(t, "pat-operator-verifier-ca"), caBundle(t, "pat-operator-proxy-ca"), caBundle(t, "pat-operator-api-ca")))
	for _, m := range processes {
		var text string
		NewWithT(t).Eventually(func() error {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, m.MetricsURL(), nil)
			if err != nil {
				return err
			}
			req.Header.Set("Authorization", "Bearer "+account.BearerToken)
			resp, err := collector.Do(req)
			if err != nil {
				return err
			}
			defer func() { _ = resp.Body.Close() }()
			body, err := io.ReadAll(resp.Body)
			if text = string(body); err != nil || resp.StatusCode != http.StatusOK {
				return fmt.Errorf("HTTP %d, %w", resp.StatusCode, err)
			}
			return nil
		}).WithTimeout(patience).Should(Succeed())
		for _, m := range series.FindAllStringSubmatch(text, -1) {
			names = append(names, m[1])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func ruleExpressions(t *testing.T, root string) (expressions []string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "charts", "pat-operator", "rules", "pat-operator.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct{ Expr string }
		}
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			expressions = append(expressions, rule.Expr)
		}
	}
	return expressions
}

func dashboardExpressions(t *testing.T, root string) (expressions []string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "charts", "pat-operator", "dashboards", "pat-operator.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title, Description, Type string
			Targets                  []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, panel := range dashboard.Panels {
		if panel.Type != "row" && (panel.Description == "" || len(panel.Targets) == 0) {
			t.Errorf("the panel %q has no description, or shows nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			expressions = append(expressions, target.Expr)
		}
	}
	return expressions
}

var (
	// What holds no metric of an expression: text, labels, groupings, numbers and ranges.
	noMetrics = regexp.MustCompile(`\{(?:"[^"]*"|[^}"])*\}|"[^"]*"|\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)|\[[^\]]*\]|\b[0-9][0-9a-z.]*`)
	words     = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*\s*\(?`)
	operators = []string{"and", "or", "unless", "bool", "offset", "group_left", "group_right"}
)

// metricNames are the metrics in an expression of Prometheus: each word that is neither a function nor an operator.
func metricNames(expression string) (names []string) {
	for _, word := range words.FindAllString(noMetrics.ReplaceAllString(expression, " "), -1) {
		if name := strings.TrimSpace(word); !strings.HasSuffix(name, "(") && !slices.Contains(operators, name) {
			names = append(names, name)
		}
	}
	return names
}

func TestMetricNamesOfAnExpression(t *testing.T) {
	for expression, want := range map[string][]string{
		`a{b="c{d}",e=~"f"} > ignoring(g) group_left h / 2`: {"a", "h"},
		`sum by (i) (rate(j_total{k!="l"}[5m] offset 1h))`:  {"j_total"},
		`max(m) == 0 or vector(0)`:                          {"m"},
		`time() - n < 86400`:                                {"n"},
	} {
		if diff := cmp.Diff(want, metricNames(expression)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", expression, diff)
		}
	}
}
