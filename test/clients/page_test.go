//go:build clients

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

package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
)

// pages are those whose blocks are run here.
var pages = []string{"docs/protect-an-api.md", "docs/vendor.md"}

// block is a block of a page that is to be copied.
type block struct {
	section, language, text, notRun string
}

// blocks are those of the pages, in order.
func blocks() (all []block, err error) {
	root, err := cluster.ModuleRoot()
	if err != nil {
		return nil, err
	}
	part := regexp.MustCompile("(?ms)^#{1,3} ([^\n]+)$|^(?:<!-- not run: ([^\n]+) -->\n)?```(\\w+)\n(.*?)^```$")
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			return nil, err
		}
		section := ""
		for _, m := range part.FindAllStringSubmatch(string(text), -1) {
			if m[1] != "" {
				section = m[1]
				continue
			}
			all = append(all, block{section: section, notRun: m[2], language: m[3], text: m[4]})
		}
	}
	return all, nil
}

// blockIn returns the one block of a language in a section.
func blockIn(section, language string) (string, error) {
	all, err := blocks()
	if err != nil {
		return "", err
	}
	var found []string
	for _, b := range all {
		if b.section == section && b.language == language && b.notRun == "" {
			found = append(found, b.text)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("section %q of %v has %d blocks of %s; want 1", section, pages, len(found), language)
	}
	return found[0], nil
}

func blockOf(t *testing.T, section, language string) string {
	t.Helper()
	return env.Must[string](t)(blockIn(section, language))
}

// executed are the blocks that tests here take by blockOf, section and language.
var executed = []string{
	"nginx nginx", "Caddy caddyfile", "HAProxy lua", "HAProxy haproxy", "Apache apache", "nginx with njs js", "nginx with njs nginx", "git sh", "Set it up sh", "Introspection yaml", "A token that was found sh", "Protect an API sh",
	"Open it sh", "Send it sh", "If it leaked sh",
}

// Each block of the pages is run here, or says why not.
func TestEveryBlockIsRun(t *testing.T) {
	var inPage []string
	for _, b := range env.Must[[]block](t)(blocks()) {
		if b.notRun == "" {
			inPage = append(inPage, b.section+" "+b.language)
		}
	}
	for _, b := range inPage {
		if !slices.Contains(executed, b) {
			t.Errorf("no test runs the block %q", b)
		}
	}
	for _, b := range executed {
		if !slices.Contains(inPage, b) {
			t.Errorf("the block %q is not there", b)
		}
	}
}

// away ends the name of a test whose clients do not reach the API face.
const away = " without pat-operator"

// faceOf is HOST:PORT of the API face for a test.
func faceOf(t *testing.T) string {
	if strings.HasSuffix(t.Name(), strings.ReplaceAll(away, " ", "_")) {
		return "localhost:1"
	}
	return faceAddress
}

// replaced puts this machine's addresses and files into a block, which has all that pairs replace.
func replaced(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Errorf("the block has no %q", pairs[i])
		}
	}
	return strings.NewReplacer(append(pairs,
		"https://pat-api.example.com", "https://"+faceOf(t), "pat-api.example.com:443", faceOf(t), "pat-api.example.com", "localhost",
		"/etc/pat-operator/ca.crt", faceCA, "/etc/ssl/lists.crt", frontCert, "/etc/ssl/lists.key", frontKey, "/etc/ssl/lists.pem", frontPair,
	)...).Replace(text)
}
