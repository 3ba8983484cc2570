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

package env

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// Patience is how long anything may take on a busy machine that no fault holds up.
const Patience = 60 * time.Second

// A pause between two tries is short at first: most of what is waited for comes within milliseconds.
const firstPause, longestPause = 500 * time.Microsecond, 20 * time.Millisecond

// Poll tries until it works. The error is the last one.
func Poll(ctx context.Context, within time.Duration, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("after %v: %w", within, err)
		}
	}
}

// Within polls until it works, as is promised within a time. It fails where a try that began later did not work. The machine
// may have stood still, for who is measured as for who measures: twice the longest time from one try to the next is added.
func Within(ctx context.Context, promised time.Duration, try func() error) error {
	start := time.Now()
	var began, late, slowest time.Duration
	var last error
	err := Poll(ctx, promised+Patience, func() error {
		now := time.Since(start)
		slowest = max(slowest, now-began)
		began = now
		err := try()
		if err != nil {
			late, last = began, err
		}
		return err
	})
	if err == nil && late > promised+2*slowest {
		return fmt.Errorf("after %v, promised within %v, where a try took up to %v: %w", late, promised, slowest, last)
	}
	return err
}

// Stalls measures until it is stopped, and returns the longest time that this process did not run when it should have.
func Stalls() (stop func() time.Duration) {
	const every = 10 * time.Millisecond
	end, longest := make(chan struct{}), make(chan time.Duration)
	go func() {
		var worst time.Duration
		for last := time.Now(); ; {
			select {
			case <-end:
				longest <- worst
				return
			case <-time.After(every):
			}
			now := time.Now()
			worst, last = max(worst, now.Sub(last)-every), now
		}
	}()
	return func() time.Duration {
		close(end)
		return <-longest
	}
}

// Eventually waits until ok, and returns how long that took. The test fails with what otherwise says at the end. Unlike Poll
// it works in a Cleanup.
func Eventually(t testing.TB, within time.Duration, ok func() bool, otherwise func() string) time.Duration {
	t.Helper()
	start := time.Now()
	for pause := firstPause; !ok(); pause = min(2*pause, longestPause) {
		if time.Since(start) > within {
			t.Fatalf("%s, after %v", otherwise(), within)
		}
		<-time.After(pause)
	}
	return time.Since(start)
}
