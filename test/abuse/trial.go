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

package abuse

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

const (
	// What the process may keep after all attacks: pools and tables grow to some size and stay there.
	keptHeap, keptGoroutines = 12 << 20, 10
	// settled is when nothing else of it may be there any more: the server's longest timeout, for idle connections, and a
	// moment. Of a connection that ends with open streams net/http starts that timer once more, which holds what was queued.
	settled = 100 * time.Second
)

// Starved reports whether a well-behaved client got so slow that an attack has worked. How much slower it gets is for
// hack/bench to say; here it is the machine's matter.
func Starved(quiet, abused Latencies) bool {
	return abused.Quantile(.99) > 50*quiet.Quantile(.99)+2*time.Second
}

// Usage is what the process holds after a collection.
type Usage struct{ Heap, Goroutines int }

// Measure collects, pools too, and counts.
func Measure() Usage {
	runtime.GC()
	return measure()
}

func measure() Usage {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return Usage{int(m.HeapAlloc), runtime.NumGoroutine()}
}

// back reports whether an attack left nothing behind.
func (u Usage) back(before Usage) bool {
	return u.Heap <= before.Heap+keptHeap && u.Goroutines <= before.Goroutines+keptGoroutines
}

func (u Usage) String() string {
	return fmt.Sprintf("%5.1f / %4d", float64(u.Heap)/(1<<20), u.Goroutines)
}

// Trial runs attacks one after the other, with quiet between them, while a well-behaved client works.
type Trial struct {
	Target   Target
	Client   *Client
	Attacker *Attacker
	// Quiet and Abused are for how long each is measured.
	Quiet, Abused time.Duration

	quiet  Latencies
	before Usage
}

// Row is what came of an attack.
type Row struct {
	Attack Attack
	Done   Result
	// Quiet is before and after the attack.
	Quiet, Abused Latencies
	// Before is before the first attack.
	Before, During, After Usage
}

// Head is the head of the table of which a row is a line.
const Head = "attack                     |   quiet p50       p99 |  abused p50       p99 | factor |" +
	" done                           | MiB of heap / goroutines: before all, during, after"

func (r Row) String() string {
	return fmt.Sprintf("%-26s | %11v %9v | %11v %9v | %6.1f | %8d %-11s %8.0f/s | %v  %v  %v",
		r.Attack.Name, round(r.Quiet.Quantile(.5)), round(r.Quiet.Quantile(.99)),
		round(r.Abused.Quantile(.5)), round(r.Abused.Quantile(.99)),
		float64(r.Abused.Quantile(.99))/float64(r.Quiet.Quantile(.99)),
		r.Done.Count, r.Attack.Unit, float64(r.Done.Count)/r.Done.Took.Seconds(), r.Before, r.During, r.After)
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

// Run runs an attack. Any failure of the client, any wrong answer, and what is left behind is an error.
func (t *Trial) Run(ctx context.Context, attack Attack) (Row, error) {
	row := Row{Attack: attack}
	if t.quiet == nil {
		if _, err := t.Client.Review(ctx, t.Quiet); err != nil { // opens the connections
			return row, err
		}
		var err error
		if t.quiet, err = t.Client.Review(ctx, t.Quiet); err != nil {
			return row, err
		}
		t.before = Measure()
	}
	row.Before = t.before
	stop, err := t.Attacker.Start(attack, t.Target)
	if err != nil {
		return row, err
	}
	abused, failed := t.Client.Review(ctx, t.Abused)
	row.Abused, row.During = abused, measure()
	if row.Done, err = stop(); err != nil {
		return row, errors.Join(failed, err)
	}
	if row.Done.Accepted > 0 {
		failed = errors.Join(failed, fmt.Errorf("authenticated an invalid token %d times", row.Done.Accepted))
	}
	row.After = Measure()
	for deadline := time.Now().Add(settled); !row.After.back(row.Before); row.After = Measure() {
		if time.Now().After(deadline) {
			failed = errors.Join(failed, fmt.Errorf("left behind: %v, before it %v", row.After, row.Before))
			break
		}
		pause(ctx, 50*time.Millisecond)
	}
	quiet, err := t.Client.Review(ctx, t.Quiet)
	row.Quiet, t.quiet = t.quiet.Merge(quiet), quiet
	return row, errors.Join(failed, err)
}
