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
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/long"
)

// Applying the same manifest again changes nothing, by every way that people and GitOps tools do it.
func TestReapplyingChangesNothing(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"client-side apply": {"apply"},
		"server-side apply": {"apply", "--server-side"},
		"as Flux":           {"apply", "--server-side", "--force-conflicts", "--field-manager=kustomize-controller"},
	} {
		t.Run(name, func(t *testing.T) {
			ns := team(t)
			// A time with an offset and an empty list: a webhook that re-marshals would rewrite both.
			manifest := fmt.Sprintf(`{"apiVersion":"pat-operator.io/v1alpha1","kind":"PersonalAccessToken","metadata":{"name":"my-pat","namespace":%q},
				"spec":{"displayName":"x","expiresAt":"%s+02:00","audiences":[]}}`, ns, time.Now().AddDate(0, 1, 0).Format("2006-01-02T15:04:05"))
			apply := append(slices.Clone(args), "-f", "-")
			kubectl(t, alice.Kubeconfig, manifest, apply...)
			plaintext := take(t, alice, ns, "my-pat")
			waitFor(t, ns, "my-pat", "Ready", "True/Reconciled")
			before := get(t, ns, "my-pat")
			for range 3 {
				out := kubectl(t, alice.Kubeconfig, manifest, apply...)
				if name == "client-side apply" && !strings.Contains(out, "unchanged") {
					t.Errorf("kubectl says %q", out)
				}
			}
			diff := append([]string{"diff"}, args[1:]...)
			if out, _, err := cl.Kubectl(t.Context(), alice.Kubeconfig, manifest, append(diff, "-f", "-")...); err != nil {
				t.Errorf("kubectl diff: %v\n%s", err, out)
			}
			after := get(t, ns, "my-pat")
			if after.ResourceVersion != before.ResourceVersion {
				t.Errorf("resourceVersion %s, was %s", after.ResourceVersion, before.ResourceVersion)
			}
			accepted(t, plaintext)
		})
	}
}

func TestHundredsOfManifests(t *testing.T) {
	long.Only(t)
	n := 60
	if *soak > 0 {
		n = 500
	}
	ns := team(t)
	dir := t.TempDir()
	var manifests strings.Builder
	for i := range n {
		fmt.Fprintf(&manifests, "---\napiVersion: pat-operator.io/v1alpha1\nkind: PersonalAccessToken\nmetadata: {name: pat-%d, namespace: %s}\nspec: {expiresInDays: %d}\n", i, ns, 1+i%90)
	}
	file := filepath.Join(dir, "manifests.yaml")
	if err := os.WriteFile(file, []byte(manifests.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	kubectl(t, alice.Kubeconfig, "", "apply", "-f", file)
	applied := time.Since(start)
	all := settled(t, ns, n)
	t.Logf("%d manifests applied by kubectl in %v, all active %v after it had ended; %.0f tokens a second",
		n, applied, time.Since(start)-applied, float64(n)/time.Since(start).Seconds())
	distinct(t, ns, all)
}

// Each sample works unmodified.
func TestSamples(t *testing.T) {
	ns := team(t)
	root, err := cluster.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	samples, err := filepath.Glob(filepath.Join(root, "config", "samples", "*.yaml"))
	if err != nil || len(samples) < 5 {
		t.Fatalf("%d samples, %v", len(samples), err)
	}
	for _, file := range samples {
		name := filepath.Base(file)
		if name == "kustomization.yaml" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			manifest := strings.ReplaceAll(string(raw), "default/", ns+"/")
			switch {
			case name == "network-policies.yaml", name == "expiring-soon.yaml": // of namespaces of their own
				kubectl(t, cl.AdminKubeconfig, manifest, "apply", "-f", "-")
			case strings.HasPrefix(name, "role-"):
				kubectl(t, cl.AdminKubeconfig, manifest, "-n", ns, "apply", "-f", "-")
			default:
				kubectl(t, alice.Kubeconfig, manifest, "-n", ns, "apply", "-f", "-")
			}
		})
	}
	for _, p := range strings.Fields(kubectl(t, alice.Kubeconfig, "", "-n", ns, "get", "pat", "-o", "name")) {
		name := strings.TrimPrefix(p, "personalaccesstoken.pat-operator.io/")
		want := "True/Active"
		if name == "parked" { // suspended.yaml
			want = "False/Suspended"
		}
		waitFor(t, ns, name, "Active", want)
	}
}

