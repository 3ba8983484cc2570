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
	"sync"
	"syscall"

	"github.com/pat-operator/pat-operator/test/cluster"
)

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
	opts.patient = true
	opts.operatorArgs = append([]string{expiryWarnings}, opts.operatorArgs...)
	return withCluster(ctx, opts, out, func(opts options, c *cluster.Cluster, m managers) error {
		k := &keeper{cluster: c, out: out, every: retryEvery}
		if err := k.begin(ctx, "The people with their tokens", func() error { return settlePeople(ctx, c) }); err != nil {
			return err
		}
		if err := files.write(c, m); err != nil {
			return err
		}
		fmt.Fprintf(out, "\nIn a browser (its certificate is this cluster's own: let the browser go on):\n\n"+
			"  %s\n  name and password: %s\n", c.ConsoleURL, credentials())
		fmt.Fprintf(out, "\nIn another shell:\n\n  set -a; . %s; set +a\n  kubectl get pat -A\n  kubectl pat --help\n\n"+
			"%s%sLogs: %s (operator)\n      %s (verifier)\nCtrl-C stops everything.\n\n",
			quote(files.path("env")), aboutProxy(m.proxy), aboutAPI(m.api), m.operator.LogFile, m.verifier.LogFile)
		files.keepRunning(ctx, k, m, opts)
		return nil
	})
}

// keepRunning starts again whatever has ended, as a cluster would, until ctx is done. Each process waits for itself.
func (f devFiles) keepRunning(ctx context.Context, k *keeper, m managers, opts options) {
	var mu sync.Mutex // guards m and the files
	write := func() error {
		mu.Lock()
		defer mu.Unlock()
		return f.write(k.cluster, m)
	}
	manager := func(name string, place **cluster.Manager, start func(context.Context) (*cluster.Manager, error)) kept {
		return kept{
			name: name, pause: opts.restartAfter, needs: k.managersNeed,
			exited: func() <-chan struct{} { return (*place).Exited() },
			start: func(ctx context.Context) (about string, err error) {
				next, err := start(ctx)
				if err != nil {
					return "", err
				}
				mu.Lock()
				defer mu.Unlock()
				*place = next
				return fmt.Sprintf(" (PID %d); its log: %s", next.PID, next.LogFile), nil
			},
		}
	}
	all := []kept{
		manager("operator", &m.operator, func(ctx context.Context) (*cluster.Manager, error) {
			return opts.startOperator(ctx, k.cluster)
		}),
		manager("verifier", &m.verifier, func(ctx context.Context) (*cluster.Manager, error) { return opts.startVerifier(ctx, k.cluster) }),
	}
	if m.proxy != nil {
		all = append(all, manager("proxy", &m.proxy, func(ctx context.Context) (*cluster.Manager, error) { return startProxy(ctx, k.cluster) }))
	}
	if m.api != nil {
		all = append(all, manager("API face", &m.api, func(ctx context.Context) (*cluster.Manager, error) { return startAPI(ctx, k.cluster) }))
	}
	for _, part := range k.cluster.Parts() {
		all = append(all, kept{name: part.Name, exited: part.Exited, start: func(ctx context.Context) (about string, err error) {
			return "", part.Restart(ctx)
		}})
	}
	var keeping sync.WaitGroup
	for _, p := range all {
		keeping.Go(func() { k.keep(ctx, p, write) })
	}
	keeping.Wait()
}

// aboutProxy says how to use the proxy, if there is one.
func aboutProxy(m *cluster.Manager) string {
	if m == nil {
		return ""
	}
	return fmt.Sprintf("The proxy, which accepts tokens alone (PAT_PROXY_URL): %s\n\n  kubectl pat kubeconfig NAME --token-file FILE -o FILE --check\n\nIts log: %s\n", m.ProxyURL(), m.LogFile)
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

// write writes env last, so that it is usable as soon as it exists.
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
	variables := [][2]string{
		{"KUBECONFIG", f.path("kubeconfig")},
		{"PATH", strings.Join(append(path, os.Getenv("PATH")), string(os.PathListSeparator))},
		{"PAT_NAMESPACE", cluster.OperatorNamespace},
		{"PAT_RECORDS_NAMESPACE", cluster.RecordsNamespace},
		{"PAT_TOKENREVIEW_URL", c.TokenReviewURL()},
		{"PAT_CA", f.path("ca.crt")},
		{"PAT_CONSOLE_URL", c.ConsoleURL},
		{"PAT_METRICS_URL", m.verifier.MetricsURL()}, // verified by PAT_CA, as the others
		{"PAT_OPERATOR_METRICS_URL", m.operator.MetricsURL()},
		{"PAT_VERIFIER_PID", fmt.Sprint(m.verifier.PID)},
		{"PAT_OPERATOR_PID", fmt.Sprint(m.operator.PID)},
		{"PAT_APISERVER_PID", fmt.Sprint(c.APIServerPID())},
	}
	if m.proxy != nil { // its CA is in the ConfigMap pat-operator-proxy
		variables = append(variables, [2]string{"PAT_PROXY_URL", m.proxy.ProxyURL()}, [2]string{"PAT_PROXY_PID", fmt.Sprint(m.proxy.PID)})
	}
	if m.api != nil { // its CA is in the ConfigMap pat-operator-api
		variables = append(variables, [2]string{"PAT_API_URL", m.api.APIURL()}, [2]string{"PAT_API_PID", fmt.Sprint(m.api.PID)})
	}
	var env bytes.Buffer
	for _, variable := range variables {
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

// quote quotes value for a shell only if necessary: other readers of env take a line literally.
func quote(value string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/:._-+,=@%", r)
	}
	if strings.TrimLeftFunc(value, plain) == "" {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}
