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

package kubelet

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	remoteclient "k8s.io/client-go/tools/remotecommand"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

var kubelet *Kubelet

const namespace, podName = "default", "pod"

func TestMain(m *testing.M) {
	if flag.Parse(); !long.Form() {
		os.Exit(m.Run()) // All skip themselves.
	}
	os.Exit(cluster.RunTests(m, 4, run))
}

func run(ctx context.Context, _ string, tests func()) (err error) {
	root, err := cluster.ModuleRoot()
	if err != nil {
		return err
	}
	// Anything that is quick to install.
	c, err := cluster.Start(ctx, cluster.Options{ConfigDir: filepath.Join(root, "config", "namespaces")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	product, err := env.New(c)
	if err != nil {
		return err
	}
	if kubelet, err = Start(ctx, product); err != nil {
		return err
	}
	defer kubelet.Stop()
	if err := kubelet.Pod(ctx, namespace, podName); err != nil {
		return err
	}
	tests()
	return nil
}

func TestKubectl(t *testing.T) {
	long.Only(t)
	for _, old := range []bool{false, true} {
		k := Kubectl{Kubelet: kubelet, Kubeconfig: kubelet.product.AdminKubeconfig, Namespace: namespace, Pod: podName, Old: old}
		for _, o := range Operations {
			t.Run(fmt.Sprintf("%s, old protocols: %v", o.Name, old), func(t *testing.T) {
				t.Parallel()
				o.Check(t, k)
			})
		}
	}
}

// sizes is a terminal of 80×24 that is then made larger.
type sizes struct{ next []remoteclient.TerminalSize }

func (s *sizes) Next() *remoteclient.TerminalSize {
	if len(s.next) == 0 {
		return nil
	}
	size := s.next[0]
	s.next = s.next[1:]
	return &size
}

func TestTheSizeOfATerminalArrives(t *testing.T) {
	long.Only(t)
	config := kubelet.product.Cluster.Admin()
	to, err := url.Parse(kubelet.product.Server + "/api/v1/namespaces/" + namespace + "/pods/" + podName + "/exec?" +
		url.Values{"command": {"cat"}, "stdin": {"true"}, "stdout": {"true"}, "tty": {"true"}}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	for i, connect := range []func() (remoteclient.Executor, error){
		func() (remoteclient.Executor, error) {
			return remoteclient.NewWebSocketExecutor(config, http.MethodGet, to.String())
		},
		func() (remoteclient.Executor, error) {
			return remoteclient.NewSPDYExecutor(config, http.MethodPost, to)
		},
	} {
		executor := env.Must[remoteclient.Executor](t)(connect())
		want := remotecommand.TerminalSize{Width: 200 + uint16(i), Height: 50}
		in, typed := io.Pipe()
		var out strings.Builder
		ended := make(chan error, 1)
		go func() {
			ended <- executor.StreamWithContext(t.Context(), remoteclient.StreamOptions{
				Stdin: in, Stdout: &out, Tty: true,
				TerminalSizeQueue: &sizes{[]remoteclient.TerminalSize{{Width: 80, Height: 24}, {Width: want.Width, Height: want.Height}}},
			})
		}()
		env.Eventually(t, env.Patience, func() bool { return slices.Contains(kubelet.Sizes(), want) },
			func() string { return "the size does not arrive" })
		_, _ = io.WriteString(typed, "typed")
		_ = typed.Close()
		if err := within(t, ended, "the command does not end"); err != nil || out.String() != "typed" {
			t.Errorf("%q, %v", out.String(), err)
		}
	}
}

// Nobody but kube-apiserver runs commands here.
func TestOnlyKubeAPIServerMayAsk(t *testing.T) {
	long.Only(t)
	t.Parallel()
	const exec = "POST /exec/default/pod/main?command=id&output=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	for name, tc := range map[string]struct {
		certificates bool
		send, want   string
	}{
		"an administrator's certificate": {true, exec, "admin is not kube-apiserver"},
		"no certificate":                 {false, "", "certificate required"},
	} {
		t.Run(name, func(t *testing.T) {
			config := env.Must[*tls.Config](t)(rest.TLSConfigFor(kubelet.product.Cluster.Admin()))
			if !tc.certificates {
				config.GetClientCertificate, config.Certificates = nil, nil
			}
			conn, err := tls.Dial("tcp", kubelet.address, config)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if _, err := io.WriteString(conn, tc.send); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(conn)
			if got := fmt.Sprint(string(answer), err); !strings.Contains(got, tc.want) {
				t.Errorf("got %q; want %q", got, tc.want)
			}
		})
	}
}
