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
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/console/page"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/proxyconfig"
	"github.com/pat-operator/pat-operator/test/env"
)

// made creates a resource of alice, as it looks after admission.
func made(t *testing.T, name string, change ...func(*v1alpha1.PersonalAccessToken)) *v1alpha1.PersonalAccessToken {
	t.Helper()
	pat := &v1alpha1.PersonalAccessToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: name},
		Spec:       v1alpha1.PersonalAccessTokenSpec{DisplayName: "Display " + name, User: &v1alpha1.UserInfo{Username: "alice"}},
	}
	for _, change := range change {
		change(pat)
	}
	if err := api.admin.Create(t.Context(), pat); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.admin.Delete(context.WithoutCancel(t.Context()), pat) })
	return pat
}

// The table shows the visitor's tokens, and those of all users on request. A search matches name, display name and id.
func TestTheTableShowsMineAndSearches(t *testing.T) {
	s := open(t)
	b := s.signedIn(t, aliceBearer)
	made(t, "table-mail")
	made(t, "table-calendar")
	made(t, "table-of-bob", func(pat *v1alpha1.PersonalAccessToken) { pat.Spec.User.Username = "bob" })
	for _, test := range []struct {
		query    string
		want     []string
		wantNone []string
	}{
		{"", []string{"Display table-mail", "Display table-calendar"}, []string{"table-of-bob"}},
		{"?all=1", []string{"Display table-mail", "Display table-calendar", "table-of-bob"}, nil},
		{"?q=MAIL+table", []string{"Display table-mail"}, []string{"Display table-calendar"}},
		{"?q=nothing-has-this", nil, []string{"Display table-mail", "Display table-calendar"}},
	} {
		a := b.get("/" + test.query)
		if a.StatusCode != http.StatusOK {
			t.Fatalf("%q: %s", test.query, a.Status)
		}
		for _, want := range test.want {
			if !strings.Contains(a.body, want) {
				t.Errorf("%q lacks %q", test.query, want)
			}
		}
		for _, none := range test.wantNone {
			if strings.Contains(a.body, none) {
				t.Errorf("%q shows %q", test.query, none)
			}
		}
	}
}

