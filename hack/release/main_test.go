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
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

var (
	dist    = flag.String("dist", "", "folder that make dist has filled")
	version = flag.String("version", "", "version of what is in it")
	plugins = flag.String("plugins", "", "platforms that it has the plugin for, such as linux/amd64, with spaces")
)

// What make dist has written is complete, and its parts agree.
func TestDist(t *testing.T) {
	if *dist == "" {
		t.Skip("for make dist-check")
	}
	t.Run("files", filesOfDist)
	t.Run("checksums", checksumsOfDist)
	t.Run("install.yaml", installOfDist)
	t.Run("chart", chartOfDist)
	t.Run("image", imageOfDist)
	t.Run("plugins", pluginsOfDist)
	t.Run("SBOM", sbomsOfDist)
}

func filesOfDist(t *testing.T) {
	want := []string{"checksums.txt", "crds.yaml", "install.yaml", "pat.yaml",
		"pat-operator-" + strings.TrimPrefix(*version, "v") + ".tgz", "pat-operator-" + *version + "-image.oci.tar"}
	for _, arch := range []string{"amd64", "arm64"} {
		want = append(want, "pat-operator-"+*version+"-linux-"+arch+".docker.tar", "manager-"+*version+"-linux-"+arch+".cdx.json")
	}
	for platform := range strings.FieldsSeq(*plugins) {
		name, ending := "kubectl-pat-"+*version+"-"+strings.ReplaceAll(platform, "/", "-"), ".tar.gz"
		if strings.HasPrefix(platform, "windows/") {
			ending = ".zip"
		}
		want = append(want, name+ending, name+".cdx.json")
	}
	var got []string
	entries, err := os.ReadDir(*dist)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			got = append(got, entry.Name())
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (- want, + got):\n%s", diff)
	}
}

func checksumsOfDist(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "--quiet", "checksums.txt")
	cmd.Dir = *dist
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("sha256sum --check: %v\n%s", err, out)
	}
	entries, err := os.ReadDir(*dist)
	if err != nil {
		t.Fatal(err)
	}
	sums := string(part(t, "checksums.txt"))
	for _, entry := range entries {
		if !entry.IsDir() && entry.Name() != "checksums.txt" && !strings.Contains(sums, "  "+entry.Name()+"\n") {
			t.Errorf("checksums.txt has no %s", entry.Name())
		}
	}
}

// phase says when kubectl applies an object: what judges a PersonalAccessToken is there before there can be one.
var phase = map[string]int{
	"Namespace":                 1,
	"ValidatingAdmissionPolicy": 2, "ValidatingAdmissionPolicyBinding": 2, "MutatingWebhookConfiguration": 2, "ValidatingWebhookConfiguration": 2,
	"CustomResourceDefinition": 3,
	"ServiceAccount":           4, "ClusterRole": 4, "Role": 4, "ClusterRoleBinding": 4, "RoleBinding": 4,
	"FlowSchema": 5, "Deployment": 5, "Service": 5, "ConfigMap": 5, "PodDisruptionBudget": 5,
}

