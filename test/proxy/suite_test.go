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

// Package proxy runs `manager proxy` in front of a real API server, with the accounts and permissions that it has in a cluster.
// No operator runs: the tests write resources and records themselves.
package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/proxy"
	"github.com/pat-operator/pat-operator/internal/proxyconfig"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/issued"
)

const (
	system  = cluster.OperatorNamespace
	records = cluster.RecordsNamespace
	account = "pat-operator-proxy"
)

// auditPolicy tells of each request once, at its end.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

var (
	dir       string
	apiServer *env.APIServer
	binary    string
	front     *manager
	admin     client.WithWatch
)

var alice = v1alpha1.UserInfo{Username: "alice@example.com", UID: "u-4711", Groups: []string{"devs", "ns:team-a"}}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if dir, err = os.MkdirTemp("", "pat-proxy-"); err != nil {
		fmt.Println(err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	apiServer = &env.APIServer{
		CRDs: true, Namespaces: []string{system, records, "team-a", "team-b"},
		Flags: map[string]string{"audit-log-path": filepath.Join(dir, "audit.log")}, Files: map[string]string{"audit-policy-file": auditPolicy},
	}
	defer apiServer.Stop()
	defer func() {
		if front != nil {
			front.stop()
		}
	}()
	return apiServer.Run(m)
}

// start starts the API server and a proxy, once.
func start(t *testing.T) {
	t.Helper()
	if front != nil {
		return
	}
	admin = apiServer.Client(t)
	install(t, admin)
	binary = env.Must[string](t)(cluster.BuildManager(t.Context(), dir))
	// Tests are the load balancer's other side: what they write into X-Forwarded-For is where they come from.
	front = startManager(t, apiServer.Config(t), binary, "main", "--proxy-trusted-proxies=127.0.0.0/8")
}

// listed are the users and groups that the account may impersonate.
func listed() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"users"}, Verbs: []string{"impersonate"}, ResourceNames: []string{alice.Username, "bob@example.com", proxy.SelfTestUser}},
		{APIGroups: []string{""}, Resources: []string{"groups"}, Verbs: []string{"impersonate"}, ResourceNames: alice.Groups},
		{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{
			"uids", "userextras/authentication.kubernetes.io/credential-id", "userextras/pat-operator.io/name", "userextras/pat-operator.io/scopes",
		}, Verbs: []string{"impersonate"}},
	}
}

// install creates what the manifests of the proxy have: the generated roles, the two accounts, the ConfigMap.
func install(t *testing.T, c client.Client) {
	t.Helper()
	root := env.Must[string](t)(cluster.ModuleRoot())
	text := env.Must[[]byte](t)(os.ReadFile(filepath.Join(root, "config", "rbac", "proxy", "role.yaml")))
	for _, part := range bytes.Split(text, []byte("\n---\n")) {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(part, &kind); err != nil {
			t.Fatal(err)
		}
		subject := rbacv1.Subject{Kind: "ServiceAccount", Namespace: system, Name: account}
		ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind.Kind, Name: account}
		if kind.Kind == "ClusterRole" {
			role := &rbacv1.ClusterRole{}
			parse(t, part, role)
			create(t, c, role, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: account}, RoleRef: ref, Subjects: []rbacv1.Subject{subject}})
			continue
		}
		role := &rbacv1.Role{}
		parse(t, part, role)
		create(t, c, role, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: role.Namespace, Name: account}, RoleRef: ref, Subjects: []rbacv1.Subject{subject}})
	}
	create(t, c,
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: account}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: proxyconfig.ConfigMapName}},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "editor"}, Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{"", "apps"}, Resources: []string{"configmaps", "secrets", "services", "deployments", "pods"}, Verbs: []string{"*"},
		}}},
	)
	impersonator(t, c, proxy.DefaultImpersonator, listed())
	create(t, c, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "devs"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "editor"}, Subjects: []rbacv1.Subject{env.Group("devs")},
	})
}

// impersonator creates an account with rules in the whole cluster.
func impersonator(t *testing.T, c client.Client, name string, rules []rbacv1.PolicyRule) {
	t.Helper()
	create(t, c,
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: name}},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: system, Name: name}},
		})
}

