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
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/console/page"
	"github.com/pat-operator/pat-operator/internal/scope"
	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/test/env"
)

var (
	hiddenName = regexp.MustCompile(`name="resource"[^>]*value="(token-[a-z2-7]{12})"|value="(token-[a-z2-7]{12})"[^>]*name="resource"`)
	plaintext  = regexp.MustCompile(`kubepat_[0-9A-Za-z_]{66}`)
)

// form loads the dialog and returns its hidden fields.
func (b *browser) form() url.Values {
	b.t.Helper()
	a := b.get("/new")
	found := hiddenName.FindStringSubmatch(a.body)
	if a.StatusCode != http.StatusOK || found == nil {
		b.t.Fatalf("the dialog: %s\n%s", a.Status, a.body)
	}
	return url.Values{"resource": {found[1] + found[2]}, "days": {"90"}, "namespace": {team}}
}

// A token is created and shown once, and only its digest goes to the API server. The same form sent again creates no second one.
func TestATokenIsShownOnce(t *testing.T) {
	s := open(t)
	operate(t)
	b := s.signedIn(t, aliceBearer)
	form := b.form()
	form.Set("name", "Comparison List API")
	form.Set("days", "30")
	before := time.Now()
	a := b.post("/new", form)
	shown := plaintext.FindAllString(a.body, -1)
	if a.StatusCode != http.StatusOK || len(shown) == 0 {
		t.Fatalf("%s\n%s", a.Status, a.body)
	}
	if got := a.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control: %q", got)
	}
	if got := a.Header.Get("Content-Encoding"); got != "" {
		t.Errorf("an answer with a token is compressed: %q", got)
	}
	id, err := token.Parse(shown[0])
	if err != nil {
		t.Fatal(err)
	}
	pat := &v1alpha1.PersonalAccessToken{}
	if err := api.admin.Get(t.Context(), client.ObjectKey{Namespace: team, Name: form.Get("resource")}, pat); err != nil {
		t.Fatal(err)
	}
	digest := token.NewDigest(team, pat.Name, shown[0]).Hex()
	if pat.Spec.Token == nil || pat.Spec.Token.ID != id || pat.Spec.Token.SHA256 != digest || pat.Spec.Token.BoundTo != team+"/"+pat.Name {
		t.Errorf("spec.token is %+v", pat.Spec.Token)
	}
	if pat.Spec.DisplayName != "Comparison List API" {
		t.Errorf("displayName is %q", pat.Spec.DisplayName)
	}
	if life := pat.Spec.ExpiresAt.Sub(before); life < 30*24*time.Hour-time.Minute || life > 30*24*time.Hour+time.Minute {
		t.Errorf("it lives %v", life)
	}
	if !slices.ContainsFunc(pat.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == userAgent && e.Subresource == "" }) {
		t.Errorf("it was written by %+v", pat.ManagedFields)
	}

	again := b.post("/new", form)
	if again.StatusCode != http.StatusConflict || !strings.Contains(again.body, "Already created") || plaintext.MatchString(again.body) {
		t.Errorf("sent again: %s\n%s", again.Status, again.body)
	}
	if a := b.get("/?all=1"); !strings.Contains(a.body, "Comparison List API") || plaintext.MatchString(a.body) {
		t.Errorf("the table:\n%s", a.body)
	}
}

func TestPermissionsOfANewToken(t *testing.T) {
	s := open(t)
	operate(t)
	b := s.signedIn(t, aliceBearer)
	for _, test := range []struct{ name, chosen, row, details string }{
		{"all", "", "", "All that the user has"},
		{"reading", "read-only", "Read only", "Read only"},
		{"deploying", "ci-deploy", "Deploy", "Deploy in " + team},
	} {
		form := b.form()
		form.Set("name", test.name)
		form.Set("permissions", test.chosen)
		if a := b.post("/new", form); a.StatusCode != http.StatusOK || !plaintext.MatchString(a.body) {
			t.Fatalf("%s: %s\n%s", test.name, a.Status, a.body)
		}
		pat := &v1alpha1.PersonalAccessToken{}
		if err := api.admin.Get(t.Context(), client.ObjectKey{Namespace: team, Name: form.Get("resource")}, pat); err != nil {
			t.Fatal(err)
		}
		var want []v1alpha1.Scope
		if test.chosen != "" {
			want = []v1alpha1.Scope{{Preset: test.chosen}}
		}
		if diff := cmp.Diff(want, pat.Spec.Scopes); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if a := b.get(pathOf(pat)); !strings.Contains(a.body, "<dt>Permissions</dt><dd>") || !strings.Contains(a.body, test.details) {
			t.Errorf("%s: the details:\n%s", test.name, a.body)
		}
		if a := b.get("/?all=1&q=" + test.name); strings.Contains(a.body, `<span class="sub">`+test.row+`</span>`) != (test.row != "") {
			t.Errorf("%s: the table:\n%s", test.name, a.body)
		}
	}
}

