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
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
)

type tableOptions struct{ wide, namespaces, noHeaders bool }

// printTable prints resources as kubectl prints its tables.
func printTable(w io.Writer, pats []v1alpha1.PersonalAccessToken, now time.Time, opts tableOptions) error {
	const onlyWide = 1
	table := &metav1.Table{ColumnDefinitions: []metav1.TableColumnDefinition{
		{Name: "Name"}, {Name: "Display Name"}, {Name: "User"}, {Name: "Active"}, {Name: "Expires"}, {Name: "Last Used"}, {Name: "Age"},
		{Name: "Token ID", Priority: onlyWide}, {Name: "Created", Priority: onlyWide},
		{Name: "Modified", Priority: onlyWide}, {Name: "Reason", Priority: onlyWide},
	}}
	if opts.namespaces {
		table.ColumnDefinitions = append([]metav1.TableColumnDefinition{{Name: "Namespace"}}, table.ColumnDefinitions...)
	}
	for i := range pats {
		pat := &pats[i]
		active, reason := "Unknown", ""
		if c := holder.Active(pat); c != nil {
			active, reason = string(c.Status), c.Reason
		}
		texts := []string{
			pat.Name, pat.Spec.DisplayName, holder.Username(pat), active, untilOrAgo(pat.Status.ExpiresAt, now),
			agoOrNever(pat.Status.LastUsedAt, now), duration.HumanDuration(now.Sub(pat.CreationTimestamp.Time)),
			pat.Status.TokenID, holder.Stamp(&pat.CreationTimestamp), holder.Stamp(pat.Status.ModifiedAt), reason,
		}
		if opts.namespaces {
			texts = append([]string{pat.Namespace}, texts...)
		}
		cells := make([]any, 0, len(texts))
		for _, text := range texts {
			cells = append(cells, holder.Visible(text))
		}
		table.Rows = append(table.Rows, metav1.TableRow{Cells: cells})
	}
	return printers.NewTablePrinter(printers.PrintOptions{Wide: opts.wide, NoHeaders: opts.noHeaders}).PrintObj(table, w)
}

// untilOrAgo is how far off a moment is: in 29d, 2d ago.
func untilOrAgo(t *metav1.Time, now time.Time) string {
	switch {
	case t == nil:
		return "unknown"
	case t.After(now):
		return "in " + duration.HumanDuration(t.Sub(now))
	}
	return duration.HumanDuration(now.Sub(t.Time)) + " ago"
}

func agoOrNever(t *metav1.Time, now time.Time) string {
	if t == nil {
		return "never"
	}
	return duration.HumanDuration(max(0, now.Sub(t.Time))) + " ago"
}