func parse(t *testing.T, text []byte, into runtime.Object) {
	t.Helper()
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, c client.Client, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// manager is a `manager proxy` that runs.
type manager struct {
	cmd    *exec.Cmd
	log    *lockedBuffer
	url    string
	health string
	ca     []byte
	relay  *relay
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func freePort(t *testing.T) int {
	t.Helper()
	l := env.Must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// startManager starts a proxy as its own account and waits until it is ready. Requests go to the API server by a relay.
func startManager(t *testing.T, config *rest.Config, binary, name string, args ...string) *manager {
	t.Helper()
	clientset := env.Must[*kubernetes.Clientset](t)(kubernetes.NewForConfig(config))
	token := env.Must[*authenticationv1.TokenRequest](t)(clientset.CoreV1().ServiceAccounts(system).CreateToken(t.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{}))
	own := rest.AnonymousClientConfig(config)
	own.BearerToken = token.Status.Token
	kubeconfig := filepath.Join(dir, name+".kubeconfig")
	writeKubeconfig(t, kubeconfig, httpsURL(own.Host), own.CAData, own.BearerToken)

	m := &manager{log: &lockedBuffer{}, relay: newRelay(t, config.Host)}
	port, health := freePort(t), freePort(t)
	m.url, m.health = fmt.Sprintf("https://127.0.0.1:%d", port), fmt.Sprintf("http://127.0.0.1:%d/readyz?verbose", health)
	m.cmd = exec.Command(binary, append([]string{
		"proxy", "--kubeconfig=" + kubeconfig, fmt.Sprintf("--proxy-bind-address=127.0.0.1:%d", port), "--proxy-external-url=" + m.url,
		fmt.Sprintf("--health-probe-bind-address=127.0.0.1:%d", health), "--metrics-bind-address=0", "--proxy-upstream=https://" + m.relay.address,
		"--proxy-drain-delay=1s", "--proxy-drain=2s", "--proxy-audit-log=" + m.auditFile(name),
	}, args...)...)
	m.cmd.Stdout, m.cmd.Stderr = m.log, m.log
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := env.Poll(t.Context(), 2*env.Patience, m.ready); err != nil {
		m.stop()
		t.Fatalf("%v\n%s", err, m.log)
	}
	if err := env.Poll(t.Context(), env.Patience, func() error {
		published := &corev1.ConfigMap{}
		err := admin.Get(t.Context(), client.ObjectKey{Namespace: system, Name: proxyconfig.ConfigMapName}, published)
		if err == nil && (published.Data["url"] != m.url || published.Data["ca.crt"] == "") {
			err = fmt.Errorf("the ConfigMap has %v", published.Data)
		}
		m.ca = []byte(published.Data["ca.crt"])
		return err
	}); err != nil {
		m.stop()
		t.Fatal(err)
	}
	return m
}

func (m *manager) auditFile(name string) string { return filepath.Join(dir, name+".audit") }

func (m *manager) ready() error {
	response, err := http.Get(m.health)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", text)
	}
	return nil
}

func (m *manager) stop() {
	_ = m.cmd.Process.Signal(os.Interrupt)
	_ = m.cmd.Wait()
	m.relay.stop()
}

// httpsURL is a server's URL, which envtest writes without a scheme.
func httpsURL(server string) string { return "https://" + strings.TrimPrefix(server, "https://") }

// relay is the way to the API server, which a test can interrupt.
type relay struct {
	address, to string
	listener    net.Listener

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]struct{}
}

func newRelay(t *testing.T, server string) *relay {
	t.Helper()
	u := env.Must[*url.URL](t)(url.Parse(httpsURL(server)))
	l := env.Must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	r := &relay{address: l.Addr().String(), to: u.Host, listener: l, conns: map[net.Conn]struct{}{}}
	go r.run()
	return r
}

func (r *relay) run() {
	for {
		in, err := r.listener.Accept()
		if err != nil {
			return
		}
		go r.carry(in)
	}
}

func (r *relay) carry(in net.Conn) {
	defer func() { _ = in.Close() }()
	out, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	r.mu.Lock()
	if r.down {
		r.mu.Unlock()
		return
	}
	r.conns[in], r.conns[out] = struct{}{}, struct{}{}
	r.mu.Unlock()
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			done <- struct{}{}
		}()
	}
	<-done
	r.mu.Lock()
	delete(r.conns, in)
	delete(r.conns, out)
	r.mu.Unlock()
}

