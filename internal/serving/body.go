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

package serving

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"

	kjson "sigs.k8s.io/json"
)

// ReadJSON reads the JSON object that a request posts, of at most some bytes, into a pointer to a struct; field names are case
// sensitive. The status is 200, or the one to refuse the request with.
func ReadJSON(r *http.Request, limit int64, into any) (status int) {
	_, status = ReadBody(r, limit, into)
	return status
}

// ReadBody is ReadJSON, and returns what was read, too.
func ReadBody(r *http.Request, limit int64, into any) (body []byte, status int) {
	if r.Method != http.MethodPost {
		return nil, http.StatusMethodNotAllowed
	}
	if !HasBodyOf(r, "application/json") {
		return nil, http.StatusUnsupportedMediaType
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		var tooLarge *http.MaxBytesError
		switch {
		case errors.As(err, &tooLarge):
			return nil, http.StatusRequestEntityTooLarge
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, http.StatusRequestTimeout
		}
		return nil, http.StatusBadRequest // The client broke off.
	}
	if int64(len(body)) > limit {
		return nil, http.StatusRequestEntityTooLarge
	}
	// The decoder refuses nesting beyond 10,000 before it descends, and skips fields that the struct does not name.
	if err := kjson.UnmarshalCaseSensitivePreserveInts(body, into); err != nil {
		return nil, http.StatusBadRequest
	}
	return body, http.StatusOK
}

// HasBodyOf reports whether the body of a request is of a media type, and not compressed.
func HasBodyOf(r *http.Request, mediaType string) bool {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return false
	}
	given := r.Header.Get("Content-Type")
	if given == mediaType {
		return true // Parsing takes longer than reading the body.
	}
	parsed, _, err := mime.ParseMediaType(given)
	return err == nil && parsed == mediaType
}