// Where tokens need limited permissions, the form says so at the field, and keeps what was typed.
func TestFullPermissionsAreRefusedAtTheField(t *testing.T) {
	refused := apierrors.NewInvalid(v1alpha1.GroupVersion.WithKind("PersonalAccessToken").GroupKind(), "x", field.ErrorList{
		field.Required(field.NewPath("spec", "scopes"), "this cluster allows only tokens with limited permissions"),
	})
	for chosen, want := range map[string]string{
		"":          "This cluster allows only tokens with limited permissions. Choose what the token may do.",
		"read-only": "These permissions are not accepted here.",
	} {
		f := page.Form{Name: "kept", Permissions: chosen, Errors: map[string]string{}}
		if !refusedFields(&f, refused) || f.Errors[fieldPermissions] != want || f.MoreOpen {
			t.Errorf("%q: %q", chosen, f.Errors)
		}
		var out strings.Builder
		if err := page.Create(&out, nil, f); err != nil || !strings.Contains(out.String(), want) || !strings.Contains(out.String(), "kept") {
			t.Errorf("%q: %v\n%s", chosen, err, out.String())
		}
	}
}

// The form offers each preset, and nothing else.
func TestPermissionsAreThePresets(t *testing.T) {
	offered := map[string]bool{}
	for _, p := range page.Permissions[1:] {
		offered[p.Value] = true
	}
	for _, p := range scope.Presets() {
		if !offered[p.Name] {
			t.Errorf("%s is not offered", p.Name)
		}
		delete(offered, p.Name)
	}
	if len(offered) > 0 || page.Permissions[0].Value != "" {
		t.Errorf("no presets: %v", offered)
	}
}

