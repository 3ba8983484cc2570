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
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/onsi/gomega"

	"github.com/pat-operator/pat-operator/internal/recipients"
)

// openTerminal returns a new terminal and its other end, the person at it.
func openTerminal(t *testing.T) (terminal, person *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
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
	gomega.NewWithT(t).Eventually(func() bool { return echoes(t, terminal) }).
		WithTimeout(time.Minute).WithPolling(time.Millisecond).Should(gomega.Equal(want), "echo")
}

func TestHiddenInputIsNotShown(t *testing.T) {
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

func TestAnInterruptRestoresTheTerminal(t *testing.T) {
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

// onScreen reads the screen until it holds want.
func onScreen(t *testing.T, person *os.File, want string) {
	t.Helper()
	seen := make(chan string, 1)
	go func() {
		var all []byte
		for b := make([]byte, 4096); !strings.Contains(string(all), want); {
			n, err := person.Read(b)
			all = append(all, b[:n]...)
			if err != nil {
				break
			}
		}
		seen <- string(all)
	}()
	select {
	case text := <-seen:
		if !strings.Contains(text, want) {
			t.Errorf("the terminal shows %q; want %q", text, want)
		}
	case <-time.After(time.Minute):
		t.Fatalf("the terminal does not show %q", want)
	}
}

// With 2>log the user would not see a prompt on standard error.
func TestPromptsAreOnTheTerminal(t *testing.T) {
	terminal, person := openTerminal(t)
	var errOut bytes.Buffer
	s := &session{Environment: Environment{IOStreams: genericiooptions.IOStreams{In: terminal, ErrOut: &errOut}}}
	done := make(chan error, 1)
	go func() {
		_, err := s.readInput(t.Context(), stdin, "Token\x1b: ", 100)
		done <- err
	}()
	onScreen(t, person, `Token\x1b: `)
	if _, err := person.WriteString("x\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	go func() { done <- s.confirm(t.Context(), "Go\x1b on?", "go on") }()
	onScreen(t, person, `Go\x1b on? [y/N] `)
	if _, err := person.WriteString("y\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if errOut.Len() > 0 {
		t.Errorf("standard error: %s", &errOut)
	}
}

// Input after the age file stays for the next reader of the terminal, and no part of the age file does.
func TestAnAgeFileIsPasted(t *testing.T) {
	private, public := agePair(t)
	_, plaintext := tokenOf(t, 7)
	file := must[string](t)(recipients.Encrypt(plaintext, []string{public}))
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(private), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		typed string
		code  int
		want  string
	}{
		"unchanged":              {strings.TrimSpace(file) + "\n", exitOK, plaintext + "\n"},
		"with lines before":      {"\n\n" + strings.TrimSpace(file) + " \n", exitOK, plaintext + "\n"},
		"cut off, ended by hand": {file[:len(file)/2] + "\n\x04", exitError, ""},
		"too large":              {strings.Repeat(strings.Repeat("a", 1000)+"\n", maxAgeFile/1000+1), exitError, ""},
	} {
		t.Run(name, func(t *testing.T) {
			terminal, person := openTerminal(t)
			tr := newTrial(t, interceptor.Funcs{})
			tr.In = terminal
			done := make(chan struct{})
			go func() {
				defer close(done)
				tr.run(t.Context(), t, tc.code, "decrypt", "-f", "-", "-i", key)
			}()
			go func() { _, _ = io.Copy(io.Discard, person) }()  // the screen
			go func() { _, _ = person.WriteString(tc.typed) }() // it waits where nobody reads
			select {
			case <-done:
			case <-time.After(time.Minute):
				t.Fatal("it still reads")
			}
			if got := tr.out.String(); got != tc.want {
				t.Errorf("standard output: %q\n%s", got, tr.errOut)
			}
			if tc.code != exitOK {
				return
			}
			if _, err := person.WriteString("next\n"); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 100)
			if n, err := terminal.Read(b); err != nil || string(b[:n]) != "next\n" {
				t.Errorf("left on the terminal: %q %v", b[:n], err)
			}
		})
	}
}
