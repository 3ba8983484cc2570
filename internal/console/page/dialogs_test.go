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
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
)

// has reports whether there is an element with this attribute and value.
func has(nodes []*html.Node, element, key, value string) bool {
	for _, n := range nodes {
		if got, ok := attr(n, key); ok && n.Data == element && got == value {
			return true
		}
	}
	return false
}

func TestAMissingEncryptedTokenIsNotShown(t *testing.T) {
	for name, path := range map[string]string{"with details": "/tokens/team-a/x", "without": ""} {
		nodes := parsed(t, func(w io.Writer) error { return ShowToken(w, nil, Token{Title: "t", Encrypted: true, Path: path}) })
		text := textOf(nodes)
		if !strings.Contains(text, "The encrypted token is not ready yet. Its details show it once it is ready.") || strings.Contains(text, "Send this text") {
			t.Errorf("%s: it says %q", name, text)
		}
		if has(nodes, "pre", "id", "token") || has(nodes, "button", "data-copy", "") || has(nodes, "div", "data-single", "") {
			t.Errorf("%s: there is something to copy", name)
		}
		if has(nodes, "a", "href", path) != (path != "") {
			t.Errorf("%s: the details are linked to, or nothing is", name)
		}
	}
}

func TestEncryptedTokenIsInItsDetails(t *testing.T) {
	tests := map[string]struct {
		details       Details
		want, visible bool
	}{
		"none":               {Details{Recipients: []string{"age1x"}}, false, false},
		"for recipients":     {Details{Recipients: []string{"age1x"}, EncryptedToken: "-----BEGIN AGE"}, true, true},
		"recipients removed": {Details{EncryptedToken: "-----BEGIN AGE"}, true, false},
	}
	for name, tt := range tests {
		shown, visible, copies := false, true, false
		for _, n := range parsed(t, func(w io.Writer) error { return ShowDetails(w, nil, tt.details) }) {
			if _, ok := attr(n, "data-token"); ok {
				shown = true
				for up := n.Parent; up != nil; up = up.Parent {
					visible = visible && up.Data != "details"
				}
			}
			if _, ok := attr(n, "data-copy"); ok {
				copies = true
			}
		}
		if shown != tt.want || copies != tt.want || shown && visible != tt.visible {
			t.Errorf("%s: shown %v, visible %v, to be copied %v", name, shown, visible, copies)
		}
	}
}

func TestNamespaceIsChosenOrTyped(t *testing.T) {
	tests := map[string]struct {
		form Form
		// element and attribute send the namespace.
		element, key, value string
	}{
		"a sole one":          {Form{Namespaces: []string{"a"}}, "input", "type", "hidden"},
		"one of two":          {Form{Namespaces: []string{"a", "b"}}, "select", "id", "f-namespace"},
		"none is known":       {Form{}, "input", "id", "f-namespace"},
		"one and others":      {Form{Namespaces: []string{"a"}, MoreNamespaces: true}, "input", "list", "namespaces"},
		"two and others":      {Form{Namespaces: []string{"a", "b"}, MoreNamespaces: true}, "input", "list", "namespaces"},
		"others, none listed": {Form{MoreNamespaces: true}, "input", "id", "f-namespace"},
	}
	for name, tt := range tests {
		nodes := parsed(t, func(w io.Writer) error { return Create(w, nil, tt.form) })
		fields := 0
		for _, n := range nodes {
			if field, _ := attr(n, "name"); field != "namespace" {
				continue
			}
			fields++
			if got, _ := attr(n, tt.key); n.Data != tt.element || got != tt.value {
				t.Errorf("%s: it is a <%s> with %s=%q", name, n.Data, tt.key, got)
			}
		}
		if fields != 1 {
			t.Errorf("%s: %d fields send the namespace", name, fields)
		}
		if has(nodes, "datalist", "id", "namespaces") != (tt.key == "list") {
			t.Errorf("%s: there is a list without its field, or the other way round", name)
		}
	}
}