func installOfDist(t *testing.T) {
	image := digestOf(t, part(t, "image/index.json"))
	crds := map[string]any{}
	for document := range strings.SplitSeq(string(part(t, "crds.yaml")), "---\n") {
		var crd unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(document), &crd.Object); err != nil {
			t.Fatal(err)
		}
		if crd.Object != nil {
			crds[crd.GetName()] = crd.Object["spec"]
		}
	}
	last, images, kinds := 0, 0, map[string]int{}
	text := string(part(t, "install.yaml"))
	for _, word := range []string{"Helm", "helm.sh"} {
		if strings.Contains(text, word) {
			t.Errorf("install.yaml says %s, which installs the chart and not this file", word)
		}
	}
	for document := range strings.SplitSeq(text, "\n---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &o.Object); err != nil {
			t.Fatal(err)
		}
		at := phase[o.GetKind()]
		if at == 0 || o.GetName() == "" {
			t.Errorf("the kind %s of %q has no phase in this test", o.GetKind(), o.GetName())
		}
		if at < last {
			t.Errorf("%s %s comes too late", o.GetKind(), o.GetName())
		}
		last = max(last, at)
		kinds[o.GetKind()]++
		if o.GetKind() == "Deployment" {
			containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
			for _, c := range containers {
				images++
				if got := c.(map[string]any)["image"].(string); !strings.HasSuffix(got, "/pat-operator@"+image) && got != "pat-operator@"+image {
					t.Errorf("%s has the image %s; want one with the digest %s", o.GetName(), got, image)
				}
			}
		}
		if o.GetKind() == "CustomResourceDefinition" {
			if diff := cmp.Diff(crds[o.GetName()], o.Object["spec"]); diff != "" {
				t.Errorf("the CRD %s (-crds.yaml, +install.yaml):\n%s", o.GetName(), diff)
			}
		}
	}
	if images != 2 || kinds["Namespace"] != 2 || kinds["CustomResourceDefinition"] != len(crds) || len(crds) != 2 || kinds["ValidatingAdmissionPolicy"] < 6 {
		t.Errorf("install.yaml has %d images and %v; want two of each process and namespace, the %d CRDs of crds.yaml (which has two), six policies", images, kinds, len(crds))
	}
}

func chartOfDist(t *testing.T) {
	number := strings.TrimPrefix(*version, "v")
	files := unpack(t, "pat-operator-"+number+".tgz")
	var chart struct{ Version, AppVersion string }
	if err := yaml.Unmarshal(files["pat-operator/Chart.yaml"].content, &chart); err != nil {
		t.Fatal(err)
	}
	if chart.Version != number || chart.AppVersion != *version {
		t.Errorf("the chart has the versions %+v; want %s and %s", chart, number, *version)
	}
	var values struct{ Image struct{ Digest string } }
	if err := yaml.Unmarshal(files["pat-operator/values.yaml"].content, &values); err != nil {
		t.Fatal(err)
	}
	if want := digestOf(t, part(t, "image/index.json")); values.Image.Digest != want {
		t.Errorf("the chart's image has the digest %s; want %s", values.Image.Digest, want)
	}
	for _, name := range []string{"README.md", "values.schema.json", "templates/NOTES.txt", "files/policy/users.yaml"} {
		if len(files["pat-operator/"+name].content) == 0 {
			t.Errorf("the chart has no %s", name)
		}
	}
	for name := range files {
		if strings.HasPrefix(name, "pat-operator/ci/") {
			t.Errorf("the chart has %s, which .helmignore leaves out", name)
		}
	}
}

// The archive is the layout, and docker's archives are of its two images.
func imageOfDist(t *testing.T) {
	archived := map[string]entry{}
	readTar(t, bytes.NewReader(part(t, "pat-operator-"+*version+"-image.oci.tar")), archived)
	for name, e := range archived {
		if !bytes.Equal(e.content, part(t, "image/"+name)) {
			t.Errorf("%s differs between dist/image and its archive", name)
		}
	}
	index := digestOf(t, archived["index.json"].content)
	if digestOf(t, part(t, "image/index.json")) != index {
		t.Error("the archive has another image than dist/image")
	}
	var manifests struct{ Manifests []struct{ Digest string } }
	if err := json.Unmarshal(archived[blob(index)].content, &manifests); err != nil || len(manifests.Manifests) != 2 {
		t.Fatalf("the index: %v, %+v; want two manifests", err, manifests)
	}
	for i, arch := range []string{"amd64", "arm64"} {
		var manifest struct{ Config struct{ Digest string } }
		if err := json.Unmarshal(archived[blob(manifests.Manifests[i].Digest)].content, &manifest); err != nil {
			t.Fatal(err)
		}
		docker := map[string]entry{}
		readTar(t, bytes.NewReader(part(t, "pat-operator-"+*version+"-linux-"+arch+".docker.tar")), docker)
		var images []struct {
			Config   string
			RepoTags []string
		}
		if err := json.Unmarshal(docker["manifest.json"].content, &images); err != nil || len(images) != 1 {
			t.Fatalf("docker's archive for %s: %v, %v", arch, err, images)
		}
		if images[0].Config != manifest.Config.Digest || len(images[0].RepoTags) != 1 || !strings.HasSuffix(images[0].RepoTags[0], "pat-operator:"+*version) {
			t.Errorf("docker's archive for %s has %+v; want %s, with the tag %s", arch, images[0], manifest.Config.Digest, *version)
		}
	}
}

