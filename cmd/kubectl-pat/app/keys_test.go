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
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
)

func TestCase57_KeysFromArgumentsAndFiles(t *testing.T) {
	const (
		other   = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
		key     = "age17ay4pxwstjx56fm60azwat8sl5gxycv8lqxkzxl564vygd364f4qlgmae5"
		unknown = "is not a public key that a token can be encrypted to; give one age recipient (age1…, age1pq1…) or one SSH public key (ssh-ed25519, or ssh-rsa of 2048 to 8192 bits)"
	)
	home := t.TempDir()
	t.Setenv("HOME", home)
	for name, text := range map[string]string{
		"twice": key + "\n" + key + "\n",
		"keys":  "# ours\n\n  " + key + "  \r\n", "none": "# nothing\n", "bad": key + "\nnonsense\n",
		"private": "-----BEGIN OPENSSH PRIVATE KEY-----\n",
		"pem":     "-----BEGIN PUBLIC KEY-----\nMIIBIjAN\n", "utf8": "\ufeff" + key + "\r\n" + other,
		"utf16": "\xff\xfe" + wide(key+"\r\n"+other+"\r\n"), "unmarked": wide(key),
		"17": seventeen(t),
	} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		values []string
		want   []string
		err    string
	}{
		"nothing":            {},
		"a key":              {values: []string{" " + key}, want: []string{key}},
		"a file":             {values: []string{"@" + home + "/keys"}, want: []string{key}},
		"a file at home":     {values: []string{"@~/keys"}, want: []string{key}},
		"a key twice":        {values: []string{key, key + " "}, want: []string{key}},
		"twice in a file":    {values: []string{"@~/twice"}, want: []string{key}},
		"in two files":       {values: []string{"@~/keys", "@~/twice"}, want: []string{key}},
		"twice, and another": {values: []string{key, other, key}, want: []string{key, other}},
		"no such file":       {values: []string{"@/no/such"}, err: "--recipient: open /no/such: no such file or directory"},
		"no key in a file":   {values: []string{"@~/none"}, err: "--recipient @~/none: this file holds no key"},
		"no key":             {values: []string{key, "nonsense"}, err: "--recipient number 2 " + unknown},
		"no key in a line":   {values: []string{"@~/bad"}, err: "--recipient @~/bad: line 2 " + unknown},
		"a private key":      {values: []string{"@~/private"}, err: "--recipient @~/private: line 1 is a private key, which belongs on its owner's machine only: regard it as leaked, make another, and give its public key"},
		"a PEM file":         {values: []string{"@~/pem"}, err: "--recipient @~/pem: line 1 is a public key in PEM format (PKCS#8); convert it with: ssh-keygen -i -m PKCS8 -f FILE"},
		"a byte order mark":  {values: []string{"@~/utf8"}, want: []string{key, other}},
		"UTF-16":             {values: []string{"@~/utf16"}, want: []string{key, other}},
		"UTF-16, no mark":    {values: []string{"@~/unmarked"}, err: "--recipient @~/unmarked: line 1 is UTF-16 text, as Windows PowerShell writes files; convert the file with: iconv -f UTF-16 -t UTF-8 FILE"},
		"too many":           {values: []string{"@~/17"}, err: "--recipient @~/17: line 17 is one key too many: a token is encrypted to at most 16; give fewer"},
		"options in front":   {values: []string{`from="10.0.0.1" ssh-ed25519 AAAAC3Nz`}, err: "--recipient number 1 has options or a host name in front of the key; give the line from the type of the key on (ssh-ed25519, ssh-rsa)"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readKeys(tc.values)
			if diff := cmp.Diff(tc.want, got); tc.err == "" && (err != nil || diff != "") {
				t.Errorf("%v, (-want +got):\n%s", err, diff)
			}
			if tc.err != "" && (err == nil || err.Error() != tc.err) {
				t.Errorf("got %v; want %s", err, tc.err)
			}
		})
	}
}

// wide encodes a text as UTF-16, little-endian.
func wide(text string) string { return strings.Join(strings.Split(text, ""), "\x00") + "\x00" }

// seventeen is a file with that many keys.
func seventeen(t *testing.T) string {
	t.Helper()
	var keys strings.Builder
	for range 17 {
		identity, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		keys.WriteString(identity.Recipient().String() + "\n")
	}
	return keys.String()
}
