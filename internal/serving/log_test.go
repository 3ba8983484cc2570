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
	"bytes"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
)

func TestCase25_ServersOwnLogIsStripped(t *testing.T) {
	var logged bytes.Buffer
	out := errorLog(funcr.New(func(prefix, args string) { logged.WriteString(prefix + " " + args + "\n") }, funcr.Options{Verbosity: 127}))
	const secret = "panic-8d7f2c"
	out.Printf("http: panic serving 10.0.0.1:1234: could not verify %s", secret)
	out.Printf("http: TLS handshake error from 10.0.0.1:1234: %s", secret)
	out.Printf("http: Accept error: %s; retrying in 5ms", secret)
	out.Printf("http: superfluous %s", secret)
	if got := strings.Count(logged.String(), "\n"); got != 4 {
		t.Errorf("%d lines, want 4", got)
	}
	if strings.Contains(logged.String(), "8d7f2c") || strings.Contains(logged.String(), "10.0.0.1") {
		t.Errorf("the log quotes the request:\n%s", &logged)
	}
}
