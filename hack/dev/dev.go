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

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pat-operator/pat-operator/test/cluster"
)

// restartAfter is how long a dead manager stays down: long enough to see what a cluster without one does, once
// kube-apiserver's caches (10 s) are empty.
const restartAfter = 15 * time.Second

func runDev(ctx context.Context, opts options, out io.Writer) error {
	if opts.dir == "" {
		root, err := cluster.ModuleRoot()
		if err != nil {
			return err
		}
		opts.dir = filepath.Join(root, ".dev")
	}
	dir, err := filepath.Abs(opts.dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	files := devFiles{dir: dir}
	files.remove() // of a run that was killed
	defer files.remove()
	fmt.Fprintln(out, "building kubectl pat")
	if err := cluster.BuildPlugin(ctx, files.path("bin")); err != nil {
		return err
	}

	opts.console = true
	opts.operatorArgs = append([]string{expiryWarnings}, opts.operatorArgs...)
	return withCluster(ctx, opts, out, func(c *cluster.Cluster, m managers) error {
		if err := settlePeople(ctx, c); err != nil {
			return err
		}
		if err := files.write(c, m); err != nil {
			return err
		}
		fmt.Fprintf(out, "\nIn a browser (its certificate is this cluster's own: let the browser go on):\n\n"+
			"  %s\n  name and password: %s\n", c.ConsoleURL, credentials())
		fmt.Fprintf(out, "\nIn another shell:\n\n  set -a; . %s; set +a\n  kubectl get pat -A\n  kubectl pat --help\n\n"+
			"Logs: %s (operator)\n      %s (verifier)\nCtrl-C stops everything.\n\n",
			quote(files.path("env")), m.operator.LogFile, m.verifier.LogFile)
		return files.keepRunning(ctx, c, m, opts, out)
	})
}

// keepRunning starts a manager that has died again, as its Deployment would, until ctx is done. Each waits for itself.
func (f devFiles) keepRunning(ctx context.Context, c *cluster.Cluster, m managers, opts options, out io.Writer) error {
	start := map[**cluster.Manager]func() (*cluster.Manager, error){
		&m.operator: func() (*cluster.Manager, error) { return c.StartOperator(ctx, opts.operatorArgs...) },
		&m.verifier: func() (*cluster.Manager, error) { return opts.startVerifier(ctx, c) },
	}
	due := make(chan **cluster.Manager)
	watch := func(which **cluster.Manager) {
		running := *which
		go func() {
			select {
			case <-ctx.Done():
				return
			case <-running.Exited():
			}
			fmt.Fprintf(out, "The %s (PID %d) has ended; the next one starts in %v.\n", running.Command, running.PID, restartAfter)
			select {
			case <-ctx.Done():
				return
			case <-time.After(restartAfter):
			}
			select {
			case <-ctx.Done():
			case due <- which:
			}
		}()
	}
	for which := range start {
		watch(which)
	}
	for {
		var which **cluster.Manager
		select {
		case <-ctx.Done():
			return nil
		case which = <-due:
		}
		next, err := start[which]()
		if err != nil {
			return err
		}
		*which = next
		watch(which)
		if err := f.write(c, m); err != nil {
			return err
		}
		fmt.Fprintf(out, "The %s runs again (PID %d); its log: %s\n", next.Command, next.PID, next.LogFile)
	}
}

// lock fails where another run uses dir.
func lock(dir string) (unlock func(), err error) {
	file, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("another dev cluster uses %s: stop it, or give this one a --dir of its own", dir)
	}
	return func() { _ = file.Close() }, nil
}

// devFiles is the folder that tells other shells where the cluster is.
type devFiles struct{ dir string }

func (f devFiles) path(name string) string { return filepath.Join(f.dir, name) }

func (f devFiles) remove() {
	for _, name := range []string{"env", "kubeconfig", "ca.crt"} {
		_ = os.Remove(f.path(name))
	}
}

// write leaves env for the end, so that whoever sees it can use it.
func (f devFiles) write(c *cluster.Cluster, m managers) error {
	for name, source := range map[string]string{"kubeconfig": c.AdminKubeconfig, "ca.crt": c.AuthnCAFile} {
		data, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		if err := f.replace(name, data); err != nil {
			return err
		}
	}
	path := []string{f.path("bin"), c.Assets}
	if tools := os.Getenv("PAT_TOOLS_BIN"); filepath.IsAbs(tools) {
		path = append(path, tools)
	}
	var env bytes.Buffer
	for _, variable := range [][2]string{
		{"KUBECONFIG", f.path("kubeconfig")},
		{"PATH", strings.Join(append(path, os.Getenv("PATH")), string(os.PathListSeparator))},
		{"PAT_NAMESPACE", cluster.OperatorNamespace},
		{"PAT_RECORDS_NAMESPACE", cluster.RecordsNamespace},
		{"PAT_TOKENREVIEW_URL", c.TokenReviewURL()},
		{"PAT_CA", f.path("ca.crt")},
		{"PAT_CONSOLE_URL", c.ConsoleURL},
		{"PAT_VERIFIER_PID", fmt.Sprint(m.verifier.PID)},
		{"PAT_OPERATOR_PID", fmt.Sprint(m.operator.PID)},
		{"PAT_APISERVER_PID", fmt.Sprint(c.APIServerPID())},
	} {
		fmt.Fprintf(&env, "%s=%s\n", variable[0], quote(variable[1]))
	}
	return f.replace("env", env.Bytes())
}

// replace writes a file whole, or not at all.
func (f devFiles) replace(name string, data []byte) error {
	temporary := f.path("." + name)
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, f.path(name))
}

// quote quotes value for a shell where it has to be: other readers of env take a line as it is.
func quote(value string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/:._-+,=@%", r)
	}
	if strings.TrimLeftFunc(value, plain) == "" {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}
