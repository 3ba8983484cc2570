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
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/kubelet"
	"github.com/pat-operator/pat-operator/test/long"
)

// kubectl does with a token what it does with the cluster's own credentials, byte for byte: through the proxy, and through
// `kubectl proxy` in front of it. No credential gets as far as the kubelet.
func TestKubectlThroughTheProxy(t *testing.T) {
	long.Only(t)
	_, kubeconfig := issued(t, front, v1alpha1.PersonalAccessTokenSpec{})
	ways := map[string]string{"the proxy": kubeconfig, "kubectl proxy and the proxy": kubectlProxy(t, kubeconfig)}
	t.Run("through", func(t *testing.T) {
		for way, kubeconfig := range ways {
			for _, old := range []bool{false, true} {
				protocols := ""
				if old {
					protocols = " by old protocols"
				}
				for _, o := range kubelet.Operations {
					t.Run(way+", "+o.Name+protocols, func(t *testing.T) {
						t.Parallel()
						o.Check(t, kubectl(kubeconfig, podName, old))
					})
				}
			}
		}
	})
	noCredentialArrives(t)
}

// A credential in the subprotocols of a WebSocket, where browsers have it, is taken out of them.
func TestABrowsersCredentialStaysAtTheProxy(t *testing.T) {
	long.Only(t)
	p, _ := issued(t, front, v1alpha1.PersonalAccessTokenSpec{})
	config := env.Must[*tls.Config](t)(rest.TLSConfigFor(at(t, front)))
	config.NextProtos = []string{"http/1.1"}
	conn := env.Must[*tls.Conn](t)(tls.Dial("tcp", strings.TrimPrefix(front.ProxyURL(), "https://"), config))
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(env.Patience))
	if _, err := fmt.Fprintf(conn, "GET /api/v1/namespaces/%s/pods/%s/exec?command=true&stdout=true HTTP/1.1\r\nHost: x\r\n"+
		"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"+
		"Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.%s, v5.channel.k8s.io\r\n\r\n",
		team, podName, base64.RawURLEncoding.EncodeToString([]byte(p.plaintext))); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if got := answer.Header["Sec-Websocket-Protocol"]; answer.StatusCode != http.StatusSwitchingProtocols || !slices.Equal(got, []string{"v5.channel.k8s.io"}) {
		t.Errorf("HTTP %d with the protocols %q", answer.StatusCode, got)
	}
	noCredentialArrives(t)
}

// kubectlProxy runs `kubectl proxy` with a kubeconfig, and returns one for it.
func kubectlProxy(t *testing.T, kubeconfig string) string {
	t.Helper()
	const says = "Starting to serve on "
	line := kubectl(kubeconfig, podName, false).Start(t, "proxy", "--port=0", "--disable-filter").Line(t)
	address, ok := strings.CutPrefix(strings.TrimSpace(line), says)
	if !ok {
		t.Fatalf("kubectl proxy says %q", line)
	}
	return env.Must[string](t)(product.Kubeconfig("nobody", &rest.Config{Host: "http://" + address}))
}

// noCredentialArrives looks at everything that kube-apiserver has sent to the kubelet.
func noCredentialArrives(t *testing.T) {
	t.Helper()
	seen := node.Seen()
	if len(seen) == 0 {
		t.Error("the kubelet has seen no request")
	}
	for _, r := range seen {
		for name, values := range r.Header {
			text := strings.ToLower(name + ": " + strings.Join(values, ", "))
			for _, secret := range []string{"authorization", "impersonate-", "x-remote-", "kubepat_", "bearer"} {
				if strings.Contains(text, secret) {
					t.Errorf("the kubelet saw %s of %s %s: %q", name, r.Method, r.URL.Path, values)
				}
			}
		}
	}
}