// The dry runs of an installation, by kubectl's two ways, and the columns that people see.
func TestConfigAppliesAgainAndColumns(t *testing.T) {
	long.Only(t)
	root, err := cluster.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	rendered := kubectl(t, cl.AdminKubeconfig, "", "kustomize", filepath.Join(root, "config", "default"))
	for _, way := range [][]string{{"apply"}, {"apply", "--server-side", "--force-conflicts", "--field-manager=another"}} {
		_, stderr, err := cl.Kubectl(t.Context(), cl.AdminKubeconfig, rendered, append(way, "--dry-run=server", "-f", "-")...)
		if err != nil || strings.Contains(stderr, "Warning") {
			t.Errorf("%s, as a dry run: %v\n%s", way, err, stderr)
		}
	}
	ns := team(t)
	issued(t, alice, pat(ns, "my-pat"))
	header := func(args ...string) []string {
		out := kubectl(t, alice.Kubeconfig, "", append([]string{"-n", ns, "get", "pat"}, args...)...)
		return strings.Fields(strings.ReplaceAll(strings.SplitN(out, "\n", 2)[0], "  ", " "))
	}
	want := strings.Fields("NAME DISPLAY NAME USER ACTIVE EXPIRES LAST USED AGE")
	if got := header(); !slices.Equal(got, want) {
		t.Errorf("columns %q; want %q", got, want)
	}
	if got, want := header("-o", "wide"), append(want, strings.Fields("TOKEN ID CREATED MODIFIED REASON")...); !slices.Equal(got, want) {
		t.Errorf("wide columns %q; want %q", got, want)
	}
	out := kubectl(t, alice.Kubeconfig, "", "-n", ns, "get", "pat", "--field-selector=spec.user.username=alice", "-o", "name")
	if !strings.Contains(out, "my-pat") {
		t.Errorf("by field selector: %q", out)
	}
	out = kubectl(t, alice.Kubeconfig, "", "-n", ns, "get", "pat", "--field-selector=spec.user.username=bob", "-o", "name")
	if out != "" {
		t.Errorf("bob's, by field selector: %q", out)
	}
}

