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

package holder

import "testing"

func TestCase39_TerminalControlsAreEscaped(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		`CORP\alice, Ünïcödé 🔑 名`: `CORP\alice, Ünïcödé 🔑 名`,
		"\x1b[2J\x07\x00\x7f":     `\x1b[2J\x07\x00\x7f`,
		"a\nb\r\tc":               `a\nb\r\tc`,
		"\u0085\u009b31m":         `\u0085\u009b31m`,
		"\u202egpj.exe\u2066":     `\u202egpj.exe\u2066`,
		"ad\u00admin\u200b\ufeff": `ad\u00admin\u200b\ufeff`,
		"\u2028\u2029\u3164":      `\u2028\u2029\u3164`,
		"x\U000e0041\U000e0100":   `x\U000e0041\U000e0100`,
		"\ue000\u0378":            `\ue000\u0378`,
		"\xff\xc0":                `\ufffd\ufffd`,
		"a\u00a0b\u3000c":         "a\u00a0b\u3000c",
	} {
		if got := Visible(in); got != want {
			t.Errorf("Visible(%q) = %q; want %q", in, got, want)
		}
	}
}
