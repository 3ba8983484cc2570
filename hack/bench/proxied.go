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
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/proxy"
	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
)

const (
	// bigObjects of bigObject bytes each are a list of 10 MiB.
	bigObjects, bigObject = 1000, 10 << 10
	// smallName is the object that is read one at a time.
	smallName = "small"
	// teamGroup is the group of alice.
	teamGroup = "team-devs"
)

// proxied is a control plane whose kube-apiserver has no flag of ours, with an operator and `manager proxy` in front. The token
// has scopes, and the proxy writes audit lines to a file.
type proxied struct {
	*env.Product
	front *cluster.Manager
	alice env.User
	// small has one object, which is named smallName; big has as many as a list of 10 MiB.
	small, big string
	// scraper may read the proxy's metrics.
	scraper string
	ca      *x509.CertPool
	args    []string
	figures figures
}

// way is a way to kube-apiserver: through the proxy or not.
type way struct {
	*http.Client
	server, bearer string
	// user is whom the bearer acts for, by the headers of impersonation.
	user http.Header
}

func startProxied(ctx context.Context, dir string) (b *proxied, err error) {
	root, err := cluster.ModuleRoot()
	if err != nil {
		return nil, err
	}
	binary, err := cluster.BuildManager(ctx, dir)
	if err != nil {
		return nil, err
	}
	c, err := cluster.Start(ctx, cluster.Options{
		ConfigDir: filepath.Join(root, "test", "streams", "testdata", "install"), ManagerBinary: binary,
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	b = &proxied{args: []string{"--proxy-audit-log=" + filepath.Join(dir, "audit.log"), "--proxy-drain-delay=0s", "--proxy-drain=1s"}}
	if b.Product, err = env.New(c); err != nil {
		return nil, err
	}
	if b.Operator, err = c.StartOperator(ctx); err != nil {
		return nil, err
	}
	if b.front, err = c.StartManager(ctx, cluster.ManagerOptions{Command: "proxy", Args: b.args}); err != nil {
		return nil, err
	}
	return b, b.fill(ctx)
}

// fill makes the people, their rights and the objects.
func (b *proxied) fill(ctx context.Context) (err error) {
	if b.alice, err = b.User("alice", teamGroup); err != nil {
		return err
	}
	for _, namespace := range []*string{&b.small, &b.big} {
		if *namespace, err = b.Team(ctx, env.Group(teamGroup), "configmaps", "secrets"); err != nil {
			return err
		}
	}
	account := func(name string) rbacv1.Subject {
		return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: b.small, Name: name}
	}
	clusterRole := func(name string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
	}
	published := &corev1.ConfigMap{}
	objects := []client.Object{
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: b.small, Name: "direct"}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: b.small, Name: "scraper"}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: b.small, Name: smallName}, Data: map[string]string{"a": "b"}},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "bench"}, Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "list", "watch", "create"},
		}}},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "bench-scraper"}, RoleRef: clusterRole("pat-operator-metrics-reader"), Subjects: []rbacv1.Subject{account("scraper")},
		},
	}
	for _, namespace := range []string{b.small, b.big} {
		objects = append(objects, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "bench"}, RoleRef: clusterRole("bench"),
			Subjects: []rbacv1.Subject{env.Group(teamGroup), account("direct")},
		})
	}
	for i := range bigObjects {
		objects = append(objects, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: b.big, Name: fmt.Sprintf("big-%04d", i)}, Data: map[string]string{"d": strings.Repeat("x", bigObject)},
		})
	}
	if err := each(len(objects), func(i int) error { return b.Admin.Create(ctx, objects[i]) }); err != nil {
		return err
	}
	scraper, err := b.ServiceAccount(ctx, b.small, "scraper")
	if err != nil {
		return err
	}
	b.scraper = scraper.BearerToken
	// By one of the two the proxy is verified, by the other the API server.
	b.ca = x509.NewCertPool()
	if err := b.Admin.Get(ctx, client.ObjectKey{Namespace: cluster.OperatorNamespace, Name: "pat-operator-proxy"}, published); err != nil {
		return err
	}
	if !b.ca.AppendCertsFromPEM([]byte(published.Data["ca.crt"])) || !b.ca.AppendCertsFromPEM(b.Anonymous().CAData) {
		return errors.New("no CA is published")
	}
	return nil
}

// direct is the way without the proxy, of a service account with the same rights.
func (b *proxied) direct(ctx context.Context) (*way, error) {
	config, err := b.ServiceAccount(ctx, b.small, "direct")
	if err != nil {
		return nil, err
	}
	w := &way{Client: b.client(), server: b.Server, bearer: config.BearerToken}
	return w, eventually(ctx, func() error { _, err := w.get(ctx, b.smallPath()); return err })
}