// The sample's script, with this cluster's kubectl, posts the tokens that expire soon, and nothing where there are none.
func TestTheSampleTellsOfTokensThatExpireSoon(t *testing.T) {
	long.Only(t)
	root, err := cluster.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(root, "config", "samples", "expiring-soon.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var job batchv1.CronJob
	for document := range strings.SplitSeq(string(raw), "\n---\n") {
		if strings.Contains(document, "kind: CronJob") {
			if err := yaml.UnmarshalStrict([]byte(document), &job); err != nil {
				t.Fatal(err)
			}
		}
	}
	container := job.Spec.JobTemplate.Spec.Template.Spec.Containers[0]
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "curl"), []byte("#!/bin/sh\nfor url; do :; done\nprintf 'to %s\\n' \"$url\"\ncat\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	post := func() string {
		t.Helper()
		cmd := cl.Command(t.Context(), cl.AdminKubeconfig, container.Command[0], append(container.Command[1:], container.Args...)...)
		cmd.Env = append(cmd.Env, "PATH="+dir+":"+cl.Assets+":"+os.Getenv("PATH"), "URL=https://chat.example.com/hook")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	ns := team(t)
	if got := post(); strings.Contains(got, ns) {
		t.Errorf("posted without a token: %s", got)
	}
	restartOperator(t, "--expiry-warnings=47h59m50s")
	defer restartOperator(t)
	end := metav1.NewTime(time.Now().Add(48 * time.Hour).Truncate(time.Second))
	create(t, alice, pat(ns, "ends", func(s *v1alpha1.PersonalAccessTokenSpec) { s.ExpiresAt = &end }))
	waitFor(t, ns, "ends", "ExpiringSoon", "True/ExpiringSoon")
	want := fmt.Sprintf("%s/ends of \"alice\" ends at %s\n", ns, end.UTC().Format(time.RFC3339))
	if got := post(); !strings.HasPrefix(got, "to https://chat.example.com/hook\nThese tokens expire soon:\n") || !strings.Contains(got, want) {
		t.Errorf("posted %q; want %q in it", got, want)
	}
}

// Plaintext appears nowhere but in the delivery Secret, the digest nowhere but in the record, and the CA's key nowhere but
// in its Secret: not in the operator's log at its most verbose, in events, in the resource, or in kube-apiserver's audit
// log, whether whole, in base64, or broken into the lines of a hex dump.
func TestCase25_Canary(t *testing.T) {
	long.Only(t)
	ns := team(t)
	plaintext := issued(t, alice, pat(ns, "my-pat"))
	accepted(t, plaintext)
	mine, s := holder(t, ns, "mine", time.Hour)
	create(t, alice, pat(ns, "mine", s))
	waitFor(t, ns, "mine", "Active", "True/Active")
	accepted(t, mine)
	vendor, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	create(t, alice, pat(ns, "vendors", toKeys(vendor.Recipient().String())))
	waitFor(t, ns, "vendors", "Active", "True/Active")
	vendors := opened(t, get(t, ns, "vendors").Status.EncryptedToken, vendor)
	accepted(t, vendors)
	digest := recordDigest(t, ns, "my-pat")
	successor := rotate(t, ns, "my-pat", "2", 3600)
	accepted(t, successor)
	resource, err := json.Marshal([]any{get(t, ns, "my-pat"), get(t, ns, "vendors")})
	if err != nil {
		t.Fatal(err)
	}
	// A holder's digest stands in the manifest, so the audit log may have it: the operator's own outputs may not.
	secrets := map[string]string{
		"plaintext":              plaintext[len(token.Prefix)+token.IDLength:],
		"plaintext in base64":    base64.StdEncoding.EncodeToString([]byte(plaintext))[36:],
		"the holder's plaintext": mine[len(token.Prefix)+token.IDLength:],
		"the digest":             digest,
		"the vendor's plaintext": vendors[len(token.Prefix)+token.IDLength:],
		"the vendor's digest":    recordDigest(t, ns, "vendors"),
		"the successor":          successor[len(token.Prefix)+token.IDLength:],
		"the successor's digest": recordDigest(t, ns, "my-pat"),
	}
	for _, name := range []string{"pat-operator-ca", "pat-operator-verifier-ca"} {
		ca := &corev1.Secret{}
		if err := admin.Get(t.Context(), client.ObjectKey{Namespace: cluster.OperatorNamespace, Name: name}, ca); err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(ca.Data["tls.key"])
		if block == nil {
			t.Fatalf("%s has no key", name)
		}
		secrets["the key of "+name] = base64.StdEncoding.EncodeToString(block.Bytes)[48:]
	}

	// What goes wrong is told too.
	_ = alice.Create(t.Context(), pat(ns, "other", s))
	directReview(t, another(t, plaintext))
	kubectl(t, alice.Kubeconfig, "", "-n", ns, "patch", "pat", "my-pat", "--type=merge", "-p", `{"spec":{"suspend":true}}`)
	refused(t, plaintext)
	kubectl(t, alice.Kubeconfig, "", "-n", ns, "delete", "pat", "--all")
	restartOperator(t)
	restartVerifier(t)

	var events eventsv1.EventList
	if err := admin.List(t.Context(), &events, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	told, err := json.Marshal(events.Items)
	if err != nil {
		t.Fatal(err)
	}
	logs, err := cl.ManagerLogs()
	if err != nil {
		t.Fatal(err)
	}
	audit, err := os.ReadFile(cl.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	security, err := os.ReadFile(securityLog)
	if err != nil {
		t.Fatal(err)
	}
	for what, tc := range map[string]struct{ text, proof string }{
		"our audit log": {string(security), "TokenRefused"},
		"events":        {string(told), "Issued"},
		"logs":          {logs, "DEBUG"},
		"audit":         {string(audit), "tokenreviews"},
		"resource":      {string(resource), "observedGeneration"},
	} {
		if !strings.Contains(tc.text, tc.proof) {
			t.Errorf("%s hold no %q, so this shows nothing of them", what, tc.proof)
		}
		for kind, secret := range secrets {
			if leaks(tc.text, secret) {
				t.Errorf("%s: %s", what, kind)
			}
		}
	}
	// The policy that we ship says who asked for what.
	if !regexp.MustCompile(`"requestObject":\{[^\n]*"kind":"PersonalAccessToken"`).Match(audit) {
		t.Error("kube-apiserver's audit log has no content of a PersonalAccessToken")
	}
	if sha := specOf(s).Token.SHA256; leaks(logs, sha) || leaks(string(told), sha) || leaks(string(security), sha) {
		t.Error("logs, events or our audit log: the holder's digest")
	}
}

// specOf is the spec that a modifier makes.
func specOf(with func(*spec)) *spec {
	s := &spec{}
	with(s)
	return s
}

// leaks reports whether a text holds any 16 characters in a row of a secret: a line of a hex dump shows that many.
func leaks(text, secret string) bool {
	const window = 16
	for i := range len(secret) - window + 1 {
		if strings.Contains(text, secret[i:i+window]) {
			return true
		}
	}
	return false
}

func recordDigest(t *testing.T, ns, name string) string {
	t.Helper()
	secret := &corev1.Secret{}
	if err := admin.Get(context.Background(), client.ObjectKey{Namespace: cluster.RecordsNamespace, Name: recordName(ns, name)}, secret); err != nil {
		t.Fatal(err)
	}
	var payload struct {
		Current struct {
			Digest string `json:"digest"`
		} `json:"current"`
	}
	if err := json.Unmarshal(secret.Data["record"], &payload); err != nil || len(payload.Current.Digest) != 64 {
		t.Fatalf("no digest in the record: %v", err)
	}
	return payload.Current.Digest
}
