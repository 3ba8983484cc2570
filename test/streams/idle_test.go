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

package streams

import (
	"crypto/tls"
	"errors"
	"flag"
	"io"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/proxy"
	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/internal/verifier"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	made "github.com/pat-operator/pat-operator/test/issued"
	"github.com/pat-operator/pat-operator/test/kubelet"
	"github.com/pat-operator/pat-operator/test/long"
)

// idleFor is the long form, which make soak-idle asks for.
var idleFor = flag.Duration("idle", 0, "let streams be idle for so long, with the proxy's own pings, behind a middlebox that forgets after five minutes")

// idling is how long what takes.
type idling struct {
	// forgetful is how long a flow may be silent: kubectl itself pings shells every 5 seconds and forwarded ports every 10.
	forgetful time.Duration
	// pings is how often the proxy of these tests pings; 0 as every proxy does, each half a minute.
	pings time.Duration
	// silence is how long nobody says anything.
	silence time.Duration
}

func idlingNow() idling {
	if *idleFor > 0 {
		return idling{forgetful: 5 * time.Minute, silence: *idleFor}
	}
	return idling{forgetful: 12 * time.Second, pings: 2 * time.Second, silence: 36 * time.Second}
}

// middlebox passes connections on and forgets those in which nothing moves for a time, as load balancers do.
type middlebox struct {
	net.Listener
	to        string
	forgetful time.Duration
	forgotten atomic.Int64
}

func newMiddlebox(t *testing.T, to string, forgetful time.Duration) *middlebox {
	t.Helper()
	m := &middlebox{Listener: env.Must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0")), to: to, forgetful: forgetful}
	t.Cleanup(func() { _ = m.Close() })
	go func() {
		for {
			client, err := m.Accept()
			if err != nil {
				return
			}
			go m.pass(client)
		}
	}()
	return m
}

func (m *middlebox) pass(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", m.to)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	forget := time.AfterFunc(m.forgetful, func() {
		m.forgotten.Add(1)
		_ = errors.Join(client.Close(), server.Close())
	})
	defer forget.Stop()
	done := make(chan struct{}, 2)
	for to, from := range map[net.Conn]net.Conn{client: server, server: client} {
		go func() {
			_, _ = io.Copy(moves{to, forget, m.forgetful}, from)
			done <- struct{}{}
		}()
	}
	<-done
}

// moves notes that something moves.
type moves struct {
	io.Writer
	forget    *time.Timer
	forgetful time.Duration
}

func (m moves) Write(b []byte) (int, error) {
	m.forget.Reset(m.forgetful)
	return m.Writer.Write(b)
}

// behindMiddlebox is a kubeconfig of alice's for a proxy of this process behind a middlebox.
func behindMiddlebox(t *testing.T, every, forgetful time.Duration) (string, *middlebox) {
	t.Helper()
	index := verifier.NewIndex(logr.Discard())
	index.SetAPIAudiences([]string{"https://kubernetes.default.svc.cluster.local"})
	index.MarkSynced()
	token := made.New(t, team, "idle", v1alpha1.UserInfo{Username: alice.Name, Groups: alice.Groups})
	token.Feed(t, index)
	account := env.Must[*rest.Config](t)(product.ServiceAccount(t.Context(), cluster.OperatorNamespace, "pat-operator-impersonator"))
	transport := env.Must[*proxy.Transport](t)(proxy.NewTransport(account))
	handler := proxy.New(proxy.Options{
		Index: index, Upstream: env.Must[*url.URL](t)(url.Parse(product.Server)),
		Transport: transport.As(func() (string, bool) { return account.BearerToken, true }, nil), MaxRequests: 100, MaxRequestsPerToken: 100, Log: logr.Discard(),
	})
	certificate := env.Must[tls.Certificate](t)(product.ServingCertificate("127.0.0.1"))
	server := serving.NewStreamServer(handler, &tls.Config{
		Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12,
	}, 100, nil, logr.Discard())
	if every > 0 {
		server.HTTP.HTTP2.SendPingTimeout = every
	}
	listener := env.Must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	go func() { _ = server.HTTP.ServeTLS(server.Limit(listener), "", "") }() // ends with the test
	t.Cleanup(func() { _ = server.HTTP.Close() })
	m := newMiddlebox(t, listener.Addr().String(), forgetful)
	config := product.Anonymous()
	config.Host, config.BearerToken = "https://"+m.Addr().String(), token.Bearer
	return env.Must[string](t)(product.Kubeconfig("alice", config)), m
}

// A watch, shells and forwarded ports in which nobody says anything outlive what forgets silent connections.
func TestIdleStreamsSurviveAMiddlebox(t *testing.T) {
	long.Only(t)
	if err := node.Pod(t.Context(), team, "idle"); err != nil {
		t.Fatal(err)
	}
	times := idlingNow()
	kubeconfig, _ := behindMiddlebox(t, times.pings, times.forgetful)
	unpinged, forgetting := behindMiddlebox(t, time.Hour, times.forgetful)
	watch := func(kubeconfig string, old bool) *kubelet.Session {
		s := kubectl(kubeconfig, "idle", old).Start(t, "get", "pod", "idle", "--watch", "--no-headers", "--show-labels")
		s.Line(t)
		return s
	}
	pinged := watch(kubeconfig, false)
	// kubectl itself pings HTTP/2 each half a minute, which what forgets after five would see.
	watch(unpinged, *idleFor > 0)
	shells := map[string]*kubelet.Session{}
	for name, old := range map[string]bool{"over WebSocket": false, "over SPDY": true} {
		k := kubectl(kubeconfig, "idle", old)
		shells["a shell "+name] = k.Start(t, "exec", "-i", "idle", "--", "sh", "-c", "echo go; exec cat")
		shells["an attachment "+name] = k.Start(t, "attach", "-i", "idle")
	}
	for _, s := range shells {
		s.Line(t)
	}
	ports := map[string]string{}
	for name, old := range map[string]bool{"over WebSocket": false, "over SPDY": true} {
		_, ports[name] = kubectl(kubeconfig, "idle", old).Forward(t)
	}

	<-time.After(times.silence)

	if forgetting.forgotten.Load() == 0 {
		t.Error("the middlebox forgets nothing: this test shows nothing")
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: "idle"}}
	if err := product.Admin.Patch(t.Context(), pod, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"still":"there"}}}`))); err != nil {
		t.Fatal(err)
	}
	if line := pinged.Line(t); !strings.Contains(line, "still=there") {
		t.Errorf("the watch says %q", line)
	}
	for name, s := range shells {
		if _, err := io.WriteString(s, "still there\n"); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if line := s.Line(t); line != "still there\n" {
			t.Errorf("%s says %q", name, line)
		}
	}
	for name, address := range ports {
		if got, err := kubelet.Echo(address, "still there"); err != nil || got != "still there" {
			t.Errorf("the port forwarded %s says %q, %v", name, got, err)
		}
	}
}
