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

// describeWriter lays out labels and values as kubectl describe does. It makes all texts safe for a terminal.
type describeWriter struct {
	text strings.Builder
	tabs *tabwriter.Writer
}

func newDescribeWriter() *describeWriter {
	s := &describeWriter{}
	s.tabs = tabwriter.NewWriter(&s.text, 0, 8, 2, ' ', 0)
	return s
}

// say writes a label and its values, one per line. A label that begins with spaces belongs to the one above.
func (s *describeWriter) say(label string, values ...string) {
	if len(values) == 0 {
		values = []string{"<none>"}
	}
	label = holder.Visible(label) + ":"
	for _, value := range values {
		s.row(label, value)
		label = ""
	}
}

// sayIf writes a label and value, unless the value is empty.
func (s *describeWriter) sayIf(label, value string) {
	if value != "" {
		s.say(label, value)
	}
}

// row writes one line of columns, without a tab after the last one.
func (s *describeWriter) row(cells ...string) {
	for i, cell := range cells {
		if i > 0 {
			_, _ = s.tabs.Write([]byte("\t"))
		}
		_, _ = s.tabs.Write([]byte(holder.Visible(cell)))
	}
	_, _ = s.tabs.Write([]byte("\n"))
}

// table writes a title and below it a table with columns of its own.
func (s *describeWriter) table(title string, header []string, rows [][]string) {
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

func (s *describeWriter) String() string {
	_ = s.tabs.Flush()
	lines := strings.Split(s.text.String(), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.Join(lines, "\n")
}
