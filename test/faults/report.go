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

// Package faults breaks things on purpose, on a real control plane: the operator's process, the way from a replica to the
// API server, etcd, certificates, all of it at once. What must hold meanwhile: ended tokens are accepted no longer
// than documented, living ones are never refused, and everything recovers without help. -soak=8m runs it longer.
package faults

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// Row is what one kind of fault has done.
type Row struct {
	Fault    string
	Injected int
	// Accepted counts tokens that were accepted and should not have been, Refused those that should have been.
	Accepted, Refused int
	// Staleness is the longest time that a revoked token was still accepted.
	Staleness time.Duration
}

// Report gathers rows; its methods are safe for concurrent use.
type Report struct {
	mu   sync.Mutex
	rows []Row
}

// Add adds to what is known of a fault: counts add up, of times the longest is kept.
func (r *Report) Add(row Row) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.rows, func(have Row) bool { return have.Fault == row.Fault })
	if i < 0 {
		r.rows = append(r.rows, row)
		return
	}
	have := &r.rows[i]
	have.Injected += row.Injected
	have.Accepted += row.Accepted
	have.Refused += row.Refused
	have.Staleness = max(have.Staleness, row.Staleness)
}

// Print writes the table, worst staleness first.
func (r *Report) Print(w io.Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.rows) == 0 {
		return
	}
	rows := slices.Clone(r.rows)
	slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(b.Staleness, a.Staleness) })
	width := len("fault")
	for _, row := range rows {
		width = max(width, len(row.Fault))
	}
	fmt.Fprintf(w, "\n| %-*s | times injected | tokens wrongly accepted | tokens wrongly refused | longest staleness |\n", width, "fault")
	fmt.Fprintf(w, "|%s|---:|---:|---:|---:|\n", strings.Repeat("-", width+2))
	for _, row := range rows {
		staleness := "—"
		if row.Staleness > 0 {
			staleness = row.Staleness.Round(10 * time.Millisecond).String()
		}
		fmt.Fprintf(w, "| %-*s | %d | %d | %d | %s |\n", width, row.Fault, row.Injected, row.Accepted, row.Refused, staleness)
	}
	fmt.Fprintln(w)
}
