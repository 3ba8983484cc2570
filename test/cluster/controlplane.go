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

package cluster

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/client-go/rest"
)

// A start takes seconds; the rest is for machines that are busy with something else.
const startTimeout = 2 * time.Minute

// auditPolicy is the policy that we ship, with everything that it says nothing particular of recorded whole: a test that looks for
// a plaintext in the log looks everywhere.
func auditPolicy() ([]byte, error) {
	root, err := ModuleRoot()
	if err != nil {
		return nil, err
	}
	policy, err := os.ReadFile(filepath.Join(root, "config", "apiserver", "audit-policy.yaml"))
	if err != nil {
		return nil, err
	}
	const rest = "  - level: Metadata\n"
	before, ok := bytes.CutSuffix(policy, []byte(rest))
	if !ok {
		return nil, fmt.Errorf("config/apiserver/audit-policy.yaml does not end with %q", rest)
	}
	return append(before, "  - level: RequestResponse\n"...), nil
}

// firstUncached is the first minor version whose authorizers can be told to cache nothing.
const firstUncached = 34

var (
	// authorization is what internal/authnconfig makes; a test there holds the two equal.
	//
	//go:embed testdata/authorization.yaml
	authorization []byte
	// authorization133 is the same for Kubernetes before firstUncached.
	//
	//go:embed testdata/authorization-1.33.yaml
	authorization133 []byte
)

// authorizationConfig is the AuthorizationConfiguration with the authorizer of a kubeconfig.
func (c *Cluster) authorizationConfig(kubeconfig string) []byte {
	config := authorization
	if c.Minor < firstUncached {
		config = authorization133
	}
	return bytes.Replace(config, []byte("KUBECONFIG"), []byte(kubeconfig), 1)
}

// minorVersion asks the kube-apiserver in a folder for its minor version.
func minorVersion(ctx context.Context, assets string) (minor int, err error) {
	program := filepath.Join(assets, "kube-apiserver")
	text, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("%s --version: %w", program, err)
	}
	if _, err := fmt.Sscanf(string(text), "Kubernetes v1.%d.", &minor); err != nil {
		return 0, fmt.Errorf("%s --version says %q: %w", program, bytes.TrimSpace(text), err)
	}
	return minor, nil
}

func (c *Cluster) startEtcd(ctx context.Context) error {
	client := fmt.Sprintf("http://127.0.0.1:%d", c.ports.etcd)
	peer := fmt.Sprintf("http://127.0.0.1:%d", c.ports.etcdPeer)
	etcd, err := c.startBinary(&c.etcd, "etcd",
		"--data-dir="+c.path("etcd"),
		"--listen-client-urls="+client,
		"--advertise-client-urls="+client,
		"--listen-peer-urls="+peer,
		"--initial-advertise-peer-urls="+peer,
		"--initial-cluster=default="+peer,
		"--unsafe-no-fsync",
		"--log-level=warn",
	)
	if err != nil {
		return err
	}
	return etcd.waitReady(ctx, startTimeout, func(ctx context.Context) error {
		return getOK(ctx, http.DefaultClient, client+"/health")
	})
}

func (c *Cluster) startAPIServer(ctx context.Context) error {
	return c.startAPIServerAt(ctx, &c.apiServer, c.ports.apiServer, c.authorizer)
}

// Replica is a further kube-apiserver.
type Replica struct {
	// Address is HOST:PORT.
	Address string

	cluster *Cluster
	port    int
	process *process
}

// NewReplica reserves the address of a further kube-apiserver. Cluster.Stop does not stop it.
func (c *Cluster) NewReplica() (*Replica, error) {
	address, port, err := c.Address()
	return &Replica{Address: address, cluster: c, port: port}, err
}

// Start starts it, in place of the one that runs, with an AuthorizationConfiguration, or with none if file is empty, and with
// further flags.
func (r *Replica) Start(ctx context.Context, file string, args ...string) error {
	r.Kill()
	return r.cluster.startAPIServerAt(ctx, &r.process, r.port, file, args...)
}

// Kill ends it.
func (r *Replica) Kill() { r.process.kill() }

func (c *Cluster) startAPIServerAt(ctx context.Context, place **process, port int, authorizer string, more ...string) error {
	args := []string{
		fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", c.ports.etcd),
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		// No endpoint is written for it: a machine without a network has no address that would be taken.
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.0.0.0/24",
		"--tls-cert-file=" + c.path(servingCert),
		"--tls-private-key-file=" + c.path(servingKey),
		"--client-ca-file=" + c.path(caFile),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + c.path(accountKey),
		"--service-account-signing-key-file=" + c.path(accountKey),
		"--allow-privileged=true",
		"--egress-selector-config-file=" + c.path(egressConfig),
		"--kubelet-certificate-authority=" + c.path(caFile),
		"--kubelet-client-certificate=" + c.path(kubeletCert),
		"--kubelet-client-key=" + c.path(kubeletKey),
	}
	if authorizer != "" {
		args = append(args, "--authorization-config="+authorizer)
	} else {
		args = append(args, "--authorization-mode=Node,RBAC")
	}
	if c.tokenWebhook != "" {
		args = append(args,
			"--authentication-token-webhook-config-file="+c.tokenWebhook,
			"--authentication-token-webhook-cache-ttl=10s",
		)
		args = append(args, c.tokenWebhookArgs...)
	}
	if c.admissionConfig != "" {
		args = append(args, "--admission-control-config-file="+c.admissionConfig)
	}
	if c.Issuer != nil {
		args = append(args, "--authentication-config="+c.path(authenticationConfig))
	}
	if c.AuditLog != "" {
		policy, err := auditPolicy()
		if err != nil {
			return err
		}
		file := c.path("audit-policy.yaml")
		if err := os.WriteFile(file, policy, 0o600); err != nil {
			return err
		}
		args = append(args, "--audit-policy-file="+file, "--audit-log-path="+c.AuditLog)
	}
	apiServer, err := c.startBinary(place, "kube-apiserver", slices.Concat(args, c.opts.APIServerArgs, more)...)
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(c.Admin())
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	return apiServer.waitReady(ctx, startTimeout, func(ctx context.Context) error {
		return getOK(ctx, client, fmt.Sprintf("https://127.0.0.1:%d/readyz", port))
	})
}

