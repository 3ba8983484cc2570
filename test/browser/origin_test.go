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

package browser

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/pat-operator/pat-operator/test/long"
)

func TestPOSTWithoutTheRightOriginIsRefused(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	pat := hers(t, namespace, "To be kept")
	b := newTab(t)
	b.signIn("alice", namespace)
	cookies := b.cookies()
	client, err := rest.HTTPClientFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAFile: cl.AuthnCAFile}})
	if err != nil {
		t.Fatal(err)
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	post := func(path string, header http.Header) int {
		form := url.Values{
			"uid": {fmt.Sprintf("%s.%d", pat.UID, pat.Generation)}, "name": {"Forged"}, "days": {"9"}, "namespace": {namespace},
			"resource": {"token-aaaaaaaaaaaa"},
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, cl.ConsoleURL+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		request.Header = header.Clone()
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for _, cookie := range cookies {
			request.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	resource := "/tokens/" + namespace + "/" + pat.Name
	for name, header := range map[string]http.Header{
		"none":            {},
		"null":            {"Origin": {"null"}},
		"another site":    {"Origin": {"https://mallory.example.com"}},
		"another scheme":  {"Origin": {strings.Replace(cl.ConsoleURL, "https", "http", 1)}},
		"another port":    {"Origin": {cl.IssuerURL}},
		"a longer name":   {"Origin": {cl.ConsoleURL + ".example.com"}},
		"two":             {"Origin": {cl.ConsoleURL, "https://mallory.example.com"}},
		"only a Referer":  {"Referer": {cl.ConsoleURL + "/"}},
		"only same-site":  {"Sec-Fetch-Site": {"same-origin"}},
		"from cross-site": {"Origin": {cl.ConsoleURL}, "Sec-Fetch-Site": {"cross-site"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/new", "/namespaces", "/sign-in", "/sign-out", resource + "/revoke", resource + "/rotate", resource + "/suspend", resource + "/resume"} {
				if status := post(path, header); status != http.StatusForbidden {
					t.Errorf("POST %s answers %d", path, status)
				}
			}
		})
	}
	if pats := tokens(t, namespace); len(pats) != 1 || pats[0].Spec.Suspend {
		t.Error("the token is not as it was")
	}
	if status := post(resource+"/revoke", http.Header{"Origin": {cl.ConsoleURL}}); status != http.StatusSeeOther {
		t.Errorf("with the right origin it answers %d", status)
	}
}
