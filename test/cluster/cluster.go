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

// Package cluster runs a real control plane (etcd, kube-apiserver, kube-controller-manager) and the manager
// binary as child processes on 127.0.0.1, wired up the way the documentation tells an administrator to: install
// config/default, start operator and verifier, take the files that the verifier publishes for kube-apiserver, restart
// kube-apiserver with them. For the end-to-end tests, the demo and the dev cluster.
//
// envtest is not used, since its kube-apiserver outlives a killed test and tells nobody its PID.
package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"k8s.io/client-go/rest"

	"github.com/pat-operator/pat-operator/test/issuer"
)

// Options of a cluster. The zero value is a control plane with config/default installed.
type Options struct {
	// Assets is the folder with etcd, kube-apiserver, kube-controller-manager and kubectl.
	// Default: $KUBEBUILDER_ASSETS.
	Assets string
	// ConfigDir is the kustomization to install. Default: config/default of the module that the working
	// directory belongs to.
	ConfigDir string
	// ManagerBinary is what StartManager runs; see BuildManager.
	ManagerBinary string
	// Audit makes kube-apiserver write AuditLog by config/apiserver/audit-policy.yaml.
	Audit bool
	// APIServerArgs are further flags of kube-apiserver, in the form --name=value.
	APIServerArgs []string
	// Issuer gives the cluster an OpenID Connect issuer with these people, whom kube-apiserver knows by their names and
	// groups, and a console can sign in. None where it is empty.
	Issuer []issuer.User
	// Logf is told what is being done, t.Logf for instance. Default: nobody is.
	Logf func(format string, args ...any)
}

// Cluster is a running control plane. Its methods that start and stop processes of the control plane are not for
// concurrent use, Parts aside; those that start and stop managers are, once one verifies.
type Cluster struct {
	// Dir holds everything that the cluster has written, logs included. Stop removes it.
	Dir string
	// Assets is the folder with the control plane's binaries and kubectl.
	Assets string
	// Minor is the minor version of their Kubernetes 1, such as 37.
	Minor int
	// Server is the API server's URL.
	Server string
	// CAFile verifies the API server.
	CAFile string
	// AdminKubeconfig is a kubeconfig of a member of system:masters.
	AdminKubeconfig string
	// AnonymousKubeconfig has only the server and its CA: for `kubectl --token`.
	AnonymousKubeconfig string
	// AuthnKubeconfig and AuthnCAFile are what the verifier has published: kube-apiserver's way to
	// the TokenReview webhook, and the CA that verifies the verifier's faces. There from the first
	// manager on that verifies.
	AuthnKubeconfig, AuthnCAFile string
	// AuthorizationConfig has kube-apiserver enforce the scopes of tokens.
	AuthorizationConfig string
	// AuditLog is kube-apiserver's audit log; empty without Options.Audit.
	AuditLog string
	// ConsoleURL is where the manager with ManagerOptions.Console serves the console.
	ConsoleURL string
	// IssuerURL and Issuer are the OpenID Connect issuer; there with Options.Issuer.
	IssuerURL string
	Issuer    *issuer.Issuer

	opts         Options
	ca           *authority
	egress       *egress
	reserved     reservedPorts
	ports        ports
	accepted     bool   // an operator has accepted the guards of admission
	tokenWebhook string // kubeconfig that kube-apiserver is started with; empty: none
	// tokenWebhookArgs are further flags of it.
	tokenWebhookArgs []string
	// authorizer is the AuthorizationConfiguration that kube-apiserver is started with; empty: none.
	authorizer      string
	admissionConfig string // file that kube-apiserver is started with; empty: none

	etcd, apiServer, controllerManager *process
	admission, verifier                *service
	issuer                             *http.Server

	started  atomic.Int32 // managers so far
	mu       sync.Mutex   // guards managers, and which processes the control plane has
	managers []*Manager
}

// ports stay the same for the life of a cluster, restarts included.
type ports struct {
	etcd, etcdPeer, apiServer, controllerManager int
	admission, verifier                          int // of the Services
	issuer, console                              int
}

