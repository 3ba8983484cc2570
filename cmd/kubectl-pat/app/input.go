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
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/token"
)

const (
	// stdin is what names standard input where a file is asked for.
	stdin = "-"
	// maxTokenFile is more than any bearer token is long.
	maxTokenFile = 64 << 10
)

// errTokenGiven does not say which argument it was: it would be on the screen once more.
var errTokenGiven = usagef("there is a token among the arguments, where it is in the shell's history by now and every program on this machine may have seen it: revoke it (kubectl pat find, which reads it from standard input, tells which it is), and give tokens in a file or on standard input only")

// noTokens refuses arguments that hold a token before anything else looks at them.
func noTokens(then cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if slices.ContainsFunc(args, func(arg string) bool { return strings.Contains(strings.ToLower(arg), token.Prefix) }) {
			return errTokenGiven
		}
		return then(cmd, args)
	}
}

// oneOrMoreNames takes the names of PersonalAccessTokens.
func oneOrMoreNames(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("%s takes one NAME or more, and none was given; see %[1]s --help", cmd.CommandPath())
	}
	return nil
}

// noArguments takes none, and quotes none.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments, and %d were given; see %[1]s --help", cmd.CommandPath(), len(args))
	}
	return nil
}

// tokenLike is a token as far as its ID, which is enough to tell that the rest is not to be shown, or what is nearly as long as
// one and may be misspelt. The name of a file that begins as a token does is neither.
var tokenLike = regexp.MustCompile(token.Prefix + "(?:[a-z2-7]{16}_|[0-9A-Za-z_]{60})")

// readBearer reads one bearer token from a file, "-" being standard input. Where that is a terminal it is asked for, and
// not shown.
func (s *session) readBearer(ctx context.Context, file string) (plaintext string, err error) {
	if tokenLike.MatchString(file) {
		return "", errTokenGiven
	}
	text, err := s.readInput(ctx, file, "Token (it is not shown): ", maxTokenFile)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	plaintext = strings.TrimSpace(string(text))
	switch {
	case plaintext == "":
		return "", fmt.Errorf("%s is empty: it is to hold a token", fileName(file))
	case strings.ContainsFunc(plaintext, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", fmt.Errorf("%s holds something else than one token", fileName(file))
	}
	return plaintext, nil
}

// readToken reads one token of ours.
func (s *session) readToken(ctx context.Context, file string) (plaintext, id string, err error) {
	if plaintext, err = s.readBearer(ctx, file); err != nil {
		return "", "", err
	}
	if id, err = token.Parse(plaintext); err != nil {
		return "", "", fmt.Errorf("%s holds no token of ours, which has %d characters and begins with %s: was all of it copied?",
			fileName(file), token.Length, token.Prefix)
	}
	return plaintext, id, nil
}

func fileName(file string) string {
	if file == stdin {
		return "standard input"
	}
	return file
}

// readInput reads all of a file, "-" being standard input. Of a terminal it asks one line, with the echo off.
func (s *session) readInput(ctx context.Context, file, prompt string, limit int64) ([]byte, error) {
	in := s.In
	if file == stdin {
		if terminal := terminalOf(s.In); terminal != nil {
			return s.askHidden(ctx, terminal, prompt)
		}
	} else {
		f, err := os.Open(expandHome(file))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := interruptible(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(in, limit+1)) })
	if err == nil && int64(len(text)) > limit {
		return nil, fmt.Errorf("%s is larger than %d KiB", fileName(file), limit>>10)
	}
	return text, err
}

// terminalOf returns the terminal that a reader is, or nil.
func terminalOf(in io.Reader) *os.File {
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) { // #nosec G115 -- a file descriptor is small
		return f
	}
	return nil
}

var errNoTerminal = errors.New("there is no terminal to ask for the passphrase on")

// askPassphrase asks the person at the terminal, whatever standard input is.
func (s *session) askPassphrase(ctx context.Context, prompt string) ([]byte, error) {
	name := "/dev/tty"
	if runtime.GOOS == "windows" {
		name = "CONIN$"
	}
	if terminal, err := os.OpenFile(name, os.O_RDWR, 0); err == nil {
		defer terminal.Close()
		return s.askHidden(ctx, terminal, prompt)
	}
	if terminal := terminalOf(s.In); terminal != nil {
		return s.askHidden(ctx, terminal, prompt)
	}
	return nil, errNoTerminal
}

