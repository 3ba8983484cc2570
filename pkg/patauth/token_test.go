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

package patauth

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// vectors are shared with internal/token, which makes and reads the same tokens.
type vectors struct {
	Valid   []struct{ ID, Token string }
	Invalid []struct{ Why, Token string }
}

func readVectors(t testing.TB) (v vectors) {
	t.Helper()
	data, err := os.ReadFile("testdata/tokens.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Valid) < 2 || len(v.Invalid) == 0 {
		t.Fatal("testdata/tokens.json has too few tokens")
	}
	return v
}

func TestTokensHaveOneForm(t *testing.T) {
	v := readVectors(t)
	for _, tc := range v.Valid {
		if id, ok := parse(tc.Token); !ok || id != tc.ID {
			t.Errorf("%s: got %q, %v", tc.Token, id, ok)
		}
	}
	for _, tc := range v.Invalid {
		if id, ok := parse(tc.Token); ok {
			t.Errorf("%s: %q passes, with the id %q", tc.Why, tc.Token, id)
		}
	}
}

func FuzzTokensHaveOneForm(f *testing.F) {
	v := readVectors(f)
	for _, tc := range v.Valid {
		f.Add(tc.Token)
	}
	for _, tc := range v.Invalid {
		f.Add(tc.Token)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, ok := parse(s)
		if !ok {
			return
		}
		sum := checksum(s[:tokenLength-checksumLength])
		if len(id) != idLength || s != tokenPrefix+id+"_"+s[idEnd+1:idEnd+1+secretLength]+string(sum[:]) {
			t.Errorf("%q has the id %q", s, id)
		}
		for _, other := range []string{s + " ", " " + s, strings.ToUpper(s), s[1:], s + s} {
			if _, ok := parse(other); ok {
				t.Errorf("another spelling of %q passes: %q", s, other)
			}
		}
	})
}

func TestALongStringCostsNothing(t *testing.T) {
	long := strings.Repeat(readVectors(t).Valid[0].Token, 1000)
	if n := testing.AllocsPerRun(100, func() { parse(long) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
