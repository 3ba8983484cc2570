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

package holder

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/identity"
)

// Visible makes a text of the cluster's fit to be shown, on a terminal or a page: what would move the cursor, change colours,
// reverse the direction of reading or not be seen at all becomes a visible escape (\x1b, \u202e). A backslash stays as it
// is, since it is in the names of many users: what comes out is for reading, not for reading back.
func Visible(s string) string {
	if !strings.ContainsFunc(s, Hostile) {
		return s
	}
	var b strings.Builder
	for _, r := range s { // what is no UTF-8 comes as U+FFFD
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case !Hostile(r):
			b.WriteRune(r)
		case r < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}

// Hostile tells of what is not shown as it is: what cannot be seen, and what no font is known to show. Spaces
// of any width can be seen.
func Hostile(r rune) bool {
	return r == utf8.RuneError || identity.Unseen(r) || !unicode.IsPrint(r) && !unicode.Is(unicode.Zs, r)
}

// Stamp is a moment as RFC 3339 has it, in UTC, or "unknown".
func Stamp(t *metav1.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.UTC().Format(time.RFC3339)
}

// ResourceName is what a PersonalAccessToken is called in what people paste into kubectl.
func ResourceName(name string) string { return "personalaccesstoken.pat-operator.io/" + name }

// Username is whose token pat is, "" where the cluster has not said so yet.
func Username(pat *v1alpha1.PersonalAccessToken) string {
	if pat.Spec.User == nil {
		return ""
	}
	return pat.Spec.User.Username
}