func blob(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

func pluginsOfDist(t *testing.T) {
	var manifest struct {
		Spec struct {
			Version   string
			Platforms []struct {
				URI, SHA256, Bin string
				Selector         struct{ MatchLabels map[string]string }
			}
		}
	}
	if err := yaml.Unmarshal(part(t, "pat.yaml"), &manifest); err != nil {
		t.Fatal(err)
	}
	if n := len(strings.Fields(*plugins)); manifest.Spec.Version != *version || len(manifest.Spec.Platforms) != n || n == 0 {
		t.Errorf("pat.yaml has the version %s and %d platforms; want %s and %d", manifest.Spec.Version, len(manifest.Spec.Platforms), *version, n)
	}
	for _, p := range manifest.Spec.Platforms {
		name := path.Base(p.URI)
		if sum, err := sha256Of(filepath.Join(*dist, name)); err != nil || sum != p.SHA256 {
			t.Errorf("%s: %v, %s; want %s", name, err, sum, p.SHA256)
		}
		system, arch := p.Selector.MatchLabels["os"], p.Selector.MatchLabels["arch"]
		if !strings.Contains(name, "-"+system+"-"+arch+".") {
			t.Errorf("%s is for %s/%s", name, system, arch)
		}
		files := unpack(t, name)
		program := files[p.Bin]
		if len(files["LICENSE"].content) == 0 || program.mode != 0o755 {
			t.Errorf("%s has %d bytes of LICENSE, and %s with the mode %o", name, len(files["LICENSE"].content), p.Bin, program.mode)
		}
		if system != runtime.GOOS || arch != runtime.GOARCH {
			continue
		}
		file := filepath.Join(t.TempDir(), p.Bin)
		if err := os.WriteFile(file, program.content, 0o700); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), file, "--version").CombinedOutput(); err != nil || string(out) != *version+"\n" {
			t.Errorf("%s --version: %v, %s", p.Bin, err, out)
		}
	}
}

func sbomsOfDist(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(*dist, "*.cdx.json"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%v, %d files", err, len(names))
	}
	for _, name := range names {
		var bom struct {
			BOMFormat, SerialNumber string
			Metadata                struct {
				Timestamp string
				Component struct{ Name, Version string }
				Tools     []struct{ Name, Hashes any }
			}
			Components []struct{ Name string }
		}
		if err := json.Unmarshal(part(t, filepath.Base(name)), &bom); err != nil {
			t.Fatal(err)
		}
		library := func(name string) bool {
			return slices.ContainsFunc(bom.Components, func(c struct{ Name string }) bool { return c.Name == name })
		}
		if bom.BOMFormat != "CycloneDX" || bom.Metadata.Component.Version != *version || !library("k8s.io/client-go") || !library("std") {
			t.Errorf("%s is %s of %+v with %d components", filepath.Base(name), bom.BOMFormat, bom.Metadata.Component, len(bom.Components))
		}
		if bom.SerialNumber != "" || bom.Metadata.Timestamp != "" || len(bom.Metadata.Tools) != 1 || bom.Metadata.Tools[0].Hashes != nil {
			t.Errorf("%s differs between machines or runs: %+v", filepath.Base(name), bom.Metadata)
		}
	}
}

// digestOf is the digest of the one image of a layout's index.json.
func digestOf(t *testing.T, data []byte) string {
	t.Helper()
	var index struct{ Manifests []struct{ Digest string } }
	if err := json.Unmarshal(data, &index); err != nil || len(index.Manifests) != 1 {
		t.Fatalf("index.json: %v, %+v; want one image", err, index)
	}
	return index.Manifests[0].Digest
}

