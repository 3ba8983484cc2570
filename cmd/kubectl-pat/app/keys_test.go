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
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadKeys(t *testing.T) {
	const (
		other   = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
		key     = "age17ay4pxwstjx56fm60azwat8sl5gxycv8lqxkzxl564vygd364f4qlgmae5"
		unknown = "is not a public key that a token can be encrypted to; give one age recipient (age1…, age1pq1…) or one SSH public key (ssh-ed25519, or ssh-rsa of 2048 bits or more)"
	)
	home := t.TempDir()
	t.Setenv("HOME", home)
	for name, text := range map[string]string{
		"twice": key + "\n" + key + "\n",
		"keys":  "# ours\n\n  " + key + "  \r\n", "none": "# nothing\n", "bad": key + "\nnonsense\n",
		"private": "-----BEGIN OPENSSH PRIVATE KEY-----\n",
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
		"no key in a file":   {values: []string{"@~/none"}, err: "--recipient @~/none: there is no key in this file"},
		"no key":             {values: []string{key, "nonsense"}, err: "--recipient number 2 " + unknown},
		"no key in a line":   {values: []string{"@~/bad"}, err: "--recipient @~/bad: line 2 " + unknown},
		"a private key":      {values: []string{"@~/private"}, err: "--recipient @~/private: line 1 is a private key, which belongs on its owner's machine only: regard it as leaked, make another, and give its public key"},
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
