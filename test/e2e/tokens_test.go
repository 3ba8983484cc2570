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
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// holder makes a token on the holder's machine and the spec that declares it.
func holder(t *testing.T, namespace, name string, life time.Duration) (plaintext string, spec func(*v1alpha1.PersonalAccessTokenSpec)) {
	t.Helper()
	id, plaintext, err := token.New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return plaintext, func(s *v1alpha1.PersonalAccessTokenSpec) {
		s.ExpiresAt = &metav1.Time{Time: time.Now().Add(life).Truncate(time.Second)}
		s.Token = &v1alpha1.HolderToken{ID: id, SHA256: token.NewDigest(namespace, name, plaintext).Hex(), BoundTo: namespace + "/" + name}
	}
}

func TestATokenActsAsItsUser(t *testing.T) {
	ns, elsewhere := team(t), team(t)
	if err := admin.Delete(t.Context(), roleBinding(elsewhere)); err != nil {
		t.Fatal(err)
	}
	plaintext := issued(t, alice, pat(ns, "my-pat"))
	info := accepted(t, plaintext)
	id, err := token.Parse(plaintext)
	if err != nil {
		t.Fatal(err)
	}
	if info.Username != "alice" || strings.Join(info.Groups, ",") != "team-devs,system:authenticated" {
		t.Errorf("it is %s in %q", info.Username, info.Groups)
	}
	if got := info.Extra["authentication.kubernetes.io/credential-id"]; len(got) != 1 || got[0] != "PAT="+id {
		t.Errorf("credential-id %q", got)
	}
	if got := info.Extra["pat-operator.io/name"]; len(got) != 1 || got[0] != ns+"/my-pat" {
		t.Errorf("name %q", got)
	}
	c := bearer(t, plaintext)
	if err := c.List(t.Context(), &corev1.PodList{}, client.InNamespace(ns)); err != nil {
		t.Error(err)
	}
	if err := c.List(t.Context(), &corev1.PodList{}, client.InNamespace(elsewhere)); !apierrors.IsForbidden(err) {
		t.Errorf("in another namespace: %v", err)
	}
}

func TestTheHoldersOwnTokenWorks(t *testing.T) {
	ns := team(t)
	plaintext, spec := holder(t, ns, "mine", time.Hour)
	create(t, alice, pat(ns, "mine", spec))
	waitFor(t, ns, "mine", "Active", "True/Active")
	if got := accepted(t, plaintext); got.Username != "alice" {
		t.Errorf("it is %s", got.Username)
	}
	if p := get(t, ns, "mine"); p.Status.DeliverySecretName != "" {
		t.Errorf("delivered in %s", p.Status.DeliverySecretName)
	}
}

func TestSuspendAndResume(t *testing.T) {
	t.Parallel()
	ns := team(t)
	plaintext := issued(t, alice, pat(ns, "my-pat"))
	accepted(t, plaintext)
	kubectl(t, alice.Kubeconfig, "", "-n", ns, "patch", "pat", "my-pat", "--type=merge", "-p", `{"spec":{"suspend":true}}`)
	t.Logf("refused %v after it was suspended", refused(t, plaintext))
	waitFor(t, ns, "my-pat", "Active", "False/Suspended")
	kubectl(t, alice.Kubeconfig, "", "-n", ns, "patch", "pat", "my-pat", "--type=merge", "-p", `{"spec":{"suspend":false}}`)
	accepted(t, plaintext)
}

// Through a real kube-apiserver: nothing that is not a token authenticates.
func TestCase12_GarbageIsRefused(t *testing.T) {
	ns := team(t)
	plaintext := issued(t, alice, pat(ns, "my-pat"))
	accepted(t, plaintext)
	for name, s := range map[string]string{
		"truncated":        plaintext[:len(plaintext)-1],
		"last byte":        plaintext[:len(plaintext)-1] + "!",
		"upper case":       strings.ToUpper(plaintext),
		"another secret":   another(t, plaintext),
		"a NUL":            plaintext + "\x00",
		"a look-alike":     strings.Replace(plaintext, "a", "\u0430", 1),
		"only the prefix":  token.Prefix,
		"the id":           plaintext[:24],
		"another issuer's": "ghp_0123456789abcdefghijklmnopqrstuvwxyz",
		"10 KiB of prefix": strings.Repeat(token.Prefix, 1300),
	} {
		if got := review(t, s); got.Authenticated {
			t.Errorf("%s: authenticated as %s", name, got.User.Username)
		}
	}
	if got := review(t, plaintext); !got.Authenticated {
		t.Errorf("the token itself is refused: %s", got.Error)
	}
}

// another is the token with the secret of another one, so that id and secret do not go together.
func another(t *testing.T, plaintext string) string {
	t.Helper()
	_, made, err := token.New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	secret := len(token.Prefix) + token.IDLength
	return plaintext[:secret] + made[secret:]
}