// prompt writes to whoever sits at the terminal that is read: standard error may be a file, and nobody would know what is
// waited for.
func (s *session) prompt(terminal *os.File, text string) {
	if _, err := io.WriteString(terminal, text); err == nil {
		return
	}
	// It is open for reading only, as it is with < /dev/tty and, on Windows, always.
	name := "/dev/tty"
	if runtime.GOOS == "windows" {
		name = "CONOUT$"
	}
	if out, err := os.OpenFile(name, os.O_WRONLY, 0); err == nil {
		defer out.Close()
		if _, err := io.WriteString(out, text); err == nil {
			return
		}
	}
	fmt.Fprint(s.ErrOut, text)
}

// askPasted asks for a text of several lines, which is no secret, as far as the line that ends it or the end of input: were
// only its first line read, the others would go to the shell, as commands.
func (s *session) askPasted(ctx context.Context, terminal *os.File, prompt, end string, limit int64) ([]byte, error) {
	s.prompt(terminal, holder.Visible(prompt))
	text, err := interruptible(ctx, func() ([]byte, error) {
		var text []byte
		lines := bufio.NewReader(terminal) // a terminal hands over no more than one line at once
		for int64(len(text)) <= limit {
			line, err := lines.ReadSlice('\n')
			if err == nil && strings.TrimSpace(string(line)) == end { // with spaces around it, from a mail for instance
				return append(text, end+"\n"...), nil
			}
			text = append(text, line...)
			switch {
			case errors.Is(err, io.EOF):
				return text, nil
			case err != nil && !errors.Is(err, bufio.ErrBufferFull):
				return nil, err
			}
		}
		return text, nil
	})
	if err == nil && int64(len(text)) > limit {
		return nil, fmt.Errorf("what was typed is larger than %d KiB", limit>>10)
	}
	return text, err
}

// askHidden asks for one line that is not shown. Interrupted, it leaves the terminal as it was.
func (s *session) askHidden(ctx context.Context, terminal *os.File, prompt string) ([]byte, error) {
	fd := int(terminal.Fd()) // #nosec G115 -- a file descriptor is small
	before, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	s.prompt(terminal, holder.Visible(prompt))
	defer s.prompt(terminal, "\n")
	line, err := interruptible(ctx, func() ([]byte, error) { return term.ReadPassword(fd) })
	if ctx.Err() != nil {
		_ = term.Restore(fd, before)
	}
	return line, err
}

// interruptible returns what read returns, or as soon as ctx is done.
func interruptible(ctx context.Context, read func() ([]byte, error)) ([]byte, error) {
	type result struct {
		text []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := read()
		done <- result{text, err}
	}()
	select {
	case r := <-done:
		return r.text, r.err
	case <-ctx.Done():
		return nil, errors.New("interrupted")
	}
}

var errNotConfirmed = errors.New("nothing was done, since you did not say yes")

// confirm asks people whether to go on; question is what they are asked, what the deed in the way out where nobody can be
// asked.
func (s *session) confirm(ctx context.Context, question, what string) error {
	if terminalOf(s.In) == nil {
		return fmt.Errorf("nothing was done, since nobody can be asked: standard input is no terminal; add --yes to %s", what)
	}
	return s.ask(ctx, question)
}

// ask takes nothing but a yes for one.
func (s *session) ask(ctx context.Context, question string) error {
	question = holder.Visible(question) + " [y/N] "
	if terminal := terminalOf(s.In); terminal != nil {
		s.prompt(terminal, question) // standard error may be a file
	} else {
		fmt.Fprint(s.ErrOut, question)
	}
	answers := make(chan string, 1)
	go func() { // a read cannot be interrupted
		answer, _ := bufio.NewReader(s.In).ReadString('\n')
		answers <- answer
	}()
	select {
	case <-ctx.Done():
		return errNotConfirmed
	case answer := <-answers:
		if answer = strings.ToLower(strings.TrimSpace(answer)); answer == "y" || answer == "yes" {
			return nil
		}
		return errNotConfirmed
	}
}
