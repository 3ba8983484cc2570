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

package admission_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/admission"
	"github.com/pat-operator/pat-operator/internal/audit"
)

const (
	aliceInfo = `{"username": "alice", "uid": "u-1", "groups": ["ops", "devs", "ops", "system:authenticated"], "extra": {"example.com/a": ["b"]}}`
	bobInfo   = `{"username": "bob", "groups": ["system:authenticated"]}`
	stamped   = `{"username":"alice","uid":"u-1","groups":["ops","devs"]}`
)

func handlers(t *testing.T, cfg admission.Config) map[string]http.Handler {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	h, err := admission.Handlers(cfg, scheme)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// object in a review: what kube-apiserver sends, with spec as it stands.
func manifest(spec string) string {
	if spec == "" {
		return "null"
	}
	return fmt.Sprintf(`{"apiVersion": "pat-operator.io/v1alpha1", "kind": "PersonalAccessToken", "metadata": {"name": "ci", "namespace": "team-a"}, "spec": %s}`, spec)
}

func review(operation, userInfo, oldSpec, spec string, dryRun bool) string {
	return fmt.Sprintf(`{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "r-1",
		"resource": {"group": "pat-operator.io", "version": "v1alpha1", "resource": "personalaccesstokens"},
		"name": "ci", "namespace": "team-a", "operation": %q, "userInfo": %s, "object": %s, "oldObject": %s, "dryRun": %v}}`,
		operation, userInfo, manifest(spec), manifest(oldSpec), dryRun)
}

func post(t *testing.T, h http.Handler, body string) *admissionv1.AdmissionResponse {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/?timeout=5s", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var answer admissionv1.AdmissionReview
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Response == nil {
		t.Fatalf("no answer: %v: %s", err, w.Body)
	}
	if answer.Response.UID != "r-1" {
		t.Errorf("the answer is for another request: %q", answer.Response.UID)
	}
	return answer.Response
}

func TestDefaulterPatchesOnlyTheUser(t *testing.T) {
	h := handlers(t, config)[admission.MutatePath]
	const old = `{"user": {"username": "alice", "uid": "u-1", "groups": ["devs"], "extra": {"k": ["v"]}}}`
	for _, tc := range []struct {
		name, operation, by string
		old, spec           string
		want                string
	}{
		{name: "stamped", operation: "CREATE", by: aliceInfo, spec: `{}`, want: `[{"op":"add","path":"/spec/user","value":` + stamped + `}]`},
		{name: "null", operation: "CREATE", by: aliceInfo, spec: `{"user": null}`, want: `[{"op":"replace","path":"/spec/user","value":` + stamped + `}]`},
		{
			name: "what the user wrote is unchanged", operation: "CREATE", by: aliceInfo,
			spec: `{"expiresAt": "2026-12-24T18:00:00.5+01:00", "audiences": [], "suspend": false, "displayName": "", "later": {"a": 1.0}}`,
			want: `[{"op":"add","path":"/spec/user","value":` + stamped + `}]`,
		},
		{name: "named", operation: "CREATE", by: aliceInfo, spec: `{"user": {"username": "bob"}}`},
		{name: "named in part", operation: "CREATE", by: aliceInfo, spec: `{"user": {}}`},
		{name: "named by a string", operation: "CREATE", by: aliceInfo, spec: `{"user": "alice"}`},
		{name: "spec is a list", operation: "CREATE", by: aliceInfo, spec: `[]`},
		{name: "spec is null", operation: "CREATE", by: aliceInfo, spec: `null`},
		{name: "a service account has to be named", operation: "CREATE", by: `{"username": "system:serviceaccount:team-a:ci"}`, spec: `{}`},
		{name: "complete", operation: "UPDATE", by: bobInfo, old: old, spec: old},
		{
			name: "dropped by a PUT", operation: "UPDATE", by: bobInfo, old: old, spec: `{"suspend": true}`,
			want: `[{"op":"add","path":"/spec/user","value":{"extra":{"k":["v"]},"groups":["devs"],"uid":"u-1","username":"alice"}}]`,
		},
		{
			name: "dropped in part", operation: "UPDATE", by: bobInfo, old: old, spec: `{"user": {"username": "alice", "groups": null}}`,
			want: `[{"op":"replace","path":"/spec/user","value":{"extra":{"k":["v"]},"groups":["devs"],"uid":"u-1","username":"alice"}}]`,
		},
		{
			name: "what is there stays, changed or empty", operation: "UPDATE", by: bobInfo, old: old, spec: `{"user": {"username": "bob", "groups": []}}`,
			want: `[{"op":"replace","path":"/spec/user","value":{"extra":{"k":["v"]},"groups":[],"uid":"u-1","username":"bob"}}]`,
		},
		{name: "nobody's stays nobody's", operation: "UPDATE", by: bobInfo, old: `{}`, spec: `{"suspend": true}`},
		{name: "no object any more", operation: "UPDATE", by: bobInfo, old: old, spec: `{"user": 1}`},
		{name: "without spec", operation: "UPDATE", by: bobInfo, old: old, spec: `null`},
		{
			name: "a service account", operation: "CREATE", by: bobInfo, spec: `{"user": {"username": "` + ci + `"}}`,
			want: `[{"op":"replace","path":"/spec/user","value":{"groups":["system:serviceaccounts","system:serviceaccounts:team-a"],"uid":"sa-1","username":"` + ci + `"}}]`,
		},
		{
			name: "a service account, with a uid", operation: "CREATE", by: bobInfo, spec: `{"user": {"username": "` + ci + `", "uid": "x", "groups": null}}`,
			want: `[{"op":"replace","path":"/spec/user","value":{"groups":["system:serviceaccounts","system:serviceaccounts:team-a"],"uid":"x","username":"` + ci + `"}}]`,
		},
		{
			name: "a service account, with groups", operation: "CREATE", by: bobInfo, spec: `{"user": {"username": "` + ci + `", "groups": [], "extra": {"a": ["b"]}}}`,
			want: `[{"op":"replace","path":"/spec/user","value":{"extra":{"a":["b"]},"groups":[],"uid":"sa-1","username":"` + ci + `"}}]`,
		},
		{name: "a service account, complete", operation: "CREATE", by: bobInfo, spec: `{"user": {"username": "` + ci + `", "uid": "x", "groups": []}}`},
		{name: "a service account that is not there", operation: "CREATE", by: bobInfo, spec: `{"user": {"username": "system:serviceaccount:team-a:gone"}}`},
		{name: "a service account on update", operation: "UPDATE", by: bobInfo, old: `{"user": {"username": "` + ci + `"}}`, spec: `{"user": {"username": "` + ci + `"}}`},
		{name: "a name that is a number", operation: "CREATE", by: bobInfo, spec: `{"user": {"username": 1}}`},
		{name: "delete", operation: "DELETE", by: bobInfo, old: old},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var answers []*admissionv1.AdmissionResponse
			for _, dryRun := range []bool{false, true, false} {
				answers = append(answers, post(t, h, review(tc.operation, tc.by, tc.old, tc.spec, dryRun)))
			}
			if got := string(answers[0].Patch); !answers[0].Allowed || got != tc.want {
				t.Errorf("allowed: %v, patch:\n got %s\nwant %s", answers[0].Allowed, got, tc.want)
			}
			if diff := cmp.Diff(answers[0], answers[1]) + cmp.Diff(answers[0], answers[2]); diff != "" {
				t.Errorf("asked again, it answers otherwise:\n%s", diff)
			}
		})
	}
}

