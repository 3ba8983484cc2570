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

package console

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
)

// localPath always returns a path of this site.
func FuzzLocalPath(f *testing.F) {
	for _, seed := range []string{"/", "//x", `/\x`, "/%2f%2fx", "/%2fx ", "https://x", "/a?b=c", "/\tx", "/x@y"} {
		f.Add(seed)
	}
	base, err := url.Parse("https://tokens.example.com/sign-in")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path string) {
		local := localPath(path)
		to, err := base.Parse(local)
		if err != nil || to.Host != base.Host || to.Scheme != base.Scheme || to.User != nil || !strings.HasPrefix(local, "/") ||
			strings.HasPrefix(local, "//") || strings.ContainsAny(local, "\\\r\n\t") {
			t.Errorf("%q becomes %q: %v, %v", path, local, to, err)
		}
	})
}

// Any input becomes a resource with a valid name and namespace, or an error at a field.
func FuzzForm(f *testing.F) {
	f.Add("token-abcdefghijkl", "name", "90", "", "", "team-a", "", "")
	f.Add("token-abcdefghijkl", "name", "", "2030-01-01", "2030-01-01T22:59:59.000Z", "team-a", "aud\n\naud", "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p")
	f.Add("../x", "\x00", "9999999999999999999", "0000-00-00", "9999-12-31T23:59:59+23:59", "A", "\n", "ssh-rsa AAAA")
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, resource, name, days, date, dayEnds, namespace, audiences, keys string) {
		r := httptest.NewRequest(http.MethodPost, "/new", strings.NewReader(url.Values{
			"resource": {resource}, "name": {name}, "days": {days}, "date": {date}, "dayEnds": {dayEnds}, "namespace": {namespace},
			"audiences": {audiences}, "recipients": {keys},
		}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		form := formOf(r)
		pat, life, expires := resourceOf(&form, now, 366*24*time.Hour)
		if len(form.Errors) > 0 {
			return
		}
		if len(validation.IsDNS1123Label(pat.Namespace)) > 0 || len(validation.IsDNS1123Subdomain(pat.Name)) > 0 {
			t.Errorf("%s/%s", pat.Namespace, pat.Name)
		}
		if life <= 0 || !expires.After(now) {
			t.Errorf("it ends at %v, after %v", expires, life)
		}
	})
}
