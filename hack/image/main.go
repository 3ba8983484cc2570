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

// Command image writes the container image without a container engine, the same bytes from the same binaries, and pushes it.
// The Dockerfile describes the same image; a test holds the two together.
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	folder := flags.String("layout", "dist/image", "folder of the OCI layout; replaced, unless --push is given")
	archive := flags.String("archive", "", "file of a docker archive for each platform, with %s for the platform")
	repository := flags.String("repository", "pat-operator", "name of the image, without a tag")
	push := flags.Bool("push", false, "push what is in the layout, and write nothing")
	var of metadata
	flags.StringVar(&of.version, "version", "", "tag, and label version")
	flags.StringVar(&of.revision, "revision", "", "label revision: the commit")
	flags.StringVar(&of.source, "source", "", "label source")
	created := flags.Int64("created", 0, "time of everything in the image, in seconds since 1970")
	if err := flags.Parse(args); err != nil {
		return err
	}
	of.created = time.Unix(*created, 0).UTC()
	tag, err := name.NewTag(*repository + ":" + of.version)
	if err != nil {
		return err
	}
	var digest v1.Hash
	if *push {
		digest, err = pushed(ctx, *folder, tag)
	} else {
		digest, err = write(*folder, *archive, tag, of, flags.Args())
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s@%s\n", *repository, digest)
	return err
}

type metadata struct {
	version, revision, source string
	created                   time.Time
}

// labels are those of the image's configuration, and the annotations of index and manifests.
func (m metadata) labels() map[string]string {
	labels := map[string]string{}
	for key, value := range map[string]string{
		"title":       "pat-operator",
		"description": "Personal access tokens for Kubernetes",
		"licenses":    "Apache-2.0",
		"source":      m.source,
		"version":     m.version,
		"revision":    m.revision,
		"created":     m.created.Format(time.RFC3339),
	} {
		labels["org.opencontainers.image."+key] = value
	}
	return labels
}

// write makes an image for each platform of "linux/amd64=file", and an index of them, which is what it returns the digest of.
func write(folder, archive string, tag name.Tag, of metadata, platforms []string) (v1.Hash, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, argument := range platforms {
		text, file, ok := strings.Cut(argument, "=")
		platform, err := v1.ParsePlatform(text)
		if err != nil || !ok {
			return v1.Hash{}, fmt.Errorf("%q is not PLATFORM=FILE, such as linux/amd64=manager", argument)
		}
		image, err := imageOf(file, platform, of)
		if err != nil {
			return v1.Hash{}, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: platform}})
		if archive != "" {
			if err := tarball.WriteToFile(fmt.Sprintf(archive, strings.ReplaceAll(text, "/", "-")), tag, image); err != nil {
				return v1.Hash{}, err
			}
		}
	}
	index = mutate.Annotations(index, of.labels()).(v1.ImageIndex)
	if err := os.RemoveAll(folder); err != nil {
		return v1.Hash{}, err
	}
	out, err := layout.Write(folder, empty.Index)
	if err != nil {
		return v1.Hash{}, err
	}
	if err := out.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": of.version})); err != nil {
		return v1.Hash{}, err
	}
	return index.Digest()
}

// imageOf has one layer with one file, /manager, which belongs to root: the process cannot change it.
func imageOf(file string, platform *v1.Platform, of metadata) (v1.Image, error) {
	program, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	header := &tar.Header{Name: "manager", Mode: 0o755, Size: int64(len(program)), ModTime: of.created, Format: tar.FormatUSTAR}
	if err := w.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := w.Write(program); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image, err := mutate.ConfigFile(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), &v1.ConfigFile{
		OS: platform.OS, Architecture: platform.Architecture, Created: v1.Time{Time: of.created},
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{User: "65532:65532", Entrypoint: []string{"/manager"}, Cmd: []string{"run"}, Labels: of.labels()},
	})
	if err != nil {
		return nil, err
	}
	image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: of.created}, CreatedBy: "make image"}})
	if err != nil {
		return nil, err
	}
	return mutate.Annotations(image, of.labels()).(v1.Image), nil
}

// pushed sends the layout's index, with the credentials of docker's configuration, and returns its digest.
func pushed(ctx context.Context, folder string, tag name.Tag) (v1.Hash, error) {
	top, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("cannot read %s; run make image first: %w", folder, err)
	}
	manifest, err := top.IndexManifest()
	if err != nil {
		return v1.Hash{}, err
	}
	if n := len(manifest.Manifests); n != 1 {
		return v1.Hash{}, fmt.Errorf("%s has %d images; want one index", folder, n)
	}
	index, err := top.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		return v1.Hash{}, err
	}
	if err := remote.WriteIndex(tag, index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return v1.Hash{}, err
	}
	return index.Digest()
}