// The controller is not running (another holds its lease), the clock passes expiry: the verifier refuses at that
// second, kube-apiserver within what it remembers.
func TestCase14_ExpiryNeedsNoController(t *testing.T) {
	long.Only(t)
	ns := team(t)
	var name, plaintext string
	var end time.Time
	ended := func() bool { return !time.Now().Before(end) }
	for life := 8 * time.Second; ; life *= 4 { // until it is in use when the operator is killed, at any speed
		name = fmt.Sprintf("lives-%.0fs", life.Seconds())
		var spec func(*v1alpha1.PersonalAccessTokenSpec)
		plaintext, spec = holder(t, ns, name, life)
		p := pat(ns, name, spec)
		end = p.Spec.ExpiresAt.Time
		create(t, alice, p)
		c, err := bearer(t, plaintext), error(nil)
		eventually(t, patience, func() bool { _, err = env.WhoIs(t.Context(), c); return ended() || err == nil },
			func() string { return fmt.Sprint("the token does not work: ", err) })
		eventually(t, patience, func() bool { return ended() || env.Condition(get(t, ns, name), "Active") == "True/Active" },
			func() string { return "the token does not become active" })
		operator.Kill() // asked to end, it would give the lease away
		if !ended() {
			break
		}
		startOperator(t)
	}
	holdLease(t)
	startOperator(t)
	defer func() {
		releaseLease(t)
		waitFor(t, ns, name, "Active", "False/Expired")
	}()
	eventually(t, time.Hour, func() bool { return time.Now().After(end) }, func() string { return "the clock stands still" })
	if got := directReview(t, plaintext); got.Authenticated || got.Error != "" {
		t.Errorf("the verifier after the expiry: %+v; want a plain no", got)
	}
	t.Logf("kube-apiserver refuses it %v after its second", refused(t, plaintext))
	for _, c := range get(t, ns, name).Status.Conditions {
		if c.Type == "Active" && c.Reason == "Expired" {
			t.Error("the controller has run, so this test shows nothing")
		}
	}
}

// holdLease makes another process the leader for the rest of the test.
func holdLease(t *testing.T) {
	t.Helper()
	lease := &coordinationv1.Lease{}
	key := types.NamespacedName{Namespace: cluster.OperatorNamespace, Name: "pat-operator"}
	eventually(t, patience, func() bool {
		if err := admin.Get(t.Context(), key, lease); err != nil {
			t.Fatal(err)
		}
		lease.Spec.HolderIdentity = ptr.To("another-process")
		lease.Spec.LeaseDurationSeconds = ptr.To[int32](3600)
		lease.Spec.RenewTime = &metav1.MicroTime{Time: time.Now().Add(time.Hour)}
		return admin.Update(t.Context(), lease) == nil
	}, func() string { return "the lease cannot be taken" })
}

func releaseLease(t *testing.T) {
	t.Helper()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.OperatorNamespace, Name: "pat-operator"}}
	if err := admin.Delete(t.Context(), lease); err != nil {
		t.Error(err)
	}
}

// The first use may come right after creation, before anything has settled: it is never remembered as a no.
func TestCase15_FirstUseIsNeverPoisoned(t *testing.T) {
	long.Only(t)
	ns := team(t)
	var worst time.Duration
	for i := range 20 {
		name := fmt.Sprintf("mine-%d", i)
		plaintext, spec := holder(t, ns, name, time.Hour)
		c := bearer(t, plaintext)
		if _, err := env.WhoIs(t.Context(), c); !apierrors.IsUnauthorized(err) {
			t.Fatalf("before it exists: %v", err)
		}
		create(t, alice, pat(ns, name, spec))
		took := eventually(t, patience, func() bool { return directReview(t, plaintext).Authenticated }, func() string { return "the verifier does not know it" })
		if _, err := env.WhoIs(t.Context(), c); err != nil {
			t.Errorf("a token used a moment too early stays refused: %v", err)
		}
		worst = max(worst, took)
	}
	t.Logf("the slowest of 20 worked %v after it was created", worst)
}

// The kinds of no, as kube-apiserver passes them on.
func TestCase15_KindsOfNo(t *testing.T) {
	ns := team(t)
	plaintext := issued(t, alice, pat(ns, "my-pat"))
	accepted(t, plaintext)
	unknown, _ := holder(t, ns, "never", time.Hour)
	for name, tc := range map[string]struct {
		token     string
		audiences []string
		yes, err  bool
	}{
		"garbage":                       {token: "kubepat_garbage"},
		"unknown":                       {token: unknown, err: true},
		"unknown, audiences of its own": {token: unknown, audiences: []string{"vendor"}, err: true},
		"wrong audience":                {token: plaintext, audiences: []string{"vendor"}},
		"right":                         {token: plaintext, yes: true},
	} {
		got := review(t, tc.token, tc.audiences...)
		// kube-apiserver adds the errors of its other authenticators, which know none of these tokens.
		if got.Authenticated != tc.yes || strings.Contains(got.Error, "cannot be verified at the moment") != tc.err {
			t.Errorf("%s: authenticated %v, error %q; want %v, an error of ours %v", name, got.Authenticated, got.Error, tc.yes, tc.err)
		}
	}
	if got := review(t, plaintext).Audiences; len(got) == 0 {
		t.Error("a yes without audiences")
	}
}