// interrupt closes what is open and lets nothing through until resume.
func (r *relay) interrupt(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
	for c := range r.conns {
		if down {
			_ = c.Close()
		}
	}
}

func (r *relay) stop() {
	_ = r.listener.Close()
	r.interrupt(true)
}

func writeKubeconfig(t *testing.T, file, server string, ca []byte, token string) {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u", Namespace: "team-a"}
	config.CurrentContext = "x"
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
}

// issue writes a resource and its record, and waits until the proxy knows the token.
func issue(t *testing.T, name string, user v1alpha1.UserInfo, mods ...func(*v1alpha1.PersonalAccessTokenSpec)) *issued.Token {
	t.Helper()
	start(t)
	token := issued.New(t, "team-a", name, user, mods...)
	id := token.ID()
	token.Resource.UID = ""
	create(t, admin, token.Resource)
	token.Issue(id, time.Now().Truncate(time.Second))
	create(t, admin, token.Secret(t, records))
	token.Resource.Status.TokenID = id
	if err := admin.Status().Update(t.Context(), token.Resource); err != nil {
		t.Fatal(err)
	}
	if err := env.Poll(t.Context(), env.Patience, func() error {
		response, _, err := get(t, token.Bearer, "/api")
		if err == nil && response.StatusCode == http.StatusUnauthorized {
			err = errors.New("the proxy does not know the token")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return token
}

// change changes a resource in the cluster.
func change(t *testing.T, token *issued.Token, mod func(*v1alpha1.PersonalAccessToken)) {
	t.Helper()
	pat := &v1alpha1.PersonalAccessToken{}
	if err := env.Poll(t.Context(), env.Patience, func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(token.Resource), pat); err != nil {
			return err
		}
		mod(pat)
		return admin.Update(t.Context(), pat)
	}); err != nil {
		t.Fatal(err)
	}
}

// revoke ends a token by status.
func revoke(t *testing.T, token *issued.Token) {
	t.Helper()
	patch := fmt.Sprintf(`{"status":{"revoked":[{"tokenID":%q}]}}`, token.ID())
	if err := admin.Status().Patch(t.Context(), token.Resource.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		t.Fatal(err)
	}
}

// config is a client's way through the proxy.
func config(bearer string) *rest.Config {
	return &rest.Config{Host: front.url, BearerToken: bearer, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: front.ca}}
}

func httpClient(t *testing.T) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(front.ca) {
		t.Fatal("no CA")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: env.Patience}
}

// reply is an answer without its body.
type reply struct {
	StatusCode int
	Header     http.Header
}

// get sends a request with a token, and headers in pairs.
func get(t *testing.T, bearer, path string, headers ...string) (*reply, string, error) {
	t.Helper()
	request := env.Must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, front.url+path, nil))
	request.Header.Set("Authorization", "Bearer "+bearer)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := httpClient(t).Do(request)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return &reply{response.StatusCode, response.Header}, string(text), err
}

// kubectl runs kubectl with a token, and returns what it prints and whether it succeeds.
func kubectl(t *testing.T, bearer, stdin string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*env.Patience)
	defer cancel()
	cmd := kubectlCommand(ctx, t, bearer, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func kubectlCommand(ctx context.Context, t *testing.T, bearer string, args ...string) *exec.Cmd {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	writeKubeconfig(t, file, front.url, front.ca, bearer)
	cmd := exec.CommandContext(ctx, filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), append([]string{"--kubeconfig", file}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "KUBECTL_KUBERC=false")
	return cmd
}

// want checks what kubectl prints, and whether it succeeds.
func want(t *testing.T, bearer, stdin string, ok bool, contains string, args ...string) string {
	t.Helper()
	out, err := kubectl(t, bearer, stdin, args...)
	if (err == nil) != ok || !strings.Contains(out, contains) {
		t.Errorf("kubectl %s: %v\n%s\nwant success %v and %q", strings.Join(args, " "), err, out, ok, contains)
	}
	return out
}

// lines are the JSON objects of a file.
func lines(t *testing.T, file string) (all []map[string]any) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var line map[string]any
		if json.Unmarshal(scanner.Bytes(), &line) == nil {
			all = append(all, line)
		}
	}
	return all
}
