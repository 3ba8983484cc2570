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

package api

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/pat-operator/pat-operator/internal/serving"
)

// maxParameters bounds what parameters take in memory, which is many times what they take in a request.
const maxParameters = 100

// parametersOf reads what is encoded as a form, or says what it is not.
func parametersOf(encoded, not string) (url.Values, *refusal) {
	if strings.Count(encoded, "&") >= maxParameters {
		return nil, invalid("there are more than 100 parameters; send only those that the documentation names")
	}
	values, err := url.ParseQuery(encoded)
	if err != nil {
		return nil, invalid(not)
	}
	return values, nil
}

// requiredOf reads the parameters that a request posts, of which one must be there.
func requiredOf(r *http.Request, name string) (form url.Values, value string, refused *refusal) {
	if form, refused = readForm(r); refused != nil {
		return nil, "", refused
	}
	if value = form.Get(name); value == "" {
		return nil, "", invalid("the parameter " + name + " is missing")
	}
	return form, value, nil
}

// readForm reads the parameters that a request posts. Each is there once at most, and none is in the URL, which gets into logs.
func readForm(r *http.Request) (url.Values, *refusal) {
	if r.Method != http.MethodPost {
		return nil, &refusal{status: http.StatusMethodNotAllowed, code: codeInvalidRequest, text: "send this with POST",
			header: http.Header{"Allow": {http.MethodPost}}}
	}
	if r.URL.RawQuery != "" {
		return nil, invalid("parameters are taken from the body alone, because URLs get into logs; a token that was sent in a URL should be revoked")
	}
	if !serving.HasBodyOf(r, "application/x-www-form-urlencoded") {
		return nil, &refusal{status: http.StatusUnsupportedMediaType, code: codeInvalidRequest,
			text: "send the parameters as application/x-www-form-urlencoded, and not compressed"}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge), err == nil && len(body) > maxBody:
		return nil, &refusal{status: http.StatusRequestEntityTooLarge, code: codeInvalidRequest, text: "the body is longer than 64 KiB"}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &refusal{status: http.StatusRequestTimeout, code: codeInvalidRequest, text: "the body did not come in time"}
	case err != nil:
		return nil, invalid("the body broke off")
	}
	form, refused := parametersOf(string(body), "the body is not application/x-www-form-urlencoded: encode %, & and ; in values")
	if refused != nil {
		return nil, refused
	}
	for _, values := range form {
		if len(values) > 1 {
			return nil, invalid("a parameter is there twice; send each once")
		}
	}
	return form, nil
}
