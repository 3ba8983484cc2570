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

package main

import (
	"fmt"
	"io"
)

// figure is one thing measured, with what was promised of it.
type figure struct {
	what, measured, target string
	holds                  bool
	// counted reports that it depends on no clock, so that it holds on every machine or nowhere.
	counted bool
}

// figures are those of a run.
type figures []figure

func (f *figures) add(what, measured, target string, holds bool) {
	*f = append(*f, figure{what: what, measured: measured, target: target, holds: holds})
}

func (f *figures) count(what, measured, target string, holds bool) {
	*f = append(*f, figure{what, measured, target, holds, true})
}

// print prints them as Markdown, and returns an error that names those that must hold everywhere and do not.
func (f figures) print(out io.Writer) error {
	fmt.Fprintf(out, "\n| what | measured | target | holds |\n|---|---|---|---|\n")
	var failed []string
	for _, one := range f {
		holds := map[bool]string{true: "yes", false: "no"}[one.holds]
		if one.target == "" {
			holds = ""
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s |\n", one.what, one.measured, one.target, holds)
		if one.counted && !one.holds {
			failed = append(failed, one.what)
		}
	}
	fmt.Fprintf(out, "\n%s\n", load())
	if len(failed) > 0 {
		return fmt.Errorf("the targets of %d figures that no clock decides do not hold: %q", len(failed), failed)
	}
	return nil
}
