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
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/audit"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	faults "github.com/pat-operator/pat-operator/test/faults/proxy"
	"github.com/pat-operator/pat-operator/test/kubelet"
	"github.com/pat-operator/pat-operator/test/long"
)

// stream is one that kubectl has open.
type stream struct {
	name    string
	session *kubelet.Session
	// told reports that kubectl prints why it ends, and quiet that it ends as if all were well: SPDY has no word for it, and
	// kubectl succeeds whatever ends a watch.
	told, quiet bool
	// conn goes through a forwarded port.
	conn net.Conn
}

// large is the name of a file of zeros that nobody reads to its end: commands are slow.
const large = "large"

// openStreams opens one of each kind with a pod of its own, and returns when those that say something have.
func openStreams(t *testing.T, k kubelet.Kubectl) []*stream {
	t.Helper()
	if err := os.WriteFile(filepath.Join(node.Dir, large), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(node.Dir, large), 1<<40); err != nil {
		t.Fatal(err)
	}
	pod := k.Pod
	if err := node.Pod(t.Context(), team, pod); err != nil {
		t.Fatal(err)
	}
	begins := func(s *stream, line string) *stream {
		t.Helper()
		if got := s.session.Line(t); !strings.HasPrefix(got, line) {
			t.Fatalf("%s begins with %q", s.name, got)
		}
		return s
	}
	streams := []*stream{
		{name: "exec", session: k.Start(t, "exec", "-i", pod, "--", "sh", "-c", "echo go; exec cat"), told: !k.Old, quiet: k.Old},
		{name: "attach", session: k.Start(t, "attach", "-i", pod), told: !k.Old, quiet: k.Old},
		{name: "logs -f", session: k.Start(t, "logs", "-f", pod)},
		{name: "get --watch", session: k.Start(t, "get", "pod", pod, "--watch", "--no-headers"), told: true, quiet: true},
		{name: "cp", session: k.Start(t, "cp", pod+":"+large, os.DevNull)},
		{name: "exec that says much", session: k.Start(t, "exec", pod, "--", "cat", large), quiet: k.Old},
	}
	for i, line := range []string{"go", "attached", "line 0", pod} {
		begins(streams[i], line)
	}
	if _, err := streams[5].session.Stdout.Peek(1); err != nil {
		t.Fatal(err)
	}
	streams[5].session.Discard()
	forward, address := k.Forward(t)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, "go\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "go\n" {
		t.Fatalf("the forwarded port says %q, %v", line, err)
	}
	streams = append(streams, &stream{name: "port-forward", session: forward, conn: conn})
	return streams
}

// areCut expects that streams end soon, as an error where the protocol has one.
func areCut(t *testing.T, streams []*stream, says string) {
	t.Helper()
	for _, s := range streams {
		got := s.session.Wait(t)
		t.Logf("%s ends with exit code %d, %.200q and %q", s.name, got.Code, got.Stdout, got.Stderr)
		if got.Code != 1 && (!s.quiet || got.Code != 0) {
			t.Errorf("%s ends with exit code %d", s.name, got.Code)
		}
		if s.told && !strings.Contains(got.Stdout+got.Stderr, says) {
			t.Errorf("%s says %q and %q; want %q in it", s.name, got.Stdout, got.Stderr, says)
		}
		if s.conn == nil {
			continue
		}
		_ = s.conn.SetReadDeadline(time.Now().Add(env.Patience))
		if n, err := s.conn.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
			t.Errorf("the forwarded port still says something: %d, %v", n, err)
		}
	}
}

// endings are the ways in which a token ends, or becomes less than it was.
var endings = []struct {
	name string
	// spec is what the token is made with, do what is done to it: by a patch of the resource, or else of its status.
	spec   v1alpha1.PersonalAccessTokenSpec
	patch  string
	status bool
	says   string
	why    string
}{
	{name: "revoked", patch: `{"status":{"revoked":[{"tokenID":"<id>"}]}}`, status: true, says: "it has ended; make another one", why: "Cut:Ended"},
	{name: "deleted", patch: deleted, says: "it has ended; make another one", why: "Cut:Ended"},
	{name: "suspended", patch: `{"spec":{"suspend":true}}`, says: "it is suspended; ask who suspended it", why: "Cut:Suspended"},
	{name: "expired", spec: v1alpha1.PersonalAccessTokenSpec{ExpiresAt: &metav1.Time{}}, says: "it has expired; make another one", why: "Cut:Expired"},
	{name: "replaced", patch: `{"spec":{"rotation":{"trigger":"now"}}}`, says: "it has ended; make another one", why: "Cut:Ended"},
	{name: "with fewer scopes", patch: `{"spec":{"scopes":[{"preset":"read-only"}]}}`, says: "its user or its limits have changed; connect again", why: "Cut:Changed"},
}

