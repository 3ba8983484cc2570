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

package verifier

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/internal/token"
)

func TestCase11_SquattingNeverHarmsTheVictim(t *testing.T) {
	id, plaintext := newToken(t)
	victimDigest := token.NewDigest("team-a", "ci", plaintext).Hex()
	foreign := token.NewDigest("team-b", "squat", "whatever").Hex()
	for name, squatDigest := range map[string]string{
		"his own digest":      foreign,
		"the victim's digest": victimDigest,
	} {
		victim := func() *pat { return newPAT(t, "team-a", "ci", "uid-1", ofHolder(id, victimDigest)) }
		squatter := func() *pat { return newPAT(t, "team-b", "squat", "uid-2", ofHolder(id, squatDigest)) }
		gone := func(x *Index) {
			x.DeleteResource("team-b", "squat")
			x.DeleteRecord(record.SecretName("team-b", "squat"))
		}

		t.Run(name+", squatter last", func(t *testing.T) {
			x := newIndex(t, victim(), squatter())
			want(t, x, plaintext, start, Authenticated, reasonValid)
			gone(x)
			want(t, x, plaintext, start, Authenticated, reasonValid)
		})
		t.Run(name+", squatter first", func(t *testing.T) {
			x := newIndex(t, squatter())
			want(t, x, plaintext, start, Unknown, reasonNoMatch)
			victim().set(t, x)
			want(t, x, plaintext, start, Authenticated, reasonValid)
			if r := x.Verify(plaintext, nil, start); r.Namespace != "team-a" || r.Name != "ci" {
				t.Errorf("valid for %s/%s", r.Namespace, r.Name)
			}
		})
		t.Run(name+", squatter deleted and remembered", func(t *testing.T) {
			s := squatter()
			x := newIndex(t, victim(), s)
			s.end(record.EndedDeleted)
			x.DeleteResource("team-b", "squat")
			x.SetRecord(s.secret(t))
			want(t, x, plaintext, start, Authenticated, reasonValid)
		})
		t.Run(name+", squatter's tombstone first", func(t *testing.T) {
			s := squatter()
			s.end(record.EndedDeleted)
			x := newIndex(t)
			x.SetRecord(s.secret(t))
			// The resource alone, before the controller has written its record, keeps the no from being cached.
			v := victim()
			x.SetResource(v.resource.DeepCopy())
			want(t, x, plaintext, start, Unknown, reasonNoMatch)
			v.set(t, x)
			want(t, x, plaintext, start, Authenticated, reasonValid)
			v.resource.Spec.Suspend = true
			x.SetResource(v.resource.DeepCopy())
			want(t, x, plaintext, start, Unknown, ReasonSuspended)
		})
		t.Run(name+", victim's end is not undone", func(t *testing.T) {
			v := victim()
			x := newIndex(t, v, squatter())
			v.end(record.EndedRevoked)
			x.SetRecord(v.secret(t))
			want(t, x, plaintext, start, Unknown, reasonNoMatch)
			gone(x)
			want(t, x, plaintext, start, Refused, ReasonEnded)
		})
	}
}

func TestCase11_CopiedDigestNeverMatches(t *testing.T) {
	id, plaintext := newToken(t)
	digest := token.NewDigest("team-a", "ci", plaintext).Hex()
	for _, at := range [][2]string{{"team-b", "ci"}, {"team-a", "ci2"}, {"team-a-ci", "x"}} {
		copied := newPAT(t, at[0], at[1], "uid-2", ofHolder(id, digest))
		want(t, newIndex(t, copied), plaintext, start, Unknown, reasonNoMatch)
	}
}

func TestCase11_ManySquattersAreAllForgotten(t *testing.T) {
	id, plaintext := newToken(t)
	victim := newPAT(t, "team-a", "ci", "uid-v", ofHolder(id, token.NewDigest("team-a", "ci", plaintext).Hex()))
	x := newIndex(t, victim)
	for i := range 100 {
		name := fmt.Sprintf("s%d", i)
		squat := newPAT(t, "team-b", name, "", ofHolder(id, token.NewDigest("team-b", name, "x").Hex()))
		squat.resource.UID, squat.record.Resource.UID = recordUID(i), recordUID(i)
		squat.set(t, x)
	}
	want(t, x, plaintext, start, Authenticated, reasonValid)
	for i := range 100 {
		x.DeleteRecord(record.SecretName("team-b", fmt.Sprintf("s%d", i)))
		x.DeleteResource("team-b", fmt.Sprintf("s%d", i))
	}
	want(t, x, plaintext, start, Authenticated, reasonValid)
	x.DeleteRecord(victim.secretName())
	x.DeleteResource("team-a", "ci")
	wantClean(t, x)
}

