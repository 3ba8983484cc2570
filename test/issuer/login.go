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

package issuer

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
)

const loginPath = "/login"

//go:embed login.html
var loginHTML string

var loginPage = template.Must(template.New("login").Parse(loginHTML))

// login is the page that asks for name and password.
type login struct {
	check func(username, password, request string) error
	next  func(ctx context.Context, request string) string
}

func (l *login) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	request, failed := r.FormValue("request"), false
	if r.Method == http.MethodPost {
		if l.check(r.PostFormValue("username"), r.PostFormValue("password"), request) == nil {
			http.Redirect(w, r, l.next(r.Context(), request), http.StatusSeeOther)
			return
		}
		failed = true
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if failed {
		w.WriteHeader(http.StatusUnauthorized)
	}
	// What cannot be written has nobody left to read it.
	_ = loginPage.Execute(w, struct {
		Request string
		Failed  bool
	}{request, failed})
}

// SignIn does what a browser does that is sent to authURL, with the name and the password typed in, and returns where it is
// sent back to. It follows the issuer's redirects only.
func SignIn(ctx context.Context, c *http.Client, authURL, username, password string) (*url.URL, error) {
	browser := *c
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	step := func(method, url string, form url.Values) (*url.URL, error) {
		request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(form.Encode()))
		if err != nil {
			return nil, err
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		response, err := browser.Do(request)
		if err != nil {
			return nil, err
		}
		_ = response.Body.Close()
		to, err := response.Location()
		if errors.Is(err, http.ErrNoLocation) {
			return nil, fmt.Errorf("%s %s: %s", method, request.URL.Path, response.Status)
		}
		return to, err
	}
	page, err := step(http.MethodGet, authURL, nil)
	if err != nil || page.Path != loginPath {
		return page, err // refused, and the client is told
	}
	next, err := step(http.MethodPost, page.String(), url.Values{
		"request": {page.Query().Get("request")}, "username": {username}, "password": {password},
	})
	if err != nil {
		return nil, err
	}
	return step(http.MethodGet, next.String(), nil)
}
