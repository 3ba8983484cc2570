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
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	yamlv3 "go.yaml.in/yaml/v3"
)

// JSON and YAML say what the value is, and no part of it that a terminal would obey.
func TestCase39_DataKeepsItsValueAndIsHarmless(t *testing.T) {
	var all strings.Builder
	for r := range rune(0xf0000) {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point) {
			all.WriteRune(r)
		}
	}
	type data struct {
		Key map[string]string `json:"key"`
	}
	for _, text := range []string{all.String(), "\x1b[2J", "plain", "two\nlines", "\u202e: - #", "\ufffd", "true", "null", "12", ""} {
		key := strings.ToValidUTF8("k"+text[:min(len(text), 40)], "") // as short as keys in Kubernetes are
		want := data{map[string]string{"v": text, key: "v"}}
		for format, decode := range map[string]func([]byte) (data, error){
			outputJSON: func(b []byte) (d data, err error) { return d, json.Unmarshal(b, &d) },
			outputYAML: func(b []byte) (d data, err error) { return d, yamlv3.Unmarshal(b, &d) },
		} {
			var out bytes.Buffer
			if err := write(&out, format, want); err != nil {
				t.Fatal(err)
			}
			if i := strings.IndexFunc(out.String(), escaped); i >= 0 {
				t.Errorf("%s of %.20q holds %q", format, text, out.String()[i:i+1])
			}
			got, err := decode(out.Bytes())
			if err != nil {
				t.Fatalf("%s of %.20q: %v", format, text, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s of %.20q (-want +got):\n%s", format, text, diff)
			}
		}
	}
}
