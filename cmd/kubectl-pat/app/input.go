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
	// stdin stands for standard input in the place of a file.
	stdin = "-"
	// maxTokenFile is longer than any bearer token.
	maxTokenFile = 64 << 10
)

// errTokenGiven does not name the argument, which would show it on the screen once more.
var errTokenGiven = usagef("an argument holds a token, which is now in the shell's history and visible to other programs on this machine: revoke it (kubectl pat find asks for it and shows which one it is), and pass tokens only in a file or on standard input")

// noTokens refuses arguments that hold a token before any other check.
func noTokens(then cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if slices.ContainsFunc(args, func(arg string) bool { return strings.Contains(strings.ToLower(arg), token.Prefix) }) {
			return errTokenGiven
		}
		return then(cmd, args)
	}
}

// tokenLike matches a token up to its ID, because the rest of that must not be shown, and a text about as long as a token, which
// may be a misspelled one. It does not match a file name that only begins like a token.
var tokenLike = regexp.MustCompile(token.Prefix + "(?:[a-z2-7]{16}_|[0-9A-Za-z_]{60})")

// tokenAmong reports whether an argument holds a token, such as in the place of a name or in a reason. It would appear in
// requests, the API server's audit log and on the screen. Only kubectl's --token takes one.
func tokenAmong(args []string) bool {
	for i, arg := range args {
		flag, _, _ := strings.Cut(arg, "=")
		if !strings.HasPrefix(arg, "-") && i > 0 {
			flag = args[i-1]
		}
		arg = strings.ToLower(arg)
		switch {
		case flag == "--token":
		case slices.Contains(fileFlags, flag):
			if tokenLike.MatchString(arg) {
				return true
			}
		case strings.Contains(arg, token.Prefix):
			return true
		}
	}
	return false
}

// fileFlags take file names, and a file may be called kubepat_ci.txt.
var fileFlags = []string{
	"--token-file", "--token-path", "--manifest", "--output", "-o", "--filename", "-f", "--identity", "-i", "--recipient",
	"--kubeconfig", "--client-certificate", "--client-key", "--certificate-authority", "--apiserver-certificate", "--apiserver-key", "--server-ca",
}

// readBearer reads one bearer token from a file; "-" is standard input. On a terminal it asks for the token without an echo.
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
		return "", fmt.Errorf("%s is empty: it must hold a token", fileName(file))
	case strings.ContainsFunc(plaintext, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", fmt.Errorf("%s does not hold exactly one token", fileName(file))
	}
	return plaintext, nil
}

// readToken reads one personal access token.
func (s *session) readToken(ctx context.Context, file string) (plaintext, id string, err error) {
	if plaintext, err = s.readBearer(ctx, file); err != nil {
		return "", "", err
	}
	if id, err = token.Parse(plaintext); err != nil {
		return "", "", fmt.Errorf("%s does not hold a personal access token, which has %d characters and begins with %s: was all of it copied?",
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

// readInput reads a whole file; "-" is standard input. On a terminal it asks for one line without an echo.
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

// terminalOf returns in if it is a terminal, else nil.
func terminalOf(in io.Reader) *os.File {
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) { // #nosec G115 -- a file descriptor is small
		return f
	}
	return nil
}

var errNoTerminal = errors.New("cannot ask for the passphrase without a terminal")

// askPassphrase asks on the terminal, even if standard input is a file.
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

// prompt writes to the terminal that is read. Standard error may be a file, and the user would not see the question.
func (s *session) prompt(terminal *os.File, text string) {
	if _, err := io.WriteString(terminal, text); err == nil {
		return
	}
	// The terminal is open for reading only: with < /dev/tty, and always on Windows.
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

// askPasted asks for a text of several lines, up to the line end or the end of input. It reads all lines, because the shell would
// run the rest as commands. The text is not secret.
func (s *session) askPasted(ctx context.Context, terminal *os.File, prompt, end string, limit int64) ([]byte, error) {
	s.prompt(terminal, holder.Visible(prompt))
	text, err := interruptible(ctx, func() ([]byte, error) {
		var text []byte
		lines := bufio.NewReader(terminal) // a terminal returns at most one line per read
		for int64(len(text)) <= limit {
			line, err := lines.ReadSlice('\n')
			if err == nil && strings.TrimSpace(string(line)) == end { // a mail may have put spaces around it
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
		return nil, fmt.Errorf("the input is larger than %d KiB", limit>>10)
	}
	return text, err
}

// askHidden asks for one line without an echo. After an interrupt it restores the terminal.
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

// interruptible calls read and returns when read returns or ctx is done.
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

var errNotConfirmed = errors.New("nothing was changed: you did not confirm")

// confirm asks whether to go on. Without a terminal it fails, and the error says what --yes would do.
func (s *session) confirm(ctx context.Context, question, what string) error {
	if terminalOf(s.In) == nil {
		return fmt.Errorf("nothing was changed: cannot ask, because standard input is not a terminal; add --yes to %s", what)
	}
	return s.ask(ctx, question)
}

// ask accepts only y and yes.
func (s *session) ask(ctx context.Context, question string) error {
	question = holder.Visible(question) + " [y/N] "
	if terminal := terminalOf(s.In); terminal != nil {
		s.prompt(terminal, question)
	} else {
		fmt.Fprint(s.ErrOut, question)
	}
	answers := make(chan string, 1)
	go func() { // because a read cannot be interrupted
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
