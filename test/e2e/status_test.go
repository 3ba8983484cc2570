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
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	ac "github.com/pat-operator/pat-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/long"
)

const statusPolicy = "ValidatingAdmissionPolicy 'pat-operator-status'"

// Token IDs that no token of these tests has.
const (
	current     = "aaaaaaaaaaaaaaaa"
	predecessor = "bbbbbbbbbbbbbbbb"
	ofSpec      = "cccccccccccccccc"
	unknown     = "dddddddddddddddd"
)

// pastStatusPolicy merges a patch into status as the operator's account, which the policy does not ask.
func pastStatusPolicy(t *testing.T, ns, name, patch string) {
	t.Helper()
	if err := mergeStatus(t, as(t, operatorAccount), ns, name, patch); err != nil {
		t.Fatal(err)
	}
}

func mergeStatus(t *testing.T, c client.Client, ns, name, patch string, options ...client.SubResourcePatchOption) error {
	t.Helper()
	return c.Status().Patch(t.Context(), pat(ns, name), client.RawPatch(types.MergePatchType, []byte(patch)), options...)
}

// writeStatus puts a status in place of the whole status, past the policy.
func writeStatus(t *testing.T, ns, name string, status map[string]any) {
	t.Helper()
	patch := []byte(toJSON(t, []any{map[string]any{"op": "add", "path": "/status", "value": status}}))
	if err := as(t, operatorAccount).Status().Patch(t.Context(), pat(ns, name), client.RawPatch(types.JSONPatchType, patch)); err != nil {
		t.Fatal(err)
	}
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// helpDesk is a member of the sample's help desk.
func helpDesk(t *testing.T) user {
	t.Helper()
	kubectl(t, cl.AdminKubeconfig, sample(t, "role-help-desk.yaml"), "apply", "-f", "-")
	desk, err := product.User("dana", "help-desk")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, func() bool { return desk.List(t.Context(), &v1alpha1.PersonalAccessTokenList{}) == nil },
		func() string { return "the role does not take effect" })
	return desk
}

// withoutOperator makes a resource that no operator writes to for the rest of the test.
func withoutOperator(t *testing.T, p *v1alpha1.PersonalAccessToken) {
	t.Helper()
	create(t, alice, p)
	waitFor(t, p.Namespace, p.Name, v1alpha1.ConditionActive, "True/Active")
	if err := operator.Stop(); err != nil {
		t.Error(err)
	}
	t.Cleanup(func() { startOperator(t) })
}

// statusSamples are two values of each field of status that its type alone does not give.
var statusSamples = map[string][2]any{
	"conditions": {
		[]any{map[string]any{"type": "Active", "status": "True", "reason": "A", "message": "", "lastTransitionTime": "2027-01-01T00:00:00Z"}},
		[]any{map[string]any{"type": "Active", "status": "False", "reason": "A", "message": "", "lastTransitionTime": "2027-01-01T00:00:00Z"}},
	},
	"deliverySecretName": {"pat-" + current, "pat-" + predecessor},
	"revoked": {
		[]any{map[string]any{"tokenID": current}},
		[]any{map[string]any{"tokenID": current, "reason": "another"}},
	},
}

// statusFields are two values of every field of status, by its JSON name.
func statusFields(t *testing.T) map[string][2]any {
	t.Helper()
	fields := map[string][2]any{}
	for i := range reflect.TypeFor[v1alpha1.PersonalAccessTokenStatus]().NumField() {
		f := reflect.TypeFor[v1alpha1.PersonalAccessTokenStatus]().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		samples, ok := statusSamples[name]
		switch {
		case ok:
		case f.Type == reflect.TypeFor[string]():
			samples = [2]any{current, predecessor}
		case f.Type == reflect.TypeFor[int64]():
			samples = [2]any{1, 2}
		case f.Type == reflect.TypeFor[*metav1.Time]():
			samples = [2]any{"2027-01-01T00:00:00Z", "2027-01-02T00:00:00Z"}
		default:
			t.Fatalf("statusSamples has no values of status.%s", name)
		}
		fields[name] = samples
	}
	return fields
}

