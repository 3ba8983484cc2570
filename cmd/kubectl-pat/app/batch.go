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

// batchResult collects the failures of a command that handles several tokens and continues after a failure.
type batchResult struct {
	*session
	of     int // the number of tokens
	failed int
	last   error
}

// fail counts a failure. It prints the error at once, unless there is only one token: then err returns it.
func (t *batchResult) fail(what string, err error) {
	t.failed++
	t.last = err
	if t.of > 1 {
		t.sayf("error: %s: %s", what, explain(err))
	}
}

// err returns the error of the command, if any; done is a participle such as revoked.
func (t *batchResult) err(done string) error {
	switch {
	case t.failed == 0:
		return nil
	case t.of == 1:
		return t.last
	}
	return fmt.Errorf("%d of %d tokens were not %s", t.failed, t.of, done)
}

var errInterrupted = errors.New("interrupted before it was processed")
