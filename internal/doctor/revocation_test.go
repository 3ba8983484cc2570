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

package doctor

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

func TestATokenThatDoesNotWorkYet(t *testing.T) {
	for name, tc := range map[string]struct {
		answers []int // the last one again and again
		within  time.Duration
		want    string
	}{
		"at once":                             {[]int{201}, time.Minute, ""},
		"once the verifier knows it":          {[]int{401, 401, 201}, time.Minute, ""},
		"once the proxy may act for its user": {[]int{401, 403, 503, 201}, time.Minute, ""},
		"never":                               {[]int{401}, time.Millisecond, "context deadline exceeded"},
		"its user is never on the list":       {[]int{403}, time.Millisecond, "it answers HTTP 403"},
		"of something else":                   {[]int{404, 201}, time.Minute, "it answers HTTP 404"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			at := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.answers[min(int(asked.Add(1)), len(tc.answers))-1])
				_, _ = w.Write([]byte("{}"))
			}))
			defer at.Close()
			s, err := newServer(&rest.Config{Host: at.URL, TLSClientConfig: rest.TLSClientConfig{
				CAData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: at.Certificate().Raw}),
			}}, "")
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := s.startsToAccept(t.Context(), tc.within); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("got %q; want %q", got, tc.want)
			}
		})
	}
}
