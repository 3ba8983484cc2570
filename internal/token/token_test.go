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

package token

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func mustNew(t testing.TB) (id, plaintext string) {
	t.Helper()
	id, plaintext, err := New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return id, plaintext
}

// pkg/patauth cannot import this package, and has a parser of its own that reads the same tokens.
func TestTokensHaveTheFormThatAPIsCheck(t *testing.T) {
	data, err := os.ReadFile("../../pkg/patauth/testdata/tokens.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Valid   []struct{ ID, Token string }
		Invalid []struct{ Why, Token string }
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors.Valid) == 0 || len(vectors.Invalid) == 0 {
		t.Fatal("no tokens to compare")
	}
	for _, tc := range vectors.Valid {
		if id, err := Parse(tc.Token); err != nil || id != tc.ID {
			t.Errorf("%s: got %q, %v", tc.Token, id, err)
		}
	}
	for _, tc := range vectors.Invalid {
		if _, err := Parse(tc.Token); err == nil {
			t.Errorf("%s: %q passes", tc.Why, tc.Token)
		}
	}
}

func TestNewIsFixedByItsRandomness(t *testing.T) {
	for name, tc := range map[string]struct {
		random []byte
		want   string
	}{
		"least":    {bytes.Repeat([]byte{0}, 42), "kubepat_aaaaaaaaaaaaaaaa_" + strings.Repeat("0", 43)},
		"greatest": {bytes.Repeat([]byte{0xff}, 42), "kubepat_7777777777777777_" + maxSecret},
	} {
		t.Run(name, func(t *testing.T) {
			id, got, err := New(bytes.NewReader(tc.random))
			if err != nil {
				t.Fatal(err)
			}
			if got[:Length-checksumLen] != tc.want {
				t.Errorf("got %q, want %q and a checksum", got, tc.want)
			}
			parsed, err := Parse(got)
			if err != nil || parsed != id {
				t.Errorf("Parse = %q, %v; want %q", parsed, err, id)
			}
		})
	}
}

func TestNewFailsWithoutRandomness(t *testing.T) {
	if _, plaintext, err := New(bytes.NewReader(make([]byte, 41))); err == nil || plaintext != "" {
		t.Errorf("got %q, %v; want an error and no token", plaintext, err)
	}
}

func TestNewNeverRepeats(t *testing.T) {
	seen := map[string]bool{}
	for range 10_000 {
		id, plaintext := mustNew(t)
		if len(plaintext) != Length || seen[id] || seen[plaintext] {
			t.Fatalf("length %d, or seen before", len(plaintext))
		}
		seen[id], seen[plaintext] = true, true
	}
}

// The checksum that the format promises, computed by other means.
func TestChecksumIsCRC32OfTheBody(t *testing.T) {
	sum := checksum("123456789")
	n := uint32(0)
	for _, c := range sum {
		n = n*62 + uint32(strings.IndexByte(base62, c))
	}
	if n != 0xcbf43926 {
		t.Errorf("got %#x, want the check value of CRC-32 (IEEE)", n)
	}
}

func TestCase12_OneSpellingOnly(t *testing.T) {
	id, good := mustNew(t)
	if got, err := Parse(good); err != nil || got != id {
		t.Fatalf("Parse = %q, %v; want %q", got, err, id)
	}
	bad := map[string]string{
		"empty":               "",
		"prefix alone":        Prefix,
		"leading space":       " " + good,
		"trailing space":      good + " ",
		"trailing newline":    good + "\n",
		"NUL":                 good + "\x00",
		"appended":            good + "0",
		"upper-case prefix":   "KUBEPAT_" + good[len(Prefix):],
		"upper-case id":       Prefix + strings.ToUpper(id) + good[idEnd:],
		"homoglyph":           strings.Replace(good, "k", "\u043a", 1),
		"full width":          strings.Replace(good, "_", "\uff3f", 1),
		"padding":             good[:Length-1] + "=",
		"two tokens":          good + good,
		"bearer":              "Bearer " + good,
		"secret beyond 2^256": withChecksum(good[:idEnd+1] + strings.Repeat("z", secretLen)),
		"id beyond base32":    withChecksum(strings.Replace(good[:Length-checksumLen], id, "0189"+id[4:], 1)),
		"secret not base62":   withChecksum(good[:idEnd+1] + strings.Repeat("-", secretLen)),
		"10 MiB":              Prefix + strings.Repeat("a", 10<<20),
	}
	for i := range good {
		bad[fmt.Sprintf("truncated to %d", i)] = good[:i]
		for bit := range 8 {
			flipped := []byte(good)
			flipped[i] ^= 1 << bit
			bad[fmt.Sprintf("bit %d of byte %d", bit, i)] = string(flipped)
		}
	}
	for name, s := range bad {
		got, err := Parse(s)
		if err == nil || got != "" {
			t.Errorf("%s: Parse = %q, %v; want an error", name, got, err)
		}
		want := ErrMalformed
		if !strings.HasPrefix(s, Prefix) {
			want = errForeign
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v; want %v", name, err, want)
		}
	}
}