func TestPermissionsInAWord(t *testing.T) {
	rule := v1alpha1.Scope{Rule: &v1alpha1.ScopeRule{Verbs: []string{"get"}, APIGroups: []string{"apps"}, Resources: []string{"deployments"}}, Namespaces: []string{"team-b"}}
	for name, test := range map[string]struct {
		scopes  []v1alpha1.Scope
		word    string
		details []string
	}{
		"none":            {nil, "", nil},
		"a preset":        {[]v1alpha1.Scope{{Preset: "read-only"}}, "Read only", []string{"Read only"}},
		"in namespaces":   {[]v1alpha1.Scope{{Preset: "read-only", Namespaces: []string{"a", "b"}}}, "Read only", []string{"Read only in a, b"}},
		"a rule":          {[]v1alpha1.Scope{rule}, "Limited", []string{"get deployments.apps -n team-b"}},
		"two":             {[]v1alpha1.Scope{{Preset: "namespace-admin"}, {API: "mail.send"}}, "Limited", []string{"Manage a namespace in team-a", "api:mail.send"}},
		"an unknown word": {[]v1alpha1.Scope{{Preset: "future"}}, "Limited", []string{"future"}},
	} {
		if got := permissionsOf(test.scopes); got != test.word {
			t.Errorf("%s: %q, want %q", name, got, test.word)
		}
		var details []string
		for i := range test.scopes {
			details = append(details, describeScope(&test.scopes[i], "team-a"))
		}
		if diff := cmp.Diff(test.details, details); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A token is shown even if the operator does not respond, and marked as not active.
func TestATokenThatIsNotActiveYetIsShown(t *testing.T) {
	s := open(t)
	s.activeWithin = 50 * time.Millisecond
	b := s.signedIn(t, aliceBearer)
	form := b.form()
	form.Set("name", "no operator")
	a := b.post("/new", form)
	if a.StatusCode != http.StatusOK || !plaintext.MatchString(a.body) || !strings.Contains(strings.ToLower(a.body), "not active yet") ||
		!strings.Contains(a.body, "is it running?") {
		t.Errorf("%s\n%s", a.Status, a.body)
	}
}

// An error is at its field and says what to do. The form keeps its input.
func TestTheFormSaysWhatIsWrong(t *testing.T) {
	s := open(t)
	b := s.signedIn(t, aliceBearer)
	for _, test := range []struct{ name, field, value, want string }{
		{"no name", "name", "  ", "Enter what the token is for"},
		{"a long name", "name", strings.Repeat("n", 129), "This has 129 characters: use at most 128."},
		{"no number", "days", "soon", "At most 366 days here. Choose a number of days, or a date."},
		{"no life", "days", "0", "At most 366 days here. Choose a number of days, or a date."},
		{"too long a life", "days", "367", "At most 366 days here. Choose a number of days, or a date."},
		{"no date", "date", "tomorrow", "Write the date as YYYY-MM-DD."},
		{"a day that has passed", "date", "2020-02-03", "This day has passed."},
		{"a day too far away", "date", time.Now().AddDate(2, 0, 0).Format(dateLayout), "At most 366 days here. Choose an earlier day."},
		{"no namespace", "namespace", "Team A", "Name a namespace"},
		{"a namespace that there is not", "namespace", "team-z", "team-z"},
		{"a namespace that is not mine", "namespace", "kube-system", "cannot create resource"},
		{"no choice of permissions", "permissions", "root", "Choose one of these."},
		{"no key", "recipients", "ssh-nonsense AAAA", "recipient"},
		{"no network", "from", "10.0.0.1", "These networks are not accepted here. Write each as 203.0.113.0/24 or 2001:db8::/32."},
		{"no name of another API", "for", "api", "Name the API that takes the token, or choose this cluster’s API."},
		{"an audience that is too long", "audiences", strings.Repeat("a", 257), "256"},
		{"a name that the page did not make", "resource", "kube-root-ca", "This form did not come from this page."},
	} {
		t.Run(test.name, func(t *testing.T) {
			form := b.form()
			form.Set("name", "kept as typed")
			form.Set(test.field, test.value)
			if test.field == fieldDate {
				form.Set(fieldDays, "date")
			}
			if test.field == fieldAudiences {
				form.Set(fieldFor, "api")
			}
			a := b.post("/new", form)
			if a.StatusCode < 400 || a.StatusCode >= 500 || !strings.Contains(a.body, test.want) {
				t.Errorf("%s, want %q in\n%s", a.Status, test.want, a.body)
			}
			if test.field != "name" && !strings.Contains(a.body, "kept as typed") {
				t.Errorf("the input is lost:\n%s", a.body)
			}
			if plaintext.MatchString(a.body) {
				t.Error("there is a token in it")
			}
		})
	}
}

// Errors name a wrong recipient by its position. A private key is not sent back.
func TestCase57_TheFormNamesWrongKeys(t *testing.T) {
	const key = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
	many := make([]string, 43)
	for i := range many {
		many[i] = fmt.Sprintf("ssh-rsa AAAA%d", i)
	}
	for _, test := range []struct{ name, text, want, kept string }{
		{"an ECDSA key", key + "\n\necdsa-sha2-nistp256 AAAAE2Vj x", "Key 2 is an ECDSA key, to which age cannot encrypt; make another (ssh-keygen -t ed25519) and give its public key.", key + "\n\necdsa-sha2-nistp256 AAAAE2Vj x"},
		{"a private key", key + "\n-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz\n", "Key 2 is a private key, which belongs on its owner's machine only: regard it as leaked, make another, and give its public key.", ""},
		{"a private key of many lines", "-----BEGIN RSA PRIVATE KEY-----\n" + strings.Join(many, "\n"), "One key is a private key, which belongs on its owner's machine only: regard it as leaked, make another, and give its public key.", ""},
		{"too many", strings.Join(many, "\n"), "There are 43 keys, and a token is encrypted to 16 at most; give fewer.", strings.Join(many, "\n")},
		{"a key with two comments", vendorSSH + " a\n" + vendorSSH + " b", "One key is the same key as an earlier entry; leave it out.", vendorSSH + " a\n" + vendorSSH + " b"},
		{"a byte order mark", "\ufeff" + key, "", "\ufeff" + key},
	} {
		f := page.Form{ResourceName: newResourceName(), Name: "x", Namespace: team, Days: "1", Recipients: test.text, Errors: map[string]string{}}
		resourceOf(&f, time.Now(), 366*24*time.Hour)
		if got := f.Errors[fieldRecipients]; got != test.want || (test.want == "") != (len(f.Errors) == 0) {
			t.Errorf("%s: it says %q of %v", test.name, got, f.Errors)
		}
		if f.Recipients != test.kept {
			t.Errorf("%s: the form has %q", test.name, f.Recipients)
		}
	}
}

const vendorSSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL/6c4r/d20dKQYj0VwfyMhEhdpAmPsukdWsUNWx7gtK"

// More options: a date, audiences, networks and recipients.
func TestMoreOptions(t *testing.T) {
	s := open(t)
	s.activeWithin = 50 * time.Millisecond
	b := s.signedIn(t, aliceBearer)
	form := b.form()
	last := time.Now().AddDate(0, 0, 10).UTC().Format(dateLayout)
	form.Set("name", "for the vendor")
	form.Set("days", "date")
	form.Set("date", last)
	form.Set("for", "api")
	form.Set("audiences", "https://api.example.com\n\n https://other.example.com ")
	form.Set("from", " 203.0.113.0/24\n2001:db8::/32\n\n203.0.113.0/24")
	form.Set("recipients", "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p")
	if a := b.post("/new", form); a.StatusCode != http.StatusOK {
		t.Fatalf("%s\n%s", a.Status, a.body)
	}
	pat := &v1alpha1.PersonalAccessToken{}
	if err := api.admin.Get(t.Context(), client.ObjectKey{Namespace: team, Name: form.Get("resource")}, pat); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(pat.Spec.Audiences, " "); got != "https://api.example.com https://other.example.com" {
		t.Errorf("audiences: %q", got)
	}
	if got := strings.Join(pat.Spec.From, " "); got != "203.0.113.0/24 2001:db8::/32" {
		t.Errorf("from: %q", got)
	}
	if pat.Spec.ExpiresAt == nil || pat.Spec.ExpiresAt.UTC().Format(time.RFC3339) != last+"T23:59:59Z" {
		t.Errorf("expiresAt: %v", pat.Spec.ExpiresAt)
	}
	if pat.Spec.Token != nil || pat.Spec.Delivery == nil || len(pat.Spec.Delivery.Recipients) != 1 {
		t.Errorf("delivery: %+v, token: %+v", pat.Spec.Delivery, pat.Spec.Token)
	}
}

// A token for another API is shown with the one command that works, and one for the cluster ignores an API that was typed before.
func TestWhatATokenIsFor(t *testing.T) {
	s := open(t, func(o *Options) { o.Cluster = &Cluster{Server: "https://k8s.example.com"} })
	s.activeWithin = 50 * time.Millisecond
	b := s.signedIn(t, aliceBearer)
	for choice, test := range map[string]struct {
		want           []string
		shown, missing string
	}{
		"api":     {[]string{"grafana"}, "https://YOUR-API", "kubectl"},
		"cluster": {nil, "https://k8s.example.com/api", "https://YOUR-API"},
		"":        {[]string{"grafana"}, "https://YOUR-API", "kubectl"}, // of a program
	} {
		form := b.form()
		form.Set("name", "for "+choice)
		form.Set("for", choice)
		form.Set("audiences", "grafana")
		a := b.post("/new", form)
		if a.StatusCode != http.StatusOK || !strings.Contains(a.body, test.shown) || strings.Contains(a.body, test.missing) {
			t.Errorf("%q: %s\n%s", choice, a.Status, a.body)
		}
		pat := &v1alpha1.PersonalAccessToken{}
		if err := api.admin.Get(t.Context(), client.ObjectKey{Namespace: team, Name: form.Get("resource")}, pat); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, pat.Spec.Audiences); diff != "" {
			t.Errorf("%q: audiences (-want +got):\n%s", choice, diff)
		}
	}
}

// A date lasts until the end of the day in the visitor's time zone, or in UTC without the script.
func TestADateEndsWithTheVisitorsDay(t *testing.T) {
	now := time.Date(2026, 12, 31, 23, 30, 0, 0, time.UTC)
	for _, test := range []struct{ name, date, dayEnds, want, wrong string }{
		{"without script", "2027-03-01", "", "2027-03-01T23:59:59Z", ""},
		{"Berlin", "2027-03-01", "2027-03-01T22:59:59.000Z", "2027-03-01T22:59:59Z", ""},
		{"Kiritimati", "2027-03-01", "2027-03-01T09:59:59Z", "2027-03-01T09:59:59Z", ""},
		{"California", "2027-03-01", "2027-03-02T07:59:59.999Z", "2027-03-02T07:59:59Z", ""},
		{"with an offset", "2027-03-01", "2027-03-01T23:59:59-08:00", "2027-03-02T07:59:59Z", ""},
		{"still today in California", "2026-12-31", "2027-01-01T07:59:59Z", "2027-01-01T07:59:59Z", ""},
		{"over in Berlin", "2026-12-31", "2026-12-31T22:59:59Z", "", "This day has passed."},
		{"of another day", "2027-03-01", "2027-03-02T14:00:00Z", "", "choose the date again"},
		{"of another year", "2027-03-01", "2037-03-01T23:59:59Z", "", "choose the date again"},
		{"no time", "2027-03-01", "+275760-09-13T00:00:00.000Z", "", "choose the date again"},
		{"no date", "tomorrow", "2027-03-01T22:59:59Z", "", "Write the date as YYYY-MM-DD."},
	} {
		f := page.Form{ResourceName: newResourceName(), Name: "x", Namespace: team, Date: test.date, DayEnds: test.dayEnds, Errors: map[string]string{}}
		_, life, expires := resourceOf(&f, now, 366*24*time.Hour)
		if wrong := f.Errors[fieldDate]; (wrong == "") != (test.wrong == "") || !strings.Contains(wrong, test.wrong) {
			t.Errorf("%s: it says %q", test.name, wrong)
		}
		if test.want != "" && (expires.Format(time.RFC3339) != test.want || life != expires.Sub(now)) {
			t.Errorf("%s: it ends at %v, after %v", test.name, expires, life)
		}
	}
}

// The form offers and accepts lifetimes up to the operator's limit. The longest one leaves room for a clock that is behind.
func TestTheFormOffersWhatTheOperatorAllows(t *testing.T) {
	s := open(t, func(o *Options) { o.MaxLifetime = 100 * 24 * time.Hour })
	b := s.signedIn(t, aliceBearer)
	a := b.get("/new")
	for _, want := range []string{`value="7"`, `value="30"`, `value="90" checked`, `value="100"`, "Maximum", "At most 100 days here."} {
		if !strings.Contains(a.body, want) {
			t.Errorf("%s is not in\n%s", want, a.body)
		}
	}
	if strings.Contains(a.body, `value="180"`) {
		t.Error("a life is offered that the operator refuses")
	}
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct{ days, date, want, wrong string }{
		{"99", "", "2027-02-08T12:00:00Z", ""},
		{"100", "", "2027-02-09T11:55:00Z", ""},
		{"101", "", "", "At most 100 days here. Choose a number of days, or a date."},
		{"date", "2027-02-08", "2027-02-08T23:59:59Z", ""},
		{"date", "2027-02-09", "2027-02-09T11:55:00Z", ""},
		{"date", "2027-02-10", "", "At most 100 days here. Choose an earlier day."},
		{"7", "2027-02-10", "2026-11-08T12:00:00Z", ""}, // typed, then not chosen
	} {
		f := page.Form{ResourceName: newResourceName(), Name: "x", Namespace: team, Days: test.days, Date: test.date, Errors: map[string]string{}}
		_, _, expires := resourceOf(&f, now, 100*24*time.Hour)
		if got := f.Errors[fieldDays] + f.Errors[fieldDate]; got != test.wrong {
			t.Errorf("%s %s: it says %q, want %q", test.days, test.date, got, test.wrong)
		}
		if got := expires.UTC().Format(time.RFC3339); test.want != "" && got != test.want {
			t.Errorf("%s %s: it ends at %s, want %s", test.days, test.date, got, test.want)
		}
	}
}

// A form that is too long is refused.
func TestALongFormIsRefused(t *testing.T) {
	s := open(t)
	form := url.Values{"name": {"x"}, "recipients": {strings.Repeat("x", maxForm)}}
	a := s.signedIn(t, aliceBearer).post("/new", form)
	if a.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(a.body, "The form is longer than 128 KiB") {
		t.Errorf("%s\n%s", a.Status, a.body)
	}
}

// The form offers typed and chosen namespaces first, and keeps them.
func TestTheFormOffersNamespaces(t *testing.T) {
	s := open(t, func(o *Options) { o.Namespaces = []string{"kube-public", team} })
	b := s.signedIn(t, aliceBearer)
	if a := b.get("/new"); !strings.Contains(a.body, `name="namespace" value="`+team+`"`) || strings.Contains(a.body, "kube-public") {
		t.Errorf("the one where alice may make tokens:\n%s", a.body)
	}
	form := b.form()
	form.Set("namespace", "kube-system")
	form.Set("name", "")
	if a := b.post("/new", form); !strings.Contains(a.body, `<option value="kube-system" selected>`) {
		t.Errorf("the input is not selected:\n%s", a.body)
	}
}

// With several namespaces, the form shows which one it uses, unless the table shows only that one, and the page with the token names
// it. With one namespace neither does.
func TestTheChosenNamespaceIsShown(t *testing.T) {
	const other = "kube-node-lease"
	s := open(t, func(o *Options) { o.Namespaces = []string{other, team} })
	s.activeWithin = 50 * time.Millisecond
	b := s.signedIn(t, aliceBearer)
	says := func(what string, a answer, want string, not ...string) {
		t.Helper()
		if a.StatusCode != http.StatusOK || !strings.Contains(a.body, want) {
			t.Errorf("%s: %s, want %s in\n%s", what, a.Status, want, a.body)
		}
		for _, not := range not {
			if strings.Contains(a.body, not) {
				t.Errorf("%s: there is %s in\n%s", what, not, a.body)
			}
		}
	}
	const open, named = `<details class="more" open>`, "in <bdi>"
	says("a sole one", b.get("/new"), `name="sole"`, open, "<select")
	form := b.form()
	form.Set("name", "in a sole one")
	form.Set("sole", "1")
	says("the token in a sole one", b.post("/new", form), "Your new token", named)

	may := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: other, Name: "alice"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "alice"}},
	}
	if err := api.admin.Create(t.Context(), may); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.admin.Delete(context.WithoutCancel(t.Context()), may) })
	for end := time.Now().Add(env.Patience); !strings.Contains(b.get("/new").body, "<select"); { // until the authorizer knows
		if time.Now().After(end) {
			t.Fatal("two are offered as one")
		}
	}
	says("two", b.get("/new"), open, `name="sole"`)
	says("two, both chosen", b.get("/new?ns="+other+"&ns="+team), open)
	says("two, and one chosen where alice may make none", b.get("/new?ns=default"), open)
	says("two, one chosen", b.get("/new?ns="+team), `<option value="`+team+`" selected>`, open)
	form = b.form()
	form.Set("name", "in one of two")
	says("the token in one of two", b.post("/new", form), named+team+"</bdi>")
}

