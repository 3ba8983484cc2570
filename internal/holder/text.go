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

// Visible makes a text from the cluster safe to show on a terminal or a page: it turns characters that move the cursor, change
// colors, reverse the reading direction or are invisible into escapes such as \x1b or \u202e. It keeps backslashes, which many
// user names have, so the result cannot be parsed back.
func Visible(s string) string {
	if !strings.ContainsFunc(s, Hostile) {
		return s
	}
	var b strings.Builder
	for _, r := range s { // invalid UTF-8 becomes U+FFFD
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

// Hostile reports whether Visible escapes r: it is invisible, or no font is known to have it. Spaces of any width are not
// hostile.
func Hostile(r rune) bool {
	return r == utf8.RuneError || identity.Unseen(r) || !unicode.IsPrint(r) && !unicode.Is(unicode.Zs, r)
}

// Stamp formats t by RFC 3339 in UTC; nil is "unknown".
func Stamp(t *metav1.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.UTC().Format(time.RFC3339)
}

// ResourceName returns the name of a PersonalAccessToken as kubectl accepts and prints it.
func ResourceName(name string) string { return "personalaccesstoken.pat-operator.io/" + name }

// Username returns the user of pat's token, "" if it is not known yet.
func Username(pat *v1alpha1.PersonalAccessToken) string {
	if pat.Spec.User == nil {
		return ""
	}
	return pat.Spec.User.Username
}
