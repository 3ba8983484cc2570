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

package page

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

const assetsPrefix = "/assets/"

//go:embed assets
var assetFiles embed.FS

// contentTypes replace the machine's mime.types, which may differ.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

type asset struct {
	contentType   string
	plain, packed []byte
}

// assetURLs are by file name, assets by URL.
var assetURLs, assets = loadAssets()

func loadAssets() (map[string]string, map[string]asset) {
	urls, assets := map[string]string{}, map[string]asset{}
	files, err := fs.Glob(assetFiles, "assets/*")
	if err != nil {
		panic(err)
	}
	for _, file := range files {
		plain, err := assetFiles.ReadFile(file)
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(plain)
		name, ext := path.Base(file), path.Ext(file)
		url := assetsPrefix + strings.TrimSuffix(name, ext) + "-" + hex.EncodeToString(sum[:6]) + ext
		urls[name] = url
		assets[url] = asset{contentType: contentTypes[ext], plain: plain, packed: pack(plain)}
	}
	return urls, assets
}

func pack(plain []byte) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err)
	}
	return out.Bytes()
}

// assetURL returns the URL of an embedded file. It contains a digest of the content, so browsers may cache it forever.
func assetURL(name string) string { return assetURLs[name] }

// Assets serves the embedded files below /assets/.
func Assets() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := assets[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "Method not allowed", http.StatusMethodNotAllowed)
			return
		}
		h := w.Header()
		h.Set("Content-Type", a.contentType)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		h.Set("Vary", "Accept-Encoding")
		body := a.plain
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			h.Set("Content-Encoding", "gzip")
			body = a.packed
		}
		_, _ = w.Write(body)
	})
}