func TestRotationSaysWhenBothTokensEnd(t *testing.T) {
	const atOnce = "The old token stops working at once. Anything that uses it is refused until it has the new one."
	offered := []Overlap{{Seconds: "0", Word: "None", Ends: noon}, {Seconds: "3600", Word: "1 hour", Ends: noon.Add(time.Hour)}}
	const ends = "It expires on 2027-02-22."
	for name, tt := range map[string]struct {
		confirm Confirm
		want    []string
		chosen  string
	}{
		"both are offered": {Confirm{Overlaps: offered, Overlap: "3600"}, []string{ends, "Keep the old token working for", atOnce, "The old token works until 2026-11-24 13:00 UTC."}, "3600"},
		"until its use":    {Confirm{Overlaps: offered, Overlap: "0", FirstUse: true}, []string{ends, "13:00 UTC, or until the new one is first used."}, "0"},
		"it has ended":     {Confirm{}, []string{ends}, ""},
		"refused":          {Confirm{Errors: map[string]string{"": "You may not do this."}, Cause: "no verb"}, []string{"You may not do this.", "For administrators", "no verb"}, ""},
	} {
		tt.confirm.Kind, tt.confirm.NewEnd = "rotate", noon.AddDate(0, 0, 90)
		nodes := parsed(t, func(w io.Writer) error { return AskConfirm(w, nil, tt.confirm) })
		text := strings.Join(strings.Fields(textOf(nodes)), " ")
		for _, want := range tt.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: it says %q, want %q", name, text, want)
			}
		}
		chosen := ""
		for _, n := range nodes {
			if _, checked := attr(n, "checked"); checked {
				chosen, _ = attr(n, "value")
			}
		}
		if chosen != tt.chosen || strings.Contains(text, "Keep the old token") != (tt.chosen != "") {
			t.Errorf("%s: %q is chosen, want %q: %q", name, chosen, tt.chosen, text)
		}
	}
}

func TestEndedTokensAreDeleted(t *testing.T) {
	for state, want := range map[State]string{
		StateActive: "Revoke", StateSuspended: "Revoke", StateExpired: "Delete", StateRevoked: "Delete",
	} {
		row := Row{State: state, MayRevoke: true, Path: "/tokens/a/b"}
		for name, render := range map[string]func(io.Writer) error{
			"table":   func(w io.Writer) error { return TableOnly(w, Table{Rows: []Row{row}, Total: 1}) },
			"details": func(w io.Writer) error { return ShowDetails(w, nil, Details{Row: row, MayRevoke: true}) },
			"dialog":  func(w io.Writer) error { return AskConfirm(w, nil, Confirm{Kind: "revoke", Row: row}) },
		} {
			text := textOf(parsed(t, render))
			other := map[string]string{"Revoke": "Delete", "Delete": "Revoke"}[want]
			if !strings.Contains(text, want) || strings.Contains(strings.ReplaceAll(text, "Revoked", ""), other) {
				t.Errorf("%s, %s: it says %q", state, name, text)
			}
		}
	}
}

func TestEveryFragmentHasATitle(t *testing.T) {
	for name, render := range map[string]func(io.Writer) error{
		"create":  func(w io.Writer) error { return Create(w, nil, Form{}) },
		"token":   func(w io.Writer) error { return ShowToken(w, nil, Token{}) },
		"details": func(w io.Writer) error { return ShowDetails(w, nil, Details{}) },
		"confirm": func(w io.Writer) error { return AskConfirm(w, nil, Confirm{Kind: "revoke"}) },
		"problem": func(w io.Writer) error { return ShowProblem(w, nil, Problem{}) },
	} {
		var out strings.Builder
		if err := render(&out); err != nil || strings.Count(out.String(), `id="dialog-title"`) != 1 {
			t.Errorf("%s: %v\n%s", name, err, out.String())
		}
	}
}

func TestCommandsAreShownWithATokenAlone(t *testing.T) {
	use := &Use{Curl: "curl it", Kubectl: "kubectl it", Kubeconfig: "kubeconfig it", CA: "/ca.crt", Download: "/tokens/a/b/kubeconfig", File: "b.kubeconfig"}
	nodes := parsed(t, func(w io.Writer) error {
		return ShowToken(w, nil, Token{Plaintext: "kubepat_x", Use: &Use{Curl: "curl it", APIs: []string{"grafana", "mail"}}})
	})
	if text := textOf(nodes); !strings.Contains(text, "curl it") || !strings.Contains(text, "grafana") || strings.Contains(text, "kubeconfig") || has(nodes, "input", "name", "use") {
		t.Errorf("for other APIs: %s", text)
	}
	for name, tt := range map[string]struct {
		token Token
		want  bool
	}{
		"a token":            {Token{Plaintext: "kubepat_x", Use: use}, true},
		"none is known":      {Token{Plaintext: "kubepat_x"}, false},
		"encrypted":          {Token{Plaintext: "age", Encrypted: true, Use: use}, false},
		"it is in a Secret":  {Token{Secret: "There.", Use: use}, false},
		"without its own CA": {Token{Plaintext: "kubepat_x", Use: &Use{Curl: "curl it", Kubectl: "kubectl it", Kubeconfig: "kubeconfig it"}}, true},
	} {
		nodes := parsed(t, func(w io.Writer) error { return ShowToken(w, nil, tt.token) })
		for _, command := range []string{"curl it", "kubectl it", "kubeconfig it"} {
			if strings.Contains(textOf(nodes), command) != tt.want {
				t.Errorf("%s: %s", name, textOf(nodes))
			}
		}
		if has(nodes, "a", "download", "ca.crt") != (tt.want && tt.token.Use.CA != "") {
			t.Errorf("%s: ca.crt is offered, or is not", name)
		}
	}
}

