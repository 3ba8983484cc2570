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

package console

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// Large resources of other users end a list before it exhausts the verifier's memory. The page says so, and how to go on.
func TestAListThatIsTooBigIsNotRead(t *testing.T) {
	s := open(t)
	b := s.signedIn(t, aliceBearer)
	const each = 240 << 10 // annotations have at most 256 KiB
	for i := range maxAnswer/each + 1 {
		made(t, fmt.Sprintf("big-%d", i), func(pat *v1alpha1.PersonalAccessToken) {
			pat.Annotations = map[string]string{"example.com/big": strings.Repeat("x", each)}
			pat.Spec.User.Username = "bob"
		})
	}
	mine := made(t, "small")
	for _, path := range []string{"/?all=1", "/table?all=1", "/?all=1&ns=" + team} {
		a := b.get(path)
		for _, want := range []string{
			"The list is too long to show", "that 100 of them take more than 8 MiB.", "Choose other namespaces, look at yours only, or use kubectl pat list.",
		} {
			if a.StatusCode != http.StatusOK || !strings.Contains(a.body, want) {
				t.Errorf("GET %s: %s, and lacks %q\n%s", path, a.Status, want, a.body)
			}
		}
		if strings.HasPrefix(path, "/?") && !strings.Contains(a.body, `id="ns"`) {
			t.Errorf("GET %s: no namespace can be chosen\n%s", path, a.body)
		}
	}
	if a := b.get("/"); !strings.Contains(a.body, "Display "+mine.Name) {
		t.Errorf("mine: %s\n%s", a.Status, a.body)
	}
}

// The console reads each response up to the bound, and no further.
func TestAnAnswerHasAnEnd(t *testing.T) {
	for length, whole := range map[int64]bool{maxAnswer: true, maxAnswer + 1: false} {
		next := roundTripper(func(*http.Request) (*http.Response, error) {
			return &http.Response{Body: io.NopCloser(io.LimitReader(zeros{}, length))}, nil
		})
		answer, err := bounded(next).RoundTrip(nil)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		if _, tooBig := errors.AsType[*http.MaxBytesError](err); n != maxAnswer || tooBig == whole {
			t.Errorf("of %d bytes %d are read: %v", length, n, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }
