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
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

const (
	scripts  = "testdata/script"
	patience = env.Patience
)

// suite is the cluster that all scripts share. Each script has its own namespace.
type suite struct {
	*testing.M
	*env.Product
	age string // the folder with age
	// plugin is the folder with the plugin without the race detector, for the short form: with it a process takes ten times as
	// long to start. It is empty in the long form, whose scripts run this binary.
	plugin string
	// people are kubeconfigs, by the variables of the scripts. ALICE and BOB are developers, who may do anything
	// with PersonalAccessTokens in their script's namespace; CAROL may do nothing; ANYONE has no credentials.
	people map[string]string
}

var shared *suite

// TestMain makes this binary kubectl-pat for the scripts, so that the race detector checks the plugin too, in the long form.
func TestMain(m *testing.M) {
	shared = &suite{M: m}
	testscript.Main(shared, map[string]func(){"kubectl-pat": main})
}

// Run runs the tests with the cluster.
func (s *suite) Run() int { return cluster.RunTests(s.M, 8, s.run) }

func (s *suite) run(ctx context.Context, dir string, tests func()) (err error) {
	s.age = filepath.Join(dir, "age")
	if _, err := cluster.BuildAge(ctx, s.age); err != nil {
		return err
	}
	if !long.Form() {
		s.plugin = filepath.Join(dir, "plugin")
		if err := cluster.BuildPlugin(ctx, s.plugin); err != nil {
			return err
		}
	}
	if s.Product, err = env.Start(ctx, dir, env.Options{}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	s.people = map[string]string{"ADMIN": s.AdminKubeconfig, "ANYONE": s.AnonymousKubeconfig}
	for name, groups := range map[string][]string{"alice": {"developers"}, "bob": {"developers"}, "carol": nil} {
		if _, s.people[strings.ToUpper(name)], err = s.Cluster.User(name, groups...); err != nil {
			return err
		}
	}
	tests()
	return nil
}

// basics are the scripts of the short form.
var basics = []string{"create", "list", "revoke", "rotate", "scopes", "whoami", "doctor", "setup"}

// TestScripts runs the scripts. Each starts as alice, in its own namespace.
func TestScripts(t *testing.T) {
	var files []string
	all, err := filepath.Glob(filepath.Join(scripts, "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		if strings.HasPrefix(name, "escapes") || !long.Form() && !slices.Contains(basics, name) {
			continue
		}
		files = append(files, file)
	}
	testscript.Run(t, params(files...))
}

func TestCase39_TextsOfTheClusterCannotControlTheTerminal(t *testing.T) {
	long.Only(t)
	files, err := filepath.Glob(filepath.Join(scripts, "escapes*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, params(files...))
}

func params(files ...string) testscript.Params {
	return testscript.Params{
		Files:              files,
		RequireUniqueNames: true,
		Setup:              func(env *testscript.Env) error { return shared.setup(env) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"eventually": eventually,
			"exits":      exits,
			"expire":     expire,
			"read":       read,
			"harmless":   harmless,
			"sshkey":     sshkey,
			"agekey":     agekey,
			"forge":      forge,
		},
	}
}

// setup gives a script its namespace and the kubeconfigs of its users.
func (s *suite) setup(script *testscript.Env) error {
	ctx := context.Background()
	namespace, err := s.Team(ctx, env.Group("developers"))
	if err != nil {
		return err
	}
	script.Defer(func() { _ = s.Admin.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}) })
	for variable, kubeconfig := range s.people {
		config, err := clientcmd.LoadFromFile(kubeconfig)
		if err != nil {
			return err
		}
		config.Contexts[config.CurrentContext].Namespace = namespace
		file := filepath.Join(script.WorkDir, "."+strings.ToLower(variable)+".kubeconfig")
		if err := clientcmd.WriteToFile(*config, file); err != nil {
			return err
		}
		script.Setenv(variable, file)
	}
	if err := writeSSHKey(filepath.Join(script.WorkDir, ".ssh")); err != nil {
		return err
	}
	shim, err := filepath.Abs(".")
	if err != nil {
		return err
	}
	script.Setenv("NAMESPACE", namespace)
	script.Setenv("KUBECONFIG", script.Getenv("ALICE"))
	script.Setenv("HOME", script.WorkDir)
	script.Setenv("HOSTILE", "\x1b[31m\u202e")
	script.Setenv("GORACE", os.Getenv("GORACE")) // as hack/tools/test.sh sets it
	// The folder with this binary as the plugin is in PATH already.
	path := []string{script.Getenv("PATH"), s.Assets, s.age, shim}
	if s.plugin != "" {
		path = slices.Insert(path, 0, s.plugin)
	}
	script.Setenv("PATH", strings.Join(path, string(os.PathListSeparator)))
	return nil
}

// writeSSHKey writes id_ed25519 and id_ed25519.pub as ssh-keygen does.
func writeSSHKey(dir string) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return err
	}
	return errors.Join(
		os.MkdirAll(dir, 0o700),
		os.WriteFile(filepath.Join(dir, "id_ed25519"), pem.EncodeToMemory(block), 0o600),
		os.WriteFile(filepath.Join(dir, "id_ed25519.pub"), ssh.MarshalAuthorizedKey(key), 0o600),
	)
}

// eventually COMMAND ARGS...: repeat it until it succeeds; with !, until it fails.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: [!] eventually COMMAND ARGS...")
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); ; <-tick.C {
		err := ts.Exec(args[0], args[1:]...)
		switch {
		case (err != nil) == neg:
			return
		case time.Since(start) > patience:
			ts.Fatalf("not so within %v: %v", patience, err)
		}
	}
}

// exits CODE COMMAND ARGS...: run it, and expect this exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || neg {
		ts.Fatalf("usage: exits CODE COMMAND ARGS...")
	}
	got := 0
	var exit interface{ ExitCode() int }
	switch err := ts.Exec(args[1], args[2:]...); {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%s: %v", args[1], err)
	}
	if want, err := strconv.Atoi(args[0]); err != nil || got != want {
		ts.Fatalf("exit code %d; want %s", got, args[0])
	}
}

// expire NAME: end the lifetime of a token now. One that is as short from the beginning may end before it is issued.
func expire(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: expire NAME")
	}
	patch := fmt.Sprintf(`{"spec": {"expiresAt": %q}}`, time.Now().UTC().Format(time.RFC3339))
	if err := ts.Exec("kubectl", "patch", "pat", args[0], "--type=merge", "-p", patch); err != nil {
		ts.Fatalf("%v", err)
	}
}

// read VARIABLE FILE: set the variable to the content of the file, which may be stdout.
func read(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 || neg {
		ts.Fatalf("usage: read VARIABLE FILE")
	}
	ts.Setenv(args[0], strings.TrimSuffix(ts.ReadFile(args[1]), "\n"))
}

// harmless FILE: fail if the file, such as stdout, has invisible characters or ones that control a terminal.
func harmless(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: harmless FILE")
	}
	const forbidden = "\x00\x07\x08\x0d\x1b\x7f\u0085\u009b\u00ad\u200b\u200e\u200f\u2028\u202a\u202d\u202e\u2066\u2069\ufeff\U000e0041"
	text := ts.ReadFile(args[0])
	if i := strings.IndexAny(text, forbidden); i >= 0 {
		ts.Fatalf("%s holds %q at %d", args[0], text[i:min(len(text), i+4)], i)
	}
}
