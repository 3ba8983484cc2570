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

package cluster

import (
	"bytes"
	"io"
	"net/http"
	"strings"
)

// askedAgain is how often a request is sent again that kube-apiserver refused since our webhook had no time to answer. Nothing
// is stored then. It gives the webhook five seconds, and a busy machine may stand still for that long.
const askedAgain = 3

// noTime is whether the text of a refusal says so.
func noTime(text string) bool {
	return strings.Contains(text, "failed calling webhook") &&
		(strings.Contains(text, "context deadline exceeded") || strings.Contains(text, "Client.Timeout exceeded"))
}

type again struct{ http.RoundTripper }

func askAgain(next http.RoundTripper) http.RoundTripper { return again{next} }

func (a again) RoundTrip(request *http.Request) (*http.Response, error) {
	for try := 0; ; try++ {
		response, err := a.RoundTripper.RoundTrip(request)
		if err != nil || response.StatusCode != http.StatusInternalServerError {
			return response, err
		}
		text, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			return nil, err
		}
		response.Body = io.NopCloser(bytes.NewReader(text))
		if try == askedAgain || !noTime(string(text)) || request.Body != nil && request.GetBody == nil {
			return response, nil
		}
		if request.Body != nil {
			request = request.Clone(request.Context())
			if request.Body, err = request.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}
