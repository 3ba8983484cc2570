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
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/pflag"
)

// destinationFlags say where a token goes instead of standard output.
type destinationFlags struct {
	file string
	copy bool
}

func (f *destinationFlags) bind(flags *pflag.FlagSet) {
	flags.StringVar(&f.file, "token-file", "", "write the token into this `FILE`, a new one that only you can read, instead of standard output")
	flags.BoolVar(&f.copy, "copy", false, "put the token on the clipboard instead of standard output")
}

// elsewhere reports whether the token goes somewhere else than to standard output.
func (f *destinationFlags) elsewhere() bool { return f.file != "" || f.copy }

// destination is where a token goes. Commands open it before they make a token, so that no token gets lost.
type destination struct {
	out   io.Writer
	file  *newFile
	copy  func(string) error
	place string // for messages; "" for standard output
}

// open returns the destination, whose close must be called.
func (f *destinationFlags) open(env Environment) (*destination, error) {
	switch {
	case f.copy && f.file != "":
		return nil, usagef("give either --copy or --token-file, not both")
	case f.copy && env.Copy == nil:
		return nil, errors.New("--copy: this machine has no supported clipboard (on Linux, install wl-clipboard, xclip or xsel); omit --copy, or use --token-file FILE")
	case f.copy:
		return &destination{out: env.Out, copy: env.Copy, place: "on the clipboard"}, nil
	case f.file != "":
		file, err := createNew("--token-file", f.file, 0o600)
		if err != nil {
			return nil, err
		}
		return &destination{out: env.Out, file: file, place: "in the file " + f.file}, nil
	}
	if err := printable(env.Out); err != nil {
		return nil, fmt.Errorf("nothing was changed: cannot write the token to standard output (%w); give a file with --token-file FILE", err)
	}
	return &destination{out: env.Out}, nil
}

// printable returns an error if output to out would be lost. The Go runtime opens the null device if standard output is closed.
func printable(out io.Writer) error {
	if file, ok := out.(*os.File); ok {
		info, err := file.Stat()
		if err != nil {
			return err
		}
		if null, err := os.Stat(os.DevNull); err == nil && os.SameFile(info, null) {
			return fmt.Errorf("it is closed, or %s", os.DevNull)
		}
	}
	_, err := out.Write(nil) // fails for a closed file and a full device
	return err
}

// put writes the token to its destination.
func (d *destination) put(plaintext string) error {
	var err error
	switch {
	case d.copy != nil:
		err = d.copy(plaintext)
	case d.file != nil:
		if _, err = fmt.Fprintln(d.file, plaintext); err == nil {
			err = d.file.keep()
		}
	default:
		_, err = fmt.Fprintln(d.out, plaintext)
		return err
	}
	if err != nil {
		return fmt.Errorf("cannot put the token %s: %w", d.place, err)
	}
	return nil
}

// putOrPrint is put for a token that may already work and cannot be shown again: if the file or the clipboard fails, it prints the
// token to standard output and returns an error that says so.
func (d *destination) putOrPrint(plaintext string) error {
	err := d.put(plaintext)
	if err == nil || d.place == "" {
		return err
	}
	if _, lost := fmt.Fprintln(d.out, plaintext); lost != nil {
		return fmt.Errorf("%w; and cannot print it: %w", err, lost)
	}
	return fmt.Errorf("%w; %w", err, errPrinted)
}

// errPrinted reports that a token was printed instead.
var errPrinted = errors.New("so it was printed on standard output")

// close removes the file if it holds no token.
func (d *destination) close() {
	if d.file != nil {
		d.file.discard()
	}
}

// newFile is a file that did not exist before. discard removes it, unless keep was called.
type newFile struct {
	*os.File
	kept bool
}

// createNew creates a file and never overwrites one. flag is the flag that named it.
func createNew(flag, name string, mode fs.FileMode) (*newFile, error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s: %s already exists and is not overwritten: choose another name, or remove the file first", flag, name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return &newFile{File: file}, nil
}

func (f *newFile) keep() error {
	f.kept = true
	return f.Close()
}

func (f *newFile) discard() {
	if !f.kept {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}
}
