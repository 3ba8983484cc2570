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
	"strings"
	"text/tabwriter"

	"github.com/pat-operator/pat-operator/internal/holder"
)

// sheet is text in two columns, labels and what they say, as kubectl describe lays it out. What it is given is made safe.
type sheet struct {
	text strings.Builder
	tabs *tabwriter.Writer
}

func newSheet() *sheet {
	s := &sheet{}
	s.tabs = tabwriter.NewWriter(&s.text, 0, 8, 2, ' ', 0)
	return s
}

// say writes a label and its values, one on each line. A label that begins with spaces belongs to the one above.
func (s *sheet) say(label string, values ...string) {
	if len(values) == 0 {
		values = []string{"<none>"}
	}
	label = holder.Visible(label) + ":"
	for _, value := range values {
		s.row(label, value)
		label = ""
	}
}

// sayIf is say where there is something to say.
func (s *sheet) sayIf(label, value string) {
	if value != "" {
		s.say(label, value)
	}
}

// row writes one line of columns. Nothing is behind the last of them.
func (s *sheet) row(cells ...string) {
	for i, cell := range cells {
		if i > 0 {
			_, _ = s.tabs.Write([]byte("\t"))
		}
		_, _ = s.tabs.Write([]byte(holder.Visible(cell)))
	}
	_, _ = s.tabs.Write([]byte("\n"))
}

// table writes a title and a table under it, whose columns are its own.
func (s *sheet) table(title string, header []string, rows [][]string) {
	if len(rows) == 0 {
		s.say(title)
		return
	}
	_ = s.tabs.Flush()
	s.row(title + ":")
	_ = s.tabs.Flush()
	rule := make([]string, len(header))
	for i, name := range header {
		rule[i] = strings.Repeat("-", len(name))
	}
	for _, cells := range append([][]string{header, rule}, rows...) {
		s.row(append([]string{"  " + cells[0]}, cells[1:]...)...)
	}
	_ = s.tabs.Flush()
}

func (s *sheet) String() string {
	_ = s.tabs.Flush()
	lines := strings.Split(s.text.String(), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.Join(lines, "\n")
}
