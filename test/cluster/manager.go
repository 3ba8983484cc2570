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
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	// OperatorNamespace is where the service accounts, the Lease and the CAs are.
	OperatorNamespace = "pat-operator-system"
	// RecordsNamespace is where the records are.
	RecordsNamespace = "pat-operator-records"
	// OperatorAccount is the service account of the operator, in its namespace.
	OperatorAccount = "pat-operator"
	// OperatorUser is the user name of that account.
	OperatorUser = accountPrefix + OperatorAccount
	// VerifierUser is the user name of the verifier's account.
	VerifierUser = accountPrefix + verifierAccount

	accountPrefix   = "system:serviceaccount:" + OperatorNamespace + ":"
	verifierAccount = "pat-operator-verifier"
	proxyAccount    = "pat-operator-proxy"
	apiAccount      = "pat-operator-api"
	// authnConfigMap has the files that kube-apiserver reads. Tests of internal packages use this one, so it imports none of them.
	authnConfigMap = "pat-operator-authn"
	readyTimeout   = 3 * time.Minute
	// probeInterval is how often readiness is asked, probeTimeout how long an answer may take, and probeFailures how
	// often in a row there may be none, as with kubelet: on a busy machine one says nothing.
	probeInterval   = 200 * time.Millisecond
	probeTimeout    = time.Second
	probeFailures   = 3
	operatorTokenIn = int64(24 * 60 * 60) // seconds
	raceReport      = 4000                // bytes of a report, at most
)

// API is the Command of `manager verifier --faces=api`.
const API = "api"

// ManagerOptions say which manager to start, and how.
type ManagerOptions struct {
	// Command is operator, verifier, run, proxy or API.
	Command string
	// Args are further flags of the command.
	Args []string
	// Server is how it reaches the API server; default: as everybody does. A proxy in between needs a certificate of this
	// cluster's: ServingCertificate.
	Server string
	// Apart keeps it out of the Services: it is asked at its own port only, and may end at any time.
	Apart bool
	// Console lets it serve the console at Cluster.ConsoleURL, signing people in at the cluster's issuer where it has one.
	// There is one such address: only one manager at a time can have it.
	Console bool
}

// Manager is a running `manager operator`, `manager verifier`, with either face, `manager run` or `manager proxy`.
type Manager struct {
	// Command is what it was started as.
	Command string
	PID     int
	// AdmissionPort, VerifierPort, ProxyPort and APIPort are its own, 0 where it does not serve it; the Services lead to the first two.
	AdmissionPort, VerifierPort, ProxyPort, APIPort, HealthPort, MetricsPort int
	// LogFile has what it prints; Cluster.Stop removes it.
	LogFile string

	process *process
	// inService is whether the Services lead to it, as the endpoints of a cluster would say.
	inService atomic.Bool
	apart     bool
	leaving   atomic.Bool
}

// StartOperator starts `manager operator`, with further flags of it.
func (c *Cluster) StartOperator(ctx context.Context, args ...string) (*Manager, error) {
	return c.StartManager(ctx, ManagerOptions{Command: "operator", Args: args})
}

// StartVerifier starts `manager verifier`, with further flags of it.
func (c *Cluster) StartVerifier(ctx context.Context, args ...string) (*Manager, error) {
	return c.StartManager(ctx, ManagerOptions{Command: "verifier", Args: args})
}