func part(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(*dist, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

type entry struct {
	content []byte
	mode    int64
}

// unpack reads an archive of dist.
func unpack(t *testing.T, name string) map[string]entry {
	t.Helper()
	files, data := map[string]entry{}, part(t, name)
	if !strings.HasSuffix(name, ".zip") {
		r, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		readTar(t, r, files)
		return files
	}
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.File {
		content, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(content)
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name] = entry{data, int64(f.Mode().Perm())}
	}
	return files
}

func readTar(t *testing.T, from io.Reader, files map[string]entry) {
	t.Helper()
	for r := tar.NewReader(from); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = entry{data, h.Mode}
	}
}

// checkout is a folder with what the program reads.
func checkout(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range map[string]string{
		"LICENSE":                                   "Apache",
		"cmd/kubectl-pat/kubectl_complete-pat":      "#!/bin/sh",
		"bin/release/linux-amd64/kubectl-pat":       "program",
		"bin/release/windows-arm64/kubectl-pat.exe": "program",
		"charts/pat-operator/Chart.yaml":            "name: pat-operator\nversion: 0.0.0\nappVersion: dev\n",
		"charts/pat-operator/values.yaml":           "image:\n  registry: \"\"\n  repository: pat-operator\n  digest: \"\"\nmode: split\n",
		"dist/image/index.json":                     `{"manifests": [{"digest": "sha256:abc"}]}`,
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// The same input makes the same archives, whatever the time and the folder are.
func TestArchivesAreReproducible(t *testing.T) {
	pack := func() map[string]string {
		root := checkout(t)
		old := time.Now().Add(-time.Duration(len(root)) * time.Hour)
		if err := os.Chtimes(filepath.Join(root, "LICENSE"), old, old); err != nil {
			t.Fatal(err)
		}
		for _, command := range [][]string{{"plugins", "linux/amd64", "windows/arm64"}, {"chart"}, {"checksums"}} {
			args := []string{"--root", root, "--version", "v1.2.3", "--created", "1700000000", "--repository", "registry.example.com/ours/pat-operator", "--source", "https://example.com"}
			if err := run(append(args, command...)); err != nil {
				t.Fatal(err)
			}
		}
		files := map[string]string{}
		entries, err := os.ReadDir(filepath.Join(root, "dist"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() {
				continue
			}
			if files[e.Name()], err = sha256Of(filepath.Join(root, "dist", e.Name())); err != nil {
				t.Fatal(err)
			}
		}
		*dist = filepath.Join(root, "dist")
		return files
	}
	before := *dist
	defer func() { *dist = before }()
	first := pack()
	if diff := cmp.Diff(first, pack()); diff != "" {
		t.Errorf("two runs (- first, + second):\n%s", diff)
	}
	if len(first) != 6 {
		t.Errorf("files: %v", first)
	}
	values := string(unpack(t, "pat-operator-1.2.3.tgz")["pat-operator/values.yaml"].content)
	if want := "image:\n  registry: registry.example.com\n  repository: ours/pat-operator\n  digest: sha256:abc\nmode: split\n"; values != want {
		t.Errorf("values:\n%s\nwant:\n%s", values, want)
	}
}

func TestWhatIsRefused(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		args       []string
		change     func(root string) error
	}{
		{name: "a version that Helm does not take", args: []string{"--version", "main", "chart"}, want: "is not a version such as v0.1.0"},
		{name: "no command", args: []string{"--version", "v1.2.3"}, want: "usage: release"},
		{name: "a chart without the line", args: []string{"--version", "v1.2.3", "chart"}, want: `has 0 lines "appVersion: dev"; want one`, change: func(root string) error {
			return os.WriteFile(filepath.Join(root, "charts/pat-operator/Chart.yaml"), []byte("name: pat-operator\nversion: 0.0.0\n"), 0o600)
		}},
		{name: "no image", args: []string{"--version", "v1.2.3", "chart"}, want: "run make image first", change: func(root string) error {
			return os.RemoveAll(filepath.Join(root, "dist"))
		}},
		{name: "a program that is not built", args: []string{"--version", "v1.2.3", "plugins", "plan9/386"}, want: "no such file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := checkout(t)
			if tc.change != nil {
				if err := tc.change(root); err != nil {
					t.Fatal(err)
				}
			}
			if err := run(append([]string{"--root", root}, tc.args...)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v; want %q", err, tc.want)
			}
		})
	}
}