// The form keeps its input after a refusal of the API server, whose message is folded away.
func TestWhatWasTypedSurvivesARefusal(t *testing.T) {
	s := open(t)
	b := s.signedIn(t, aliceBearer)
	form := b.form()
	form.Set("name", "kept as typed")
	form.Set("namespace", "kube-system")
	a := b.post("/new", form)
	said, cause, folded := strings.Cut(a.body, `<details class="cause">`)
	if a.StatusCode != http.StatusForbidden || !folded || !strings.Contains(said, "You may not do this. Ask an administrator for the permission named below.") ||
		strings.Contains(said, "cannot create resource") || !strings.Contains(cause, "cannot create resource") {
		t.Errorf("%s\n%s", a.Status, a.body)
	}
	for _, kept := range []string{`value="kept as typed"`, form.Get("resource"), "kube-system"} {
		if !strings.Contains(a.body, kept) {
			t.Errorf("%s is gone:\n%s", kept, a.body)
		}
	}
}

// A form of an ended session gets no redirect, so that the browser sends it again on reload.
func TestAFormWhoseSessionIsOverCanBeSentAgain(t *testing.T) {
	b := open(t).browser(t)
	a := b.post("/new", url.Values{"name": {"typed"}})
	if a.StatusCode != http.StatusUnauthorized || !strings.Contains(a.body, "Your session is over") || !strings.Contains(a.body, `href="/sign-in" target="_blank"`) {
		t.Errorf("%s\n%s", a.Status, a.body)
	}
}
