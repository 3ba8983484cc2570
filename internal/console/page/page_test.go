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

package page

import (
	"bytes"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
)

const (
	script = `<script>alert("x")</script>`
	breaks = `" onmouseover="alert(1)' x='`
	rtl    = "\u202eevil\u202c"
)

// hostile is a text that another user may have put into a resource.
var hostile = script + breaks + rtl + strings.Repeat("W", 128)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func hostileShell() *Shell {
	return &Shell{
		Title: hostile, User: hostile, SignOut: true, Notice: hostile,
		Problem: &Problem{Title: hostile, Detail: hostile, Next: hostile, Link: "/new", LinkText: hostile},
	}
}

var hostileUse = &Use{Curl: hostile, Kubectl: hostile, Kubeconfig: hostile, CA: "/ca.crt", Download: "/tokens/a/" + hostile, File: hostile}

func hostileRow() Row {
	return Row{
		Namespace: hostile, Name: hostile, Title: hostile, Created: noon, LastUsed: noon, Expires: noon.Add(50 * time.Hour),
		State: StateExpiringSoon, ShowUser: true, User: hostile, Keywords: []string{hostile}, Path: "/tokens/team-a/" + hostile, MayRevoke: true,
	}
}

func hostileTable() Table {
	return Table{
		Rows: []Row{hostileRow(), {Title: "plain", Path: "/tokens/team-a/plain"}}, Total: 3, Query: hostile, State: StateExpired, Sort: "-name",
		Notice: hostile, Truncated: true,
		All: true, MayShowAll: true, ShowNamespace: true, Namespaces: []string{hostile, "b"}, ChooseNamespaces: true, Now: noon,
	}
}

func hostileForm(namespaces ...string) Form {
	errs := map[string]string{"": hostile}
	for _, f := range []string{"name", "days", "date", "namespace", "audiences", "from", "recipients"} {
		errs[f] = hostile
	}
	return Form{
		ResourceName: hostile, Name: hostile, Days: hostile, Date: hostile, Namespace: hostile, Audiences: hostile,
		Networks: hostile, Recipients: hostile, Namespaces: namespaces, Errors: errs, Limits: []string{hostile, hostile}, Presets: []string{hostile},
	}
}

func hostileDetails() Details {
	h := []string{hostile, hostile}
	return Details{
		Row: hostileRow(), User: hostile, TokenID: hostile, PreviousTokenID: hostile, ResourceName: hostile, DeliverySecret: hostile, EncryptedToken: hostile,
		Audiences: h, Scopes: h, From: h, Groups: h, Recipients: h, UID: hostile, MayRename: true, DisplayName: hostile, NewName: hostile, NameError: hostile, NameCause: hostile, Changed: true,
		Conditions: []Condition{{Type: "Active", Status: "False", Reason: hostile, Message: hostile, Since: noon}},
		MayRotate:  true, MaySuspend: true, MayResume: true, MayRevoke: true, ReadOnly: hostile, GitOps: hostile, Proxy: hostile, Stopped: hostile, Policy: hostile,
		Revoked: []RevokedEntry{{TokenID: hostile, By: hostile, Reason: hostile, At: noon}},
	}
}