// StartManager runs Options.ManagerBinary as the service account of its Deployment, at ports of its own, and waits until
// it is ready; the first one that admits, until it issues. kube-apiserver is restarted with what the first one that verifies
// publishes. Start that one before an operator, which on a busy machine loses its lease meanwhile.
func (c *Cluster) StartManager(ctx context.Context, o ManagerOptions) (*Manager, error) {
	if c.opts.ManagerBinary == "" {
		return nil, errors.New("Options.ManagerBinary is not set")
	}
	m := &Manager{Command: o.Command, apart: o.Apart}
	account, command := OperatorAccount, []string{o.Command}
	ports := map[string]*int{"--health-probe-bind-address": &m.HealthPort, "--metrics-bind-address": &m.MetricsPort}
	switch o.Command {
	case "verifier":
		account, ports["--verifier-bind-address"] = verifierAccount, &m.VerifierPort
	case "proxy":
		account, ports["--proxy-bind-address"] = proxyAccount, &m.ProxyPort
	case API:
		account, ports["--api-bind-address"] = apiAccount, &m.APIPort
		command = []string{"verifier", "--faces=api"}
	case "run":
		ports["--verifier-bind-address"] = &m.VerifierPort
		fallthrough
	default:
		ports["--admission-bind-address"] = &m.AdmissionPort
	}
	kubeconfig, err := c.serviceAccountKubeconfig(ctx, OperatorNamespace, account, o.Server)
	if err != nil {
		return nil, fmt.Errorf("service account of the %s: %w", o.Command, err)
	}
	args := append(command, "--kubeconfig="+kubeconfig)
	for flag, port := range ports {
		if *port, err = c.reserved.take(); err != nil {
			return nil, err
		}
		args = append(args, fmt.Sprintf("%s=127.0.0.1:%d", flag, *port))
	}
	if m.VerifierPort != 0 {
		args = append(args, "--verifier-url="+c.TokenReviewURL(), fmt.Sprintf("--kube-apiservers=127.0.0.1:%d", c.ports.apiServer))
	}
	if m.ProxyPort != 0 {
		args = append(args, "--proxy-external-url="+m.ProxyURL())
	}
	if m.APIPort != 0 {
		args = append(args, "--api-external-url="+m.APIURL())
	}
	if o.Console {
		args = append(args, c.consoleArgs()...)
	}
	c.opts.Logf("starting the %s", o.Command)
	m.LogFile = c.path(fmt.Sprintf("%s-%d.log", o.Command, c.started.Add(1)))
	if m.process, err = startProcess("the "+o.Command, m.LogFile, c.Env(""), c.opts.ManagerBinary, append(args, o.Args...)...); err != nil {
		return nil, err
	}
	m.PID = m.process.pid()
	c.mu.Lock()
	c.managers = append(c.managers, m)
	c.mu.Unlock()
	go c.follow(m)
	if err := c.settle(ctx, m); err != nil {
		m.Kill()
		return nil, err
	}
	if m.AdmissionPort != 0 && !c.accepted && c.guarded(ctx) {
		c.opts.Logf("waiting until the operator accepts the guards of admission")
		if err := c.WaitAccepted(ctx); err != nil {
			log := m.Log()
			m.Kill()
			return nil, fmt.Errorf("%w\n%s", err, log)
		}
		c.accepted = true
	}
	return m, nil
}

// settle waits until a manager is ready and, with the first that verifies, connects kube-apiserver to it.
func (c *Cluster) settle(ctx context.Context, m *Manager) error {
	if err := m.WaitReady(ctx); err != nil || m.VerifierPort == 0 || c.tokenWebhook != "" {
		return err
	}
	c.opts.Logf("restarting kube-apiserver with the files that the verifier publishes")
	if err := c.takeAuthnFiles(ctx); err != nil {
		return err
	}
	c.tokenWebhook, c.authorizer = c.AuthnKubeconfig, c.AuthorizationConfig
	if err := c.RestartAPIServer(ctx); err != nil {
		return err
	}
	return m.WaitReady(ctx)
}

// takeAuthnFiles writes what the verifier has published for kube-apiserver into a folder, as docs/install.md tells to.
func (c *Cluster) takeAuthnFiles(ctx context.Context) error {
	clientset, err := kubernetes.NewForConfig(c.Admin())
	if err != nil {
		return err
	}
	var published *corev1.ConfigMap
	if err := wait.PollUntilContextTimeout(ctx, probeInterval, readyTimeout, true, func(ctx context.Context) (bool, error) {
		var err error
		published, err = clientset.CoreV1().ConfigMaps(OperatorNamespace).Get(ctx, authnConfigMap, metav1.GetOptions{})
		return err == nil && published.Data["kubeconfig-scoped"] != "", err
	}); err != nil {
		return fmt.Errorf("the ConfigMap %s: %w", authnConfigMap, err)
	}
	dir := c.path("authn")
	c.AuthnKubeconfig, c.AuthnCAFile = filepath.Join(dir, "pat-operator-authn.kubeconfig"), filepath.Join(dir, "pat-operator-ca.crt")
	c.AuthorizationConfig = filepath.Join(dir, "authorization.yaml")
	authorizer := filepath.Join(dir, "pat-operator-authorizer.kubeconfig")
	return errors.Join(
		os.MkdirAll(dir, 0o700),
		os.WriteFile(c.AuthnKubeconfig, []byte(published.Data["kubeconfig-scoped"]), 0o600),
		os.WriteFile(authorizer, []byte(published.Data["kubeconfig-authorizer"]), 0o600),
		os.WriteFile(c.AuthorizationConfig, c.authorizationConfig(authorizer), 0o600),
		os.WriteFile(c.AuthnCAFile, []byte(published.Data["ca.crt"]), 0o600),
	)
}