// The script asks before the visitor leaves the page during one of these requests.
func TestFormsThatMakeATokenSaySo(t *testing.T) {
	for kind, want := range map[string]bool{"revoke": false, "rotate": true, "suspend": false, "resume": false} {
		nodes := parsed(t, func(w io.Writer) error { return AskConfirm(w, nil, Confirm{Kind: kind}) })
		if got := has(nodes, "form", "data-makes", ""); got != want {
			t.Errorf("%s: %v", kind, got)
		}
	}
	if !has(parsed(t, func(w io.Writer) error { return Create(w, nil, Form{}) }), "form", "data-makes", "") {
		t.Error("the form of a new token does not")
	}
}

// The details say what to do without naming fields. The condition's message is for administrators.
func TestDetailsSayWhatToDo(t *testing.T) {
	tests := map[string]struct {
		details Details
		want    string
	}{
		"expired":                        {Details{Row: Row{State: StateExpired, Expires: noon}, MayRotate: true}, "Expired on 2026-11-24. Rotate it to get a new token."},
		"expired, and not to be rotated": {Details{Row: Row{State: StateExpired, Expires: noon}}, "Expired on 2026-11-24."},
		"expired, and fixed":             {Details{Row: Row{State: StateExpired, Expires: noon}, Fixed: true}, "Expired on 2026-11-24. Its end is fixed, so it cannot be rotated: create another token."},
		"suspended":                      {Details{Row: Row{State: StateSuspended}, MayResume: true}, "Suspended. Choose Resume to let it work again."},
		"suspended, by a token":          {Details{Row: Row{State: StateSuspended}}, "Suspended."},
		"stopped":                        {Details{Row: Row{State: StateStopped}, Stopped: "Left the company", Policy: "leavers"}, "Stopped by your administrators: Left the company"},
		"stopped, nobody knows why":      {Details{Row: Row{State: StateStopped}}, "Stopped by your administrators."},
		"revoked":                        {Details{Row: Row{State: StateRevoked}, MayRotate: true}, "Revoked. It never works again. Rotate it to get a new token."},
		"issuing":                        {Details{Row: Row{State: StateIssuing}}, "The token is being created, which takes a few seconds. If it stays like this, show the cause below to an administrator."},
		"failed":                         {Details{Row: Row{State: StateFailed}}, "The token does not work: its request cannot be fulfilled. Create another one. Show the cause below to an administrator."},
		"failed, and working":            {Details{Row: Row{State: StateFailed}, Works: true}, "The token works, but the last change to it failed. Show the cause below to an administrator."},
	}
	for name, tt := range tests {
		tt.details.Conditions = []Condition{{Type: "Active", Status: "False", Message: "set spec.suspend to false"}}
		var leads []string
		for _, n := range parsed(t, func(w io.Writer) error { return ShowDetails(w, nil, tt.details) }) {
			if class, _ := attr(n, "class"); class == "lead" {
				leads = append(leads, strings.Join(strings.Fields(textOf(slices.Collect(n.Descendants()))), " "))
			}
			if n.Type == html.TextNode && strings.Contains(n.Data, "spec.suspend") && !folded(n) {
				t.Errorf("%s: the condition's words are not folded away", name)
			}
		}
		if len(leads) != 1 || leads[0] != tt.want {
			t.Errorf("%s: it says %q, want %q", name, leads, tt.want)
		}
	}
}

// folded reports whether a node is visible only after opening its parent.
func folded(n *html.Node) bool {
	for up := range n.Ancestors() {
		if up.Data == "details" {
			return true
		}
	}
	return false
}