func TestCase15_DeletedIsRefusedWithinTheBound(t *testing.T) {
	t.Parallel()
	ns := team(t)
	plaintext := issued(t, alice, pat(ns, "my-pat"))
	accepted(t, plaintext)
	if err := alice.Delete(t.Context(), pat(ns, "my-pat")); err != nil {
		t.Fatal(err)
	}
	took := within(t, 5*time.Second, func() bool { return !directReview(t, plaintext).Authenticated }, "the verifier still takes the token")
	t.Logf("after the deletion, the verifier refuses within %v, kube-apiserver within %v", took, took+refused(t, plaintext))
}

func TestCase26_WrongAudience(t *testing.T) {
	ns := team(t)
	plaintext := issued(t, alice, pat(ns, "vendor", func(s *v1alpha1.PersonalAccessTokenSpec) { s.Audiences = []string{"vendor"} }))
	eventually(t, patience, func() bool { return directReview(t, plaintext, "vendor").Authenticated }, func() string { return "the verifier does not know it" })
	if got := review(t, plaintext, "vendor", "other"); !got.Authenticated || len(got.Audiences) != 1 || got.Audiences[0] != "vendor" {
		t.Errorf("for vendor: %+v", got)
	}
	if _, err := env.WhoIs(t.Context(), bearer(t, plaintext)); !apierrors.IsUnauthorized(err) {
		t.Errorf("for the API server, whose audience it lacks: %v", err)
	}
	if got := review(t, plaintext); got.Authenticated {
		t.Errorf("a TokenReview for the API server: %+v", got)
	}
	scoped := issued(t, alice, pat(ns, "scoped-vendor", func(s *v1alpha1.PersonalAccessTokenSpec) {
		s.Audiences, s.Scopes = []string{"vendor"}, []v1alpha1.Scope{{Preset: "read-only"}}
	}))
	eventually(t, patience, func() bool { return directReview(t, scoped, "vendor").Authenticated }, func() string { return "the verifier does not know the scoped one" })
	client := face(t)
	for _, path := range []string{"", "/scoped"} {
		for _, bearer := range []string{plaintext, scoped} {
			for _, tc := range []struct {
				audiences []string
				want      bool
			}{{[]string{"vendor"}, true}, {[]string{"other", "vendor"}, true}, {[]string{"other"}, false}, {nil, false}, {[]string{""}, false}, {[]string{"Vendor"}, false}, {[]string{"vendor/"}, false}} {
				status, err := env.Review(t.Context(), client, cl.TokenReviewURL()+path, bearer, tc.audiences...)
				if err != nil || status.Authenticated != tc.want {
					t.Errorf("/authenticate%s, scoped %t, for %q: %+v, %v", path, bearer == scoped, tc.audiences, status, err)
				}
			}
		}
	}
}

// Bob copies what alice's manifest shows, before and after hers is there, and deletes his again: she notices nothing.
func TestCase11_ACopiedDigestNeverMatches(t *testing.T) {
	for name, before := range map[string]bool{"bob first": true, "alice first": false} {
		t.Run(name, func(t *testing.T) {
			ns, theirs := team(t), team(t)
			plaintext, spec := holder(t, ns, "mine", time.Hour)
			copied := pat(theirs, "mine", spec, func(s *v1alpha1.PersonalAccessTokenSpec) { s.Token.BoundTo = theirs + "/mine" })
			copied2 := pat(ns, "squat", spec, func(s *v1alpha1.PersonalAccessTokenSpec) { s.Token.BoundTo = ns + "/squat" })
			squat := func() {
				for _, p := range []*v1alpha1.PersonalAccessToken{copied, copied2} {
					create(t, bob, p)
					waitFor(t, p.Namespace, p.Name, "Active", "True/Active")
				}
			}
			if before {
				squat()
				if got := directReview(t, plaintext); got.Authenticated {
					t.Fatalf("bob's copy authenticates as %s", got.User.Username)
				}
			}
			create(t, alice, pat(ns, "mine", spec))
			waitFor(t, ns, "mine", "Active", "True/Active")
			if !before {
				squat()
			}
			if got := accepted(t, plaintext); got.Username != "alice" {
				t.Errorf("it is %s", got.Username)
			}
			for _, p := range []*v1alpha1.PersonalAccessToken{copied, copied2} {
				if err := bob.Delete(t.Context(), p); err != nil {
					t.Fatal(err)
				}
			}
			for range 5 {
				if got := directReview(t, plaintext); !got.Authenticated || got.User.Username != "alice" {
					t.Errorf("after bob deleted his: %+v", got)
				}
			}
		})
	}
}
