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
	"io"
	"os"
	"path/filepath"
	"time"
)

// file is one of an archive: what is in the file from, or else content.
type file struct {
	name, from string
	content    []byte
	mode       int64
}

// write makes an archive of files, in their order, in dist.
func (r *release) write(name string, pack func(io.Writer, []file, time.Time) error, files []file) error {
	for i, f := range files {
		if f.from == "" {
			continue
		}
		data, err := os.ReadFile(f.from)
		if err != nil {
			return err
		}
		files[i].content = data
	}
	var out bytes.Buffer
	if err := pack(&out, files, r.created); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.dist, name), out.Bytes(), 0o644)
}

// tarred makes a tar file of one owner and one time.
func tarred(out io.Writer, files []file, created time.Time) error {
	w := tar.NewWriter(out)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content)), ModTime: created, Format: tar.FormatUSTAR}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		if _, err := w.Write(f.content); err != nil {
			return err
		}
	}
	return w.Close()
}

func tarGz(out io.Writer, files []file, created time.Time) error {
	w, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		return err
	}
	if err := tarred(w, files, created); err != nil {
		return err
	}
	return w.Close()
}

func zipped(out io.Writer, files []file, created time.Time) error {
	w := zip.NewWriter(out)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: created}
		header.SetMode(os.FileMode(f.mode))
		part, err := w.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := part.Write(f.content); err != nil {
			return err
		}
	}
	return w.Close()
}