// A user in more groups than a token carries is told what to do, which the schema could not say.
func TestCase58_MoreGroupsThanATokenCarries(t *testing.T) {
	mutate := handlers(t, config)[admission.MutatePath]
	in := func(n int) string {
		groups := []string{"system:authenticated", "g-0"} // one is left out, and one is there twice
		for i := range n {
			groups = append(groups, fmt.Sprintf("g-%d", i))
		}
		info, err := json.Marshal(map[string]any{"username": "alice", "groups": groups})
		if err != nil {
			t.Fatal(err)
		}
		return string(info)
	}
	if answer := post(t, mutate, review("CREATE", in(1000), "", `{}`, false)); !answer.Allowed || !strings.Contains(string(answer.Patch), `"g-999"`) {
		t.Errorf("1000 groups: %+v", answer.Result)
	}
	answer := post(t, mutate, review("CREATE", in(1001), "", `{}`, false))
	const want = "spec.user.groups: a token carries at most 1000 groups; list the groups that the token needs in spec.user.groups"
	if answer.Allowed || answer.Result.Code != http.StatusForbidden || answer.Result.Message != want {
		t.Errorf("1001 groups: %+v", answer.Result)
	}
}

func TestCase09_DryRunIsAnsweredLikeTheRealRequest(t *testing.T) {
	h := handlers(t, config)[admission.ValidatePath]
	for name, tc := range map[string]struct {
		by, spec string
		code     int32
	}{
		"taken":   {aliceInfo, `{"user": ` + stamped + `, "expiresAt": "2026-11-02T00:00:00Z"}`, http.StatusOK},
		"warned":  {aliceInfo, `{"user": ` + stamped + `, "expiresAt": "2020-01-01T00:00:00Z"}`, http.StatusOK},
		"invalid": {aliceInfo, `{"user": ` + stamped + `, "expiresInDays": 1000}`, http.StatusUnprocessableEntity},
		"not you": {bobInfo, `{"user": ` + stamped + `}`, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			first := post(t, h, review("CREATE", tc.by, "", tc.spec, false))
			if first.Result.Code != tc.code || first.Allowed != (tc.code == http.StatusOK) || (len(first.Warnings) > 0) != (name == "warned") {
				t.Errorf("allowed: %v, %d, %q: %s", first.Allowed, first.Result.Code, first.Warnings, first.Result.Message)
			}
			if diff := cmp.Diff(first, post(t, h, review("CREATE", tc.by, "", tc.spec, true))); diff != "" {
				t.Errorf("a dry run is answered otherwise:\n%s", diff)
			}
		})
	}
}

