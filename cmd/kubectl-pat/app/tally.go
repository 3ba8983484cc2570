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
)

// tally is of a command that does the same to several tokens, and goes on where one fails.
type tally struct {
	*session
	of     int // how many there are
	failed int
	last   error
}

// fail counts a failure. Of several, each is said at once; the error of a single one is left to err.
func (t *tally) fail(what string, err error) {
	t.failed++
	t.last = err
	if t.of > 1 {
		t.sayf("error: %s: %s", what, explain(err))
	}
}

// err is what the command ends with; done is the participle of what it was to do.
func (t *tally) err(done string) error {
	switch {
	case t.failed == 0:
		return nil
	case t.of == 1:
		return t.last
	}
	return fmt.Errorf("%d of %d tokens were not %s", t.failed, t.of, done)
}

var errInterrupted = errors.New("it was interrupted before its turn came")
