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
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"github.com/pat-operator/pat-operator/test/cluster"
)

const (
	// LineInterval is how often the container says a line.
	LineInterval = 50 * time.Millisecond
	// Lines is how many lines of log there are for those who do not follow it.
	Lines = 3

	// bytesPerSecond is what a command may say, so that one that says something without end is cheap.
	bytesPerSecond = 8 << 20

	idleTimeout     = 4 * time.Hour // a kubelet's own
	creationTimeout = remotecommand.DefaultStreamCreationTimeout
)

// ServeHTTP is what kube-apiserver alone may ask for.
func (k *Kubelet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if name := r.TLS.PeerCertificates[0].Subject.CommonName; name != cluster.KubeletClient {
		http.Error(w, name+" is not kube-apiserver", http.StatusForbidden)
		return
	}
	path := strings.Split(r.URL.Path, "/") // "", what, namespace, pod
	if len(path) < 4 {
		http.NotFound(w, r)
		return
	}
	what, pod := path[1], path[3]
	k.begin(r, pod)
	defer k.end(pod)
	switch what {
	case "exec", "attach":
		options, err := remotecommand.NewOptions(r)
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusBadRequest)
		case what == "exec":
			remotecommand.ServeExec(w, r, k, pod, "", Container, r.URL.Query()["command"], options,
				idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
		default:
			remotecommand.ServeAttach(w, r, k, pod, "", Container, options,
				idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
		}
	case "portForward":
		options, err := portforward.NewV4Options(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		portforward.ServePortForward(w, r, k, pod, "", options, idleTimeout, creationTimeout, portforward.SupportedProtocols)
	case "containerLogs":
		lines := Lines
		if r.URL.Query().Get("follow") == "true" {
			lines = -1
		}
		_ = k.say(r.Context(), flushed{w}, lines) // The reader has gone.
	default:
		http.NotFound(w, r)
	}
}

func (k *Kubelet) begin(r *http.Request, pod string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.open[pod]++
	k.seen = append(k.seen, Request{Method: r.Method, URL: r.URL, Header: r.Header.Clone()})
}

func (k *Kubelet) end(pod string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.open[pod]--
}

// ExecInContainer runs a command without a terminal, but keeps the sizes that one would have.
func (k *Kubelet) ExecInContainer(
	_ context.Context, _, _, _ string, words []string, in io.Reader, out, errOut io.WriteCloser, _ bool,
	sizes <-chan remotecommand.TerminalSize, _ time.Duration,
) error {
	go k.keep(sizes)
	cmd := k.product.Command(k.running, "", words[0], words[1:]...)
	cmd.Dir, cmd.Stderr = k.Dir, errOut
	if out != nil {
		cmd.Stdout = slow{out}
	}
	if in != nil {
		// Not as cmd.Stdin, whose end Wait would wait for: a command may end before its user does.
		pipe, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(pipe, in)
			_ = pipe.Close()
		}()
	}
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return utilexec.ExitErrorWrapper{ExitError: exit}
	}
	return err
}

func (k *Kubelet) keep(sizes <-chan remotecommand.TerminalSize) {
	if sizes == nil { // no terminal
		return
	}
	for size := range sizes {
		k.mu.Lock()
		k.sizes = append(k.sizes, size)
		k.mu.Unlock()
	}
}

// AttachContainer answers who has an input with what it says, and lets others read the container's lines.
func (k *Kubelet) AttachContainer(
	_ context.Context, _, _, _ string, in io.Reader, out, _ io.WriteCloser, _ bool, sizes <-chan remotecommand.TerminalSize,
) error {
	if in == nil {
		_ = k.say(k.running, out, -1) // The reader has gone.
		return nil
	}
	go k.keep(sizes)
	if _, err := io.WriteString(out, "attached\n"); err != nil {
		return err
	}
	_, _ = io.Copy(out, in)
	return nil
}

// PortForward echoes, whatever the port.
func (k *Kubelet) PortForward(_ context.Context, _, _ string, _ int32, stream io.ReadWriteCloser) error {
	_, err := io.Copy(stream, stream)
	return err
}

// say writes numbered lines, a first one at once, until ctx or the reader ends; n < 0: without an end.
func (k *Kubelet) say(ctx context.Context, w io.Writer, n int) error {
	tick := time.NewTicker(LineInterval)
	defer tick.Stop()
	for i := 0; i != n; i++ {
		if _, err := fmt.Fprintf(w, "line %d\n", i); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// slow is a writer that a command does not fill faster than bytesPerSecond.
type slow struct{ io.Writer }

func (s slow) Write(b []byte) (int, error) {
	n, err := s.Writer.Write(b)
	<-time.After(time.Duration(n) * time.Second / bytesPerSecond)
	return n, err
}

// flushed sends each write at once.
type flushed struct{ http.ResponseWriter }

func (f flushed) Write(b []byte) (int, error) {
	n, err := f.ResponseWriter.Write(b)
	return n, errors.Join(err, http.NewResponseController(f.ResponseWriter).Flush())
}
