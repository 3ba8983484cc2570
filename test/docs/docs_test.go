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

// Package docs tests that the documentation says what is there.
package docs

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/long"
)

const (
	root       = "../.."
	security   = "docs/security.md"
	evidence   = "docs/security-evidence.md"
	operations = "docs/operations.md"
	patauth    = "pkg/patauth"
	// lastCase is the highest number of a case. Each case up to coveredCases has a row; later ones as they are built.
	lastCase, coveredCases = 75, 55
)

func TestNamedTestsExist(t *testing.T) {
	tests := testsOfModule(t)
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*)`")
	for _, page := range pages(t) {
		for _, m := range named.FindAllStringSubmatch(read(t, page), -1) {
			if !slices.Contains(tests, m[1]) {
				t.Errorf("%s names %s, a test that does not exist", page, m[1])
			}
		}
	}
}

func TestEveryCaseHasARowWithItsTests(t *testing.T) {
	rows := map[int]string{}
	for _, cells := range table(t, evidence, "no.") {
		n, err := strconv.Atoi(cells[0])
		if err != nil || n < 1 || n > lastCase || rows[n] != "" {
			t.Errorf("row %q: want one for each case from 1 to %d", cells[0], lastCase)
			continue
		}
		if len(cells) != 4 || cells[1] == "" || cells[2] == "" || cells[3] == "" {
			t.Errorf("row %d: want four cells, none empty", n)
		}
		if cells[3] == "—" && !strings.HasPrefix(cells[2], "later: ") {
			t.Errorf("row %d names no test and does not say that it comes later", n)
		}
		rows[n] = cells[len(cells)-1]
	}
	for n := 1; n <= coveredCases; n++ {
		if rows[n] == "" {
			t.Errorf("case %d has no row", n)
		}
	}
	ofCase := regexp.MustCompile(`^(?:Test|Fuzz)Case(\d+)_`)
	for _, name := range testsOfModule(t) {
		m := ofCase.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		if n, err := strconv.Atoi(m[1]); err != nil || len(m[1]) != 2 || !strings.Contains(rows[n], "`"+name+"`") {
			t.Errorf("%s is not named in the row of case %s in %s", name, m[1], evidence)
		}
	}
}

// What is shown of other pages names a section that is there.
func TestStatementsHaveTheirSections(t *testing.T) {
	for _, cells := range table(t, evidence, "page") {
		page := regexp.MustCompile(`\((.+)\)`).FindStringSubmatch(cells[0])[1]
		section, _, _ := strings.Cut(cells[1], ": ")
		if !regexp.MustCompile(`(?m)^#+ ` + regexp.QuoteMeta(section) + `$`).MatchString(read(t, "docs/"+page)) {
			t.Errorf("docs/%s has no section %q", page, section)
		}
	}
}

