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
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	// OperatorNamespace is where the operator's service account, its Lease and its CA are.
	OperatorNamespace = "pat-operator-system"
	// RecordsNamespace is where the records are.
	RecordsNamespace = "pat-operator-records"

	serviceAccount  = "pat-operator"
	readyTimeout    = 60 * time.Second
	operatorTokenIn = int64(24 * 60 * 60) // seconds
)

// Operator is a running `manager run`. Its ports are those of every operator of the cluster.
type Operator struct {
	PID                                     int
	AdmissionPort, VerifierPort, HealthPort int
	// LogFile has what it prints; Cluster.Stop removes it.
	LogFile string

	process *process
}

// StartOperator runs Options.ManagerBinary as the operator's service account, with further flags of
// `manager run`, and waits until it is ready. The first time, it also lets `manager authn-kubeconfig` write what
// kube-apiserver needs and restarts kube-apiserver with it.
func (c *Cluster) StartOperator(ctx context.Context, args ...string) (*Operator, error) {
	if c.opts.ManagerBinary == "" {
		return nil, errors.New("Options.ManagerBinary is not set")
	}
	if c.operator != nil && c.operator.process.running() {
		return nil, fmt.Errorf("an operator (PID %d) is running at these addresses; stop it first", c.operator.PID)
	}
	kubeconfig, err := c.serviceAccountKubeconfig(ctx, OperatorNamespace, serviceAccount)
	if err != nil {
		return nil, fmt.Errorf("operator's service account: %w", err)
	}
	c.operators++
	c.opts.Logf("starting the operator")
	args = append([]string{
		"run", "--kubeconfig=" + kubeconfig,
		fmt.Sprintf("--admission-bind-address=127.0.0.1:%d", c.ports.admission),
		fmt.Sprintf("--verifier-bind-address=127.0.0.1:%d", c.ports.verifier),
		fmt.Sprintf("--health-probe-bind-address=127.0.0.1:%d", c.ports.health),
	}, args...)
	logFile := c.path(fmt.Sprintf("operator-%d.log", c.operators))
	process, err := startProcess("the operator", logFile, c.Env(""), c.opts.ManagerBinary, args...)
	if err != nil {
		return nil, err
	}
	operator := &Operator{
		PID:           process.pid(),
		AdmissionPort: c.ports.admission,
		VerifierPort:  c.ports.verifier,
		HealthPort:    c.ports.health,
		LogFile:       logFile,
		process:       process,
	}
	if err := c.settle(ctx, operator); err != nil {
		operator.Kill()
		return nil, err
	}
	c.operator = operator
	return operator, nil
}

// settle waits until the operator is ready and, the first time, connects kube-apiserver to it.
func (c *Cluster) settle(ctx context.Context, operator *Operator) error {
	if err := operator.WaitReady(ctx); err != nil || c.tokenWebhook != "" {
		return err
	}
	c.opts.Logf("writing kube-apiserver's webhook kubeconfig and restarting kube-apiserver with it")
	out := c.path("authn")
	if output, err := c.Command(ctx, "", c.opts.ManagerBinary, "authn-kubeconfig",
		"--kubeconfig="+c.AdminKubeconfig, "--server="+c.TokenReviewURL(), "--out="+out).CombinedOutput(); err != nil {
		return fmt.Errorf("manager authn-kubeconfig: %w\n%s", err, output)
	}
	c.AuthnKubeconfig = filepath.Join(out, "pat-operator-authn.kubeconfig")
	c.AuthnCAFile = filepath.Join(out, "pat-operator-ca.crt")
	if err := c.UseTokenWebhook(ctx, c.AuthnKubeconfig); err != nil {
		return err
	}
	return operator.WaitReady(ctx)
}

// WaitReady waits until GET /readyz answers 200. The error of one that does not get there ends with its log.
func (o *Operator) WaitReady(ctx context.Context) error {
	url := fmt.Sprintf("http://127.0.0.1:%d/readyz", o.HealthPort)
	return o.process.waitReady(ctx, readyTimeout, func(ctx context.Context) error {
		return getOK(ctx, http.DefaultClient, url)
	})
}

// Stop asks the operator to end (SIGTERM) and waits until it has.
func (o *Operator) Stop() error { return o.process.stop(30 * time.Second) }

// Kill ends the operator on the spot (SIGKILL).
func (o *Operator) Kill() { o.process.kill() }

// Exited is closed when the operator has ended.
func (o *Operator) Exited() <-chan struct{} { return o.process.exited }

// Log returns what the operator has printed so far; nothing once the cluster is stopped.
func (o *Operator) Log() string {
	log, err := os.ReadFile(o.LogFile)
	if err != nil {
		return ""
	}
	return string(log)
}

// serviceAccountKubeconfig writes a kubeconfig with a token of the account, as its pod would have.
func (c *Cluster) serviceAccountKubeconfig(ctx context.Context, namespace, name string) (string, error) {
	client, err := kubernetes.NewForConfig(c.Admin())
	if err != nil {
		return "", err
	}
	seconds := operatorTokenIn
	request, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	config := c.Anonymous()
	config.BearerToken = request.Status.Token
	return c.writeKubeconfig(name, config)
}
