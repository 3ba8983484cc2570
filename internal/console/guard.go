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

package console

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/pat-operator/pat-operator/internal/console/page"
)

// contentPolicy lets pages load only the embedded files.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// maxForm is in bytes: the longest field is recipients, 16 of 4096. maxSignIn is for unknown senders: a credential that fits into
// cookies.
const maxForm, maxSignIn = 128 << 10, 32 << 10

// guard sets the security headers of every response, and refuses POSTs of other origins.
func (c *Console) guard(next http.Handler) http.Handler {
	crossOrigin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		// With no-referrer, browsers would send the Origin "null" with our own forms.
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "clipboard-write=(self), camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store")
		switch r.Method {
		case http.MethodGet, http.MethodHead:
		case http.MethodPost:
			// CrossOriginProtection accepts a POST without Origin and Sec-Fetch-Site. Every browser sends Origin with a form,
			// and other programs can use kubectl.
			if origins := r.Header.Values("Origin"); len(origins) != 1 || origins[0] != c.origin || crossOrigin.Check(r) != nil {
				c.problem(w, r, http.StatusForbidden, page.Problem{
					Title:  "This did not come from the page",
					Detail: "The browser reports that another site sent this, or does not report a sender. Nothing was done.",
					Next:   "Open " + c.origin + " and do it there.", Link: "/", LinkText: "To my tokens",
				})
				return
			}
		default:
			h.Set("Allow", "GET, HEAD, POST")
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// fromElsewhere reports whether, according to the browser, another site, another program such as mail or a typed address led here.
// Such a request changes nothing, not even cookies.
func fromElsewhere(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return site != "" && site != "same-origin"
}

// readForm reads the form of a POST. Callers authenticate the sender first, except for signing in. tooLong says what to do about a
// form that is too long.
func readForm(w http.ResponseWriter, r *http.Request, limit int64, tooLong string) error {
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	err := r.ParseForm()
	if err == nil {
		return nil
	}
	told := &refusal{http.StatusBadRequest, page.Problem{Title: "The form could not be read", Next: "Go back, and send it again.", Link: "/", LinkText: "To my tokens"}}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		told.status, told.Title, told.Next = http.StatusRequestEntityTooLarge, fmt.Sprintf("The form is longer than %d KiB", limit>>10), tooLong
	}
	return told
}
