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

package controllers

import (
	"net/http"
	"strings"
)

// NoRetryOnSecretCreate wraps the transport of a client's configuration and stops client-go from retrying the creation of a Secret.
// client-go retries each request that was answered with 5xx and Retry-After. If the first attempt did create the delivery
// Secret, the retry would get AlreadyExists: the operator could not tell its own Secret from a foreign one, and never delete it.
func NoRetryOnSecretCreate(next http.RoundTripper) http.RoundTripper {
	return noRetryOnSecretCreate{next}
}

type noRetryOnSecretCreate struct{ next http.RoundTripper }

func (a noRetryOnSecretCreate) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := a.next.RoundTrip(req)
	if err == nil && req.Method == http.MethodPost && strings.HasSuffix(req.URL.Path, "/secrets") && resp.StatusCode >= http.StatusInternalServerError {
		resp.Header.Del("Retry-After")
	}
	return resp, err
}

// WrappedRoundTripper lets client-go unwrap the transport.
func (a noRetryOnSecretCreate) WrappedRoundTripper() http.RoundTripper { return a.next }
