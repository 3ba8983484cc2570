//go:build clients

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

// Package clients has real clients of the API face ask it, as docs/protect-an-api.md configures them: `make test-clients`.
package clients

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/keyutil"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
)

const (
	listAPI = "list-api"
	// frontName is the protected API's name in the page.
	frontName = "lists.example.com"
	// mostGroups is the most that fits into the header of groups with 200 of them.
	mostGroups = 200
)

var (
	suite   context.Context
	product *env.Product
	face    *cluster.Manager
	// alice and crowd have the group team-devs; crowd's groups nearly fill the header.
	alice, crowd env.User
	// namespace is where their tokens are.
	namespace string
	// faceCA and frontCA verify the API face and the proxies in front of the protected API, which serve frontCert;
	// frontPair has it and its key.
	faceCA, frontCA, frontCert, frontKey, frontPair string
	// asker is a client of the API face.
	asker *http.Client
	known tokens
	// caller is the token with which introspection clients prove who they are.
	caller string
)

// tokens are those that all clients are tested with.
type tokens struct{ expired, suspended, otherAudience, forKubernetes, crowd, here, elsewhere string }

func TestMain(m *testing.M) { os.Exit(cluster.RunTests(m, 4, run)) }

func run(ctx context.Context, dir string, tests func()) (err error) {
	suite = ctx
	if product, err = env.Start(ctx, dir, env.Options{}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, product.Stop()) }()
	if err := startFace(ctx); err != nil {
		return err
	}
	if err := writeCertificates(dir); err != nil {
		return err
	}
	if alice, err = product.User("alice", "team-devs", "CN=a,admins"); err != nil {
		return err
	}
	groups := []string{"team-devs"}
	for len(groups) < mostGroups {
		groups = append(groups, fmt.Sprintf("department-%08d", len(groups)))
	}
	if crowd, err = product.User("crowd", groups...); err != nil {
		return err
	}
	if namespace, err = product.Team(ctx, env.Group("team-devs"), "secrets"); err != nil {
		return err
	}
	if err := makeTokens(ctx); err != nil {
		return err
	}
	tests()
	printLatencies()
	return nil
}

// startFace starts the API face, at a name that its certificate has.
func startFace(ctx context.Context) error {
	root, err := cluster.ModuleRoot()
	if err != nil {
		return err
	}
	if _, _, err := product.Kubectl(ctx, product.AdminKubeconfig, "", "apply", "-k", filepath.Join(root, "config", "rbac", "api")); err != nil {
		return err
	}
	address, _, err := product.Address()
	if err != nil {
		return err
	}
	_, port, _ := strings.Cut(address, ":")
	face, err = product.StartManager(ctx, cluster.ManagerOptions{Command: cluster.API, Apart: true, Args: []string{
		"--api-bind-address=" + address, "--api-external-url=https://localhost:" + port, "--api-trusted-proxies=127.0.0.1/32",
	}})
	if err != nil {
		return err
	}
	faceAddress = "localhost:" + port
	return nil
}

// faceAddress is HOST:PORT of the API face.
var faceAddress string

func writeCertificates(dir string) error {
	published := &corev1.ConfigMap{}
	if err := env.Poll(suite, env.Patience, func() error {
		err := product.Admin.Get(suite, client.ObjectKey{Namespace: cluster.OperatorNamespace, Name: "pat-operator-api"}, published)
		if err == nil && published.Data["ca.crt"] == "" {
			err = errors.New("the ConfigMap pat-operator-api is empty")
		}
		return err
	}); err != nil {
		return err
	}
	crt, err := product.ServingCertificate(frontName, "localhost")
	if err != nil {
		return err
	}
	key, err := keyutil.MarshalPrivateKeyToPEM(crt.PrivateKey)
	if err != nil {
		return err
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: crt.Certificate[0]})
	faceCA, frontCA = filepath.Join(dir, "pat-operator.crt"), product.CAFile
	frontCert, frontKey, frontPair = filepath.Join(dir, "lists.crt"), filepath.Join(dir, "lists.key"), filepath.Join(dir, "lists.pem")
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(published.Data["ca.crt"]))
	asker = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	return errors.Join(
		// Apache reads it as another user.
		os.Chmod(dir, 0o711), os.WriteFile(faceCA, []byte(published.Data["ca.crt"]), 0o644),
		os.WriteFile(frontCert, chain, 0o600), os.WriteFile(frontKey, key, 0o600),
		os.WriteFile(frontPair, slices.Concat(chain, key), 0o600),
	)
}