// Each command has the flags that the tables give it, and no others.
func TestFlagsAreThoseOfTheManager(t *testing.T) {
	long.Only(t)
	documented := map[string][]string{}
	add := func(cell string, commands ...string) {
		for name := range strings.SplitSeq(cell, ", ") {
			for _, command := range commands {
				documented[command] = append(documented[command], strings.Trim(name, "`-"))
			}
		}
	}
	for _, cells := range table(t, operations, "flag of `manager`") {
		switch cells[1] {
		case "both":
			add(cells[0], "operator", "verifier", "run", "proxy")
		case "verifier, proxy":
			add(cells[0], "verifier", "run", "proxy")
		case "proxy":
			add(cells[0], "proxy")
		default:
			add(cells[0], cells[1], "run")
		}
	}
	manager, err := cluster.BuildManager(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	flag := regexp.MustCompile(`(?m)^ +(?:-\w, )?--([\w-]+)`)
	for _, command := range []string{"operator", "verifier", "run", "proxy"} {
		help, err := exec.CommandContext(t.Context(), manager, command, "--help").Output()
		if err != nil {
			t.Fatal(err)
		}
		var defined []string
		for _, m := range flag.FindAllStringSubmatch(string(help), -1) {
			if m[1] != "help" {
				defined = append(defined, m[1])
			}
		}
		slices.Sort(documented[command]) // not a set: a flag has one row
		if diff := cmp.Diff(set(defined), documented[command]); diff != "" {
			t.Errorf("flags of manager %s (- cmd/manager, + %s):\n%s", command, operations, diff)
		}
	}
}

// An API that imports pkg/patauth gets nothing else with it, and the module has no go.sum and no replacement that would say otherwise.
func TestPatauthRequiresNothing(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-m", "all")
	list.Dir = filepath.Join(root, patauth)
	list.Env = append(os.Environ(), "GOWORK=off")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(out), "github.com/pat-operator/pat-operator/"+patauth+"\n"; got != want {
		t.Errorf("go list -m all prints\n%swant\n%s", got, want)
	}
	if _, err := os.Stat(filepath.Join(root, patauth, "go.sum")); err == nil {
		t.Errorf("%s has a go.sum", patauth)
	}
	if mod := read(t, patauth+"/go.mod"); regexp.MustCompile(`(?m)^(require|replace|tool|toolchain)\b`).MatchString(mod) {
		t.Errorf("%s/go.mod has more than a module and a version of Go:\n%s", patauth, mod)
	}
}

// The example in the package's README is one that its tests compile.
func TestPatauthsExampleIsCompiled(t *testing.T) {
	_, after, _ := strings.Cut(read(t, patauth+"/README.md"), "```go\n")
	block, _, ok := strings.Cut(after, "```")
	if !ok {
		t.Fatal("no example")
	}
	example := read(t, patauth+"/example_test.go")
	for line := range strings.Lines(block) {
		// What stands for the reader's own code differs.
		line = strings.TrimSpace(strings.NewReplacer("auth.Middleware(handler)", "auth.Middleware(", "log.Fatal(err)", "log.Print(err)").Replace(line))
		line = strings.TrimSuffix(line, ")")
		if !strings.Contains(example, line) {
			t.Errorf("example_test.go has no %q", line)
		}
	}
}

// Each metric of ours has a row.
func TestMetricsAreDocumented(t *testing.T) {
	var documented []string
	for _, cells := range table(t, operations, "metric") {
		name, _, _ := strings.Cut(strings.Trim(cells[0], "`"), "{")
		documented = append(documented, name)
	}
	var defined []string
	metric := regexp.MustCompile(`"(pat_operator_[a-z_]+)"`)
	for _, folder := range []string{"cmd/manager", "controllers", "internal"} {
		for _, file := range sources(t, folder) {
			for _, m := range metric.FindAllStringSubmatch(read(t, file), -1) {
				defined = append(defined, m[1])
			}
		}
	}
	if diff := cmp.Diff(set(defined), set(documented)); diff != "" {
		t.Errorf("metrics (- defined, + %s):\n%s", operations, diff)
	}
}

func TestPermissionsAreThoseOfTheRoles(t *testing.T) {
	var granted, documented []string
	for account, files := range map[string][]string{
		"operator":     {"operator/role.yaml", "operator/leader_election.yaml", "operator/secret_delivery.yaml", "proxy/managed/operator_role.yaml"},
		"verifier":     {"verifier/role.yaml"},
		"proxy":        {"proxy/role.yaml"},
		"api":          {"api/role.yaml"},
		"impersonator": {"proxy/impersonator.yaml"},
	} {
		for _, file := range files {
			for document := range strings.SplitSeq(read(t, "config/rbac/"+file), "\n---\n") {
				var role rbacv1.Role // of a ClusterRole, all that is asked for here
				if err := yaml.Unmarshal([]byte(document), &role); err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				if role.Name == "pat-operator-impersonator-service-accounts" {
					continue // Bound by administrators, where they want it.
				}
				where := role.Namespace
				if where == "" {
					where = "cluster"
				}
				for _, rule := range role.Rules {
					granted = append(granted, permissions(account+" | "+where, rule)...)
				}
			}
		}
	}
	for _, cells := range table(t, security, "account") {
		if len(cells) != 5 || cells[4] == "" {
			t.Fatalf("row %q: want five cells, the last of which says what for", cells)
		}
		documented = append(documented, strings.Join(cells[:4], " | "))
	}
	if diff := cmp.Diff(set(granted), set(documented)); diff != "" {
		t.Errorf("permissions (- config/rbac, + %s):\n%s", security, diff)
	}
}

// permissions spells each resource of a rule as the table does.
func permissions(where string, rule rbacv1.PolicyRule) []string {
	var out []string
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			if group != "" {
				resource += "." + group
			}
			resource = "`" + resource + "`"
			if len(rule.ResourceNames) > 0 {
				resource += " (" + strings.Join(rule.ResourceNames, ", ") + ")"
			}
			out = append(out, fmt.Sprintf("%s | %s | %s", where, resource, strings.Join(rule.Verbs, ", ")))
		}
	}
	for _, url := range rule.NonResourceURLs {
		out = append(out, fmt.Sprintf("%s | `%s` | %s", where, url, strings.Join(rule.Verbs, ", ")))
	}
	return out
}