// UseTokenWebhook restarts kube-apiserver with the TokenReview webhook that kubeconfig names, with none if it is empty, and with
// further flags; every later restart keeps them.
func (c *Cluster) UseTokenWebhook(ctx context.Context, kubeconfig string, args ...string) error {
	c.tokenWebhook, c.tokenWebhookArgs = kubeconfig, args
	return c.RestartAPIServer(ctx)
}

// UseAuthorizer restarts kube-apiserver with an AuthorizationConfiguration, with none if file is empty; every later restart
// keeps it.
func (c *Cluster) UseAuthorizer(ctx context.Context, file string) error {
	c.authorizer = file
	return c.RestartAPIServer(ctx)
}

// UseAdmissionConfig restarts kube-apiserver with an AdmissionConfiguration, with none if file is empty; every later restart
// keeps it.
func (c *Cluster) UseAdmissionConfig(ctx context.Context, file string) error {
	c.admissionConfig = file
	return c.RestartAPIServer(ctx)
}

// RestartAPIServer kills kube-apiserver and starts it again.
func (c *Cluster) RestartAPIServer(ctx context.Context) error {
	// Asked to end it waits a minute for its watches; killed it loses nothing, all is in etcd.
	c.apiServer.kill()
	return c.startAPIServer(ctx)
}

func (c *Cluster) startControllerManager(ctx context.Context) error {
	controllerManager, err := c.startBinary(&c.controllerManager, "kube-controller-manager",
		"--kubeconfig="+c.AdminKubeconfig,
		"--authentication-kubeconfig="+c.AdminKubeconfig,
		"--authorization-kubeconfig="+c.AdminKubeconfig,
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", c.ports.controllerManager),
		"--tls-cert-file="+c.path(servingCert),
		"--tls-private-key-file="+c.path(servingKey),
		"--leader-elect=false",
		"--use-service-account-credentials",
		"--service-account-private-key-file="+c.path(accountKey),
		"--root-ca-file="+c.CAFile,
		"--kube-api-qps=100",
		"--kube-api-burst=200",
	)
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAFile: c.CAFile}})
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	url := fmt.Sprintf("https://127.0.0.1:%d/healthz", c.ports.controllerManager)
	return controllerManager.waitReady(ctx, startTimeout, func(ctx context.Context) error {
		return getOK(ctx, client, url)
	})
}

// startBinary runs a binary of Assets, which takes the place of one that has ended; its log is in Dir.
func (c *Cluster) startBinary(place **process, name string, args ...string) (*process, error) {
	p, err := startProcess(name, c.path(name+".log"), c.Env(""), filepath.Join(c.Assets, name), args...)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	*place = p
	return p, nil
}

// Part is a process of the control plane, to be watched over. All may be started concurrently.
type Part struct {
	Name string
	// Exited returns a channel that is closed when the process that runs now has ended.
	Exited func() <-chan struct{}
	// Restart kills what is left of it and starts it again.
	Restart func(ctx context.Context) error
}

// Parts are etcd, kube-apiserver and kube-controller-manager.
func (c *Cluster) Parts() []Part {
	part := func(name string, place **process, start func(context.Context) error) Part {
		return Part{
			name, func() <-chan struct{} { return c.now(place).exited },
			func(ctx context.Context) error {
				c.now(place).kill()
				return start(ctx)
			},
		}
	}
	return []Part{
		part("etcd", &c.etcd, c.startEtcd),
		part("kube-apiserver", &c.apiServer, c.startAPIServer),
		part("kube-controller-manager", &c.controllerManager, c.startControllerManager),
	}
}

// now is the process that is in a place at this moment.
func (c *Cluster) now(place **process) *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *place
}

// Get asks the API server for a path as an administrator, and returns why it does not answer 200.
func (c *Cluster) Get(ctx context.Context, path string) error {
	client, err := rest.HTTPClientFor(c.Admin())
	if err != nil {
		return err
	}
	return getOK(ctx, client, c.Server+path)
}

func getOK(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(response.Body, 2048)) // which check failed
	return fmt.Errorf("GET %s: %s: %s", url, response.Status, bytes.TrimSpace(body))
}