func withChecksum(body string) string {
	sum := checksum(body)
	return body + string(sum[:])
}

func TestDigestIsWhatTheDocumentedCommandPrints(t *testing.T) {
	_, plaintext := mustNew(t)
	script := fmt.Sprintf(`printf 'pat-operator.io/v1\0%%s\0%%s\0%%s' team-a my-pat '%s' | sha256sum`, plaintext)
	out, err := exec.Command("bash", "-c", script).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := NewDigest("team-a", "my-pat", plaintext).Hex(); got != strings.Fields(string(out))[0] {
		t.Errorf("NewDigest = %s, the shell says %s", got, out)
	}
}

func TestCase12_EmptyNeverMatches(t *testing.T) {
	var zero Digest
	if zero.Equal(zero) || zero.Equal(NewDigest("", "", "")) || NewDigest("", "", "").Equal(zero) {
		t.Error("an empty digest matched")
	}
	if d := NewDigest("a", "b", "c"); !d.Equal(NewDigest("a", "b", "c")) {
		t.Error("a digest does not match itself")
	}
}

func TestCase25_NoFormatShowsADigest(t *testing.T) {
	d := NewDigest("a", "b", "c")
	for _, format := range []string{"%s", "%v", "%+v", "%#v", "%x", "%X", "%d", "%q", "%08b"} {
		if got := fmt.Sprintf(format, d); got != "[digest]" {
			t.Errorf("%s prints %q", format, got)
		}
	}
}

func TestParseDigest(t *testing.T) {
	d := NewDigest("a", "b", "c")
	if got, err := ParseDigest(d.Hex()); err != nil || got != d {
		t.Errorf("ParseDigest(Hex) = %v, %v", got, err)
	}
	for _, bad := range []string{"", "ab", strings.ToUpper(d.Hex()), strings.Repeat("g", 64), d.Hex() + "00", " " + d.Hex()[1:]} {
		if _, err := ParseDigest(bad); err == nil || (bad != "" && strings.Contains(err.Error(), bad)) {
			t.Errorf("ParseDigest(%q) = %v; want an error that does not quote it", bad, err)
		}
	}
}

func FuzzCase12_Parse(f *testing.F) {
	_, good := mustNew(f)
	f.Add(good)
	f.Add("")
	f.Add(Prefix)
	f.Add(good[:Length-1] + "\x00")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := Parse(s)
		if err != nil {
			if id != "" || (len(s) > len(Prefix) && strings.Contains(err.Error(), s)) {
				t.Errorf("id %q with an error, or the input in %q", id, err)
			}
			return
		}
		if len(s) != Length || !ValidID(id) || s != withChecksum(s[:Length-checksumLen]) || !strings.HasPrefix(s, Prefix+id+"_") {
			t.Errorf("accepted %q", s)
		}
	})
}

// FuzzCase13_Digest: two different (namespace, name, token) never feed the hash the same bytes.
func FuzzCase13_Digest(f *testing.F) {
	f.Add("a", "bc", "t", "ab", "c", "t")
	f.Add("", "", "", "a", "", "")
	f.Fuzz(func(t *testing.T, ns1, name1, t1, ns2, name2, t2 string) {
		if strings.ContainsRune(ns1+name1+ns2+name2, 0) {
			t.Skip("no Kubernetes name holds a NUL")
		}
		same := ns1 == ns2 && name1 == name2 && t1 == t2
		if got := NewDigest(ns1, name1, t1) == NewDigest(ns2, name2, t2); got != same {
			t.Errorf("(%q %q %q) and (%q %q %q): equal digests %v", ns1, name1, t1, ns2, name2, t2, got)
		}
		if NewDigest(ns1, name1, t1) == sha256.Sum256([]byte(t1)) {
			t.Error("the digest is not parted from a plain hash of the token")
		}
	})
}
