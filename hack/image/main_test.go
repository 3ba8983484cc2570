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
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const dockerfile = "../../Dockerfile"

var (
	built   = flag.String("built", "", "folder dist, after make image")
	version = flag.String("version", "", "version of the image in it")
)

// index is the one index of a layout.
func index(t *testing.T, folder string) v1.ImageIndex {
	t.Helper()
	top, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		t.Fatal(err)
	}
	m, err := top.IndexManifest()
	if err != nil || len(m.Manifests) != 1 {
		t.Fatalf("%s: %v, %d manifests; want one index", folder, err, len(m.Manifests))
	}
	i, err := top.ImageIndex(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// check looks into an index for both platforms: user, command, labels, and the one file. It returns the image for this machine.
func check(t *testing.T, index v1.ImageIndex, version string) v1.Image {
	t.Helper()
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var own v1.Image
	var platforms []string
	labels := func(of string, got map[string]string) {
		for _, name := range []string{"title", "description", "licenses", "source", "version", "revision", "created"} {
			if got["org.opencontainers.image."+name] == "" {
				t.Errorf("%s has no label %s: %v", of, name, got)
			}
		}
		if v := got["org.opencontainers.image.version"]; v != version {
			t.Errorf("%s has the version %s; want %s", of, v, version)
		}
		if _, err := time.Parse(time.RFC3339, got["org.opencontainers.image.created"]); err != nil {
			t.Errorf("%s: %v", of, err)
		}
	}
	labels("the index", m.Annotations)
	for _, d := range m.Manifests {
		platform := d.Platform.String()
		platforms = append(platforms, platform)
		image, err := index.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := image.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		labels("the manifest for "+platform, manifest.Annotations)
		labels("the image for "+platform, config.Config.Labels)
		want := v1.Config{User: "65532:65532", Entrypoint: []string{"/manager"}, Cmd: []string{"run"}, Labels: config.Config.Labels}
		if !reflect.DeepEqual(config.Config, want) {
			t.Errorf("%s has the configuration %+v; want %+v", platform, config.Config, want)
		}
		if got := config.OS + "/" + config.Architecture; got != platform {
			t.Errorf("the image for %s says that it is for %s", platform, got)
		}
		if config.OS == runtime.GOOS && config.Architecture == runtime.GOARCH {
			own = image
		}
		layers, err := image.Layers()
		if err != nil || len(layers) != 1 {
			t.Fatalf("%s: %v, %d layers; want one", platform, err, len(layers))
		}
		files(t, layers[0], func(h *tar.Header, _ io.Reader) {
			if h.Name != "manager" || h.Mode != 0o755 || h.Uid != 0 || h.Gid != 0 || !h.ModTime.Equal(config.Created.Time) {
				t.Errorf("%s has the file %+v; want manager alone, of root", platform, h)
			}
		})
	}
	if want := []string{"linux/amd64", "linux/arm64"}; !reflect.DeepEqual(platforms, want) {
		t.Errorf("the index has %v; want %v", platforms, want)
	}
	return own
}

func files(t *testing.T, layer v1.Layer, do func(*tar.Header, io.Reader)) {
	t.Helper()
	content, err := layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	for r := tar.NewReader(content); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		do(h, r)
	}
}