// follow puts a manager into service while it is ready, as kubelet and the endpoints' controller would.
func (c *Cluster) follow(m *Manager) {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	silent := 0
	for {
		err := m.Ready(context.Background())
		if errors.Is(err, context.DeadlineExceeded) {
			silent++
		} else {
			silent = 0
		}
		if silent == 0 || silent == probeFailures {
			m.inService.Store(!m.leaving.Load() && err == nil)
		}
		select {
		case <-tick.C:
		case <-m.process.exited:
			m.inService.Store(false)
			c.reserved.give(m.AdmissionPort, m.VerifierPort, m.ProxyPort, m.APIPort, m.HealthPort, m.MetricsPort)
			return
		}
	}
}

// running are the managers that have not ended.
func (c *Cluster) running() []*Manager {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*Manager
	for _, m := range c.managers {
		if m.process.running() {
			out = append(out, m)
		}
	}
	c.managers = out
	return append([]*Manager(nil), out...)
}

// APIURL is where the API face is served.
func (m *Manager) APIURL() string { return fmt.Sprintf("https://127.0.0.1:%d", m.APIPort) }

// ProxyURL is where a proxy serves the Kubernetes API.
func (m *Manager) ProxyURL() string { return fmt.Sprintf("https://127.0.0.1:%d", m.ProxyPort) }

// MetricsURL is where its metrics are, for those who may get the path /metrics.
func (m *Manager) MetricsURL() string {
	return fmt.Sprintf("https://127.0.0.1:%d/metrics", m.MetricsPort)
}

// Ready says why GET /readyz does not answer 200, or nil.
func (m *Manager) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return getOK(ctx, http.DefaultClient, fmt.Sprintf("http://127.0.0.1:%d/readyz?verbose", m.HealthPort))
}

// WaitReady waits until it is ready and in service. The error of one that does not get there ends with its log.
func (m *Manager) WaitReady(ctx context.Context) error {
	return m.process.waitReady(ctx, readyTimeout, func(ctx context.Context) error {
		if err := m.Ready(ctx); err != nil {
			return err
		}
		if !m.inService.Load() {
			return errors.New("it is not in service yet")
		}
		return nil
	})
}

// Stop takes the manager out of service, asks it to end (SIGTERM), and waits until it has.
func (m *Manager) Stop() error {
	m.leaving.Store(true)
	m.inService.Store(false)
	_ = m.Resume()
	return m.process.stop(90 * time.Second)
}

// Kill ends the manager on the spot (SIGKILL).
func (m *Manager) Kill() { m.process.kill() }

// Pause freezes the manager (SIGSTOP).
func (m *Manager) Pause() error { return m.process.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets a frozen manager go on (SIGCONT).
func (m *Manager) Resume() error { return m.process.cmd.Process.Signal(syscall.SIGCONT) }

// Exited is closed when the manager has ended.
func (m *Manager) Exited() <-chan struct{} { return m.process.exited }

// Log returns what the manager has printed so far; nothing once the cluster is stopped.
func (m *Manager) Log() string {
	log, err := os.ReadFile(m.LogFile)
	if err != nil {
		return ""
	}
	return string(log)
}

// ManagerLogs returns what every manager has printed so far; nothing once the cluster is stopped.
func (c *Cluster) ManagerLogs() (string, error) {
	files, err := filepath.Glob(c.path("*-[0-9]*.log"))
	if err != nil {
		return "", err
	}
	var all strings.Builder
	for _, file := range files {
		log, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		all.Write(log)
	}
	return all.String(), nil
}

// races returns what the race detector has reported in a manager.
func (c *Cluster) races() error {
	logs, err := c.ManagerLogs()
	if _, race, found := strings.Cut(logs, "WARNING: DATA RACE"); found {
		return fmt.Errorf("a manager raced:\n%s", race[:min(len(race), raceReport)])
	}
	return err
}

// ServiceAccount returns the configuration of a service account, with a token as its pod would have.
func (c *Cluster) ServiceAccount(ctx context.Context, namespace, name string) (*rest.Config, error) {
	client, err := kubernetes.NewForConfig(c.Admin())
	if err != nil {
		return nil, err
	}
	seconds := operatorTokenIn
	request, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	config := c.Anonymous()
	config.BearerToken = request.Status.Token
	return config, nil
}

// serviceAccountKubeconfig writes a kubeconfig of the account; server is another way to the API server, or "".
func (c *Cluster) serviceAccountKubeconfig(ctx context.Context, namespace, name, server string) (string, error) {
	config, err := c.ServiceAccount(ctx, namespace, name)
	if err != nil {
		return "", err
	}
	if server != "" {
		config.Host = server
	}
	return c.Kubeconfig(name, config)
}
