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
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/test/abuse"
	"github.com/pat-operator/pat-operator/test/cluster"
)

const (
	// weighed is how many tokens a page has that is weighed.
	weighed = 10
	// listPath and tablePath ask for all that is in the namespace, one the API server, one the console.
	listPath  = "/apis/pat-operator.io/v1alpha1/namespaces/default/personalaccesstokens?limit=500"
	tablePath = "/table?all=1&ns=default"
)

// benchConsole compares the console's table with the API server's own list of the same, by the same credential, and weighs
// the page.
func benchConsole(ctx context.Context, o options, out io.Writer) (err error) {
	if o.console <= weighed || o.console > perNamespace {
		return fmt.Errorf("--console of more than %d and at most %d is needed", weighed, perNamespace)
	}
	dir, err := os.MkdirTemp("", "pat-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	p, err := startProduct(ctx, dir, cluster.ManagerOptions{Command: "verifier", Console: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	if err := p.admin.Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "bench"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "pat-operator-personalaccesstoken-view"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "developers"}},
	}); err != nil {
		return err
	}
	bearers, _, err := createTokens(ctx, p.admin, 0, weighed)
	if err != nil {
		return err
	}
	page, err := newVisitor(p.Cluster, bearers[0])
	if err != nil {
		return err
	}
	// A verifier knows a token milliseconds after it is active, longer on a busy machine.
	if err := eventually(ctx, func() error { return page.signIn(ctx) }); err != nil {
		return err
	}
	if err := weigh(ctx, page, out); err != nil {
		return err
	}
	if _, _, err := createTokens(ctx, p.admin, weighed, o.console-weighed); err != nil {
		return err
	}
	return compare(ctx, o, p.Cluster, page, out)
}

// weigh says what a first visit moves, the TLS handshake and headers included.
func weigh(ctx context.Context, page *visitor, out io.Writer) error {
	page.received.Store(0)
	page.CloseIdleConnections()
	body, err := page.get(ctx, "/?all=1&ns=default")
	if err != nil {
		return err
	}
	if rows := strings.Count(body, "<bdi class=\"title\">Benchmark"); rows != weighed {
		return fmt.Errorf("the page has %d tokens, want %d", rows, weighed)
	}
	assets := regexp.MustCompile(`/assets/[\w.-]+`).FindAllString(body, -1)
	slices.Sort(assets)
	assets = slices.Compact(assets)
	for _, asset := range assets {
		if _, err := page.get(ctx, asset); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "\nThe console\n  a first visit, %d tokens: %.1f KB received in %d requests, TLS and headers included\n",
		weighed, float64(page.received.Load())/1000, 1+len(assets))
	return nil
}

// compare asks both in turn, so that whatever else the machine does falls on both.
func compare(ctx context.Context, o options, c *cluster.Cluster, page *visitor, out io.Writer) error {
	var lists, packed, tables abuse.Latencies
	plain, gzip, err := listers(c, page.bearer)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(o.duration); len(lists) < 20 || time.Now().Before(deadline); {
		for _, one := range []struct {
			of   *visitor
			path string
			took *abuse.Latencies
		}{{plain, listPath, &lists}, {gzip, listPath, &packed}, {page, tablePath, &tables}} {
			began := time.Now()
			body, err := one.of.get(ctx, one.path)
			if err != nil {
				return err
			}
			*one.took = append(*one.took, time.Since(began))
			if len(lists) == 1 && strings.Count(body, "Benchmark "+benchKey(o.console-1).Name) == 0 {
				return fmt.Errorf("%s does not have all of the %d tokens", one.path, o.console)
			}
		}
	}
	slices.Sort(lists)
	slices.Sort(packed)
	slices.Sort(tables)
	fmt.Fprintf(out, "\n  %-52s %10s %10s   ratio of each\n", fmt.Sprintf("%d tokens in a namespace, %d times each, in turn", o.console, len(lists)), "p50", "p99")
	base50, base99 := lists.Quantile(.5), lists.Quantile(.99)
	row(out, "the API server's own list (baseline)", round(base50), round(base99), base50, base99)
	row(out, "the same with gzip, as kubectl asks", round(packed.Quantile(.5)), round(packed.Quantile(.99)), base50, base99)
	row(out, "GET /table of the console, with gzip", round(tables.Quantile(.5)), round(tables.Quantile(.99)), base50, base99)
	return nil
}

// listers are clients of the API server, one without gzip, as the console is, and one with.
func listers(c *cluster.Cluster, bearer string) (plain, gzip *visitor, err error) {
	for _, v := range []**visitor{&plain, &gzip} {
		if *v, err = newVisitor(c, bearer); err != nil {
			return nil, nil, err
		}
		(*v).origin = c.Server
	}
	plain.transport.DisableCompression = true
	return plain, gzip, nil
}

// visitor is a client of the console or the API server, with one credential, and counts what it receives.
type visitor struct {
	http.Client
	origin, bearer string
	transport      *http.Transport
	received       atomic.Int64
}

func newVisitor(c *cluster.Cluster, bearer string) (*visitor, error) {
	roots := x509.NewCertPool()
	for _, file := range []string{c.AuthnCAFile, c.CAFile} {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		roots.AppendCertsFromPEM(pem)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	v := &visitor{origin: c.ConsoleURL, bearer: bearer}
	v.Jar = jar
	v.transport = &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			return &countedConn{conn, &v.received}, err
		},
	}
	v.Transport = v.transport
	return v, nil
}

// countedConn counts what is read.
type countedConn struct {
	net.Conn
	received *atomic.Int64
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.received.Add(int64(n))
	return n, err
}

// signIn pastes the credential.
func (v *visitor) signIn(ctx context.Context) error {
	form := url.Values{"token": {v.bearer}, "return": {"/"}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, v.origin+"/sign-in", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Origin", v.origin)
	_, err = v.send(request)
	return err
}

// get returns the body of a page; packed on its way where the server packs it.
func (v *visitor) get(ctx context.Context, path string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, v.origin+path, http.NoBody)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+v.bearer) // of which the console takes no notice: it has given cookies
	return v.send(request)
}

func (v *visitor) send(request *http.Request) (string, error) {
	response, err := v.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s", request.Method, request.URL.Path, response.Status)
	}
	return string(body), err
}
