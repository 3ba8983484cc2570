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

package audit

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pat-operator/pat-operator/internal/token"
)

func open(t *testing.T, path string) *Log {
	t.Helper()
	l, err := Open(path, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// read returns the lines of a file, without their times.
func read(t *testing.T, path string) []Event {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, string(data))
}

func decode(t *testing.T, text string) (all []Event) {
	t.Helper()
	for line := range strings.Lines(text) {
		var e Event
		decoder := json.NewDecoder(strings.NewReader(line))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&e); err != nil || e.Time.IsZero() {
			t.Fatalf("%q: %v", line, err)
		}
		e.Time = time.Time{}
		all = append(all, e)
	}
	return all
}

func TestEventsAreLinesOfAPrivateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path)
	want := []Event{
		{Event: "Issued", Namespace: "team", Name: "ci", UID: "1", TokenID: "aaaaaaaaaaaaaaaa", User: "alice\n{\"event\":\"forged\"}"},
		{Event: "AdmissionRefused", By: "bob", Operation: "CREATE", Code: 403, DryRun: true, Message: strings.Repeat("a", maxText)},
	}
	l.Write(want[0])
	long := want[1]
	long.Message += "more"
	l.Write(long)
	l.Close()
	if diff := cmp.Diff(want, read(t, path)); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	l = open(t, path)
	l.Write(Event{Event: "Started"})
	l.Close()
	if got := read(t, path); len(got) != 3 {
		t.Errorf("%d lines after a restart, want 3", len(got))
	}
}

// A user pastes a token where it does not belong, and the refusal quotes it.
func TestATokenInATextIsRedacted(t *testing.T) {
	id, plaintext, err := token.New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"quoted":  fmt.Sprintf("spec.displayName: Invalid value: %q: has a tab", plaintext+"\t"),
		"cut off": strings.Repeat("a", maxText-len(plaintext)+20) + plaintext,
		"twice":   plaintext + plaintext,
	} {
		l := newLog(io.Discard, logr.Discard())
		l.Write(Event{Event: "AdmissionRefused", Name: plaintext, Message: text})
		line := string(<-l.lines)
		if secret := plaintext[len(token.Prefix)+token.IDLength+1:]; strings.Contains(line, secret[:8]) || !strings.Contains(line, id) {
			t.Errorf("%s: %s", what, line)
		}
	}
}

func TestALogThatIsOffWritesNothing(t *testing.T) {
	l := open(t, Off)
	l.Write(Event{})
	l.Refused(Event{})
	l.Close()
}

func TestFilesThatCannotBe(t *testing.T) {
	for _, path := range []string{"", "/var/log/"} {
		if err := Check("--audit-log", path); err == nil || !strings.Contains(err.Error(), "--audit-log=off") {
			t.Errorf("%q: %v", path, err)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "no", "folder"), logr.Discard()); err == nil || !strings.Contains(err.Error(), "cannot open the audit log") {
		t.Errorf("a missing folder: %v", err)
	}
}

// logrotate moves the file; what comes after is in a new one.
func TestAMovedFileIsOpenedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := newLog(io.Discard, logr.Discard())
	l.path = path
	clock := time.Now()
	l.now = func() time.Time { return clock }
	if err := l.open(); err != nil {
		t.Fatal(err)
	}
	write := func(event string) {
		l.Write(Event{Event: event})
		l.put(<-l.lines)
	}
	write("a")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(lookEvery)
	write("b")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(lookEvery)
	write("c")
	for file, want := range map[string]string{path + ".1": "a", path: "c"} {
		if got := read(t, file); len(got) != 1 || got[0].Event != want {
			t.Errorf("%s holds %v, want %s", file, got, want)
		}
	}
}

// stuck is a disk that does not answer until it is let go.
type stuck struct {
	entered, release chan struct{}
	strings.Builder
}

func (s *stuck) Write(p []byte) (int, error) {
	select {
	case s.entered <- struct{}{}:
	default:
	}
	<-s.release
	return s.Builder.Write(p)
}

func TestAStuckDiskHoldsUpNobody(t *testing.T) {
	disk := &stuck{entered: make(chan struct{}, 1), release: make(chan struct{})}
	l := newLog(disk, logr.Discard())
	go l.run()
	before := testutil.ToFloat64(events.WithLabelValues(resultDropped))
	l.Write(Event{Event: "first"})
	<-disk.entered
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		for range buffered + 7 {
			l.Write(Event{Event: "more"})
		}
	}()
	select {
	case <-finished:
	case <-time.After(time.Minute):
		t.Fatal("an event waits for the disk")
	}
	if dropped := testutil.ToFloat64(events.WithLabelValues(resultDropped)) - before; dropped != 7 {
		t.Errorf("%v events are counted as dropped, want 7", dropped)
	}
	close(disk.release)
	l.Close()
	<-l.done
	got := decode(t, disk.String())
	if len(got) != buffered+2 {
		t.Fatalf("%d lines, want %d", len(got), buffered+2)
	}
	if diff := cmp.Diff([]Event{{Event: "first"}, {Event: "EventsDropped", Count: 7}, {Event: "more"}}, got[:3]); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

// A flood of unknown tokens hides no use of a revoked one.
func TestRefusalsAreBoundedByReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(io.Discard, logr.Discard())
		for range 10 * refusalsBurst {
			l.Refused(Event{Event: "TokenRefused", Reason: "UnknownID"})
		}
		l.Refused(Event{Event: "TokenRefused", Reason: "Ended"})
		if n := len(l.lines); n != refusalsBurst+1 {
			t.Errorf("%d lines of %d refusals", n, 10*refusalsBurst+1)
		}
		var last Event
		for len(l.lines) > 0 {
			last = decode(t, string(<-l.lines))[0]
		}
		if last.Reason != "Ended" {
			t.Errorf("the last line is %v", last)
		}
		time.Sleep(time.Second) // the flood is over
		l.Refused(Event{Event: "TokenRefused", Reason: "UnknownID"})
		if len(l.lines) != 1 {
			t.Fatalf("%d lines once the flood is over", len(l.lines))
		}
		if next := decode(t, string(<-l.lines))[0]; next.Count < 8*refusalsBurst {
			t.Errorf("the next line counts %d suppressed ones", next.Count)
		}
	})
}