func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headings := map[string][]string{}
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(prose(read(t, page)), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s links to %s, which is not there", page, m[1])
				continue
			}
			if anchor == "" {
				continue
			}
			if headings[target] == nil {
				headings[target] = anchors(read(t, target))
			}
			if !slices.Contains(headings[target], anchor) {
				t.Errorf("%s links to %s, and %s has no such heading", page, m[1], target)
			}
		}
	}
}

func TestMakeTargetsExist(t *testing.T) {
	makefile := read(t, "Makefile")
	call := regexp.MustCompile("(?m)(?:^|`)make ([a-z][a-z-]*)")
	for _, page := range pages(t) {
		for _, m := range call.FindAllStringSubmatch(read(t, page), -1) {
			if !strings.Contains(makefile, "\n"+m[1]+": ") {
				t.Errorf("%s says make %s, a target that does not exist", page, m[1])
			}
		}
	}
}

// pages are those at the top and everything in docs, the decisions included.
func pages(t *testing.T) []string {
	t.Helper()
	out := []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "charts/pat-operator/README.md"}
	for _, folder := range []string{"docs", "docs/adr", "docs/install"} {
		files, err := filepath.Glob(filepath.Join(root, folder, "*.md"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no pages in %s: %v", folder, err)
		}
		for _, file := range files {
			out = append(out, folder+"/"+filepath.Base(file))
		}
	}
	return out
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// testsOfModule are the names of the tests and fuzz targets of this module and of pkg/patauth, other modules inside it aside.
func testsOfModule(t *testing.T) []string {
	t.Helper()
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	var names []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != root && path != filepath.Join(root, patauth) {
			_, notModule := os.Stat(filepath.Join(path, "go.mod"))
			if notModule == nil || strings.HasPrefix(entry.Name(), ".") {
				return fs.SkipDir
			}
		}
		if entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path)
		for _, m := range function.FindAllSubmatch(source, -1) {
			names = append(names, string(m[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// sources are the files below a folder, tests aside.
func sources(t *testing.T, folder string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && !strings.HasSuffix(path, "_test.go") {
			var name string
			name, err = filepath.Rel(root, path)
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// table returns the cells of each row of the one table of a page whose first column is headed so.
func table(t *testing.T, page, head string) [][]string {
	t.Helper()
	_, after, ok := strings.Cut(read(t, page), "\n| "+head+" |")
	if !ok {
		t.Fatalf("%s has no table whose first column is %q", page, head)
	}
	var rows [][]string
	for i, line := range strings.Split(after, "\n") {
		if i < 2 { // the rest of the head, and the line below it
			continue
		}
		if !strings.HasPrefix(line, "|") {
			break
		}
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		rows = append(rows, cells)
	}
	return rows
}

// prose is a page without its blocks of code.
func prose(page string) string {
	return regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(page, "")
}

// anchors are what GitHub makes of a page's headings.
func anchors(page string) []string {
	var out []string
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	other := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	for _, m := range heading.FindAllStringSubmatch(prose(page), -1) {
		out = append(out, strings.ReplaceAll(other.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return out
}

func set(items []string) []string { return slices.Compact(slices.Sorted(slices.Values(items))) }