func TestTheTableIsSorted(t *testing.T) {
	s := open(t)
	b := s.signedIn(t, aliceBearer)
	for name, days := range map[string]int{"sorted-c": 1, "sorted-a": 2, "sorted-b": 3} {
		made(t, name, func(pat *v1alpha1.PersonalAccessToken) {
			end := metav1.NewTime(time.Now().AddDate(0, 0, days))
			pat.Spec.ExpiresAt = &end
		})
	}
	shown := regexp.MustCompile(`Display (sorted-[abc])</bdi>`)
	for sort, want := range map[string]string{
		"name": "sorted-a sorted-b sorted-c", "-name": "sorted-c sorted-b sorted-a",
		"expires": "sorted-c sorted-a sorted-b", "-expires": "sorted-b sorted-a sorted-c",
	} {
		var got []string
		for _, found := range shown.FindAllStringSubmatch(b.get("/table?q=sorted-&sort="+sort).body, -1) {
			if len(got) == 0 || got[len(got)-1] != found[1] {
				got = append(got, found[1])
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("by %s: %v, want %s", sort, got, want)
		}
	}
}

// An unknown end comes last in both orders. The name decides between equal rows.
func TestEveryColumnOrdersTheTable(t *testing.T) {
	at := func(hour int) time.Time { return time.Date(2026, 11, 24, hour, 0, 0, 0, time.UTC) }
	rows := []page.Row{
		{Name: "a", Title: "Zebra", Created: at(3), Modified: at(4), LastUsed: at(7), Expires: at(9), State: page.StateRevoked},
		{Name: "b", Title: "apple", Created: at(1), Modified: at(6), State: page.StateActive},
		{Name: "c", Title: "Mango", Created: at(2), Modified: at(5), Expires: at(8), State: page.StateSuspended},
		{Name: "d", Title: "mango", Created: at(2), Modified: at(5), Expires: at(8), State: page.StateExpiringSoon},
	}
	for sort, want := range map[string]string{
		"name": "bcda", "-name": "acdb", "created": "bcda", "-created": "acdb", "modified": "acdb", "-modified": "bcda",
		"used": "bcda", "-used": "abcd", "expires": "cdab", "-expires": "acdb", "active": "bdca", "-active": "acdb",
	} {
		got := ""
		for _, row := range slices.SortedFunc(slices.Values(rows), order(sort)) {
			got += row.Name
		}
		if got != want {
			t.Errorf("by %s: %s, want %s", sort, got, want)
		}
	}
}

func TestTheTableIsFilteredByState(t *testing.T) {
	s := open(t)
	b := s.signedIn(t, aliceBearer)
	made(t, "narrowed-expired", expired)
	made(t, "narrowed-issuing")
	for query, want := range map[string]string{
		"": "narrowed-expired narrowed-issuing", "&state=expired": "narrowed-expired", "&state=suspended": "", "&state=nonsense": "narrowed-expired narrowed-issuing",
	} {
		body, got := b.get("/?q=narrowed-&sort=name"+query).body, []string{}
		for _, name := range []string{"narrowed-expired", "narrowed-issuing"} {
			if strings.Contains(body, "Display "+name+"</bdi>") {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %s", query, got)
		}
	}
}

// The table shows namespaces only if there are several.
func TestASingleNamespaceIsNotShown(t *testing.T) {
	s := open(t)
	made(t, "in-team-a")
	made(t, "elsewhere", func(pat *v1alpha1.PersonalAccessToken) { pat.Namespace = operatorNamespace })
	everywhere := &visitor{session: session{User: "alice"}, client: api.admin}
	for path, want := range map[string]bool{
		"/?ns=" + team: false, "/?ns=" + operatorNamespace: false, "/?ns=" + team + "&ns=kube-public": false,
		"/?ns=" + team + "&ns=" + operatorNamespace: true, "/": true, "/?q=elsewhere": true,
	} {
		table, err := s.table(httptest.NewRequest(http.MethodGet, path, nil), everywhere)
		if err != nil {
			t.Fatal(err)
		}
		var body strings.Builder
		if err := page.TableOnly(&body, table); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(body.String(), `<span class="sub"><bdi>`); got != want || len(table.Rows) == 0 {
			t.Errorf("%s: the namespace is shown: %v, want %v, of %d rows", path, got, want, len(table.Rows))
		}
	}
}

// The console tells a client whether its table has changed.
func TestTheTableHasAnETag(t *testing.T) {
	s := open(t)
	b := s.signedIn(t, aliceBearer)
	tag := b.get("/table").Header.Get("ETag")
	ask := func() answer {
		r := b.request(http.MethodGet, "/table", nil)
		r.Header.Set("If-None-Match", tag)
		return b.do(r)
	}
	if a := ask(); a.StatusCode != http.StatusNotModified || a.body != "" {
		t.Errorf("unchanged: %s\n%s", a.Status, a.body)
	}
	made(t, "made-meanwhile")
	if a := ask(); a.StatusCode != http.StatusOK || !strings.Contains(a.body, "made-meanwhile") {
		t.Errorf("changed: %s\n%s", a.Status, a.body)
	}
}

// A visitor who may not list all namespaces sees the configured ones, can choose others, and learns which are refused.
func TestVisitorsWithoutClusterWideListChooseNamespaces(t *testing.T) {
	s := open(t)
	made(t, "in-team-a")
	b := s.signedIn(t, aliceBearer)
	if a := b.get("/"); !strings.Contains(a.body, "in-team-a") {
		t.Errorf("--console-namespaces is not looked at:\n%s", a.body)
	}
	if a := b.get("/?ns=kube-system"); !strings.Contains(a.body, "You may not list tokens in kube-system") || !strings.Contains(a.body, "in-team-a") {
		t.Errorf("a namespace that is not theirs hides those that are:\n%s", a.body)
	}
	if a := b.get("/?ns=kube-system&ns=team-a"); !strings.Contains(a.body, "You may not list tokens in kube-system") || !strings.Contains(a.body, "in-team-a") {
		t.Errorf("one that is theirs, and one that is not:\n%s", a.body)
	}
	if a := b.get("/"); strings.Contains(a.body, "kube-system") {
		t.Errorf("the choice of a link is remembered:\n%s", a.body)
	}
	if a := b.get("/table?ns=kube-system&ns=team-a"); !strings.Contains(a.body, "You may not list tokens in kube-system") {
		t.Errorf("the live update differs from the page:\n%s", a.body)
	}
	many := "/?ns=" + team
	for i := range maxNamespaces {
		many += fmt.Sprintf("&ns=team-%d", i)
	}
	const tooMany = "At most 20 namespaces can be chosen: team-19 is not shown. Leave out another one first."
	if a := b.get(many); !strings.Contains(a.body, tooMany) || !strings.Contains(a.body, "You may not list tokens in team-0, ") || !strings.Contains(a.body, "in-team-a") {
		t.Errorf("one namespace more than can be chosen:\n%s", a.body)
	}
	if a := b.get(strings.TrimSuffix(many, "&ns=team-19")); strings.Contains(a.body, "At most") {
		t.Errorf("as many as can be chosen:\n%s", a.body)
	}
	for sent, want := range map[string]string{
		"ns=b&ns=a&ns=c&without=a&sort=name&all=1&q=x+y": "/?all=1&ns=b&ns=c&q=x+y&sort=name",
		"ns=a&without=a": "/", "ns=a%2C+b&ns=No.": "/?ns=a&ns=b", "": "/", strings.TrimPrefix(many, "/?"): many,
	} {
		form, err := url.ParseQuery(sent)
		if err != nil {
			t.Fatal(err)
		}
		if a := b.post("/namespaces", form); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != want {
			t.Errorf("choosing %s: %s to %q, want %q", sent, a.Status, a.Header.Get("Location"), want)
		}
	}
	// A refused namespace is not remembered.
	for sent, want := range map[string]string{"ns=kube-system": "", "ns=team-a&ns=kube-system": team, "ns=team-a&without=team-a": "", "ns=team-a": team} {
		form, err := url.ParseQuery(sent)
		if err != nil {
			t.Fatal(err)
		}
		cookies := b.post("/namespaces", form).Cookies()
		if len(cookies) != 1 || cookies[0].Name != namespacesCookie || cookies[0].Value != want || (cookies[0].MaxAge > 0) != (want != "") {
			t.Errorf("choosing %s remembers %v, want %q", sent, cookies, want)
		}
	}
	several := open(t, func(o *Options) { o.Namespaces = []string{"kube-public", team, "kube-system"} })
	if a := several.signedIn(t, aliceBearer).get("/"); !strings.Contains(a.body, "in-team-a") || strings.Contains(a.body, "You may not list tokens in kube") {
		t.Errorf("with namespaces of others in --console-namespaces:\n%s", a.body)
	}
	if a := s.signedIn(t, carolBearer).get("/"); !strings.Contains(a.body, "You may not list tokens in "+team) {
		t.Errorf("a visitor who may list no namespace:\n%s", a.body)
	}

	without := open(t, func(o *Options) { o.Namespaces = nil })
	if a := without.signedIn(t, aliceBearer).get("/"); !strings.Contains(a.body, "Which namespaces?") {
		t.Errorf("with none known:\n%s", a.body)
	}

	everywhere := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "bob-looks-everywhere"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "bob"}},
	}
	if err := api.admin.Create(t.Context(), everywhere); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.admin.Delete(context.WithoutCancel(t.Context()), everywhere) })
	bob := without.signedIn(t, bobBearer)
	for end := time.Now().Add(env.Patience); ; { // until the authorizer knows
		a := bob.get("/?all=1")
		if strings.Contains(a.body, "in-team-a") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("a visitor who may list all namespaces:\n%s", a.body)
		}
	}
}

