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

// Package browser tests the console as people use it: in Chromium, signed in at a real issuer, on a real control plane.
package browser

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	_ "github.com/pat-operator/pat-operator/internal/console" // in the manager that is built: go test has to know
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/issuer"
)

const (
	patience = env.Patience
	// chromiumPath and axePath name the browser, and axe-core's script.
	chromiumPath, axePath = "PAT_CHROMIUM", "PAT_AXE"
	// requireBrowser makes a machine without a browser fail, where the tests are skipped otherwise.
	requireBrowser = "PAT_REQUIRE_BROWSER"
)

var (
	product *env.Product
	cl      *cluster.Cluster
	admin   client.Client
	// chromium is the context of the browser that every test opens a tab in; nil without a browser, and then
	// missing says what to install.
	chromium context.Context
	missing  string
	// managers are the verifier, with the console, and the operator.
	managers []*cluster.Manager
	// axeScript is axe-core, or empty.
	axeScript string
)

func TestMain(m *testing.M) { os.Exit(cluster.RunTests(m, 4, run)) }

func run(ctx context.Context, dir string, tests func()) (err error) {
	path := os.Getenv(chromiumPath)
	if path == "" {
		missing = "PAT_CHROMIUM names no browser: run make test, or set it to what hack/tools/chromium.sh prints"
		if os.Getenv(requireBrowser) != "" {
			return fmt.Errorf("%s is set and %s", requireBrowser, missing)
		}
		tests()
		return nil
	}
	if err := readAxe(); err != nil {
		return err
	}
	end, err := startChromium(path, dir)
	if err != nil {
		return err
	}
	defer end()
	if product, err = env.Start(ctx, dir, env.Options{
		Options:  cluster.Options{Issuer: issuer.People()},
		Verifier: verbose, Operator: append([]string{warnEarly}, verbose...), Console: true,
	}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, product.Stop()) }()
	cl, admin, managers = product.Cluster, product.Admin, []*cluster.Manager{product.Verifier, product.Operator}
	tests()
	for _, manager := range managers {
		if shown.MatchString(manager.Log()) {
			return fmt.Errorf("the log of the %s has a token in it", manager.Command)
		}
	}
	return nil
}

// warnEarly makes a token of two days warn of its end immediately: the default of 24h would be a day away.
const warnEarly = "--expiry-warnings=47h59m58s"

// verbose is a manager's log at its most verbose.
var verbose = []string{"--zap-log-level=7", "--zap-devel"}

// startChromium starts the browser, with a profile of its own.
func startChromium(path, dir string) (end func(), err error) {
	allocator, end := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.WSURLReadTimeout(patience),
		chromedp.UserDataDir(filepath.Join(dir, "profile")),
		chromedp.Flag("headless", "new"),
		chromedp.Flag("no-sandbox", os.Getuid() == 0), // it refuses to run as root with one
		chromedp.Flag("disable-gpu", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("ignore-certificate-errors", true), // those of the cluster are its own
		chromedp.Flag("lang", "en-GB"),
	)...)
	chromium, _ = chromedp.NewContext(allocator)
	if err := chromedp.Do(chromium); err != nil {
		end()
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return end, nil
}

// readAxe reads the script that looks for what keeps people out.
func readAxe() error {
	path := os.Getenv(axePath)
	if path == "" {
		if os.Getenv(requireBrowser) != "" {
			return fmt.Errorf("%s is set and PAT_AXE names no axe-core: run make test, or set it to what hack/tools/axe.sh prints", requireBrowser)
		}
		return nil
	}
	script, err := os.ReadFile(path)
	axeScript = string(script)
	return err
}

// team makes a namespace where alice may do what developers do, and returns its name.
func team(t *testing.T) string {
	t.Helper()
	needBrowser(t)
	alice := rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "alice"}
	return env.Must[string](t)(product.Team(t.Context(), alice))
}

// needBrowser skips a test if no browser is installed.
func needBrowser(t *testing.T) {
	t.Helper()
	// go test keeps a result for as long as the variables are the same that a test, and not TestMain, has asked for.
	for _, name := range []string{chromiumPath, axePath, requireBrowser} {
		_ = os.Getenv(name)
	}
	if chromium == nil {
		t.Skip(missing)
	}
}

func create(t *testing.T, o client.Object) {
	t.Helper()
	if err := admin.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// eventually polls.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	env.Eventually(t, patience, ok, func() string { return what + ": not so" })
}