func TestCase01_AClientSuppliedLie(t *testing.T) {
	h := handlers(t, config)
	for _, lie := range []string{
		`{"username": "alice", "uid": "u-1"}`,
		`{"username": "bob", "uid": "u-1"}`,
		`{"username": "bob", "groups": ["devs"]}`,
		`{"username": "bob", "extra": {"example.com/a": ["b"]}}`,
	} {
		spec := `{"user": ` + lie + `}`
		if answer := post(t, h[admission.MutatePath], review("CREATE", bobInfo, "", spec, false)); answer.Patch != nil {
			t.Errorf("%s is patched: %s", lie, answer.Patch)
		}
		if answer := post(t, h[admission.ValidatePath], review("CREATE", bobInfo, "", spec, false)); answer.Allowed || answer.Result.Code != http.StatusForbidden {
			t.Errorf("%s: allowed: %v, %d", lie, answer.Allowed, answer.Result.Code)
		}
	}
}

func TestAPanicIsContained(t *testing.T) {
	cfg := config
	cfg.Now = func() time.Time { panic("no clock") }
	answer := post(t, handlers(t, cfg)[admission.ValidatePath], review("CREATE", aliceInfo, "", `{"user": `+stamped+`}`, false))
	if answer.Allowed || answer.Result.Code != http.StatusInternalServerError {
		t.Errorf("allowed: %v, %d", answer.Allowed, answer.Result.Code)
	}
}

func TestHandlersNeedTheirConfig(t *testing.T) {
	for name, forget := range map[string]func(*admission.Config){
		"Client":          func(c *admission.Config) { c.Client = nil },
		"ServiceAccounts": func(c *admission.Config) { c.ServiceAccounts = nil },
		"Now":             func(c *admission.Config) { c.Now = nil },
	} {
		cfg := config
		forget(&cfg)
		if _, err := admission.Handlers(cfg, runtime.NewScheme()); err == nil {
			t.Errorf("there are handlers without %s", name)
		}
	}
}

func TestHandlersServeTheTwoPaths(t *testing.T) {
	want := []string{
		"/mutate-pat-operator-io-v1alpha1-personalaccesstoken",
		"/validate-pat-operator-io-v1alpha1-personalaccesstoken",
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(handlers(t, config)))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for path, h := range handlers(t, config) {
		for _, body := range []string{"", "{", "[]", `{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}`, `{"request": {"operation": "CREATE", "object": 1}}`} {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			h.ServeHTTP(w, r)
			if strings.Contains(w.Body.String(), `"allowed":true`) {
				t.Errorf("%s allows %q", path, body)
			}
		}
	}
}

func TestRefusalsAreCountedAndWrittenDown(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	log, err := audit.Open(file, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	cfg := config
	cfg.Audit = log
	h := handlers(t, cfg)[admission.ValidatePath]
	before := testutil.ToFloat64(admission.Reviews("validating", "CREATE", "forbidden"))
	const bobs = `{"user": {"username": "bob", "groups": []}}`
	refused := post(t, h, review("CREATE", aliceInfo, "", bobs, true))
	if refused.Allowed {
		t.Fatal("alice has a token of bob's")
	}
	post(t, h, review("CREATE", aliceInfo, "", `{"user": `+stamped+`}`, true))
	log.Close()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got audit.Event
	if err := json.Unmarshal(data, &got); err != nil { // one line
		t.Fatalf("%s: %v", data, err)
	}
	want := audit.Event{
		Time: got.Time, Event: "AdmissionRefused", Namespace: "team-a", Name: "ci", By: "alice", Operation: "CREATE", DryRun: true,
		Code: 403, Reason: "Forbidden", Message: refused.Result.Message,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
	if counted := testutil.ToFloat64(admission.Reviews("validating", "CREATE", "forbidden")) - before; counted != 1 {
		t.Errorf("counted %v refusals", counted)
	}
}
