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

package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	ac "github.com/pat-operator/pat-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/long"
)

type spec = v1alpha1.PersonalAccessTokenSpec

// What a user meets who asks for what cannot be, on the real API server: schema, CEL and webhook.
func TestBadInputIsRefusedWithAWayOut(t *testing.T) {
	ns := team(t)
	tomorrow := &metav1.Time{Time: time.Now().AddDate(0, 0, 1)}
	for name, tc := range map[string]struct {
		with func(*v1alpha1.PersonalAccessToken)
		code int32
		says []string
	}{
		"days and date": {func(p *v1alpha1.PersonalAccessToken) {
			p.Spec.ExpiresInDays, p.Spec.ExpiresAt = ptr.To[int32](1), tomorrow
		}, 422, []string{"set at most one of expiresInDays and expiresAt"}},
		"no days":            {func(p *v1alpha1.PersonalAccessToken) { p.Spec.ExpiresInDays = ptr.To[int32](0) }, 422, []string{"spec.expiresInDays", "greater than or equal to 1"}},
		"too many days":      {func(p *v1alpha1.PersonalAccessToken) { p.Spec.ExpiresInDays = ptr.To[int32](400) }, 422, []string{"spec.expiresInDays", "a token lives 366 days at most on this operator; set at most 366"}},
		"delivery and token": {func(p *v1alpha1.PersonalAccessToken) { both(ns, p, tomorrow) }, 422, []string{"set at most one of delivery and token"}},
		"token, no date":     {func(p *v1alpha1.PersonalAccessToken) { both(ns, p, nil); p.Spec.Delivery = nil }, 422, []string{"token requires expiresAt"}},
		"token, generateName": {func(p *v1alpha1.PersonalAccessToken) {
			both(ns, p, tomorrow)
			p.Spec.Delivery = nil
			p.Name, p.GenerateName = "", "x-"
		}, 422, []string{"metadata.generateName cannot be used with spec.token"}},
		"no delivery at all": {func(p *v1alpha1.PersonalAccessToken) { p.Spec.Delivery = &v1alpha1.Delivery{} }, 422, []string{"set exactly one of secret and recipients"}},
		"automatic rotation": {func(p *v1alpha1.PersonalAccessToken) {
			p.Spec.Rotation = &v1alpha1.Rotation{EveryDays: ptr.To[int32](1)}
		}, 422, []string{"spec.rotation.everyDays", "set spec.delivery.recipients, or leave it out"}},
		"rotation on use":          {func(p *v1alpha1.PersonalAccessToken) { p.Spec.Rotation = &v1alpha1.Rotation{RetireOnFirstUse: true} }, 422, []string{"spec.rotation.overlapSeconds", "with retireOnFirstUse"}},
		"a network with host bits": {network("192.0.2.1/24"), 422, noNetwork},
		"an address":               {network("192.0.2.1"), 422, noNetwork},
		"a name for a network":     {network("office"), 422, noNetwork},
		"IPv4 in IPv6":             {network("::ffff:192.0.2.0/120"), 422, noNetwork},
		"a zone":                   {network("fe80::%eth0/64"), 422, noNetwork},
		"another spelling":         {network("2001:DB8::/32"), 422, noNetwork},
		"leading zeros":            {network("192.000.002.0/24"), 422, noNetwork},
		"the same network twice":   {func(p *v1alpha1.PersonalAccessToken) { p.Spec.From = []string{"192.0.2.0/24", "192.0.2.0/24"} }, 422, []string{"spec.from[1]", "Duplicate value"}},
		"an unknown preset":        {func(p *v1alpha1.PersonalAccessToken) { p.Spec.Scopes = []v1alpha1.Scope{{Preset: "read"}} }, 422, []string{"spec.scopes[0].preset", `supported values: "read-only", "namespace-admin", "ci-deploy", "metrics"`}},
		"another API's scope":      {func(p *v1alpha1.PersonalAccessToken) { p.Spec.Scopes = []v1alpha1.Scope{{API: "reports"}} }, 422, []string{"a scope for another API requires audiences that name the API"}},
		"a long name":              {func(p *v1alpha1.PersonalAccessToken) { p.Name = strings.Repeat("x", 64) }, 422, []string{"metadata.name must be at most 63 characters", "spec.displayName"}},
		"a long display name":      {func(p *v1alpha1.PersonalAccessToken) { p.Spec.DisplayName = strings.Repeat("x", 129) }, 422, []string{"spec.displayName", "128"}},
		"a short TTL": {func(p *v1alpha1.PersonalAccessToken) {
			p.Spec.Delivery = &v1alpha1.Delivery{Secret: &v1alpha1.SecretDelivery{TTLSeconds: ptr.To[int32](1)}}
		}, 422, []string{"spec.delivery.secret.ttlSeconds", "60"}},
		"another user": {func(p *v1alpha1.PersonalAccessToken) { p.Spec.User = &v1alpha1.UserInfo{Username: "bob"} }, 403, []string{"spec.user.username", "omit spec.user"}},
		"a service account": {func(p *v1alpha1.PersonalAccessToken) {
			p.Spec.User = &v1alpha1.UserInfo{Username: "system:serviceaccount:default:default"}
		}, 403, []string{"spec.user.username", "service account"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := pat(ns, "my-pat")
			tc.with(p)
			wantStatus(t, alice.Create(t.Context(), p), tc.code, tc.says...)
		})
	}
}