func TestStateOf(t *testing.T) {
	now := time.Now()
	ago, ahead := metav1.NewTime(now.Add(-time.Hour)), metav1.NewTime(now.Add(time.Hour))
	condition := func(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason}
	}
	yes, no := metav1.ConditionTrue, metav1.ConditionFalse
	active := condition(v1alpha1.ConditionActive, yes, v1alpha1.ReasonActive)
	for _, test := range []struct {
		name string
		pat  v1alpha1.PersonalAccessToken
		want page.State
	}{
		{"new", v1alpha1.PersonalAccessToken{}, page.StateIssuing},
		{"active", v1alpha1.PersonalAccessToken{Status: v1alpha1.PersonalAccessTokenStatus{
			ExpiresAt: &ahead, Conditions: []metav1.Condition{active}}}, page.StateActive},
		{"ends soon", v1alpha1.PersonalAccessToken{Status: v1alpha1.PersonalAccessTokenStatus{
			ExpiresAt: &ahead, Conditions: []metav1.Condition{active, condition(v1alpha1.ConditionExpiringSoon, yes, v1alpha1.ReasonExpiringSoon)}}}, page.StateExpiringSoon},
		{"expired, before status says so", v1alpha1.PersonalAccessToken{Status: v1alpha1.PersonalAccessTokenStatus{
			ExpiresAt: &ago, Conditions: []metav1.Condition{active}}}, page.StateExpired},
		{"shortened in spec, and expired", v1alpha1.PersonalAccessToken{Spec: v1alpha1.PersonalAccessTokenSpec{ExpiresAt: &ago},
			Status: v1alpha1.PersonalAccessTokenStatus{ExpiresAt: &ahead, Conditions: []metav1.Condition{active}}}, page.StateExpired},
		{"suspended, before status says so", v1alpha1.PersonalAccessToken{Spec: v1alpha1.PersonalAccessTokenSpec{Suspend: true},
			Status: v1alpha1.PersonalAccessTokenStatus{ExpiresAt: &ahead, Conditions: []metav1.Condition{active}}}, page.StateSuspended},
		{"revoked and kept", v1alpha1.PersonalAccessToken{Status: v1alpha1.PersonalAccessTokenStatus{
			ExpiresAt: &ahead, Conditions: []metav1.Condition{condition(v1alpha1.ConditionActive, no, v1alpha1.ReasonRevoked)}}}, page.StateRevoked},
		{"being deleted", v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &ago},
			Status: v1alpha1.PersonalAccessTokenStatus{Conditions: []metav1.Condition{active}}}, page.StateDeleting},
		{"being deleted, and expired", v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &ago},
			Status: v1alpha1.PersonalAccessTokenStatus{ExpiresAt: &ago, Conditions: []metav1.Condition{active}}}, page.StateDeleting},
		{"stalled", v1alpha1.PersonalAccessToken{Status: v1alpha1.PersonalAccessTokenStatus{
			ExpiresAt: &ahead, Conditions: []metav1.Condition{condition(v1alpha1.ConditionActive, no, v1alpha1.ReasonOwnerGone), condition(v1alpha1.ConditionStalled, yes, v1alpha1.ReasonOwnerGone)}}}, page.StateFailed},
		{"active, and its last change stalled", v1alpha1.PersonalAccessToken{Status: v1alpha1.PersonalAccessTokenStatus{
			ExpiresAt: &ahead, Conditions: []metav1.Condition{active, condition(v1alpha1.ConditionStalled, yes, v1alpha1.ReasonOwnerGone)}}}, page.StateFailed},
		{"suspended and stalled", v1alpha1.PersonalAccessToken{Spec: v1alpha1.PersonalAccessTokenSpec{Suspend: true},
			Status: v1alpha1.PersonalAccessTokenStatus{ExpiresAt: &ahead, Conditions: []metav1.Condition{condition(v1alpha1.ConditionStalled, yes, v1alpha1.ReasonOwnerGone)}}}, page.StateFailed},
		{"stopped", v1alpha1.PersonalAccessToken{Spec: v1alpha1.PersonalAccessTokenSpec{Suspend: true}, Status: v1alpha1.PersonalAccessTokenStatus{
			TokenID: "aaaaaaaaaaaaaaaa", ExpiresAt: &ahead, Conditions: []metav1.Condition{condition(v1alpha1.ConditionActive, no, v1alpha1.ReasonDeniedByPolicy), condition(v1alpha1.ConditionStalled, yes, v1alpha1.ReasonDeniedByPolicy)}}}, page.StateStopped},
		{"expired, as status says", v1alpha1.PersonalAccessToken{Status: v1alpha1.PersonalAccessTokenStatus{
			ExpiresAt: &ahead, Conditions: []metav1.Condition{condition(v1alpha1.ConditionActive, no, v1alpha1.ReasonExpired)}}}, page.StateExpired},
	} {
		if got := stateOf(&test.pat, now); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// The table and the page of a resource that a finalizer holds say the same as kubectl, and offer no action.
func TestCase59_ThePageSaysDeleting(t *testing.T) {
	s := open(t)
	b := s.signedIn(t, aliceBearer)
	pat := made(t, "held", func(pat *v1alpha1.PersonalAccessToken) { pat.Finalizers = []string{"example.com/hold"} })
	t.Cleanup(func() {
		release := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
		if err := api.admin.Patch(context.WithoutCancel(t.Context()), pat, release); err != nil {
			t.Error(err)
		}
	})
	says(t.Context(), pat, metav1.ConditionTrue, v1alpha1.ReasonActive)
	if a := b.get("/table?q=held"); !strings.Contains(a.body, ">Active</span>") {
		t.Fatalf("before the deletion:\n%s", a.body)
	}
	if err := api.admin.Delete(t.Context(), pat); err != nil {
		t.Fatal(err)
	}
	table, details := b.get("/table?q=held").body, b.get(pathOf(pat)).body
	for where, body := range map[string]string{"table": table, "details": details} {
		if !strings.Contains(body, `<span class="badge deleting">Deleting</span>`) || strings.Contains(body, ">Active</span>") {
			t.Errorf("the %s does not say that it is being deleted:\n%s", where, body)
		}
		if strings.Contains(body, pathOf(pat)+"/re") {
			t.Errorf("the %s offers to revoke or rotate it:\n%s", where, body)
		}
	}
	if message := lifecycle.DeletingCondition(pat).Message; !strings.Contains(details, `<p class="lead"><bdi>`+message+`</bdi></p>`) {
		t.Errorf("lacks %q:\n%s", message, details)
	}
	if strings.Contains(details, v1alpha1.ReasonReconciled) {
		t.Errorf("shows conditions of before the deletion:\n%s", details)
	}
}

// Names that would control a page or deceive its reader are shown with escapes.
func TestCase39_HostileNamesOnThePage(t *testing.T) {
	s := open(t)
	b := s.signedIn(t, aliceBearer)
	pat := made(t, "hostile", func(pat *v1alpha1.PersonalAccessToken) {
		pat.Spec.DisplayName = `<script>alert(1)</script>" onmouseover="x` + "txt.exe\u200b\U000e0041"
		pat.Spec.Audiences = []string{"<img src=x onerror=alert(1)>"}
		pat.Spec.User.Groups = []string{"<b>group</b>\u202e"}
		pat.Spec.Scopes = []v1alpha1.Scope{{Rule: &v1alpha1.ScopeRule{Verbs: []string{"<b>verb\u202e"}, NonResourceURLs: []string{"/<b>path\u202e"}}}}
		pat.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "<b>application\u202e:rest"}
	})
	pat.Status.Revoked = []v1alpha1.RevokedToken{{TokenID: strings.Repeat("a", 16), By: "<i>by</i>\u202e", Reason: "\x1b]0;x\x07<u>"}}
	pat.Status.Conditions = []metav1.Condition{{
		Type: "Active", Status: metav1.ConditionFalse, Reason: "Issuing", Message: "<a href=//evil>\u202e", LastTransitionTime: metav1.Now(),
	}}
	if err := api.admin.Status().Update(t.Context(), pat); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/?all=1&q=%3Cscript%3E", "/table", pathOf(pat), pathOf(pat) + "/revoke", pathOf(pat) + "/rotate", "/tokens/team-a/%3Cscript%3E%E2%80%AE"} {
		a := b.get(path)
		for _, bad := range []string{"<script>alert", `" onmouseover`, "<img src=x", "<b>group", "<b>verb", "<b>path", "<b>application", "<i>by", "<u>", "<a href=//evil", "\u202e", "\u200b", "\x1b", "\x07"} {
			if strings.Contains(a.body, bad) {
				t.Errorf("GET %s holds %q", path, bad)
			}
		}
	}
	if a := b.get("/table"); !strings.Contains(a.body, `txt.exe\u200b\U000e0041`) {
		t.Errorf("invisible characters are not shown:\n%s", a.body)
	}
}