// impersonated is the way without the proxy, of the account that the proxy sends requests on as, with what it says of a token's user:
// what kube-apiserver itself does for impersonation.
func (b *proxied) impersonated(ctx context.Context, pat *v1alpha1.PersonalAccessToken) (*way, error) {
	config, err := b.ServiceAccount(ctx, cluster.OperatorNamespace, proxy.DefaultImpersonator)
	if err != nil {
		return nil, err
	}
	w := &way{Client: b.client(), server: b.Server, bearer: config.BearerToken, user: http.Header{
		"Impersonate-User": {"alice"}, "Impersonate-Group": {teamGroup},
		"Impersonate-Extra-Authentication.kubernetes.io%2fcredential-Id": {token.CredentialPrefix + pat.Status.TokenID},
		"Impersonate-Extra-Pat-Operator.io%2fname":                       {pat.Namespace + "/" + pat.Name},
		"Impersonate-Extra-Pat-Operator.io%2fscopes":                     {"limited", "metrics", "rule"},
	}}
	return w, eventually(ctx, func() error { _, err := w.get(ctx, b.smallPath()); return err })
}

// plain is the same by a ReverseProxy of Go's library that does nothing else: the least that a proxy costs. It serves in this process.
func (b *proxied) plain(ctx context.Context, to *way) (w *way, stop func(), err error) {
	upstream, err := url.Parse(to.server)
	if err != nil {
		return nil, nil, err
	}
	transport, err := proxy.NewTransport(b.Anonymous())
	if err != nil {
		return nil, nil, err
	}
	server := httptest.NewUnstartedServer(&httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(upstream)
		maps.Copy(r.Out.Header, to.user)
		r.Out.Header.Set("Authorization", "Bearer "+to.bearer)
	}})
	server.EnableHTTP2 = true
	server.StartTLS()
	w = &way{Client: server.Client(), server: server.URL}
	return w, server.Close, eventually(ctx, func() error { _, err := w.get(ctx, b.smallPath()); return err })
}

// through makes a token of alice's with scopes, and waits until a proxy knows it.
func (b *proxied) through(ctx context.Context, front *cluster.Manager) (*way, *v1alpha1.PersonalAccessToken, error) {
	rule := &v1alpha1.ScopeRule{Verbs: []string{"get", "list", "watch", "create"}, APIGroups: []string{""}, Resources: []string{"configmaps"}}
	pat := &v1alpha1.PersonalAccessToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.small, GenerateName: "bench-"},
		Spec: v1alpha1.PersonalAccessTokenSpec{
			Scopes: []v1alpha1.Scope{{Preset: "metrics"}, {Rule: rule, Namespaces: []string{b.small, b.big}}},
		},
	}
	if err := b.alice.Create(ctx, pat); err != nil {
		return nil, nil, err
	}
	plaintext, err := b.Take(ctx, b.alice, b.small, pat.Name)
	if err != nil {
		return nil, nil, err
	}
	w := &way{Client: b.client(), server: front.ProxyURL(), bearer: plaintext}
	return w, pat, eventually(ctx, func() error { _, err := w.get(ctx, b.smallPath()); return err })
}

// client is one that speaks HTTP/2, as client-go does.
func (b *proxied) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: b.ca, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true, DisableCompression: true,
	}}
}

func (b *proxied) smallPath() string {
	return "/api/v1/namespaces/" + b.small + "/configmaps/" + smallName
}

func (b *proxied) bigPath() string { return "/api/v1/namespaces/" + b.big + "/configmaps" }

// open asks for a path. The answer is 200.
func (w *way) open(ctx context.Context, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.server+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	maps.Copy(request.Header, w.user)
	request.Header.Set("Authorization", "Bearer "+w.bearer)
	request.Header.Set("Accept", "application/json")
	response, err := w.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		_ = response.Body.Close()
		return nil, fmt.Errorf("GET %s%s: %s %s", w.server, path, response.Status, text)
	}
	return response, nil
}

// get reads a path, and returns how many bytes it is.
func (w *way) get(ctx context.Context, path string) (int64, error) {
	response, err := w.open(ctx, path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	return io.Copy(io.Discard, response.Body)
}

// scrape returns metrics of the proxy.
func (b *proxied) scrape(ctx context.Context, names ...string) ([]float64, error) {
	w := way{Client: b.client(), server: strings.TrimSuffix(b.front.MetricsURL(), "/metrics"), bearer: b.scraper}
	defer w.CloseIdleConnections()
	response, err := w.open(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	values := make([]float64, len(names))
	for i, name := range names {
		found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(text)
		if found == nil {
			return nil, fmt.Errorf("the proxy has no metric %s", name)
		}
		if values[i], err = strconv.ParseFloat(string(found[1]), 64); err != nil {
			return nil, err
		}
	}
	return values, nil
}