// Start brings up the control plane and installs Options.ConfigDir, workloads aside. ctx bounds the starting
// only; the cluster runs until Stop. Where Start fails, nothing is left.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	if opts.Logf == nil {
		opts.Logf = func(string, ...any) {}
	}
	if opts.Assets == "" {
		opts.Assets = os.Getenv("KUBEBUILDER_ASSETS")
	}
	if opts.Assets == "" {
		return nil, errors.New("KUBEBUILDER_ASSETS is not set; run make test, make demo or make dev, " +
			"or set it to what hack/controlplane/assets.sh prints")
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kubectl"} {
		if _, err := os.Stat(filepath.Join(opts.Assets, name)); err != nil {
			return nil, fmt.Errorf("%w; run make controlplane", err)
		}
	}
	if opts.ConfigDir == "" {
		root, err := ModuleRoot()
		if err != nil {
			return nil, err
		}
		opts.ConfigDir = filepath.Join(root, "config", "default")
	}

	minor, err := minorVersion(ctx, opts.Assets)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pat-cluster-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{Dir: dir, Assets: opts.Assets, Minor: minor, opts: opts}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	for _, port := range []*int{
		&c.ports.etcd, &c.ports.etcdPeer, &c.ports.apiServer, &c.ports.controllerManager,
		&c.ports.admission, &c.ports.verifier, &c.ports.issuer, &c.ports.console,
	} {
		var err error
		if *port, err = c.reserved.take(); err != nil {
			return err
		}
	}
	if err := c.prepare(); err != nil {
		return err
	}
	c.opts.Logf("starting etcd and kube-apiserver on %s", c.Server)
	if err := c.startEtcd(ctx); err != nil {
		return err
	}
	if err := c.startAPIServer(ctx); err != nil {
		return err
	}
	c.opts.Logf("installing %s", c.opts.ConfigDir)
	if err := c.install(ctx); err != nil {
		if !c.apiServer.running() { // seen once; its log goes with the cluster
			err = fmt.Errorf("%w; kube-apiserver has ended (%s), its log ends:\n%s", err, c.apiServer.cmd.ProcessState, c.apiServer.logTail())
		}
		return fmt.Errorf("install %s: %w", c.opts.ConfigDir, err)
	}
	// After the installation, since the garbage collector looks for new kinds only every 30 seconds.
	c.opts.Logf("starting kube-controller-manager")
	return c.startControllerManager(ctx)
}

// prepare writes the certificates and kubeconfigs.
func (c *Cluster) prepare() error {
	c.Server = fmt.Sprintf("https://127.0.0.1:%d", c.ports.apiServer)
	c.ConsoleURL = fmt.Sprintf("https://127.0.0.1:%d", c.ports.console)
	c.CAFile = c.path(caFile)
	if c.opts.Audit {
		c.AuditLog = c.path("audit.log")
	}
	var err error
	if c.ca, err = newAuthority(); err != nil {
		return err
	}
	if err := c.ca.writePKI(c.Dir); err != nil {
		return err
	}
	if c.egress, err = startEgress(c.Dir); err != nil {
		return err
	}
	if err := c.startServices(); err != nil {
		return err
	}
	if err := c.startIssuer(); err != nil {
		return err
	}
	if _, c.AdminKubeconfig, err = c.User("admin", "system:masters"); err != nil {
		return err
	}
	c.AnonymousKubeconfig, err = c.Kubeconfig("anonymous", c.Anonymous())
	return err
}

// Stop ends every process of the cluster, the managers first, and removes Dir. A data race that the race detector has seen in
// a manager is an error.
func (c *Cluster) Stop() error {
	var errs []error
	var stopping sync.WaitGroup
	managers := c.running()
	stopped := make([]error, len(managers))
	for i, m := range managers {
		stopping.Go(func() { stopped[i] = m.Stop() })
	}
	stopping.Wait()
	errs = append(errs, stopped...)
	errs = append(errs, c.controllerManager.stop(time.Minute))
	// Nothing that these two could still write is kept.
	c.apiServer.kill()
	c.etcd.kill()
	c.egress.stop()
	c.admission.stop()
	c.verifier.stop()
	c.stopIssuer()
	c.reserved.release()
	errs = append(errs, c.races(), os.RemoveAll(c.Dir))
	return errors.Join(errs...)
}

// APIServerPID is kube-apiserver's process id; a restart changes it.
func (c *Cluster) APIServerPID() int { return c.now(&c.apiServer).pid() }

// EtcdPID is etcd's process id.
func (c *Cluster) EtcdPID() int { return c.etcd.pid() }

// PauseEtcd freezes etcd (SIGSTOP): the API server lives on and cannot read anything new.
func (c *Cluster) PauseEtcd() error { return c.etcd.cmd.Process.Signal(syscall.SIGSTOP) }

// ResumeEtcd lets etcd go on (SIGCONT).
func (c *Cluster) ResumeEtcd() error { return c.etcd.cmd.Process.Signal(syscall.SIGCONT) }

// ServingCertificate is one that clients of this cluster's API server trust, for a proxy in front of it.
func (c *Cluster) ServingCertificate(hosts ...string) (tls.Certificate, error) {
	crt, key, err := c.ca.issue(pkix.Name{CommonName: "proxy"}, x509.ExtKeyUsageServerAuth, hosts...)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(crt, key)
}

// TokenReviewURL is the TokenReview face, at the address of the verifier's Service.
func (c *Cluster) TokenReviewURL() string {
	return fmt.Sprintf("https://127.0.0.1:%d/authenticate", c.ports.verifier)
}

// Admin returns the configuration of a member of system:masters.
func (c *Cluster) Admin() *rest.Config {
	config, err := loadKubeconfig(c.AdminKubeconfig)
	if err != nil {
		panic(err) // we wrote that file
	}
	return config
}

func (c *Cluster) path(name string) string { return filepath.Join(c.Dir, name) }