// build makes an image of two small files in a folder of its own.
func build(t *testing.T) (folder, name string) {
	t.Helper()
	folder = t.TempDir()
	program := filepath.Join(folder, "program")
	if err := os.WriteFile(program, []byte("not much"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	err := run(t.Context(), []string{"--layout", filepath.Join(folder, "image"), "--archive", filepath.Join(folder, "%s.tar"), "--version", "v1.2.3",
		"--revision", "abc", "--source", "https://example.com/source", "--created", "1700000000", "linux/amd64=" + program, "linux/arm64=" + program}, &out)
	if err != nil {
		t.Fatal(err)
	}
	return folder, strings.TrimSpace(out.String())
}

func TestImage(t *testing.T) {
	folder, name := build(t)
	index := index(t, filepath.Join(folder, "image"))
	check(t, index, "v1.2.3")
	digest, err := index.Digest()
	if err != nil || name != "pat-operator@"+digest.String() {
		t.Errorf("it printed %s (%v); want the name with %s", name, err, digest)
	}
	if _, again := build(t); again != name {
		t.Errorf("a second build makes %s, the first %s", again, name)
	}
}

// The Dockerfile makes an image with the same user, command and labels.
func TestDockerfileMakesTheSameImage(t *testing.T) {
	data, err := os.ReadFile(dockerfile)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"FROM --platform=$BUILDPLATFORM ${BUILDER_IMAGE} AS build", "USER 65532:65532", `ENTRYPOINT ["/manager"]`, `CMD ["run"]`, "COPY --from=build /out/manager /manager"} {
		if !strings.Contains(string(data), "\n"+line+"\n") {
			t.Errorf("the Dockerfile has no line %s", line)
		}
	}
	variables := map[string]string{"${SOURCE}": "s", "${VERSION}": "v", "${REVISION}": "r", "${CREATED}": "1970-01-01T00:00:00Z"}
	got := map[string]string{}
	for _, m := range regexp.MustCompile(`(org\.opencontainers\.image\.\w+)="(.*)"`).FindAllStringSubmatch(string(data), -1) {
		got[m[1]] = m[2]
		if value, ok := variables[m[2]]; ok {
			got[m[1]] = value
		}
	}
	if want := (metadata{source: "s", version: "v", revision: "r", created: time.Unix(0, 0).UTC()}).labels(); !reflect.DeepEqual(got, want) {
		t.Errorf("the Dockerfile has the labels %v; want %v", got, want)
	}
}

// A registry has the digest that is in the layout.
func TestPush(t *testing.T) {
	folder, name := build(t)
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	repository := strings.TrimPrefix(server.URL, "http://") + "/pat-operator"
	var out strings.Builder
	err := run(t.Context(), []string{"--push", "--layout", filepath.Join(folder, "image"), "--repository", repository, "--version", "v1.2.3"}, &out)
	_, digest, _ := strings.Cut(name, "@")
	if want := repository + "@" + digest + "\n"; err != nil || out.String() != want {
		t.Errorf("push: %v, %s; want %s", err, out.String(), want)
	}
	if err := run(t.Context(), []string{"--push", "--layout", t.TempDir(), "--repository", repository, "--version", "v1.2.3"}, &out); err == nil ||
		!strings.Contains(err.Error(), "run make image first") {
		t.Errorf("push of an empty folder: %v", err)
	}
}

func TestWrongArguments(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"no file", []string{"--version", "v1", "linux/amd64"}, "is not PLATFORM=FILE"},
		{"a file that is not there", []string{"--version", "v1", "linux/amd64=/nowhere"}, "no such file"},
		{"no version", []string{"linux/amd64=/nowhere"}, "must specify a tag name"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			args := append([]string{"--layout", filepath.Join(t.TempDir(), "image")}, tc.args...)
			if err := run(t.Context(), args, io.Discard); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v; want %q", err, tc.want)
			}
		})
	}
}

// What make image has written: the program of this machine's image runs, and docker's archives have the same images.
func TestBuiltImage(t *testing.T) {
	if *built == "" {
		t.Skip("for make image-check")
	}
	i := index(t, filepath.Join(*built, "image"))
	own := check(t, i, *version)
	m, err := i.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range m.Manifests {
		want, err := i.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(*built, fmt.Sprintf("pat-operator-%s-%s.docker.tar", *version, strings.ReplaceAll(d.Platform.String(), "/", "-")))
		got, err := tarball.ImageFromPath(file, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := configName(t, got), configName(t, want); a != b {
			t.Errorf("%s has the image %s; want %s", file, a, b)
		}
	}
	if own == nil {
		t.Skipf("no image for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	layers, err := own.Layers()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "manager")
	files(t, layers[0], func(_ *tar.Header, content io.Reader) {
		data, err := io.ReadAll(content)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(program, data, 0o700); err != nil {
			t.Fatal(err)
		}
	})
	out, err := exec.CommandContext(t.Context(), program, "version").CombinedOutput()
	if err != nil || string(out) != *version+"\n" {
		t.Errorf("manager version: %v, %s; want %s", err, out, *version)
	}
}

func configName(t *testing.T, image v1.Image) string {
	t.Helper()
	h, err := image.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}
