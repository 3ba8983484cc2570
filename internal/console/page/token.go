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

import "time"

// Form is the dialog "Create Personal Access Token". Its POST has the fields resource, name, days, date, for, audiences, permissions,
// namespace, from and recipients; audiences, from and recipients have one entry per line. The script adds dayEnds. With only one
// namespace, the form also sends sole.
type Form struct {
	// ResourceName is fixed when the form is rendered, so that a repeated POST creates no second token.
	ResourceName string
	// Name, Days, Date, Namespace, Audiences, Networks and Recipients are as typed.
	Name, Days, Date, Namespace, Audiences, Networks, Recipients string
	// For is "api" for a token that only Audiences take, and "cluster" otherwise.
	For string
	// Permissions is what is chosen, one of Permissions.
	Permissions string
	// Lives are the lifetimes to choose from, the longest last; Days is "date" if Date is chosen instead.
	Lives []Life
	// MaxDays is the longest lifetime.
	MaxDays int
	// Presets are the Permissions that administrators allow besides "", which Scoped forbids; nil: all.
	Presets []string
	Scoped  bool
	// Limits are what else administrators allow only, as sentences.
	Limits []string
	// DayEnds is when Date ends in the visitor's time zone, in RFC 3339. Only the script knows it; "": it ends in UTC.
	DayEnds string
	// Namespaces are those to choose from. With one there is nothing to choose; with none the form has a text field.
	Namespaces []string
	// MoreNamespaces reports that there may be more than Namespaces, so the visitor can also type one.
	MoreNamespaces bool
	// Errors are by field name; "" is the whole form.
	Errors map[string]string
	// Cause is the API server's message, which the page folds away.
	Cause string
	// MoreOpen opens More options.
	MoreOpen bool
}

// Life is a lifetime to choose.
type Life struct {
	Days int
	Ends time.Time
}

// OnDate reports whether the token ends on Date.
func (f Form) OnDate() bool { return f.Days == "date" || f.Days == "" && f.Date != "" }

// ForAPI reports whether the token is for Audiences.
func (f Form) ForAPI() bool { return f.For == "api" || f.For == "" && f.Audiences != "" }

// Sole reports whether there is only one namespace, which the form need not show.
func (f Form) Sole() bool { return len(f.Namespaces) == 1 && !f.MoreNamespaces }

// Open reports whether More options is open: on request, or because it has an error or a required field.
func (f Form) Open() bool {
	for _, field := range []string{"namespace", "from", "recipients"} {
		if f.Errors[field] != "" {
			return true
		}
	}
	return f.MoreOpen || len(f.Namespaces) == 0 && f.Namespace == ""
}

// Token is a token to show, once.
type Token struct {
	// Title is the token's display name, or else its name.
	Title string
	// Plaintext is the token, or an age file if Encrypted.
	Plaintext string
	// Encrypted reports that Plaintext is an armored age file for the recipients.
	Encrypted bool
	Expires   time.Time
	// Namespace is shown; "": the visitor has only one.
	Namespace string
	// Active reports that the token works. Why says why not, or what else went wrong; the page folds it away.
	Active bool
	Why    string
	// User is the token's user.
	User string
	// Old is the old token of a rotation; nil: unknown or none.
	Old *Old
	// Secret replaces Plaintext and says where the token is. If both are empty, the token is encrypted and not ready yet.
	Secret string
	// Use is how to use the token; nil: unknown.
	Use *Use
	// Path is that of the token's details; "": none.
	Path string
	// Back is where Done leads.
	Back string
}

// Use has commands for a token in $TOKEN.
type Use struct {
	// Curl, Kubectl and Kubeconfig are commands for a shell.
	Curl, Kubectl, Kubeconfig string
	// CA is the path of the ca.crt in the first two, "" without one. Download is the path of File, which Kubeconfig names.
	CA, Download, File string
	// APIs are those that alone take the token, with Curl as the one command; none: this cluster's.
	APIs []string
}

// Old is the old token of a rotation.
type Old struct {
	// Ends is when it ends; zero: it has ended. FirstUse ends it at the first use of the new one, if that comes sooner.
	Ends     time.Time
	FirstUse bool
}

// Waiting reports whether there is nothing to show yet.
func (t Token) Waiting() bool { return t.Plaintext == "" && t.Secret == "" }

// Once reports whether the token can be seen only on this page.
func (t Token) Once() bool { return t.Plaintext != "" && !t.Encrypted }