// renderings returns the output of every function, as a page and as a fragment, with hostile input.
func renderings() map[string]func(io.Writer) error {
	all := map[string]func(io.Writer) error{
		"tokens": func(w io.Writer) error { return Tokens(w, *hostileShell(), hostileTable()) },
		"tokens read-only": func(w io.Writer) error {
			return Tokens(w, *hostileShell(), Table{ReadOnly: hostile})
		},
		"tokens of the console's own namespaces": func(w io.Writer) error {
			t := hostileTable()
			t.Fallback, t.Problem = true, hostileShell().Problem
			return Tokens(w, *hostileShell(), t)
		},
		"tokens none":   func(w io.Writer) error { return Tokens(w, Shell{}, Table{}) },
		"table":         func(w io.Writer) error { return TableOnly(w, hostileTable()) },
		"table problem": func(w io.Writer) error { return TableOnly(w, Table{Problem: hostileShell().Problem}) },
		"table no match": func(w io.Writer) error {
			return TableOnly(w, Table{Total: 3, Query: hostile})
		},
		"sign-in": func(w io.Writer) error {
			return ShowSignIn(w, Shell{}, SignIn{
				OIDC: true, Token: true, Proxy: true, Issuer: hostile, Error: hostile, Next: "/sign-in/oidc?return=" + hostile, Return: "/?q=" + hostile,
			})
		},
		"signed in": func(w io.Writer) error { return SignedIn(w, "/?q="+hostile) },
	}
	for suffix, s := range map[string]*Shell{"": nil, ", a page": hostileShell()} {
		all["create"+suffix] = func(w io.Writer) error { return Create(w, s, hostileForm()) }
		all["create in one"+suffix] = func(w io.Writer) error { return Create(w, s, hostileForm(hostile)) }
		all["create in others, too"+suffix] = func(w io.Writer) error {
			f := hostileForm(hostile, "b")
			f.MoreNamespaces = true
			return Create(w, s, f)
		}
		all["create in one of two"+suffix] = func(w io.Writer) error { return Create(w, s, hostileForm(hostile, "b")) }
		all["details"+suffix] = func(w io.Writer) error { return ShowDetails(w, s, hostileDetails()) }
		all["details of one that is stopped"+suffix] = func(w io.Writer) error {
			d := hostileDetails()
			d.State = StateStopped
			return ShowDetails(w, s, d)
		}
		all["no details"+suffix] = func(w io.Writer) error { return ShowDetails(w, s, Details{}) }
		all["problem"+suffix] = func(w io.Writer) error { return ShowProblem(w, s, *hostileShell().Problem) }
		all["token"+suffix] = func(w io.Writer) error {
			return ShowToken(w, s, Token{Title: hostile, Plaintext: hostile, Expires: noon, Why: hostile, User: hostile, Namespace: hostile, Old: &Old{Ends: noon, FirstUse: true}, Use: hostileUse})
		}
		all["token for other APIs"+suffix] = func(w io.Writer) error {
			return ShowToken(w, s, Token{Title: hostile, Plaintext: hostile, Active: true, Use: &Use{Curl: hostile, APIs: []string{hostile, hostile}}})
		}
		all["encrypted token"+suffix] = func(w io.Writer) error {
			return ShowToken(w, s, Token{Title: hostile, Plaintext: hostile, Encrypted: true, Active: true, Back: "/"})
		}
		all["token in a Secret"+suffix] = func(w io.Writer) error {
			return ShowToken(w, s, Token{Title: hostile, Secret: hostile, Active: true, Back: "/"})
		}
		all["no token yet"+suffix] = func(w io.Writer) error {
			return ShowToken(w, s, Token{Title: hostile, Encrypted: true, Why: hostile, Path: "/tokens/team-a/" + hostile})
		}
		for _, kind := range []string{"revoke", "rotate", "suspend", "resume"} {
			all[kind+suffix] = func(w io.Writer) error {
				return AskConfirm(w, s, Confirm{
					Kind: kind, Row: hostileRow(), Warning: hostile, Overlap: "3600", UID: hostile, Cause: hostile, NewEnd: noon,
					Overlaps: []Overlap{{Seconds: "0", Word: hostile}, {Seconds: "3600", Word: hostile, Ends: noon}}, FirstUse: true,
					Errors: map[string]string{"": hostile, "overlap": hostile, "uid": hostile},
				})
			}
		}
	}
	return all
}

func attr(n *html.Node, key string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val, true
		}
	}
	return "", false
}

func parsed(t *testing.T, write func(io.Writer) error) []*html.Node {
	t.Helper()
	var out bytes.Buffer
	if err := write(&out); err != nil {
		t.Fatal(err)
	}
	doc, err := html.Parse(&out)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(doc.Descendants())
}