func makeTokens(ctx context.Context) (err error) {
	issue := func(by env.User, name string, edits ...func(*v1alpha1.PersonalAccessTokenSpec)) (plaintext string) {
		if err == nil {
			plaintext, err = create(ctx, by, name, edits...)
		}
		return plaintext
	}
	known.expired = issue(alice, "expired", func(s *v1alpha1.PersonalAccessTokenSpec) {
		s.ExpiresAt = &metav1.Time{Time: time.Now().Add(20 * time.Second).Truncate(time.Second)}
	})
	known = tokens{
		expired:   known.expired,
		suspended: issue(alice, "suspended"), otherAudience: issue(alice, "other-audience", forAudience("other-api")),
		forKubernetes: issue(alice, "kubernetes", forAudience()), crowd: issue(crowd, "crowd"),
		here: issue(alice, "here", from("127.0.0.0/8")), elsewhere: issue(alice, "elsewhere", from("198.51.100.0/24")),
	}
	if err != nil {
		return err
	}
	if caller, err = makeCaller(ctx); err != nil {
		return err
	}
	pat := &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "suspended"}}
	if err := alice.Patch(ctx, pat, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"suspend":true}}`))); err != nil {
		return err
	}
	return errors.Join(ends(ctx, known.suspended), ends(ctx, known.expired))
}

// makeCaller lets lists ask about tokens for the protected API, by the page's ClusterRole.
func makeCaller(ctx context.Context) (string, error) {
	lists, err := product.User("lists", "team-devs")
	if err != nil {
		return "", err
	}
	role, err := blockIn("Introspection", "yaml")
	if err != nil {
		return "", err
	}
	if _, _, err := product.Kubectl(ctx, product.AdminKubeconfig, role, "apply", "-f", "-"); err != nil {
		return "", err
	}
	if err := product.Admin.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "introspect-list-api"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "introspect-list-api"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: lists.Name}},
	}); err != nil {
		return "", err
	}
	return create(ctx, lists, "caller", forAudience("pat-operator-api"))
}

// create makes a token for the protected API, unless edits say otherwise, and waits until the API face knows it.
func create(ctx context.Context, by env.User, name string, edits ...func(*v1alpha1.PersonalAccessTokenSpec)) (string, error) {
	pat := &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	pat.Spec.Audiences = []string{listAPI}
	for _, edit := range edits {
		edit(&pat.Spec)
	}
	if err := by.Create(ctx, pat); err != nil {
		return "", err
	}
	plaintext, err := product.Take(ctx, by, namespace, name)
	if err != nil {
		return "", err
	}
	return plaintext, env.Poll(ctx, env.Patience, func() error {
		active, err := isActive(ctx, plaintext)
		if err == nil && !active && len(pat.Spec.From) == 0 {
			err = fmt.Errorf("the token %s is not active", name)
		}
		return err
	})
}

func forAudience(audiences ...string) func(*v1alpha1.PersonalAccessTokenSpec) {
	return func(s *v1alpha1.PersonalAccessTokenSpec) { s.Audiences = audiences }
}

func from(networks ...string) func(*v1alpha1.PersonalAccessTokenSpec) {
	return func(s *v1alpha1.PersonalAccessTokenSpec) { s.From = networks }
}

// issued makes a token of alice's for one client.
func issued(t *testing.T, edits ...func(*v1alpha1.PersonalAccessTokenSpec)) (name, plaintext string) {
	t.Helper()
	name = strings.ToLower(strings.NewReplacer("/", "-", "_", "-", ",", "", " ", "-").Replace(t.Name()))
	name = fmt.Sprintf("%s-%d", name[max(0, len(name)-40):], time.Now().UnixNano()%1e6)
	return name, env.Must[string](t)(create(t.Context(), alice, strings.Trim(name, "-"), edits...))
}

// isActive asks the API face about a token, which may ask about itself.
func isActive(ctx context.Context, plaintext string) (bool, error) {
	code, body, err := post(ctx, "/oauth2/introspect", plaintext, url.Values{"token": {plaintext}})
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("introspection: HTTP %d %s", code, body)
	}
	return bytes.Contains(body, []byte(`"active":true`)), err
}

// ends waits until the API face refuses a token.
func ends(ctx context.Context, plaintext string) error {
	return env.Poll(ctx, env.Patience, func() error {
		active, err := isActive(ctx, plaintext)
		if active {
			err = errors.New("a token that should have ended is active")
		}
		return err
	})
}

func post(ctx context.Context, path, credential string, form url.Values) (int, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+faceAddress+path, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if credential != "" {
		r.Header.Set("Authorization", "Bearer "+credential)
	}
	response, err := asker.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, body, err
}

// revoke ends a token by the API face.
func revoke(t *testing.T, plaintext string) {
	t.Helper()
	if code, body, err := post(t.Context(), "/oauth2/revoke", "", url.Values{"token": {plaintext}}); err != nil || code != http.StatusOK {
		t.Fatalf("the revocation: HTTP %d %s %v", code, body, err)
	}
}

// latency is how long a client went on after a revocation.
type latency struct {
	client, remembers string
	took              time.Duration
}

var (
	latencies []latency
	latencyMu sync.Mutex
)

// measureRevocation revokes a token, and waits until a client refuses it. remembers is what the client keeps, for the table.
func measureRevocation(t *testing.T, name, remembers, plaintext string, refused func() error) {
	t.Helper()
	revoke(t, plaintext)
	start := time.Now()
	// A minute is the bound of those who remember until exp; the rest is the machine's.
	if err := env.Poll(t.Context(), 2*env.Patience, refused); err != nil {
		t.Errorf("a revoked token: %v", err)
		return
	}
	latencyMu.Lock()
	defer latencyMu.Unlock()
	latencies = append(latencies, latency{name, remembers, time.Since(start)})
}

// printLatencies prints the table of docs/protect-an-api.md.
func printLatencies() {
	if len(latencies) == 0 {
		return
	}
	slices.SortFunc(latencies, func(a, b latency) int { return strings.Compare(a.client, b.client) })
	fmt.Println("\n| client | remembers | refused after |\n|---|---|---|")
	for _, l := range latencies {
		took := l.took.Round(time.Millisecond).String()
		if l.took > time.Second {
			took = l.took.Round(time.Second).String()
		}
		fmt.Printf("| %s | %s | %s |\n", l.client, l.remembers, took)
	}
	fmt.Println()
}
