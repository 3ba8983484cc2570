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

// Command release packs what a release has: the plugin's archives with a manifest for krew, the chart, the image's archive, and
// the checksums. It is called by make dist, and writes the same bytes from the same input.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

type release struct {
	// version has a leading v, as krew wants it.
	version            string
	repository, source string
	created            time.Time
	// root is the checkout, and dist the folder to write into.
	root, dist string
}

func run(args []string) error {
	var r release
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.StringVar(&r.version, "version", "", "version of the release, such as v0.1.0")
	flags.StringVar(&r.repository, "repository", "pat-operator", "name of the image, without a tag")
	flags.StringVar(&r.source, "source", "", "page of the source")
	flags.StringVar(&r.root, "root", ".", "folder of the checkout")
	created := flags.Int64("created", 0, "time of everything in the archives, in seconds since 1970")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if !regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`).MatchString(r.version) {
		return fmt.Errorf("%q is not a version such as v0.1.0", r.version)
	}
	r.created = time.Unix(*created, 0).UTC()
	r.dist = filepath.Join(r.root, "dist")
	if err := os.MkdirAll(r.dist, 0o755); err != nil {
		return err
	}
	switch flags.Arg(0) {
	case "plugins":
		return r.plugins(flags.Args()[1:])
	case "chart":
		return errors.Join(r.chart(), r.image())
	case "sboms":
		return r.sboms()
	case "checksums":
		return r.checksums()
	}
	return fmt.Errorf("usage: release [flags] plugins PLATFORM... | chart | sboms | checksums")
}

// plugins packs kubectl pat for each platform, such as linux/amd64, and says in pat.yaml where krew finds it.
func (r *release) plugins(platforms []string) error {
	manifest := fmt.Sprintf(`apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: pat
spec:
  version: %s
  homepage: %s
  shortDescription: Create, rotate and revoke personal access tokens
  description: |
    Makes personal access tokens for the Kubernetes API, lists, rotates and
    revokes them. A token is made on your machine; the cluster gets a digest.
  caveats: |
    The cluster needs pat-operator: %s
  platforms:
`, r.version, r.source, r.source)
	for _, platform := range platforms {
		system, arch, _ := strings.Cut(platform, "/")
		program, pack, ending := "kubectl-pat", tarGz, ".tar.gz"
		if system == "windows" {
			program, pack, ending = "kubectl-pat.exe", zipped, ".zip"
		}
		files := []file{
			{from: filepath.Join(r.root, "LICENSE"), name: "LICENSE", mode: 0o644},
			{from: filepath.Join(r.root, "bin/release", system+"-"+arch, program), name: program, mode: 0o755},
		}
		if system != "windows" {
			files = append(files, file{from: filepath.Join(r.root, "cmd/kubectl-pat/kubectl_complete-pat"), name: "kubectl_complete-pat", mode: 0o755})
		}
		name := fmt.Sprintf("kubectl-pat-%s-%s-%s%s", r.version, system, arch, ending)
		if err := r.write(name, pack, files); err != nil {
			return err
		}
		sum, err := sha256Of(filepath.Join(r.dist, name))
		if err != nil {
			return err
		}
		manifest += fmt.Sprintf(`    - selector:
        matchLabels: {os: %s, arch: %s}
      uri: %s/releases/download/%s/%s
      sha256: %s
      bin: %s
`, system, arch, r.source, r.version, name, sum, program)
	}
	return os.WriteFile(filepath.Join(r.dist, "pat.yaml"), []byte(manifest), 0o644)
}

// chart packs the chart with the version and with the image's digest.
func (r *release) chart() error {
	digest, err := r.digest()
	if err != nil {
		return err
	}
	// A version of Helm has no v.
	number := strings.TrimPrefix(r.version, "v")
	// Registry and repository are two values, since a mirror of the registry is one value.
	registry, repository, ok := strings.Cut(r.repository, "/")
	if !ok || !strings.ContainsAny(registry, ".:") {
		registry, repository = `""`, r.repository
	}
	changes := map[string]map[string]string{
		"Chart.yaml":  {"version: 0.0.0": "version: " + number, "appVersion: dev": "appVersion: " + r.version},
		"values.yaml": {`  registry: ""`: "  registry: " + registry, "  repository: pat-operator": "  repository: " + repository, `  digest: ""`: "  digest: " + digest},
	}
	var files []file
	folder := filepath.Join(r.root, "charts/pat-operator")
	err = filepath.WalkDir(folder, func(from string, entry fs.DirEntry, err error) error {
		if err == nil && from == filepath.Join(folder, "ci") {
			return fs.SkipDir // as .helmignore says
		}
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(from, folder+string(filepath.Separator)))
		for old, replacement := range changes[name] {
			old, replacement = "\n"+old+"\n", "\n"+replacement+"\n"
			if n := strings.Count(string(data), old); n != 1 {
				return fmt.Errorf("%s has %d lines %q; want one", from, n, strings.TrimSpace(old))
			}
			data = []byte(strings.Replace(string(data), old, replacement, 1))
		}
		files = append(files, file{content: data, name: "pat-operator/" + name, mode: 0o644})
		return nil
	})
	if err != nil {
		return err
	}
	return r.write("pat-operator-"+number+".tgz", tarGz, files)
}

// image packs the OCI layout, for clusters that reach no registry.
func (r *release) image() error {
	var files []file
	layout := filepath.Join(r.dist, "image")
	err := filepath.WalkDir(layout, func(from string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, file{from: from, name: filepath.ToSlash(strings.TrimPrefix(from, layout+string(filepath.Separator))), mode: 0o644})
		}
		return err
	})
	if err != nil {
		return err
	}
	return r.write("pat-operator-"+r.version+"-image.oci.tar", tarred, files)
}

// digest is that of the index in the layout, by which the image is pulled.
func (r *release) digest() (string, error) {
	data, err := os.ReadFile(filepath.Join(r.dist, "image/index.json"))
	if err != nil {
		return "", fmt.Errorf("run make image first: %w", err)
	}
	var index struct{ Manifests []struct{ Digest string } }
	if err := json.Unmarshal(data, &index); err != nil {
		return "", err
	}
	if len(index.Manifests) != 1 {
		return "", fmt.Errorf("dist/image has %d images; want one index", len(index.Manifests))
	}
	return index.Manifests[0].Digest, nil
}

// sboms take the checksum of the tool that wrote them out of the SBOMs: it differs between machines.
func (r *release) sboms() error {
	names, err := filepath.Glob(filepath.Join(r.dist, "*.cdx.json"))
	if err != nil {
		return err
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		bom := map[string]any{}
		if err := json.Unmarshal(data, &bom); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		metadata, _ := bom["metadata"].(map[string]any)
		tools, _ := metadata["tools"].([]any)
		if len(tools) != 1 {
			return fmt.Errorf("%s does not name the one tool that wrote it", name)
		}
		delete(tools[0].(map[string]any), "hashes")
		if data, err = json.MarshalIndent(bom, "", "  "); err != nil {
			return err
		}
		if err := os.WriteFile(name, append(data, '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// checksums are of every file in dist, in the form of sha256sum.
func (r *release) checksums() error {
	entries, err := os.ReadDir(r.dist)
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, entry := range entries {
		if entry.IsDir() || entry.Name() == "checksums.txt" {
			continue
		}
		sum, err := sha256Of(filepath.Join(r.dist, entry.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%s  %s\n", sum, entry.Name())
	}
	return os.WriteFile(filepath.Join(r.dist, "checksums.txt"), []byte(sums.String()), 0o644)
}

func sha256Of(name string) (string, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
