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
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"
)

// environment tells a process that it is the child that attacks.
const environment = "PAT_OPERATOR_TEST_ABUSE"

// order is what the child is told to do next.
type order struct {
	Attack string
	Target Target
	TLS    bool
}

// Result of an attack that has been stopped.
type Result struct {
	// Count is of the attack's units, Accepted of the invalid tokens that were authenticated.
	Count, Accepted int64
	Took            time.Duration
}

// Child attacks for its parent and does not return, where this process is a child that NewAttacker started.
func Child() {
	if os.Getenv(environment) == "" {
		return
	}
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			os.Exit(0) // the parent has had enough, or is gone
		}
		var o order
		if err := json.Unmarshal(line, &o); err != nil {
			os.Exit(2)
		}
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			if _, err := lines.ReadBytes('\n'); err != nil {
				os.Exit(0)
			}
			cancel()
		}()
		_ = json.NewEncoder(os.Stdout).Encode(carryOut(ctx, o))
	}
}

func carryOut(ctx context.Context, o order) Result {
	var done Done
	var attack Attack
	for _, a := range slices.Concat(All(), OfProxy(), OfAPI()) {
		if a.Name == o.Attack {
			attack = a
		}
	}
	least := int64(1)
	if attack.Fills {
		least = int64(2 * o.Target.Slots)
	}
	var reported sync.WaitGroup
	reported.Go(func() {
		for ctx.Err() == nil && done.Count.Load() < least {
			pause(ctx, time.Millisecond)
		}
		fmt.Println()
	})
	begun := time.Now()
	if o.TLS {
		o.Target.TLS = &tls.Config{InsecureSkipVerify: true}
	}
	attack.Run(ctx, o.Target, &done)
	reported.Wait()
	return Result{done.Count.Load(), done.Accepted.Load(), time.Since(begun)}
}

// Attacker is a child process that attacks: it gets no more of the machine than other processes, and nothing of the
// memory and the goroutines of the server.
type Attacker struct {
	in  io.WriteCloser
	out *bufio.Reader
	cmd *exec.Cmd
}

// NewAttacker starts this program again, whose main has to call Child first.
func NewAttacker() (*Attacker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	a := &Attacker{cmd: exec.Command(self)}
	a.cmd.Env = append(os.Environ(), environment+"=1")
	a.cmd.Stderr = os.Stderr
	in, err := a.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	a.in, a.out = in, bufio.NewReader(out)
	return a, a.cmd.Start()
}

// Close ends the process.
func (a *Attacker) Close() error {
	_ = a.in.Close()
	return a.cmd.Wait()
}

// Start begins an attack and returns when it has begun.
func (a *Attacker) Start(attack Attack, t Target) (stop func() (Result, error), err error) {
	if err := json.NewEncoder(a.in).Encode(order{attack.Name, t, t.TLS != nil}); err != nil {
		return nil, err
	}
	if _, err := a.out.ReadString('\n'); err != nil {
		return nil, fmt.Errorf("%s did not begin: %w", attack.Name, err)
	}
	return func() (r Result, err error) {
		if _, err := io.WriteString(a.in, "\n"); err != nil {
			return r, err
		}
		line, err := a.out.ReadBytes('\n')
		if err != nil {
			return r, err
		}
		return r, json.Unmarshal(line, &r)
	}, nil
}
