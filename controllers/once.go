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

// AskOnce is a wrapper for a client's configuration that has each creation of a Secret asked for once. client-go tries any
// request again, by itself, that was answered with 5xx and Retry-After. Where a delivery Secret was created all the same,
// it would be met as AlreadyExists: not to be told from somebody else's, so never to be deleted.
func AskOnce(next http.RoundTripper) http.RoundTripper { return askOnce{next} }

type askOnce struct{ next http.RoundTripper }

func (a askOnce) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := a.next.RoundTrip(req)
	if err == nil && req.Method == http.MethodPost && strings.HasSuffix(req.URL.Path, "/secrets") && resp.StatusCode >= http.StatusInternalServerError {
		resp.Header.Del("Retry-After")
	}
	return resp, err
}

// WrappedRoundTripper is what client-go looks through.
func (a askOnce) WrappedRoundTripper() http.RoundTripper { return a.next }