// A page of tokens takes few bytes on the network.
func TestThePageIsLight(t *testing.T) {
	s := open(t)
	b := s.signedIn(t, aliceBearer)
	for i := range 20 {
		made(t, fmt.Sprintf("light-%d", i))
	}
	get := func(path string) (body string, transferred int) {
		r := b.request(http.MethodGet, path, nil)
		r.Header.Set("Accept-Encoding", "gzip") // so that the client leaves it packed
		a := b.do(r)
		if a.StatusCode != http.StatusOK || a.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%s: %s, packed as %q", path, a.Status, a.Header.Get("Content-Encoding"))
		}
		return b.get(path).body, len(a.body)
	}
	body, total := get("/")
	seen := map[string]bool{}
	for _, asset := range regexp.MustCompile(`/assets/[^"#]+`).FindAllString(body, -1) {
		if !seen[asset] {
			seen[asset] = true
			_, n := get(asset)
			total += n
		}
	}
	if len(seen) < 2 || total > 60<<10 {
		t.Errorf("%d assets, %d bytes with the page", len(seen), total)
	}
	t.Logf("the page with 20 tokens and %d assets: %d bytes", len(seen), total)
}

// Of too many tokens the table shows the first, and the page says so.
func TestATableHasAnEnd(t *testing.T) {
	found := &rows{Table: &page.Table{}}
	for range 3 {
		if more := found.add(make([]page.Row, maxRows/2)); more == (len(found.all) == maxRows && found.Truncated) {
			t.Errorf("with %d rows there is more to read: %v", len(found.all), more)
		}
	}
	if len(found.all) != maxRows || !found.Truncated {
		t.Errorf("%d rows, truncated: %v", len(found.all), found.Truncated)
	}
}