// Each account sets, changes and removes each field of status.
func TestCase45_EachFieldOfStatusAsEachAccount(t *testing.T) {
	long.Only(t)
	proxied(t)
	withAPI(t)
	ns, desk := team(t), helpDesk(t)
	withoutOperator(t, pat(ns, "my-pat"))
	accounts := map[string]client.Client{
		"operator": as(t, operatorAccount), "verifier": as(t, verifierAccount), "proxy": as(t, proxyAccount), "API face": as(t, apiAccount), "help desk": desk, "cluster admin": admin,
	}
	may := func(account, field, step string) bool {
		switch account {
		case "operator":
			return true
		case "verifier", "proxy":
			return slices.Contains([]string{"firstUsedAt", "lastUsedAt", "lastUsedFrom"}, field)
		}
		return field == "revoked" && step == "set"
	}
	fields := statusFields(t)
	full := map[string]any{}
	for name, values := range fields {
		full[name] = values[0]
	}
	for field, values := range fields {
		without := maps.Clone(full)
		delete(without, field)
		for _, step := range []struct {
			name   string
			stored map[string]any
			value  any
		}{{"set", without, values[0]}, {"change", full, values[1]}, {"remove", full, nil}, {"keep", full, values[0]}} {
			writeStatus(t, ns, "my-pat", step.stored)
			patch := toJSON(t, map[string]any{"status": map[string]any{field: step.value}})
			for account, c := range accounts {
				t.Run(fmt.Sprintf("%s: %s by %s", field, step.name, account), func(t *testing.T) {
					err := mergeStatus(t, c, ns, "my-pat", patch, client.DryRunAll)
					if !may(account, field, step.name) && step.name != "keep" {
						wantStatus(t, err, 403, statusPolicy, "status."+field)
					} else if err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}

// Everybody else, the API face included, revokes tokens that the resource names, and takes no revocation back.
func TestCase45_RevocationsAreAddedAndStay(t *testing.T) {
	long.Only(t)
	withAPI(t)
	ns, desk := team(t), helpDesk(t)
	_, ofHolder := holder(t, ns, "mine", time.Hour)
	withoutOperator(t, pat(ns, "mine", ofHolder, func(s *spec) { s.Token.ID = ofSpec }))
	const (
		earlier    = `{"tokenID":"` + predecessor + `","at":"2027-01-01T00:00:00Z","by":"erin","reason":"lost"}`
		isEarlier  = "an earlier entry is changed or missing"
		isForeign  = "names no token " + unknown
		isInBy     = `an entry names another user in "by"`
		isNotClear = `write "at" in UTC`
	)
	entry := func(id string) string { return fmt.Sprintf(`{"tokenID":%q}`, id) }
	merged := func(entries ...string) client.Patch {
		return client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"status":{"revoked":[%s]}}`, strings.Join(entries, ",")))
	}
	jsonPatch := func(op, path, value string) client.Patch {
		return client.RawPatch(types.JSONPatchType, fmt.Appendf(nil, `[{"op":%q,"path":"/status/revoked%s","value":%s}]`, op, path, value))
	}
	raw := func(patch string) client.Patch { return client.RawPatch(types.MergePatchType, []byte(patch)) }
	people := map[string]client.Client{"dana": desk, "admin": admin, apiAccount: as(t, apiAccount)}
	stored := map[string]any{"observedGeneration": 1, "tokenID": current, "previousTokenID": predecessor}
	for _, tc := range []struct {
		name  string
		patch client.Patch
		says  string
	}{
		{"the current token", merged(entry(current)), ""},
		{"its predecessor", merged(entry(predecessor)), ""},
		{"the token of spec", merged(entry(ofSpec)), ""},
		{"each of them", merged(entry(current), entry(predecessor), entry(ofSpec)), ""},
		{"in full", merged(`{"tokenID":"` + current + `","at":"2027-01-31T12:00:00Z","by":"@me","reason":"lost"}`), ""},
		{"by JSON patch", jsonPatch("add", "", "["+entry(current)+"]"), ""},
		{"a foreign token", merged(entry(unknown)), isForeign},
		{"a foreign token and one of its own", merged(entry(current), entry(unknown)), isForeign},
		{"a foreign token by JSON patch", jsonPatch("add", "", "["+entry(unknown)+"]"), isForeign},
		{"in another's name", merged(`{"tokenID":"` + current + `","by":"erin"}`), isInBy},
		{"in nobody's name", merged(`{"tokenID":"` + current + `","by":""}`), isInBy},
		{"at a time with an offset", merged(`{"tokenID":"` + current + `","at":"2027-01-31T12:00:00+02:00"}`), isNotClear},
		{"at a fraction of a second", merged(`{"tokenID":"` + current + `","at":"2027-01-31T12:00:00.5Z"}`), isNotClear},
		{"with an empty reason", merged(`{"tokenID":"` + current + `","reason":""}`), isNotClear},
		{"with another field of status", raw(`{"status":{"tokenID":"` + unknown + `","revoked":[` + entry(current) + `]}}`), "status.tokenID: only pat-operator writes this field"},
	} {
		each(t, people, tc.name, func(t *testing.T, c client.Client, name string) {
			writeStatus(t, ns, "mine", stored)
			wantRefusal(t, patchStatusAs(t, c, name, ns, "mine", tc.patch), tc.says)
		})
	}
	withEarlier := maps.Clone(stored)
	withEarlier["revoked"] = []any{json.RawMessage(earlier)}
	for _, tc := range []struct {
		name  string
		patch client.Patch
		says  string
	}{
		{"kept, and one more", merged(earlier, entry(current)), ""},
		{"kept, in another order", merged(entry(current), earlier), ""},
		{"kept by JSON patch", jsonPatch("add", "/-", entry(current)), ""},
		{"removed", raw(`{"status":{"revoked":null}}`), isEarlier},
		{"removed with all of status", raw(`{"status":null}`), "status."},
		{"emptied", merged(), isEarlier},
		{"removed by JSON patch", jsonPatch("remove", "/0", "null"), isEarlier},
		{"another in its place", merged(entry(current)), isEarlier},
		{"without its time", merged(`{"tokenID":"` + predecessor + `","by":"erin","reason":"lost"}`), isEarlier},
		{"another reason", jsonPatch("replace", "/0/reason", `"found"`), isEarlier},
		{"one's own name", jsonPatch("replace", "/0/by", `"@me"`), isEarlier},
		{"another token", jsonPatch("replace", "/0/tokenID", `"`+current+`"`), isEarlier},
	} {
		each(t, people, "an earlier entry: "+tc.name, func(t *testing.T, c client.Client, name string) {
			writeStatus(t, ns, "mine", withEarlier)
			wantRefusal(t, patchStatusAs(t, c, name, ns, "mine", tc.patch), tc.says)
		})
	}
	writeStatus(t, ns, "mine", withEarlier)
	for name, tc := range map[string]struct {
		status *ac.PersonalAccessTokenStatusApplyConfiguration
		says   string
	}{
		"one more":       {ac.PersonalAccessTokenStatus().WithRevoked(ac.RevokedToken().WithTokenID(current)), ""},
		"a foreign one":  {ac.PersonalAccessTokenStatus().WithRevoked(ac.RevokedToken().WithTokenID(unknown)), isForeign},
		"an earlier one": {ac.PersonalAccessTokenStatus().WithRevoked(ac.RevokedToken().WithTokenID(predecessor).WithReason("found")), isEarlier},
		"another field":  {ac.PersonalAccessTokenStatus().WithTokenID(unknown), "status.tokenID"},
		"the same value": {ac.PersonalAccessTokenStatus().WithTokenID(current), ""},
	} {
		t.Run("server-side apply: "+name, func(t *testing.T) {
			a := ac.PersonalAccessToken("mine", ns).WithStatus(tc.status)
			wantRefusal(t, desk.Status().Apply(t.Context(), a, client.FieldOwner("dana"), client.ForceOwnership, client.DryRunAll), tc.says)
		})
	}
	t.Run("in the largest status", func(t *testing.T) {
		large := maps.Clone(withEarlier)
		conditions := make([]any, 16)
		for i := range conditions {
			conditions[i] = map[string]any{
				"type": fmt.Sprintf("T%d", i), "status": "True", "reason": "A", "message": strings.Repeat("x", 32768), "lastTransitionTime": "2027-01-01T00:00:00Z",
			}
		}
		large["conditions"], large["encryptedToken"] = conditions, strings.Repeat("x", 65536)
		writeStatus(t, ns, "mine", large)
		wantRefusal(t, desk.Status().Patch(t.Context(), pat(ns, "mine"), merged(earlier, entry(current)), client.DryRunAll), "")
		wantRefusal(t, desk.Status().Patch(t.Context(), pat(ns, "mine"), merged(), client.DryRunAll), isEarlier)
	})
	t.Run("an update that changes nothing", func(t *testing.T) {
		if err := admin.Status().Update(t.Context(), get(t, ns, "mine")); err != nil {
			t.Error(err)
		}
	})
}

// each runs a test as each of some people.
func each(t *testing.T, people map[string]client.Client, name string, test func(t *testing.T, c client.Client, name string)) {
	t.Helper()
	for who, c := range people {
		t.Run(name+" by "+who, func(t *testing.T) { test(t, c, who) })
	}
}

// patchStatusAs sends a patch where @me is the requester's name.
func patchStatusAs(t *testing.T, c client.Client, name, ns, resource string, patch client.Patch) error {
	t.Helper()
	raw, err := patch.Data(nil)
	if err != nil {
		t.Fatal(err)
	}
	patch = client.RawPatch(patch.Type(), []byte(strings.ReplaceAll(string(raw), "@me", name)))
	return c.Status().Patch(t.Context(), pat(ns, resource), patch, client.DryRunAll)
}

// wantRefusal expects the policy to refuse with a text, or "" for none.
func wantRefusal(t *testing.T, err error, says string) {
	t.Helper()
	if says != "" {
		wantStatus(t, err, 403, statusPolicy, says)
	} else if err != nil {
		t.Error(err)
	}
}

// A thief of a token keeps taking a revocation back, while the operator and the verifier go away and come back.
func TestCase44_NobodyTakesARevocationBack(t *testing.T) {
	long.Only(t)
	ns, desk := team(t), helpDesk(t)
	stolen := issued(t, alice, pat(ns, "stolen"))
	another := issued(t, alice, pat(ns, "another"))
	thief := bearer(t, another)
	accepted(t, stolen)
	accepted(t, another)
	if err := operator.Stop(); err != nil {
		t.Error(err)
	}
	if err := desk.Status().Patch(t.Context(), pat(ns, "stolen"), revocation(t, ns, "stolen")); err != nil {
		t.Fatal(err)
	}
	const takenBack = `{"status":{"revoked":null}}`
	wantStatus(t, mergeStatus(t, thief, ns, "stolen", takenBack), 403, statusPolicy, "a revoked token stays revoked")

	// From here on as the token's user by certificate, whom kube-apiserver knows without a verifier.
	ctx, stop := context.WithCancel(t.Context())
	var attack sync.WaitGroup
	sent := 0
	attack.Go(func() {
		for ctx.Err() == nil {
			patch := client.RawPatch(types.MergePatchType, []byte(takenBack))
			switch err := alice.Status().Patch(ctx, pat(ns, "stolen"), patch); {
			case err == nil:
				t.Error("the revocation is taken back")
				return
			case apierrors.IsForbidden(err):
				sent++
			case ctx.Err() == nil:
				t.Logf("neither taken back nor refused: %v", err) // a busy machine
			}
		}
	})
	defer attack.Wait()
	defer stop()
	refused(t, stolen)
	restartVerifier(t)
	refused(t, stolen)
	startOperator(t)
	waitFor(t, ns, "stolen", v1alpha1.ConditionActive, "False/Revoked")
	restartVerifier(t)
	refused(t, stolen)
	stop()
	attack.Wait()
	if t.Logf("refused %d times", sent); sent == 0 {
		t.Error("nobody tried to take it back")
	}
	if got := get(t, ns, "stolen").Status.Revoked; len(got) != 1 {
		t.Errorf("status.revoked is %v", got)
	}
}

// A thief of a token takes revocations back and changes annotations, as often as the API server lets them, while the help
// desk revokes: the record has the revocation, and the operator its lease.
func TestCase44_AThiefAtFullSpeed(t *testing.T) {
	long.Only(t)
	ns, desk := team(t), helpDesk(t)
	rates := []int{125}
	if *soak > 0 {
		rates = append(rates, 500)
	}
	for _, rate := range rates {
		t.Run(fmt.Sprintf("%d a second", rate), func(t *testing.T) {
			name := fmt.Sprintf("stolen-%d", rate)
			stolen := issued(t, alice, pat(ns, name))
			accepted(t, stolen)
			id := get(t, ns, name).Status.TokenID
			led := leadership(t)
			forgets, stopForgetting := attack(t, rate, func(ctx context.Context, _ int) error {
				err := alice.Status().Patch(ctx, pat(ns, name), client.RawPatch(types.MergePatchType, []byte(`{"status":{"revoked":null}}`)))
				if apierrors.IsForbidden(err) {
					return nil
				}
				return err // None: there is nothing to take back yet.
			})
			annotates, stopAnnotating := attack(t, 125, func(ctx context.Context, i int) error {
				patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"example.com/noise":"%d"}}}`, i)
				return alice.Patch(ctx, pat(ns, name), client.RawPatch(types.MergePatchType, patch))
			})
			underWay := func(more int) {
				t.Helper()
				until := min(forgets(), annotates()) + more
				eventually(t, 3*patience, func() bool { return min(forgets(), annotates()) >= until }, func() string { return "the attack is over" })
			}
			underWay(100)
			if err := desk.Status().Patch(t.Context(), pat(ns, name), revocation(t, ns, name)); err != nil {
				t.Fatal(err)
			}
			recorded := func() bool {
				end := recordOf(t, ns, name).EndOf(id)
				return end != nil && end.Reason == record.EndedRevoked
			}
			eventually(t, patience, recorded, func() string { return fmt.Sprintf("the record is %+v", recordOf(t, ns, name)) })
			underWay(100)
			if *soak > 0 {
				until := time.Now().Add(*soak / 30)
				eventually(t, *soak, func() bool {
					if !recorded() || leadership(t) != led {
						t.Fatalf("recorded: %v; the lease is of %s, was of %s", recorded(), leadership(t), led)
					}
					return time.Now().After(until)
				}, func() string { return "time stands still" })
				restartVerifier(t)
				refused(t, stolen)
			}
			if now := leadership(t); now != led {
				t.Errorf("the lease is of %s, was of %s", now, led)
			}
			if *soak > 0 {
				restartOperator(t)
				restartVerifier(t)
				refused(t, stolen)
			}
			t.Logf("%d patches of status and %d of an annotation", forgets(), annotates())
			stopForgetting()
			stopAnnotating()
			waitFor(t, ns, name, v1alpha1.ConditionActive, "False/Revoked")
			if !recorded() {
				t.Errorf("the record is %+v", recordOf(t, ns, name))
			}
		})
	}
}

