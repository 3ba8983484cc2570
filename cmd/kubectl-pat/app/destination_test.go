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
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

const fullOutput = "nothing was changed: cannot write the token to standard output (no space); give a file with --token-file FILE"

// A command creates or replaces no token that it could not output.
func TestCase63_NothingIsDoneWithoutAnOutput(t *testing.T) {
	closed, err := os.Create(filepath.Join(t.TempDir(), "closed"))
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	outputs := map[string]io.Writer{"full": full{}, "closed": closed, "closed before we started": null}
	if device, err := os.OpenFile("/dev/full", os.O_WRONLY, 0); err == nil {
		defer device.Close()
		outputs["a full device"] = device
	}
	for name, out := range outputs {
		for _, args := range [][]string{{"create", "new"}, {"create", "new", "-o", "json"}, {"rotate", "ci", "-n", "team-a"}} {
			t.Run(name+" "+strings.Join(args, " "), func(t *testing.T) {
				wrote := func() error { t.Error("the cluster is written to"); return errors.New("no") }
				pat, _ := holderMade(t, 7)
				tr := newTrial(t, interceptor.Funcs{
					Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error { return wrote() },
					Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
						return wrote()
					},
					Update: func(context.Context, client.WithWatch, client.Object, ...client.UpdateOption) error { return wrote() },
				}, pat)
				tr.Out = out
				tr.run(t.Context(), t, exitError, args...)
				if got := tr.errOut.String(); !strings.HasPrefix(got, "error: nothing was changed: cannot write the token to standard output (") {
					t.Errorf("standard error: %s", got)
				}
			})
		}
	}
}

// filling fails after the check whether it accepts output.
type filling struct{}

func (filling) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return 0, errors.New("no space")
}

// If a token was created and cannot be printed, the error says what to do.
func TestCase63_ALostTokenErrorSaysWhatToDo(t *testing.T) {
	for _, output := range []string{outputToken, outputJSON, outputYAML} {
		tr := newTrial(t, operator(isReady, isActive))
		tr.Out = filling{}
		tr.run(t.Context(), t, exitError, "create", "new", "-o", output)
		tr.errs(t, "error: no space; the token of personalaccesstoken.pat-operator.io/new is lost; for a new one run: kubectl pat rotate new -n default")
	}
}

// An existing file does not change, and no token is created.
func TestCase63_AFileThatExistsIsKept(t *testing.T) {
	name := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(name, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	tr := newTrial(t, interceptor.Funcs{
		Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
			t.Error("the cluster is written to")
			return errors.New("no")
		},
	})
	tr.run(t.Context(), t, exitError, "create", "new", "--token-file", name)
	tr.errs(t, "error: --token-file: "+name+" already exists and is not overwritten: choose another name, or remove the file first")
	wantFile(t, name, 0o600, "mine")
}
