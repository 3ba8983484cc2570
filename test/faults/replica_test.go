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

package faults

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"
	"k8s.io/utils/ptr"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/faults/proxy"
)

// maxStaleness is as short as it may be set.
const maxStaleness = 20 * time.Second

// replica is a verifier behind a proxy of its own.
type replica struct {
	name  string
	proxy *proxy.Proxy
	face  *face

	ready string // URL
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

// startReplica starts a verifier that reaches the API server through a new proxy, and waits until it is ready.
func startReplica(ctx context.Context, name string) (*replica, error) {
	r := &replica{name: name, log: filepath.Join(cl.Dir, "replica-"+name+".log"), ended: make(chan struct{})}
	if err := r.start(ctx); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

func (r *replica) start(ctx context.Context) (err error) {
	crt, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(crt, key)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cl.Anonymous().CAData)
	if r.proxy, err = proxy.New(proxy.Options{Upstream: cl.Server, RootCAs: pool, Certificate: pair}); err != nil {
		return err
	}
	kubeconfig, err := r.kubeconfig(ctx, crt)
	if err != nil {
		return err
	}
	var ports [3]int
	for i := range ports {
		if ports[i], err = freePort(); err != nil {
			return err
		}
	}
	r.ready = fmt.Sprintf("http://127.0.0.1:%d/readyz?verbose", ports[2])
	if r.face, err = newFace(fmt.Sprintf("https://127.0.0.1:%d/authenticate", ports[1])); err != nil {
		return err
	}
	log, err := os.Create(r.log)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	r.cmd = cl.Command(context.WithoutCancel(ctx), "", managerBinary, "run", "--kubeconfig="+kubeconfig,
		fmt.Sprintf("--admission-bind-address=127.0.0.1:%d", ports[0]),
		fmt.Sprintf("--verifier-bind-address=127.0.0.1:%d", ports[1]),
		fmt.Sprintf("--health-probe-bind-address=127.0.0.1:%d", ports[2]),
		"--max-staleness="+maxStaleness.String())
	r.cmd.Stdout, r.cmd.Stderr = log, log
	if err := r.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = r.cmd.Wait()
		close(r.ended)
	}()
	if err := poll(ctx, patience, func() error { return r.readyNow(ctx) }); err != nil {
		text, _ := os.ReadFile(r.log)
		return fmt.Errorf("%s is not ready: %w; its log ends:\n%s", r.name, err, text[max(0, len(text)-3000):])
	}
	return nil
}

// kubeconfig is the operator's service account's, by way of the proxy.
func (r *replica) kubeconfig(ctx context.Context, ca []byte) (string, error) {
	clientset, err := kubernetes.NewForConfig(cl.Admin())
	if err != nil {
		return "", err
	}
	request, err := clientset.CoreV1().ServiceAccounts(cluster.OperatorNamespace).CreateToken(ctx, "pat-operator",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](86400)}}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["pat"] = &clientcmdapi.Cluster{Server: r.proxy.URL, CertificateAuthorityData: ca}
	config.AuthInfos["pat"] = &clientcmdapi.AuthInfo{Token: request.Status.Token}
	config.Contexts["pat"] = &clientcmdapi.Context{Cluster: "pat", AuthInfo: "pat"}
	config.CurrentContext = "pat"
	path := filepath.Join(cl.Dir, "replica-"+r.name+".kubeconfig")
	return path, clientcmd.WriteToFile(*config, path)
}

func (r *replica) stop() {
	if r.cmd != nil && r.cmd.Process != nil {
		_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
		<-r.ended
	}
	if r.proxy != nil {
		r.proxy.Close()
	}
}

// pool are the replicas of these tests, one for each of faults(); started when they are first needed.
var pool []*replica

func thePool(t *testing.T) []*replica {
	t.Helper()
	if pool != nil {
		return pool
	}
	started := make([]*replica, len(faults()))
	errs := make([]error, len(started))
	var starting sync.WaitGroup
	for i := range started {
		starting.Go(func() { started[i], errs[i] = startReplica(t.Context(), fmt.Sprint(i)) })
	}
	starting.Wait()
	for _, r := range started {
		if r != nil {
			pool = append(pool, r)
		}
	}
	if err := errors.Join(errs...); err != nil {
		stopPool()
		t.Fatal(err)
	}
	return pool
}

func stopPool() {
	for _, r := range pool {
		r.stop()
	}
	pool = nil
}

// errUnready: the replica answers, and says that it is not ready.
var errUnready = errors.New("unready")

// readyNow asks for readiness once.
func (r *replica) readyNow(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.ready, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%w: %s", errUnready, text)
	}
	return err
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}
