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
	"strings"

	"github.com/pat-operator/pat-operator/internal/holder"
)

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