const (
	deleted = "deleted"
	// lifetime of the token that expires: long enough to open everything that it is to end.
	lifetime = 45 * time.Second
)

const notHonored = "the personal access token is not honored any more: "

func TestCase68_WhatIsOpenEndsWithItsToken(t *testing.T) {
	long.Only(t)
	for i, e := range endings {
		t.Run(e.name, func(t *testing.T) {
			if e.spec.ExpiresAt != nil {
				e.spec.ExpiresAt = &metav1.Time{Time: time.Now().Add(lifetime)}
			}
			p, kubeconfig := issued(t, front, e.spec)
			pod := fmt.Sprintf("ends-%d", i)
			streams := append(openStreams(t, kubectl(kubeconfig, pod, false)), openStreams(t, kubectl(kubeconfig, pod+"-old", true))...)
			wantLines(t, frontAudit, p, "RequestStarted", "", len(streams))
			var err error
			patch := client.RawPatch(types.MergePatchType, []byte(strings.Replace(e.patch, "<id>", p.id(), 1)))
			switch {
			case e.patch == deleted:
				err = alice.Delete(t.Context(), p.PersonalAccessToken)
			case e.status:
				err = alice.Status().Patch(t.Context(), p.PersonalAccessToken, patch)
			case e.patch != "":
				err = alice.Patch(t.Context(), p.PersonalAccessToken, patch)
			}
			if err != nil {
				t.Fatal(err)
			}
			areCut(t, streams, notHonored+e.says)
			closed(t, pod)
			closed(t, pod+"-old")
			wantLines(t, frontAudit, p, "Request", e.why, len(streams))
		})
	}
	noCredentialArrives(t)
}

// closed expects that nothing of a pod is open at the kubelet.
func closed(t *testing.T, pod string) {
	t.Helper()
	env.Eventually(t, env.Patience, func() bool { return node.Open(pod) == 0 },
		func() string { return fmt.Sprintf("%d streams are still open at the kubelet", node.Open(pod)) })
}

// wantLines expects that audit tells of this number of requests of a token, by event and reason.
func wantLines(t *testing.T, file string, p pat, event, why string, want int) {
	t.Helper()
	var told []string
	env.Eventually(t, env.Patience, func() bool {
		count := 0
		told = nil
		for _, e := range auditLines(t, file) {
			if e.TokenID != p.id() {
				continue
			}
			told = append(told, fmt.Sprintf("%s %s %s/%s %s %q", e.Event, e.Request.AuditID, e.Request.Verb, e.Request.Subresource, e.Request.Name, e.Reason))
			if e.Event == event && e.Reason == why {
				count++
			}
		}
		return count == want
	}, func() string {
		return fmt.Sprintf("audit does not tell of %d times %s with %q, but of:\n%s", want, event, why, strings.Join(told, "\n"))
	})
}

func auditLines(t *testing.T, file string) []audit.Event {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var events []audit.Event
	for line := range strings.Lines(string(text)) {
		var e audit.Event
		if !strings.HasSuffix(line, "\n") {
			break // It is being written.
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

// A proxy that does not learn any more what happens to tokens ends what is open, although it could still send requests on.
func TestCase68_WhatIsOpenEndsWhenTheProxyIsStale(t *testing.T) {
	long.Only(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(product.Anonymous().CAData)
	between := env.Must[*faults.Proxy](t)(faults.New(faults.Options{
		Upstream: product.Server, RootCAs: roots, Certificate: env.Must[tls.Certificate](t)(product.ServingCertificate("127.0.0.1")),
	}))
	t.Cleanup(between.Close)
	m, file, err := startProxy(context.Background(), t.TempDir(), cluster.ManagerOptions{
		Server: between.URL, Args: []string{"--proxy-upstream=" + product.Server, "--max-staleness=20s"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Kill)
	p, kubeconfig := issued(t, m, v1alpha1.PersonalAccessTokenSpec{})
	streams := openStreams(t, kubectl(kubeconfig, "stale", false))
	wantLines(t, file, p, "RequestStarted", "", len(streams))
	if err := between.Set(faults.Stall); err != nil {
		t.Fatal(err)
	}
	areCut(t, streams, "the proxy cannot verify tokens at the moment")
	closed(t, "stale")
	wantLines(t, file, p, "Request", "Cut:Stale", len(streams))
	if err := between.Set(faults.Pass); err != nil {
		t.Fatal(err)
	}
	env.Eventually(t, 2*env.Patience, func() bool {
		return kubectl(kubeconfig, "stale", false).Run(t, "", "exec", "stale", "--", "true").Code == 0
	}, func() string { return "the proxy does not work again" })
}
