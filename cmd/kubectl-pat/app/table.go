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
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/fatih/color"
	"golang.org/x/term"
	"golang.org/x/text/width"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
)

// TerminalWidth returns the width of the terminal that w writes to, or 0 if w is not a terminal.
func TerminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	columns, _, err := term.GetSize(int(f.Fd())) // #nosec G115 -- a file descriptor is small
	if err != nil || columns <= 0 {
		return 0
	}
	return columns
}

// table is a text in columns, as kubectl prints it. On a terminal it fits the width, and the status column is colored.
type table struct {
	header []string
	// cut are the columns to shorten first, status the one to color; -1: none.
	cut       []int
	status    int
	noHeaders bool
	columns   int // of the terminal, 0 without one
	color     bool
	widths    []int // of the rows printed so far, which further rows align with
}

// table returns an empty table for standard output or standard error.
func (s *session) table(w io.Writer, header ...string) *table {
	t := &table{header: header, status: -1, widths: make([]int, len(header)), columns: s.Width(w)}
	t.color = t.columns > 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return t
}

const gap = 3 // between columns

// print writes rows, the first time below the header. It makes cells safe for a terminal.
func (t *table) print(w io.Writer, rows [][]string) error {
	lines := make([][]string, 0, 1+len(rows))
	if !t.noHeaders {
		t.noHeaders = true
		lines = append(lines, t.header)
	}
	for _, row := range rows {
		cells := make([]string, 0, len(row))
		for _, text := range row {
			cells = append(cells, holder.Visible(text))
		}
		lines = append(lines, cells)
	}
	for _, cells := range lines {
		for i, text := range cells {
			t.widths[i] = max(t.widths[i], widthOf(text))
		}
	}
	t.fit()
	var out strings.Builder
	for _, cells := range lines {
		line, blank := "", 0
		for i, text := range cells {
			if t.widths[i] == 0 {
				continue
			}
			text = shorten(text, t.widths[i])
			line += strings.Repeat(" ", blank)
			blank = gap + t.widths[i] - widthOf(text)
			if i == t.status && t.color {
				text = paint(text)
			}
			line += text
		}
		out.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// fit narrows columns until a line fits the terminal: first the widest of cut, down to their headers, then columns from the right.
func (t *table) fit() {
	excess := -t.columns - gap
	for _, width := range t.widths {
		if width > 0 {
			excess += width + gap
		}
	}
	for t.columns > 0 && excess > 0 {
		widest := -1
		for _, i := range t.cut {
			if t.widths[i] > len(t.header[i]) && (widest < 0 || t.widths[i] > t.widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		t.widths[widest]--
		excess--
	}
	for i := len(t.widths) - 1; i > 0 && t.columns > 0 && excess > 0; i-- {
		if t.widths[i] == 0 {
			continue
		}
		if t.widths[i] <= excess {
			excess -= t.widths[i] + gap
			t.widths[i] = 0
			continue
		}
		t.widths[i] -= excess
		excess = 0
	}
}

// widthOf returns the width of a text on a terminal.
func widthOf(text string) (columns int) {
	for _, r := range text {
		columns += widthOfRune(r)
	}
	return columns
}

func widthOfRune(r rune) int {
	switch kind := width.LookupRune(r).Kind(); {
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case kind == width.EastAsianWide, kind == width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// shorten cuts a text to a width.
func shorten(text string, columns int) string {
	if widthOf(text) <= columns {
		return text
	}
	end, taken := 0, 0
	for i, r := range text {
		if taken += widthOfRune(r); taken > columns-1 {
			break
		}
		end = i + len(string(r))
	}
	return text[:end] + "…"
}

var colors = map[holder.State]color.Attribute{
	holder.StateActive: color.FgGreen, holder.StateExpiring: color.FgYellow, holder.StateSuspended: color.FgYellow, holder.StatePending: color.FgCyan,
	holder.StateNotIssued: color.FgRed, holder.StateExpired: color.FgRed, holder.StateRevoked: color.FgRed, holder.StateFailed: color.FgRed, holder.StateDeleting: color.FgRed, stateGone: color.FgRed,
	holder.StateStopped: color.FgRed,
}

// paint colors the name of a state, and no other text.
func paint(text string) string {
	attribute, known := colors[holder.State(text)]
	if !known {
		return text
	}
	c := color.New(attribute)
	c.EnableColor()
	return c.Sprint(text)
}

// tokenTable returns the table of list.
func (s *session) tokenTable(wide, namespaces bool) *table {
	header := []string{"NAME", "DISPLAY NAME", "USER", "STATUS", "EXPIRES", "LAST USED", "AGE"}
	cut, status := []int{1, 2}, 3
	if wide {
		header = append(header, "TOKEN ID", "CREATED", "MODIFIED", "REASON", "PERMISSIONS", "FROM")
		cut = append(cut, len(header)-2, len(header)-1)
	}
	if namespaces {
		header = append([]string{"NAMESPACE"}, header...)
		for i := range cut {
			cut[i]++
		}
		status++
	}
	t := s.table(s.Out, header...)
	t.cut, t.status = cut, status
	return t
}

// tokenRow returns a row for tokenTable.
func tokenRow(pat *v1alpha1.PersonalAccessToken, state holder.State, now time.Time, wide, namespaces bool) []string {
	row := []string{
		pat.Name, pat.Spec.DisplayName, holder.Username(pat), string(state), untilOrAgo(pat.Status.ExpiresAt, now),
		agoOrNever(pat.Status.LastUsedAt, now), duration.HumanDuration(now.Sub(pat.CreationTimestamp.Time)),
	}
	if wide {
		reason := ""
		if c := holder.Active(pat); c != nil {
			reason = c.Reason
		}
		row = append(row, pat.Status.TokenID, holder.Stamp(&pat.CreationTimestamp), holder.Stamp(pat.Status.ModifiedAt), reason, permissions(pat.Spec.Scopes), sources(pat.Spec.From))
	}
	if namespaces {
		row = append([]string{pat.Namespace}, row...)
	}
	return row
}

// everywhere stands for spec.from without networks.
const everywhere = "everywhere"

// sources formats the networks that a token may be used from, in one line.
func sources(networks []string) string {
	if len(networks) == 0 {
		return everywhere
	}
	return strings.Join(networks, ", ")
}

// permissions formats scopes in one line; "full" is all that the user may do.
func permissions(scopes []v1alpha1.Scope) string {
	if len(scopes) == 0 {
		return "full"
	}
	return strings.Join(formatScopes(scopes), "; ")
}
