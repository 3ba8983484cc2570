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

package serving

import (
	"encoding/json"
	"testing"
)

// alike writes an object by Object and by encoding/json.
func alike(t *testing.T, name, value string, list []string, number int64) {
	t.Helper()
	type inner struct {
		Text string   `json:"text"`
		List []string `json:"list"`
	}
	want, err := json.Marshal(struct {
		Yes    bool           `json:"yes"`
		Number int64          `json:"number"`
		Empty  struct{}       `json:"empty"`
		Inner  inner          `json:"inner"`
		Named  map[string]any `json:"named"`
		Text   string         `json:"text"`
	}{true, number, struct{}{}, inner{value, list}, map[string]any{name: value}, value})
	if err != nil {
		t.Fatal(err)
	}
	o := NewObject()
	o.Bool("yes", true)
	o.Int("number", number)
	o.Begin("empty")
	o.End()
	o.Begin("inner")
	o.String("text", value)
	o.Strings("list", list)
	o.End()
	o.Begin("named")
	o.String(name, value)
	o.End()
	o.String("text", value)
	o.End()
	if string(o) != string(want) {
		t.Errorf("%s, want %s", o, want)
	}
}

var hostile = []string{
	"", "plain", `a"b`, `a\b`, "{", "}", `","x":"`, "<script>&", "\x00\x1f\x7f", "\t\r\n", "é\u2028\u2029\U0001F600", "\xff\xfe", "\xed\xa0\x80", "a\xc3", " ~",
}

func TestAnObjectIsThatOfEncodingJSON(t *testing.T) {
	for _, value := range hostile {
		for _, list := range [][]string{nil, {}, {value}, hostile} {
			alike(t, value, value, list, int64(len(list))-1)
		}
	}
}

func FuzzObject(f *testing.F) {
	for _, value := range hostile {
		f.Add(value, value, value, int64(-1))
	}
	f.Fuzz(func(t *testing.T, name, value, item string, number int64) {
		alike(t, name, value, []string{item, value}, number)
	})
}