// If too many lists are requested at once, a visitor who waits too long is told to try again.
func TestListsWaitForEachOther(t *testing.T) {
	s := open(t)
	b := s.signedIn(t, aliceBearer)
	for range maxLists {
		s.lists <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := s.list(ctx, &visitor{}, &page.Table{})
	if status, p := s.explain(err); status != http.StatusServiceUnavailable || p.Title != "The console is busy" {
		t.Errorf("%d, %+v", status, p)
	}
	for range maxLists {
		<-s.lists
	}
	if a := b.get("/"); a.StatusCode != http.StatusOK {
		t.Errorf("afterwards: %s", a.Status)
	}
}

// The page says that a token with scopes does not work where they are not enforced, and of no other token.
func TestCase29_ThePageSaysThatScopesAreNotEnforced(t *testing.T) {
	const says = "Tokens with limited permissions do not work at the moment"
	scoped := []v1alpha1.Scope{{Preset: "read-only"}}
	active := []metav1.Condition{{Type: v1alpha1.ConditionActive, Status: metav1.ConditionTrue}}
	is := func(enforced bool) func() bool { return func() bool { return enforced } }
	for name, tc := range map[string]struct {
		enforced   func() bool
		scopes     []v1alpha1.Scope
		conditions []metav1.Condition
		want       bool
	}{
		"not enforced": {is(false), scoped, active, true}, "enforced": {is(true), scoped, active, false}, "unknown": {nil, scoped, active, false},
		"without scopes": {is(false), nil, active, false}, "not active": {is(false), scoped, nil, false},
	} {
		pat := &v1alpha1.PersonalAccessToken{Spec: v1alpha1.PersonalAccessTokenSpec{Scopes: tc.scopes}, Status: v1alpha1.PersonalAccessTokenStatus{Conditions: tc.conditions}}
		c := &Console{scopesEnforced: tc.enforced, clock: testingclock.NewFakePassiveClock(time.Now())}
		var body strings.Builder
		if err := page.ShowDetails(&body, nil, c.detailsOf(t.Context(), pat, &visitor{})); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(body.String(), says); got != tc.want {
			t.Errorf("%s: it says so: %v", name, got)
		}
	}
}

// The page says of a token with networks where it works, and of no other token.
func TestCase75_ThePageSaysThatATokenWithNetworksNeedsTheProxy(t *testing.T) {
	const (
		says     = "This token works only from the networks below, and only through the proxy of this cluster"
		unknown  = says + ". Ask an administrator for its address."
		proxied  = says + ", at https://pat.example.com."
		operator = "pats"
	)
	active := []metav1.Condition{{Type: v1alpha1.ConditionActive, Status: metav1.ConditionTrue}}
	for name, tc := range map[string]struct {
		from       []string
		conditions []metav1.Condition
		published  bool
		shows      string
		want       string
	}{
		"networks":              {[]string{"192.0.2.0/24"}, active, false, "192.0.2.0/24", unknown},
		"networks, and a proxy": {[]string{"192.0.2.0/24"}, active, true, "192.0.2.0/24", proxied},
		"without networks":      {nil, active, true, "Everywhere", ""},
		"not active":            {[]string{"192.0.2.0/24"}, nil, true, "192.0.2.0/24", ""},
	} {
		pat := &v1alpha1.PersonalAccessToken{Spec: v1alpha1.PersonalAccessTokenSpec{From: tc.from}, Status: v1alpha1.PersonalAccessTokenStatus{Conditions: tc.conditions}}
		c := &Console{clock: testingclock.NewFakePassiveClock(time.Now()), operatorNamespace: operator, cluster: &Cluster{Server: "https://k8s.example.com"}}
		cluster := fake.NewClientBuilder()
		if tc.published {
			cluster.WithObjects(&corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Namespace: operator, Name: proxyconfig.ConfigMapName}, Data: proxyconfig.Config{URL: "https://pat.example.com"}.Data(),
			})
		}
		var body strings.Builder
		if err := page.ShowDetails(&body, nil, c.detailsOf(t.Context(), pat, &visitor{client: cluster.Build()})); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(body.String(), says); got != (tc.want != "") || !strings.Contains(body.String(), tc.want) || !strings.Contains(body.String(), tc.shows) {
			t.Errorf("%s: it says so: %v, it shows %s: %v\n%s", name, got, tc.shows, strings.Contains(body.String(), tc.shows), body.String())
		}
	}
}
