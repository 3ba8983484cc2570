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

package app

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding/unicode"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func b64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// wrapped breaks a text into lines of n characters.
func wrapped(text string, columns int, end string) string {
	var b strings.Builder
	for i, r := range text {
		if i > 0 && i%columns == 0 {
			b.WriteString(end)
		}
		b.WriteRune(r)
	}
	return b.String()
}

func utf16Of(t *testing.T, text string, order unicode.Endianness, mark unicode.BOMPolicy) string {
	t.Helper()
	encoded, err := unicode.UTF16(order, mark).NewEncoder().String(text)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// find finds a token in the forms in which people leak it, and reports nothing as unreadable.
func TestCase61_ATokenIsFoundInEachForm(t *testing.T) {
	id, plaintext := tokenOf(t, 7)
	kubeconfig := "apiVersion: v1\nkind: Config\nusers:\n- name: ci\n  user:\n    token: " + plaintext + "\n"
	forms := map[string]string{
		"a Secret":                       "apiVersion: v1\nkind: Secret\ndata:\n  token: " + b64(plaintext) + "\n  user: YWxpY2U=\n",
		"a Secret with a line end":       "data:\n  token: " + b64(plaintext+"\n") + "\n",
		"a kubeconfig in a Secret":       "data:\n  kubeconfig: " + b64(kubeconfig) + "\n",
		"a kubeconfig in wrapped base64": "data:\n  kubeconfig: >-\n    " + wrapped(b64(kubeconfig), 76, "\n    ") + "\nkind: Secret\n",
		"without padding":                strings.TrimRight(b64(plaintext), "="),
		"the alphabet of URLs":           "?t=" + base64.URLEncoding.EncodeToString([]byte("ÿÿ>"+plaintext+"ÿ")),
		"the password of an image":       "data:\n  .dockerconfigjson: " + b64(`{"auths":{"r.example.com":{"auth":"`+b64("ci:"+plaintext)+`"}}}`) + "\n",
		"in a URL":                       "Authorization=Basic%20" + b64("alice:"+plaintext),
		"a header on two lines":          "Authorization: Basic\n " + b64("alice:"+plaintext),
		"escaped line ends":              `"token": "` + strings.ReplaceAll(wrapped(b64(plaintext), 76, "\n"), "\n", `\n`) + `"`,
		"in a mail":                      "> token:\r\n> " + wrapped(plaintext, 40, "\r\n> ") + "\r\n> Regards",
		"in a mail with soft line ends":  wrapped(plaintext, 40, "=\r\n"),
		"in UTF-16 in base64":            "powershell -EncodedCommand " + b64(utf16Of(t, "$t = '"+plaintext+"'", unicode.LittleEndian, unicode.IgnoreBOM)),
		"in the middle of data":          b64("\x08\x01\x12\xff\xfe" + plaintext + "\xff\xfe\x01"),
		"behind text in UTF-8":           "Schlüssel, 鍵: " + b64("鍵は "+plaintext+" です"),
		"wrapped UTF-16":                 utf16Of(t, "x\r\n"+wrapped(plaintext, 40, "\r\n")+"\r\n", unicode.LittleEndian, unicode.UseBOM),
	}
	for user := range 4 {
		forms[fmt.Sprintf("a Basic header with a name of %d", user)] = "Authorization: Basic " + b64(strings.Repeat("u", user)+":"+plaintext)
	}
	for columns := 1; columns <= 80; columns++ {
		forms[fmt.Sprintf("at %d columns", columns)] = wrapped(plaintext, columns, "\n")
		forms[fmt.Sprintf("in base64 at %d columns", columns)] = wrapped(b64("x "+plaintext), columns, "\r\n  ")
	}
	for _, order := range []unicode.Endianness{unicode.LittleEndian, unicode.BigEndian} {
		for _, mark := range []unicode.BOMPolicy{unicode.UseBOM, unicode.IgnoreBOM} {
			forms[fmt.Sprintf("UTF-16 %v %v", order, mark)] = utf16Of(t, "token: "+plaintext+"\r\n", order, mark)
		}
	}
	for form, text := range forms {
		t.Run(form, func(t *testing.T) {
			for _, s := range found(t, text) {
				if s.id == id && s.certain && cmp.Equal(s.plaintexts, []string{plaintext}) {
					return
				}
			}
			t.Errorf("not found in %q", text)
		})
	}
}

// An ID alone is found in base64 as well.
func TestCase61_AnIDIsFoundInBase64(t *testing.T) {
	const id = "aaaabbbbccccdddd"
	for _, text := range []string{id, "PAT=" + id, "kubepat_" + id + "_ab"} {
		if got := found(t, b64(text)); len(got) != 1 || got[0].id != id {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// Words on two lines are not a token.
func TestCase61_LinesThatAreJoinedMakeNoID(t *testing.T) {
	if got := found(t, "kubepat_abcdefgh\nijklmnop and more\n"); len(got) > 0 {
		t.Errorf("found %v", got)
	}
}

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// find always reports what it could not decode.
func TestCase61_WhatCannotBeReadIsReported(t *testing.T) {
	pat, plaintext := holderMade(t, 7)
	noise := make([]byte, 300)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(noise)
	five := plaintext
	for range maxLayers + 1 {
		five = b64(five)
	}
	for name, text := range map[string]string{
		"compressed":                     gzipped(t, plaintext),
		"compressed behind text":         strings.Repeat("a line of a log\n", 100) + gzipped(t, strings.Repeat(string(noise), 3)),
		"compressed in base64":           "data:\n  release: " + b64(gzipped(t, plaintext)),
		"compressed in base64, wrapped":  "data: |\n  " + wrapped(b64(gzipped(t, plaintext)), 60, "\n  "),
		"compressed in base64 in base64": "data:\n  release: " + b64(b64(gzipped(t, plaintext))),
		"encrypted":                      "-----BEGIN PGP MESSAGE-----\n\n" + wrapped(b64(string(noise)), 64, "\n") + "\n=abcd\n-----END PGP MESSAGE-----\n",
		"too many layers":                five,
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, interceptor.Funcs{}, pat)
			tr.In = strings.NewReader(text)
			tr.run(t.Context(), t, exitError, "find")
			tr.errs(t, "error: "+errUnread.Error())

			tr.In = strings.NewReader(plaintext + "\n" + text)
			tr.run(t.Context(), t, exitOK, "find")
			if want := "Parts of standard input look compressed, encrypted or binary, and a token in them is not found. Decode them, and pass the result to kubectl pat find.\n"; !strings.HasPrefix(tr.errOut.String(), want) {
				t.Errorf("standard error: %s", tr.errOut)
			}
		})
	}
}

// Text and source code are readable.
func TestCase61_TextIsRead(t *testing.T) {
	for _, file := range []string{"find.go", "../../../README.md", "../../../docs/security.md", "../../../docs/operations.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found(t, string(text))
	}
	found(t, "sha256:"+strings.Repeat("0123456789abcdef", 4))
}
