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
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// A proxy that is asked to end serves on, unready, until load balancers know. Then it takes no more connections and cuts watches;
// shells end at the end of the drain, with the reason. Another proxy serves the token all the while. Between the steps is as much
// time as anything may take: before the delay ends, before the watch is cut in the middle of the drain, and before its end.
func TestAProxyThatIsRolledLetsGoInOrder(t *testing.T) {
	long.Only(t)
	leaving, file, err := startProxy(t.Context(), t.TempDir(), cluster.ManagerOptions{Args: []string{"--proxy-drain-delay=" + env.Patience.String(), "--proxy-drain=" + (2 * env.Patience).String()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(leaving.Kill)
	if err := node.Pod(t.Context(), team, "rolled"); err != nil {
		t.Fatal(err)
	}
	p, kubeconfig := issued(t, leaving, v1alpha1.PersonalAccessTokenSpec{})
	k := kubectl(kubeconfig, "rolled", false)
	shell := k.Start(t, "exec", "-i", "rolled", "--", "sh", "-c", "echo go; exec cat")
	shell.Line(t)
	watched, label := openWatch(t, leaving, p, "rolled")
	says := func(word string) {
		t.Helper()
		if _, err := io.WriteString(shell, word+"\n"); err != nil {
			t.Fatal(err)
		}
		if line := shell.Line(t); line != word+"\n" {
			t.Errorf("the shell says %q", line)
		}
	}

	if err := syscall.Kill(leaving.PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var ready error
	env.Eventually(t, env.Patience, func() bool {
		ready = leaving.Ready(t.Context())
		return ready != nil
	}, func() string { return "it is still ready" })
	if want := "proxy failed"; !strings.Contains(ready.Error(), want) {
		t.Errorf("readiness says %v; want %q", ready, want)
	}
	if err := whoami(t, leaving, p); err != nil {
		t.Errorf("who has not heard of it yet gets no connection: %v", err)
	}
	says("unready")
	label("unready")
	if line, err := watched.ReadString('\n'); err != nil || !strings.Contains(line, `"unready"`) {
		t.Errorf("the watch says %q, %v", line, err)
	}

	env.Eventually(t, 2*env.Patience, func() bool {
		err := whoami(t, leaving, p)
		return errors.Is(err, syscall.ECONNREFUSED)
	}, func() string { return "it still takes connections" })
	if rest, err := io.ReadAll(watched); err == nil {
		t.Errorf("the watch ends in order, after %q", rest)
	}
	says("cut")
	if err := whoami(t, front, p); err != nil {
		t.Errorf("the other proxy: %v", err)
	}
	select {
	case <-leaving.Exited():
	case <-time.After(2 * env.Patience):
		t.Error("the process does not end")
	}
	got := shell.Wait(t)
	if want := "this proxy is going away; connect again"; got.Code != 1 || !strings.Contains(got.Stderr, want) {
		t.Errorf("the shell ends with exit code %d and %q; want 1 and %q", got.Code, got.Stderr, want)
	}
	wantLines(t, file, p, "Request", "Cut:Drain", 2)
}

// whoami asks by a connection of its own.
func whoami(t *testing.T, through *cluster.Manager, p pat) error {
	t.Helper()
	client, url := clientOf(t, through, p)
	defer client.CloseIdleConnections()
	request := env.Must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/api/v1/namespaces/"+team+"/pods", http.NoBody))
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP %d, %w", answer.StatusCode, err)
	}
	return nil
}

// clientOf is a client that has a token, and the URL of a proxy.
func clientOf(t *testing.T, through *cluster.Manager, p pat) (*http.Client, string) {
	t.Helper()
	config := at(t, through)
	config.BearerToken, config.WrapTransport = p.plaintext, nil
	client := env.Must[*http.Client](t)(rest.HTTPClientFor(config))
	return client, through.ProxyURL()
}

// openWatch watches a pod, past what is there. The second is a function that labels the pod.
func openWatch(t *testing.T, through *cluster.Manager, p pat, pod string) (*bufio.Reader, func(string)) {
	t.Helper()
	object := &corev1.Pod{}
	if err := product.Admin.Get(t.Context(), client.ObjectKey{Namespace: team, Name: pod}, object); err != nil {
		t.Fatal(err)
	}
	c, url := clientOf(t, through, p)
	request := env.Must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet,
		fmt.Sprintf("%s/api/v1/namespaces/%s/pods?watch=1&fieldSelector=metadata.name%%3D%s&resourceVersion=%s", url, team, pod, object.ResourceVersion), http.NoBody))
	answer, err := c.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("HTTP %d", answer.StatusCode)
	}
	return bufio.NewReader(answer.Body), func(value string) {
		t.Helper()
		labeled := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: pod}}
		if err := product.Admin.Patch(t.Context(), labeled, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{"is":%q}}}`, value))); err != nil {
			t.Fatal(err)
		}
	}
}