var noNetwork = []string{"spec.from[0]", "must be a network in CIDR notation without host bits, for example 203.0.113.0/24 or 2001:db8::/32"}

func network(text string) func(*v1alpha1.PersonalAccessToken) {
	return func(p *v1alpha1.PersonalAccessToken) { p.Spec.From = []string{text} }
}

func both(ns string, p *v1alpha1.PersonalAccessToken, end *metav1.Time) {
	p.Spec.ExpiresAt = end
	p.Spec.Delivery = &v1alpha1.Delivery{Secret: &v1alpha1.SecretDelivery{}}
	p.Spec.Token = &v1alpha1.HolderToken{ID: strings.Repeat("a", 16), SHA256: strings.Repeat("a", 64), BoundTo: ns + "/my-pat"}
}

// Who may never have a token, at the real API server.
func TestCase06_WhoMayNeverHaveAToken(t *testing.T) {
	ns := team(t)
	for name, with := range map[string]func(*spec){
		"system:masters":   func(s *spec) { s.User = &v1alpha1.UserInfo{Username: "alice", Groups: []string{"system:masters"}} },
		"System:Masters":   func(s *spec) { s.User = &v1alpha1.UserInfo{Username: "alice", Groups: []string{"System:Masters"}} },
		"Cyrillic masters": func(s *spec) { s.User = &v1alpha1.UserInfo{Username: "alice", Groups: []string{"ѕystem:masters"}} },
		"a node": func(s *spec) {
			s.User = &v1alpha1.UserInfo{Username: "system:node:n1", Groups: []string{"system:nodes"}}
		},
		"anonymous":        func(s *spec) { s.User = &v1alpha1.UserInfo{Username: "system:anonymous"} },
		"the API server's": func(s *spec) { s.User = &v1alpha1.UserInfo{Username: "system:apiserver"} },
		"a credential's mark": func(s *spec) {
			s.User = &v1alpha1.UserInfo{Username: "alice", Extra: map[string]v1alpha1.ExtraValue{"authentication.kubernetes.io/node-name": {"n1"}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			wantStatus(t, alice.Create(t.Context(), pat(ns, "my-pat", with)), 403, "spec.user")
		})
	}
	t.Run("a cluster admin's own groups", func(t *testing.T) {
		wantStatus(t, admin.Create(t.Context(), pat(ns, "my-pat")), 403, "spec.user.groups", "system:masters")
	})
	t.Run("a cluster admin without that group", func(t *testing.T) {
		root, err := product.User("root", "system:masters", "sre")
		if err != nil {
			t.Fatal(err)
		}
		plaintext := issued(t, root, pat(ns, "narrow", func(s *spec) { s.User = &v1alpha1.UserInfo{Username: "root", Groups: []string{"sre"}} }))
		if got := accepted(t, plaintext); strings.Contains(strings.Join(got.Groups, ","), "system:masters") {
			t.Errorf("groups %q", got.Groups)
		}
	})
}

// spec.user stays the user that was stamped, whichever way a client tries to change it.
func TestCase05_TheUserCannotBeChanged(t *testing.T) {
	ns := team(t)
	plaintext := issued(t, alice, pat(ns, "my-pat"))
	stamped := get(t, ns, "my-pat").Spec.User
	if stamped.Username != "alice" || strings.Join(stamped.Groups, ",") != "team-devs" {
		t.Fatalf("stamped %+v", stamped)
	}
	for _, u := range []user{alice, bob, {Name: "admin", WithWatch: admin}} {
		t.Run("update by "+u.Name, func(t *testing.T) {
			var err error
			eventually(t, patience, func() bool {
				p := get(t, ns, "my-pat")
				p.Spec.User.Username = "bob"
				err = u.Update(t.Context(), p)
				return !apierrors.IsConflict(err)
			}, func() string { return "conflicts without end" })
			wantStatus(t, err, 403, "spec.user")
		})
		t.Run("JSON patch by "+u.Name, func(t *testing.T) {
			err := u.Patch(t.Context(), pat(ns, "my-pat"), client.RawPatch(types.JSONPatchType, []byte(`[{"op":"replace","path":"/spec/user/username","value":"bob"}]`)))
			wantStatus(t, err, 403, "spec.user")
		})
		t.Run("JSON patch of a group by "+u.Name, func(t *testing.T) {
			err := u.Patch(t.Context(), pat(ns, "my-pat"), client.RawPatch(types.JSONPatchType, []byte(`[{"op":"add","path":"/spec/user/groups/-","value":"ops"}]`)))
			wantStatus(t, err, 403, "spec.user")
		})
		t.Run("server-side apply by "+u.Name, func(t *testing.T) {
			a := ac.PersonalAccessToken("my-pat", ns).WithSpec(ac.PersonalAccessTokenSpec().WithUser(ac.UserInfo().WithUsername("bob")))
			wantStatus(t, u.Apply(t.Context(), a, client.FieldOwner("x"), client.ForceOwnership), 403, "spec.user")
		})
	}
	t.Run("dropped by a PUT", func(t *testing.T) {
		var err error
		eventually(t, patience, func() bool {
			p := get(t, ns, "my-pat")
			p.Spec.User = nil
			p.Spec.DisplayName = "renamed"
			err = alice.Update(t.Context(), p)
			return !apierrors.IsConflict(err)
		}, func() string { return "conflicts without end" })
		if err != nil {
			t.Fatal(err)
		}
		if got := get(t, ns, "my-pat").Spec.User; got == nil || got.Username != "alice" {
			t.Errorf("it is %+v", got)
		}
	})
	t.Run("forged status", func(t *testing.T) {
		a := ac.PersonalAccessToken("my-pat", ns).WithStatus(ac.PersonalAccessTokenStatus().
			WithTokenID("aaaaaaaaaaaaaaaa").WithExpiresAt(metav1.NewTime(time.Now().AddDate(9, 0, 0))))
		for _, c := range []client.Client{bob, admin} {
			wantStatus(t, c.Status().Apply(t.Context(), a, client.FieldOwner("mallory"), client.ForceOwnership), 403, statusPolicy)
		}
		// The operator puts right what gets past the policy.
		if err := as(t, operatorAccount).Status().Apply(t.Context(), a, client.FieldOwner("mallory"), client.ForceOwnership); err != nil {
			t.Fatal(err)
		}
		eventually(t, patience, func() bool { return get(t, ns, "my-pat").Status.TokenID != "aaaaaaaaaaaaaaaa" }, func() string { return "status stays forged" })
	})
	if got := accepted(t, plaintext); got.Username != "alice" {
		t.Errorf("it is %s", got.Username)
	}
}

// Others with every right in the namespace may narrow a token and end it; nobody gives it a longer life.
func TestNarrowingAndEndingNeedOnlyRBAC(t *testing.T) {
	ns := team(t)
	plaintext := issued(t, alice, pat(ns, "my-pat"))
	if err := merge(t, bob, ns, "my-pat", `{"metadata":{"labels":{"reviewed":"yes"}},"spec":{"suspend":true}}`); err != nil {
		t.Errorf("a label, and suspended: %v", err)
	}
	longer := `{"spec":{"expiresInDays":91}}`
	wantStatus(t, merge(t, alice, ns, "my-pat", longer), 403, "spec.expiresInDays")
	wantStatus(t, merge(t, bob, ns, "my-pat", longer), 403, "may not impersonate alice")
	if err := bob.Delete(t.Context(), pat(ns, "my-pat")); err != nil {
		t.Fatal(err)
	}
	refused(t, plaintext)
}

// A manifest renamed or moved by kustomize keeps a digest that could never match.
func TestCase42_ARenamedManifestFailsLoudly(t *testing.T) {
	ns, elsewhere := team(t), team(t)
	_, s := holder(t, ns, "mine", time.Hour)
	wantStatus(t, alice.Create(t.Context(), pat(ns, "prod-mine", s)), 422, "spec.token.boundTo", ns+"/prod-mine")
	wantStatus(t, alice.Create(t.Context(), pat(elsewhere, "mine", s)), 422, "spec.token.boundTo", elsewhere+"/mine")
}

func TestCase09_DryRunMakesNoToken(t *testing.T) {
	ns := team(t)
	if err := alice.Create(t.Context(), pat(ns, "my-pat"), client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	create(t, alice, pat(ns, "real"))
	take(t, alice, ns, "real") // Whatever the first had set going would be done by now.
	var pats v1alpha1.PersonalAccessTokenList
	var records, secrets corev1.SecretList
	if err := admin.List(t.Context(), &pats, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	if err := admin.List(t.Context(), &records, client.InNamespace(cluster.RecordsNamespace), client.MatchingLabels{"pat-operator.io/namespace": ns}); err != nil {
		t.Fatal(err)
	}
	if err := admin.List(t.Context(), &secrets, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	if len(pats.Items) != 1 || len(records.Items) != 1 || len(secrets.Items) != 1 {
		t.Errorf("%d resources, %d records, %d Secrets; want one of each", len(pats.Items), len(records.Items), len(secrets.Items))
	}
}

func TestCase09_GenerateNameConcurrently(t *testing.T) {
	long.Only(t)
	n := 250
	if *soak > 0 {
		n = 1000
	}
	ns := team(t)
	var wg sync.WaitGroup
	work := make(chan int)
	for range 20 {
		wg.Go(func() {
			for range work {
				p := pat(ns, "")
				p.GenerateName = "burst-"
				if err := alice.Create(t.Context(), p); err != nil {
					t.Error(err)
				}
			}
		})
	}
	start := time.Now()
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
	created := time.Since(start)
	all := settled(t, ns, n)
	t.Logf("%d resources created in %v, all active after %v: %.0f tokens a second", n, created, time.Since(start), float64(n)/time.Since(start).Seconds())
	distinct(t, ns, all)
}

// settled waits until every one of n resources is active.
func settled(t *testing.T, ns string, n int) []v1alpha1.PersonalAccessToken {
	t.Helper()
	var pats v1alpha1.PersonalAccessTokenList
	active := 0
	var looked time.Time
	eventually(t, 5*patience, func() bool {
		if time.Since(looked) < 500*time.Millisecond { // a long list is work for everybody
			return false
		}
		looked = time.Now()
		if err := admin.List(t.Context(), &pats, client.InNamespace(ns)); err != nil {
			t.Fatal(err)
		}
		active = 0
		for i := range pats.Items {
			for _, c := range pats.Items[i].Status.Conditions {
				if c.Type == v1alpha1.ConditionActive && c.Status == metav1.ConditionTrue {
					active++
				}
			}
		}
		return active == n && len(pats.Items) == n
	}, func() string { return fmt.Sprintf("%d of %d resources active; want %d", active, len(pats.Items), n) })
	return pats.Items
}

// distinct checks that every resource has one token, one delivery Secret and one record, and shares none.
func distinct(t *testing.T, ns string, pats []v1alpha1.PersonalAccessToken) {
	t.Helper()
	var records, secrets corev1.SecretList
	if err := admin.List(t.Context(), &records, client.InNamespace(cluster.RecordsNamespace), client.MatchingLabels{"pat-operator.io/namespace": ns}); err != nil {
		t.Fatal(err)
	}
	if err := admin.List(t.Context(), &secrets, client.InNamespace(ns), client.MatchingFields{"type": v1alpha1.SecretTypeToken}); err != nil {
		t.Fatal(err)
	}
	plaintexts, ids := map[string]bool{}, map[string]bool{}
	for i := range secrets.Items {
		plaintexts[string(secrets.Items[i].Data["token"])] = true
	}
	for i := range pats {
		ids[pats[i].Status.TokenID] = true
	}
	if n := len(pats); len(records.Items) != n || len(secrets.Items) != n || len(plaintexts) != n || len(ids) != n {
		t.Errorf("%d resources: %d records, %d delivery Secrets, %d plaintexts, %d ids", n, len(records.Items), len(secrets.Items), len(plaintexts), len(ids))
	}
}

// Delivery in Secrets switched off: the permission is not needed, and who needs it is told the way out.
func TestSecretDeliverySwitchedOff(t *testing.T) {
	long.Only(t)
	binding := &rbacv1.ClusterRoleBinding{}
	if err := admin.Get(t.Context(), types.NamespacedName{Name: "pat-operator-secret-delivery"}, binding); err != nil {
		t.Fatal(err)
	}
	if err := admin.Delete(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	restartOperator(t, "--secret-delivery=false")
	defer func() {
		binding.ResourceVersion, binding.UID = "", ""
		create(t, admin, binding)
		restartOperator(t)
	}()
	ns := team(t)
	wantStatus(t, alice.Create(t.Context(), pat(ns, "my-pat")), 422, "spec.delivery", "spec.token")
	plaintext, s := holder(t, ns, "mine", time.Hour)
	create(t, alice, pat(ns, "mine", s))
	waitFor(t, ns, "mine", "Active", "True/Active")
	accepted(t, plaintext)
}
