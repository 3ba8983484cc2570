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

package patauth

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// retryAfter is what a client is told to wait when a source fails, in seconds.
const retryAfter = 1

// refusal is an answer to a request that does not pass.
type refusal struct {
	status     int
	challenges []string // values of WWW-Authenticate
	body       []byte
}

// newRefusal is a refusal as RFC 6750, section 3, has it. code is empty where the request had no credentials. description may
// hold neither quotes nor backslashes. scope is the one that is missing, or empty.
func newRefusal(status int, realm, code, description, scope string) *refusal {
	var parameters []string
	for _, p := range [...]struct{ name, value string }{{"realm", realm}, {"error", code}, {"error_description", description}, {"scope", scope}} {
		if p.value != "" && (p.name != "error_description" || code != "") {
			parameters = append(parameters, p.name+`="`+p.value+`"`)
		}
	}
	challenge := "Bearer"
	if len(parameters) > 0 {
		challenge += " " + strings.Join(parameters, ", ")
	}
	return &refusal{status: status, challenges: []string{challenge}, body: bodyOf(code, description)}
}

func bodyOf(code, description string) []byte {
	body, err := json.Marshal(struct {
		Error       string `json:"error,omitempty"`
		Description string `json:"error_description"`
	}{code, description})
	if err != nil {
		panic(err) // two strings
	}
	return append(body, '\n')
}

// write answers with the refusal.
func (f *refusal) write(w http.ResponseWriter) {
	header := w.Header()
	for _, challenge := range f.challenges {
		header.Add("WWW-Authenticate", challenge)
	}
	if f.status == http.StatusServiceUnavailable {
		header.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Type", "application/json")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Length", strconv.Itoa(len(f.body)))
	w.WriteHeader(f.status)
	_, _ = w.Write(f.body)
}

// refusals are those of an Authenticator.
type refusals struct {
	noCredentials, twoHeaders, noToken, inURL, invalid, unavailable *refusal
}

func newRefusals(realm string, basic bool) refusals {
	const badRequest, unauthorized = http.StatusBadRequest, http.StatusUnauthorized
	r := refusals{
		noCredentials: newRefusal(unauthorized, realm, "", "A personal access token is required. Send it as Authorization: Bearer TOKEN.", ""),
		twoHeaders:    newRefusal(badRequest, realm, "invalid_request", "The request has more than one Authorization header. Send one.", ""),
		noToken:       newRefusal(badRequest, realm, "invalid_request", "The Authorization header has no token. Check that the variable or file that it comes from is not empty.", ""),
		inURL:         newRefusal(badRequest, realm, "invalid_request", "The URL has a token, and URLs are written to logs. Send the token in the Authorization header, and revoke this one.", ""),
		invalid:       newRefusal(unauthorized, realm, "invalid_token", "The token is malformed, expired, suspended, revoked, or not for this API. Check it, or use another token.", ""),
		unavailable: &refusal{
			status: http.StatusServiceUnavailable,
			body:   bodyOf("temporarily_unavailable", "The token cannot be verified at the moment, and may be valid. Try again."),
		},
	}
	if basic {
		for _, f := range []*refusal{r.noCredentials, r.invalid} {
			f.challenges = append(f.challenges, `Basic realm="`+realm+`", charset="UTF-8"`)
		}
	}
	return r
}

// quotable reports whether s can stand between quotes in a header without an escape.
func quotable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' })
}