func TestHostileTextsStayTexts(t *testing.T) {
	for name, write := range renderings() {
		t.Run(name, func(t *testing.T) {
			for _, n := range parsed(t, write) {
				if n.Type != html.ElementNode {
					continue
				}
				if n.Data == "style" || n.Data == "base" || n.Data == "iframe" {
					t.Errorf("there is a <%s>", n.Data)
				}
				if src, _ := attr(n, "src"); n.Data == "script" && (n.FirstChild != nil || !strings.HasPrefix(src, assetsPrefix)) {
					t.Error("a script is not an asset")
				}
				for _, a := range n.Attr {
					if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
						t.Errorf("<%s> has the attribute %s", n.Data, a.Key)
					}
					if slices.Contains([]string{"href", "src", "action"}, a.Key) && !sameOrigin(a.Val) {
						t.Errorf("<%s> leads to %s", n.Data, a.Val)
					}
				}
			}
		})
	}
}

func sameOrigin(link string) bool {
	u, err := url.Parse(link)
	return err == nil && u.Scheme == "" && u.Host == "" && (strings.HasPrefix(link, "/") || strings.HasPrefix(link, "#"))
}

func TestFieldsHaveLabelsAndIDsAreUnique(t *testing.T) {
	for name, write := range renderings() {
		t.Run(name, func(t *testing.T) {
			nodes := parsed(t, write)
			ids, labels := map[string]int{}, map[string]bool{}
			for _, n := range nodes {
				if id, ok := attr(n, "id"); ok {
					ids[id]++
				}
				if id, ok := attr(n, "for"); ok {
					labels[id] = true
				}
			}
			for id, n := range ids {
				if n > 1 {
					t.Errorf("the id %q occurs %d times", id, n)
				}
			}
			for _, n := range nodes {
				for _, key := range []string{"for", "aria-describedby", "aria-labelledby"} {
					refs, _ := attr(n, key)
					_, isDialog := attr(n, "aria-labelledby")
					for _, id := range strings.Fields(refs) {
						if ids[id] == 0 && (n.Data != "dialog" || !isDialog) {
							t.Errorf("%s of <%s> names %q, which is not there", key, n.Data, id)
						}
					}
				}
				id, _ := attr(n, "id")
				if kind, _ := attr(n, "type"); slices.Contains([]string{"input", "select", "textarea"}, n.Data) && kind != "hidden" && !labels[id] {
					field, _ := attr(n, "name")
					t.Errorf("the field %q has no label", field)
				}
			}
		})
	}
}

func TestFormsThatChangePost(t *testing.T) {
	for name, write := range renderings() {
		t.Run(name, func(t *testing.T) {
			for _, n := range parsed(t, write) {
				if n.Data != "form" {
					continue
				}
				method, _ := attr(n, "method")
				action, _ := attr(n, "action")
				if method != "post" && (method != "get" || action != "/") {
					t.Errorf("the form to %q has the method %q", action, method)
				}
			}
		})
	}
}

func TestTheTitleAppearsOnce(t *testing.T) {
	for title, want := range map[string]string{"": "Personal Access Tokens", "Sign in": "Sign in · Personal Access Tokens"} {
		for _, n := range parsed(t, func(w io.Writer) error { return Tokens(w, Shell{Title: title}, Table{}) }) {
			if n.Data == "title" && n.FirstChild.Data != want {
				t.Errorf("the title is %q, want %q", n.FirstChild.Data, want)
			}
		}
	}
}

func TestNamesAreNotChanged(t *testing.T) {
	var titles []string
	for _, n := range parsed(t, func(w io.Writer) error { return TableOnly(w, hostileTable()) }) {
		if class, _ := attr(n, "class"); n.Data == "bdi" && class == "title" {
			titles = append(titles, n.FirstChild.Data)
		}
	}
	if len(titles) != 2 || titles[0] != hostile {
		t.Errorf("titles are %q", titles)
	}
}

func TestTheTokenAppearsOnce(t *testing.T) {
	var out bytes.Buffer
	if err := ShowToken(&out, hostileShell(), Token{Title: "t", Plaintext: "kubepat_x", Active: true, Use: hostileUse}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), "kubepat_x"); got != 1 {
		t.Errorf("the token occurs %d times", got)
	}
}
