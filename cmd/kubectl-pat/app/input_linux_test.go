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
	"context"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// openTerminal returns a new terminal, and the person at it.
func openTerminal(t *testing.T) (terminal, person *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = person.Close() })
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	return terminal, person
}

func echoes(t *testing.T, terminal *os.File) bool {
	t.Helper()
	termios, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return termios.Lflag&unix.ECHO != 0
}

func waitEcho(t *testing.T, terminal *os.File, want bool) {
	t.Helper()
	for began := time.Now(); echoes(t, terminal) != want; time.Sleep(time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("the echo is not %v", want)
		}
	}
}

func TestWhatIsAskedForIsNotShown(t *testing.T) {
	terminal, person := openTerminal(t)
	s := &session{Environment: Environment{IOStreams: genericiooptions.IOStreams{In: terminal, ErrOut: io.Discard}}}
	answer := make(chan string, 1)
	go func() {
		text, err := s.readInput(t.Context(), stdin, "Token: ", 100)
		answer <- fmt.Sprint(string(text), err)
	}()
	waitEcho(t, terminal, false)
	if _, err := person.WriteString("what is typed\n"); err != nil {
		t.Fatal(err)
	}
	if got, want := <-answer, "what is typed<nil>"; got != want {
		t.Errorf("got %q; want %q", got, want)
	}
	waitEcho(t, terminal, true)
}

func TestInterruptedTheTerminalIsAsItWas(t *testing.T) {
	terminal, _ := openTerminal(t)
	s := &session{Environment: Environment{IOStreams: genericiooptions.IOStreams{In: terminal, ErrOut: io.Discard}}}
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := s.readInput(ctx, stdin, "Token: ", 100)
		failed <- err
	}()
	waitEcho(t, terminal, false)
	cancel()
	if err := <-failed; err == nil || err.Error() != "interrupted" {
		t.Errorf("got %v", err)
	}
	waitEcho(t, terminal, true)
}