// hostile returns every near miss of a token.
func hostile(bearer string) map[string]string {
	out := map[string]string{
		"empty": "", "prefix": token.Prefix, "upper case": strings.ToUpper(bearer), "space before": " " + bearer,
		"space after": bearer + " ", "newline": bearer + "\n", "NUL": bearer + "\x00", "twice": bearer + bearer,
		"Bearer": "Bearer " + bearer, "quoted": `"` + bearer + `"`, "padded": bearer + "=",
		"homoglyph": strings.Replace(bearer, "a", "а", 1), "full width": strings.Replace(bearer, "_", "＿", 1),
		"zero width": bearer[:20] + "\u200b" + bearer[20:], "long": strings.Repeat(bearer, 10000), "not UTF-8": bearer[:73] + "\xff",
	}
	for i := range len(bearer) {
		out[fmt.Sprintf("first %d bytes", i)] = bearer[:i]
		out[fmt.Sprintf("from byte %d", i+1)] = bearer[i+1:]
		for bit := range 8 {
			b := []byte(bearer)
			b[i] ^= 1 << bit
			out[fmt.Sprintf("bit %d of byte %d", bit, i)] = string(b)
		}
	}
	for b := range 256 {
		out[fmt.Sprintf("appended %#x", b)] = bearer + string([]byte{byte(b)})
	}
	delete(out, "from byte 0")
	return out
}

func TestCase12_NearMissesAreNotAuthenticated(t *testing.T) {
	p := newPAT(t, "team-a", "ci", "uid-1")
	x := newIndex(t, p)
	for name, bearer := range hostile(p.bearer) {
		if bearer == p.bearer {
			continue
		}
		if r := x.Verify(bearer, nil, start); r.Verdict != Refused {
			t.Errorf("%s: %s/%s, want a plain no", name, r.Verdict, r.Reason)
		}
	}
}

func TestCase12_EmptyDigestMatchesNothing(t *testing.T) {
	p := newPAT(t, "team-a", "ci", "uid-1")
	x := newIndex(t, p)
	s := p.secret(t)
	s.Data["record"] = bytes.Replace(s.Data["record"], []byte(p.record.Current.Digest), nil, 1)
	x.SetRecord(s)
	want(t, x, p.bearer, start, Unknown, reasonUnknownID)
	s = p.secret(t)
	s.Data["record"] = bytes.Replace(s.Data["record"], []byte(p.record.Current.Digest), []byte(strings.Repeat("0", 64)), 1)
	x.SetRecord(s)
	want(t, x, p.bearer, start, Unknown, reasonUnknownID)

	// Should one get past the record all the same, the claim itself matches nothing.
	x.replace(p.id(), nil, &indexEntry{namespace: "team-a", name: "ci", user: &p.record.User, expiresAt: start.AddDate(1, 0, 0)})
	want(t, x, p.bearer, start, Unknown, reasonNoMatch)
}

func TestCase25_LogsHoldNoSecret(t *testing.T) {
	log, logged := capture()
	p := newPAT(t, "team-a", "ci", "uid-1")
	x := newLoggedIndex(t, log, p)
	digest := p.record.Current.Digest
	for _, edit := range []func([]byte) []byte{
		func(b []byte) []byte { return bytes.Replace(b, []byte(`"v":1`), []byte(`"v":2`), 1) },
		func(b []byte) []byte { return bytes.Replace(b, []byte(`{`), []byte(`{"`+digest+`":1,`), 1) },
		func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"current":`), []byte(`"current":"`+digest+p.bearer+`","x":`), 1)
		},
		func(b []byte) []byte { return bytes.Replace(b, []byte(digest), []byte(digest+"0"), 1) },
		func(b []byte) []byte { return b[:len(b)/2] },
	} {
		s := p.secret(t)
		s.Data["record"] = edit(s.Data["record"])
		x.SetRecord(s)
		x.Verify(p.bearer, nil, start)
	}
	all, _ := x.lookup(p.id())
	t.Logf("%v %v", p.record, all)
	if logged.Len() == 0 {
		t.Fatal("nothing was logged, so nothing was tested")
	}
	for what, secret := range map[string]string{"plaintext": p.bearer, "secret": p.bearer[25:68], "digest": digest} {
		if strings.Contains(logged.String(), secret) {
			t.Errorf("the log holds the %s", what)
		}
	}
}

func TestRefusedRecordIsReportedOncePerChange(t *testing.T) {
	log, logged := capture()
	p := newPAT(t, "team-a", "ci", "uid-1")
	x := newLoggedIndex(t, log, p)
	bad := func(resourceVersion string) {
		s := p.secret(t)
		s.ResourceVersion = resourceVersion
		s.Data["record"] = []byte("{}")
		x.SetRecord(s)
	}
	count := func() int { return strings.Count(logged.String(), "Refusing an inconsistent record") }
	bad("1")
	bad("1")
	if count() != 1 {
		t.Errorf("reported %d times, want once", count())
	}
	bad("2")
	if count() != 2 {
		t.Errorf("a second change was reported %d times in all, want 2", count())
	}
	x.SetRecord(p.secret(t))
	want(t, x, p.bearer, start, Authenticated, reasonValid)
	bad("2")
	x.DeleteRecord(p.secretName())
	x.DeleteResource("team-a", "ci")
	wantClean(t, x)
}

func FuzzCase12_Verify(f *testing.F) {
	_, bearer, err := token.New(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	p := newPAT(f, "team-a", "ci", "uid-1")
	x := newIndex(f, p)
	for _, seed := range []string{"", bearer, token.Prefix, bearer[:73], "\x00", "а"} {
		f.Add(seed, apiAudience)
	}
	f.Fuzz(func(t *testing.T, s, audience string) {
		if r := x.Verify(s, []string{audience}, start); r.Verdict == Authenticated || r.Verdict == NotReady {
			t.Errorf("%s for a string that was never issued", r.Verdict)
		}
	})
}
