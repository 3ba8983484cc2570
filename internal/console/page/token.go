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

// Form is the dialog "Create Personal Access Token". The names of its fields in the POST are resource, name, days,
// date, namespace, audiences and recipients; audiences and recipients are one a line. The script adds dayEnds, and sole
// is sent where there is but one namespace.
type Form struct {
	// ResourceName is fixed when the form is rendered, so that a repeated POST makes no second token.
	ResourceName string
	// Name, Days, Date, Namespace, Audiences and Recipients are as typed.
	Name, Days, Date, Namespace, Audiences, Recipients string
	// Lives are the lives to choose from, the longest last; days is "date" where Date is chosen instead.
	Lives []Life
	// MaxDays is the longest life.
	MaxDays int
	// DayEnds is when Date ends where the visitor is, in RFC 3339; "": without the script, which knows, it ends in UTC.
	DayEnds string
	// Namespaces are those to choose from. One: nothing to choose; none known: a text field.
	Namespaces []string
	// MoreNamespaces says that there may be others than Namespaces: they are offered, and another can be typed.
	MoreNamespaces bool
	// Errors are by the field's name in the POST; "" is the whole form.
	Errors map[string]string
	// Cause is the API server's own words about an error, which are folded away.
	Cause string
	// MoreOpen opens More options.
	MoreOpen bool
}

// Life is a life that can be chosen.
type Life struct {
	Days int
	Ends time.Time
}

// OnDate reports whether the token is to end on Date.
func (f Form) OnDate() bool { return f.Days == "date" || f.Days == "" && f.Date != "" }

// Sole says whether there is but one namespace, which goes without saying.
func (f Form) Sole() bool { return len(f.Namespaces) == 1 && !f.MoreNamespaces }

// Open says whether More options is open: asked for, or it holds an error or a field that has to be filled in.
func (f Form) Open() bool {
	for _, field := range []string{"namespace", "audiences", "recipients"} {
		if f.Errors[field] != "" {
			return true
		}
	}
	return f.MoreOpen || len(f.Namespaces) == 0 && f.Namespace == ""
}

// Token is a token to be shown, once.
type Token struct {
	// Title is what people call the token.
	Title string
	// Plaintext is the token itself, or an age file where Encrypted.
	Plaintext string
	// Encrypted is true where Plaintext is an armored age file, of many lines, for its recipients.
	Encrypted bool
	Expires   time.Time
	// Namespace is where it is; "": that goes without saying.
	Namespace string
	// Active is false where the token does not work yet. Why says why that is, or what else went wrong; it is folded away.
	Active bool
	Why    string
	// User is whose authority the token carries.
	User string
	// Old is what becomes of the old token, in a rotation; nil: nothing is known of it, or there is none.
	Old *Old
	// Secret stands in the place of Plaintext and says where the token lies. Where both are empty, the token is encrypted
	// and not there yet.
	Secret string
	// Use is how to use the token; nil: that is not known.
	Use *Use
	// Path is the token's own, where its details are; "": there is nothing to lead to.
	Path string
	// Back is where Done leads.
	Back string
}

// Use is how to use a token that is in $TOKEN.
type Use struct {
	// Curl, Kubectl and Kubeconfig are commands for a shell.
	Curl, Kubectl, Kubeconfig string
	// CA leads to the ca.crt that the first two name; "": they name none. Download leads to File, which Kubeconfig names.
	CA, Download, File string
}

// Old is what becomes of a token that was rotated.
type Old struct {
	// Ends is until when it works; zero: it has ended. FirstUse ends it at the new one's first use, if that comes sooner.
	Ends     time.Time
	FirstUse bool
}

// Waiting says whether there is nothing to show yet.
func (t Token) Waiting() bool { return t.Plaintext == "" && t.Secret == "" }

// Once says whether this is the only time that the token can be seen.
func (t Token) Once() bool { return t.Plaintext != "" && !t.Encrypted }
