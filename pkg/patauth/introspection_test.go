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
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const goodIntrospection = `{"active":true,"username":"alice","sub":"alice","uid":"u","groups":["team-a-devs"],"scope":"lists:read lists:write",` +
	`"client_id":"team-a/reports","token_type":"Bearer","iat":1000,"nbf":1000,"exp":2060,"pat_expires_at":9000,"aud":["other","list-api"],` +
	`"iss":"https://pat.example.com","jti":"abcdefghijkl2347"}`

// introspected is a minute before exp.
var introspected = time.Unix(2000, 0)

func TestIntrospectionAnswers(t *testing.T) {
	replace := func(old, with string) string { return strings.Replace(goodIntrospection, old, with, 1) }
	for name, tc := range map[string]struct {
		answer string
		want   outcome
	}{
		"active":                 {goodIntrospection, accepted},
		"inactive":               {`{"active":false}`, refused},
		"inactive, with more":    {replace(`true`, `false`), refused},
		"one audience":           {replace(`["other","list-api"]`, `"list-api"`), accepted},
		"bearer":                 {replace(`"Bearer"`, `"bearer"`), accepted},
		"groups null":            {replace(`["team-a-devs"]`, `null`), accepted},
		"anonymous":              {replace(`"alice"`, `"system:anonymous"`), refused},
		"no user":                {replace(`"username":"alice",`, ``), refused},
		"no active":              {replace(`"active":true,`, ``), failed},
		"empty":                  {`{}`, failed},
		"Active":                 {replace(`"active"`, `"Active"`), failed},
		"active as a string":     {replace(`true`, `"true"`), failed},
		"active as a number":     {replace(`true`, `1`), failed},
		"active null":            {replace(`true`, `null`), failed},
		"active twice":           {replace(`{`, `{"active":false,`), failed},
		"another type":           {replace(`"Bearer"`, `"DPoP"`), failed},
		"no type":                {replace(`"token_type":"Bearer",`, ``), failed},
		"another token":          {replace(`abcdefghijkl2347`, `aaaaaaaaaaaaaaaa`), failed},
		"no jti":                 {replace(`,"jti":"abcdefghijkl2347"`, ``), failed},
		"no client_id":           {replace(`"client_id":"team-a/reports",`, ``), failed},
		"exp now":                {replace(`2060`, `2000`), failed},
		"exp passed":             {replace(`2060`, `1999`), failed},
		"no exp":                 {replace(`"exp":2060,`, ``), failed},
		"exp as a string":        {replace(`2060`, `"2060"`), failed},
		"exp as a fraction":      {replace(`2060`, `2060.5`), failed},
		"exp beyond all numbers": {replace(`2060`, `99999999999999999999`), failed},
		"scope as an array":      {replace(`"lists:read lists:write"`, `["lists:read"]`), failed},
		"groups as a string":     {replace(`["team-a-devs"]`, `"team-a-devs"`), failed},
		"aud as a number":        {replace(`["other","list-api"]`, `1`), failed},
		"not JSON":               {`active=true`, failed},
		"two answers":            {goodIntrospection + goodIntrospection, failed},
		"not UTF-8":              {replace(`"alice"`, "\"alice\xff\""), failed},
	} {
		t.Run(name, func(t *testing.T) {
			identity, err := readIntrospection([]byte(tc.answer), tokenID, "list-api", introspected)
			if got := outcomeOf(identity, err); got != tc.want {
				t.Errorf("%s (%v), want %s", got, err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "alice") {
				t.Errorf("%v quotes the answer", err)
			}
		})
	}
}

func TestIntrospectionIdentity(t *testing.T) {
	identity, err := readIntrospection([]byte(goodIntrospection), tokenID, "list-api", introspected)
	if err != nil {
		t.Fatal(err)
	}
	identity.ValidUntil = identity.ValidUntil.UTC()
	if got, want := fmt.Sprintf("%+v", *identity), "{TokenID:abcdefghijkl2347 Name:team-a/reports Username:alice UID:u "+
		"Groups:[team-a-devs] Full:false Scopes:[lists:read lists:write] ValidUntil:1970-01-01 00:34:20 +0000 UTC}"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for scope, want := range map[string]bool{"full": true, "": false, "full lists:read": false, " full": false, "FULL": false, "lists:read": false} {
		identity, err := readIntrospection([]byte(strings.Replace(goodIntrospection, "lists:read lists:write", scope, 1)), tokenID, "list-api", introspected)
		if err != nil || identity.Full != want || identity.HasScope("lists:write") != want {
			t.Errorf("%q: %+v, %v", scope, identity, err)
		}
	}
}

func FuzzIntrospection(f *testing.F) {
	f.Add(goodIntrospection)
	f.Add(strings.Replace(goodIntrospection, `["other","list-api"]`, `"list-api"`, 1))
	f.Add(`{"active":false}`)
	f.Fuzz(func(t *testing.T, answer string) {
		identity, err := readIntrospection([]byte(answer), tokenID, "list-api", introspected)
		if outcomeOf(identity, err) != accepted {
			return
		}
		members := map[string]any{}
		if err := json.Unmarshal([]byte(answer), &members); err != nil {
			t.Fatalf("%s: %v", answer, err)
		}
		exp, _ := members["exp"].(float64)
		if members["active"] != true || members["jti"] != tokenID || members["username"] != identity.Username ||
			exp <= 2000 || identity.Full != (members["scope"] == "full") || !strings.Contains(fmt.Sprint(members["aud"]), "list-api") {
			t.Errorf("%s is accepted as %+v", answer, identity)
		}
	})
}

func TestIntrospectionAsksTheAPIFace(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.String() != "/oauth2/introspect" || r.Header.Get("Authorization") != "Bearer own" ||
			r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.PostFormValue("token_type_hint") != "access_token" {
			t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
		}
		answer := `{"active":false}`
		if r.PostFormValue("token") == tokenOf(1) {
			answer = strings.Replace(goodIntrospection, `2060`, fmt.Sprint(time.Now().Add(time.Hour).Unix()), 1)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(answer))
	}))
	defer server.Close()
	tokenFile := writeFile(t, "token", "own")
	a := newAuthenticator(t, &Introspection{URL: server.URL + "/oauth2/introspect", CAFile: caFile(t, server), TokenFile: tokenFile}, func(o *Options) { o.CacheFor = -1 })
	if identity, err := a.Verify(t.Context(), tokenOf(1)); err != nil || identity.Username != "alice" {
		t.Errorf("%+v, %v", identity, err)
	}
	if _, err := a.Verify(t.Context(), tokenOf(2)); !errors.Is(err, ErrInvalidToken) {
		t.Errorf("got %v", err)
	}
	for _, status = range []int{201, 204, 400, 401, 403, 404, 429, 500, 503} {
		for _, token := range []string{tokenOf(1), tokenOf(2)} {
			if _, err := a.Verify(t.Context(), token); outcomeOf(nil, err) != failed {
				t.Errorf("%d: got %v", status, err)
			}
		}
	}
	status = http.StatusUnauthorized
	if _, err := a.Verify(t.Context(), tokenOf(1)); err == nil || !strings.Contains(err.Error(), "does not accept the token in "+tokenFile) {
		t.Errorf("got %v", err)
	}
}
