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

package abuse

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// OfAPI are further attacks, on the face for other HTTP APIs. Target.Bearer is a token that the attacker has.
func OfAPI() []Attack {
	return []Attack{
		{Name: "forged callers", Unit: "requests", Run: forms("/oauth2/introspect", func() (string, string) {
			return accountToken(), "token=" + unknown()
		})},
		{Name: "forms of 9,000 parameters", Unit: "requests", Run: forms("/oauth2/introspect", func() (string, string) { return "", parameters })},
		{Name: "revocations of made-up tokens", Unit: "requests", Run: forms("/v1/revoke", func() (string, string) {
			tokens := make([]string, 100)
			for i := range tokens {
				tokens[i] = unknown()
			}
			return "", "tokens=" + strings.Join(tokens, "+")
		})},
	}
}

// parameters take almost as much as a body may.
var parameters = func() string {
	var form strings.Builder
	form.WriteString("token=" + unknown())
	for i := range 9000 {
		form.WriteString("&" + strconv.FormatInt(int64(i), 36))
	}
	return form.String()
}()

// accountToken says that it is of a service account, for the API face.
func accountToken() string {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	return strings.Join([]string{
		part(`{"alg":"RS256"}`), part(fmt.Sprintf(`{"aud":["pat-operator-api"],"exp":%d,"jti":"%s"}`, time.Now().Add(time.Hour).Unix(), garbage())), part(garbage()),
	}, ".")
}

// forms posts forms as fast as the server answers.
func forms(path string, next func() (bearer, form string)) func(context.Context, Target, *Done) {
	return func(ctx context.Context, t Target, done *Done) {
		t.Path = path
		client := Neighbor(t)
		client.Transport.(*http.Transport).DisableKeepAlives = false
		defer client.CloseIdleConnections()
		t.workers(ctx, 8, func(ctx context.Context) error {
			bearer, form := next()
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.URL(), strings.NewReader(form))
			if err != nil {
				return err
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if bearer != "" {
				r.Header.Set("Authorization", "Bearer "+bearer)
			}
			response, err := client.Do(r)
			if err != nil {
				return nil //nolint:nilerr // what the server refuses is tried again
			}
			defer func() { _ = response.Body.Close() }()
			body, _ := io.ReadAll(response.Body)
			if strings.Contains(string(body), `"active":true`) || strings.Contains(string(body), `"revoked"`) {
				done.Accepted.Add(1)
			}
			done.Count.Add(1)
			return nil
		})
	}
}