// leadership names who holds the operator's lease, and since when.
func leadership(t *testing.T) string {
	t.Helper()
	lease := &coordinationv1.Lease{}
	if err := admin.Get(t.Context(), types.NamespacedName{Namespace: cluster.OperatorNamespace, Name: "pat-operator"}, lease); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s since %v", ptr.Deref(lease.Spec.HolderIdentity, ""), lease.Spec.AcquireTime)
}

// attack calls do rate times a second, or as often as the API server lets it, until stop is called. count returns the
// number of calls.
func attack(t *testing.T, rate int, do func(ctx context.Context, i int) error) (count func() int, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var attackers sync.WaitGroup
	var done atomic.Int64
	due := make(chan int)
	for range 8 {
		attackers.Go(func() {
			for i := range due {
				if err := do(ctx, i); err != nil && ctx.Err() == nil {
					t.Errorf("the attack fails: %v", err)
					cancel()
				}
				done.Add(1)
			}
		})
	}
	attackers.Go(func() {
		defer close(due)
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			select {
			case <-ctx.Done():
				return
			case due <- i:
			}
		}
	})
	stop = func() {
		cancel()
		attackers.Wait()
	}
	t.Cleanup(stop)
	return func() int { return int(done.Load()) }, stop
}

// A backup tool that is cluster-admin makes a resource again and writes the status that it has saved, as Velero does with
// --status-include-resources.
func TestCase46_ARestoreOfASavedStatusIsRefused(t *testing.T) {
	ns := team(t)
	old := issued(t, alice, pat(ns, "my-pat"))
	saved := get(t, ns, "my-pat")
	_, velero := account(t, ns, "velero")
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "velero-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: "velero", Namespace: ns}},
	}
	create(t, admin, binding)
	t.Cleanup(func() {
		if err := admin.Delete(context.Background(), binding); err != nil {
			t.Error(err)
		}
	})
	if err := admin.Delete(t.Context(), saved.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	restored := &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "my-pat"}, Spec: saved.Spec}
	eventually(t, patience, func() bool { return velero.Create(t.Context(), restored) == nil }, func() string { return "it cannot be restored" })
	var err error
	eventually(t, patience, func() bool {
		again := get(t, ns, "my-pat") // The operator writes status, too.
		again.Status = saved.Status
		err = velero.Status().Update(t.Context(), again)
		return !apierrors.IsConflict(err)
	}, func() string { return "conflicts without end" })
	wantStatus(t, err, 403, statusPolicy, "Leave status out of what you apply or restore")
	accepted(t, take(t, alice, ns, "my-pat"))
	refused(t, old)
}
