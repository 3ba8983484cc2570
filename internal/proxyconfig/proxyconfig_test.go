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

package proxyconfig

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pat-operator/pat-operator/internal/cacert"
)

func TestWhatIsPublishedIsReadAgain(t *testing.T) {
	cert, _, key, err := cacert.New("proxy", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ca := cacert.Encode(cert)
	for _, c := range []Config{{URL: "https://pat.example.com", CA: ca}, {URL: "https://10.0.0.1:6443"}} {
		got, err := FromData(c.Data())
		if diff := cmp.Diff(c, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	const unusable = "the ConfigMap pat-operator-proxy cannot be used: "
	for name, tc := range map[string]struct {
		data map[string]string
		want string
	}{
		"nothing":            {nil, "the ConfigMap pat-operator-proxy is empty: no proxy has run, or it cannot write it; see its log"},
		"clear text":         {map[string]string{KeyURL: "http://pat.example.com"}, unusable + "its url is not https://HOST[:PORT]"},
		"a path":             {map[string]string{KeyURL: "https://pat.example.com/k8s"}, unusable + "its url is not https://HOST[:PORT]"},
		"a line end":         {map[string]string{KeyURL: "https://pat.example.com\n"}, unusable + "its url is not https://HOST[:PORT]"},
		"no certificate":     {map[string]string{KeyURL: "https://pat.example.com", KeyCA: "hunter2"}, unusable + "its ca.crt is not PEM"},
		"a key":              {map[string]string{KeyURL: "https://pat.example.com", KeyCA: string(key)}, unusable + "its ca.crt holds something else than certificates"},
		"a certificate torn": {map[string]string{KeyURL: "https://pat.example.com", KeyCA: strings.Replace(string(ca), "MII", "AII", 1)}, unusable + "its ca.crt holds a malformed certificate (the one at position 1)"},
	} {
		if _, err := FromData(tc.data); err == nil || err.Error() != tc.want {
			t.Errorf("%s: got %v; want %s", name, err, tc.want)
		}
	}
}
