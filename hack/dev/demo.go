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

package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/test/cluster"
)

// refusalLimit is how long kube-apiserver may accept a revoked token from its cache, plus some seconds for a busy machine.
const refusalLimit = 20 * time.Second

const team = `kubectl apply -f - <<'END'
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: team-a}}
- {apiVersion: v1, kind: Namespace, metadata: {name: team-b}}
- apiVersion: rbac.authorization.k8s.io/v1
  kind: Role
  metadata: {name: developer, namespace: team-a}
  rules:
  - apiGroups: [pat-operator.io]
    resources: [personalaccesstokens]
    verbs: [create, get, list, watch, update, patch, delete]
  - {apiGroups: [pat-operator.io], resources: [personalaccesstokens/status], verbs: [get, patch]}
  - {apiGroups: [""], resources: [secrets], verbs: [get]}
  - {apiGroups: [""], resources: [pods], verbs: [get, list]}
  - {apiGroups: [""], resources: [configmaps], verbs: [get, list, watch]}
- apiVersion: rbac.authorization.k8s.io/v1
  kind: RoleBinding
  metadata: {name: developers, namespace: team-a}
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: developer}
  subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: team-a-devs}]
END`

const manifest = `kubectl apply -f - <<'END'
apiVersion: pat-operator.io/v1alpha1
kind: PersonalAccessToken
metadata: {name: comparison-list-api, namespace: team-a}
spec:
  displayName: PoliteMail Comparison List API
  expiresInDays: 90
END`

// forAlice has a place for the resource's name.
const forAlice = `kubectl apply -f - <<'END'
apiVersion: pat-operator.io/v1alpha1
kind: PersonalAccessToken
metadata: {name: %s, namespace: team-a}
spec:
  user: {username: alice, groups: [team-a-devs]}
END`

const readOnly = `kubectl apply -f - <<'END'
apiVersion: pat-operator.io/v1alpha1
kind: PersonalAccessToken
metadata: {name: dashboard, namespace: team-a}
spec:
  scopes: [{preset: read-only}]
END`

const mayBeAlice = `kubectl apply -f - <<'END'
apiVersion: v1
kind: List
items:
- apiVersion: rbac.authorization.k8s.io/v1
  kind: ClusterRole
  metadata: {name: may-be-alice}
  rules:
  - {apiGroups: [""], resources: [users], verbs: [impersonate], resourceNames: [alice]}
- apiVersion: rbac.authorization.k8s.io/v1
  kind: ClusterRoleBinding
  metadata: {name: may-be-alice}
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: may-be-alice}
  subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: bob}]
- apiVersion: rbac.authorization.k8s.io/v1
  kind: ClusterRole
  metadata: {name: may-be-her-team}
  rules:
  - {apiGroups: [""], resources: [groups], verbs: [impersonate], resourceNames: [team-a-devs]}
- apiVersion: rbac.authorization.k8s.io/v1
  kind: ClusterRoleBinding
  metadata: {name: may-be-her-team}
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: may-be-her-team}
  subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: bob}]
END`

// bobMay has a place for yes or no: rights take effect a moment after they are written.
const bobMay = `timeout 20 sh -c 'until [ "$(kubectl auth can-i impersonate groups/team-a-devs 2>/dev/null)" = %s ]; do sleep 0.1; done'`

// shortLived has a place for its end.
const shortLived = `kubectl apply -f - <<'END'
apiVersion: pat-operator.io/v1alpha1
kind: PersonalAccessToken
metadata: {name: short-lived, namespace: team-a}
spec:
  expiresAt: %q
END`

// take has a place for the resource's name, twice.
const take = `TOKEN=$(kubectl get secret "$(kubectl get pat %s -o jsonpath='{.status.deliverySecretName}')" ` +
	`-o jsonpath='{.data.token}' | base64 -d)`

// demo is the life of a token, told by the people who have to do with it.
type demo struct {
	*shell
	admin, alice, bob, anyone person
	apiServer, verifier       probe
	token                     string // alice's
}

// step is a part of the demo, for a reader.
type step struct {
	title string
	do    func(*demo, context.Context) error
}

// unwiredSteps are those before kube-apiserver knows the verifier, wiredSteps those after.
var (
	unwiredSteps = []step{
		{"An administrator lets team A's developers, alice and bob, work in their namespace", (*demo).rights},
		{"kube-apiserver has no flag of ours, as in EKS, GKE and AKS: alice's token works at the proxy", (*demo).proxied},
		{"Revoked, the token ends what is open", (*demo).cut},
	}
	wiredSteps = []step{
		{"Now kube-apiserver asks the verifier itself. Alice applies a manifest", (*demo).apply},
		{"Alice takes the token from its Secret", (*demo).take},
		{"The token is alice: this kubeconfig has a server and a CA, no credentials", (*demo).use},
		{"Bob may create tokens, but none for alice, until he may impersonate her", (*demo).impostor},
		{"A read-only token of alice's reads, and changes nothing, though she may", (*demo).scoped},
		{"Suspended, the token is refused; resumed, it works", (*demo).suspend},
		{"A vendor gets a token that nobody else can read: it is encrypted to the vendor's SSH key", (*demo).vendor},
		{"Rotated, both tokens work for the overlap, then only the new one", (*demo).rotate},
		{"By kubectl pat: made on alice's machine, seen in use, revoked, and kept as a trace", (*demo).plugin},
		{"An API of one's own takes tokens that name it: a token for it is worthless anywhere else", (*demo).listAPI},
		{"A token of a few seconds is refused after its second", (*demo).expire},
		{"Deleted, the token is refused", (*demo).remove},
		{"The webhooks taken away, bob is still refused: a policy in the API server says it again", (*demo).unguarded},
		{"Alice leaves: one command stops her tokens, in every namespace, also those that others made for her", (*demo).leave},
	}
)

func runDemo(ctx context.Context, opts options, out io.Writer) error {
	var d *demo
	done := 0
	tell := func(steps []step) error {
		for _, step := range steps {
			done++
			fmt.Fprintf(out, "\n%d/%d  %s\n\n", done, len(unwiredSteps)+len(wiredSteps), step.title)
			if err := step.do(d, ctx); err != nil {
				return fmt.Errorf("step %d failed: %w", done, err)
			}
		}
		fmt.Fprintln(out)
		return nil
	}
	opts.unwired = func(c *cluster.Cluster) (err error) {
		if d, err = newDemo(ctx, c, out); err != nil {
			return err
		}
		return tell(unwiredSteps)
	}
	return withCluster(ctx, opts, out, func(_ options, c *cluster.Cluster, _ managers) (err error) {
		if d.verifier, err = atVerifier(c); err != nil {
			return err
		}
		if err := tell(wiredSteps); err != nil {
			return err
		}
		fmt.Fprintf(out, "All of it as expected.\n\n")
		return nil
	})
}

func newDemo(ctx context.Context, c *cluster.Cluster, out io.Writer) (*demo, error) {
	d := &demo{
		shell:     &shell{cluster: c, out: out},
		admin:     person{"admin", c.AdminKubeconfig},
		anyone:    person{"anyone", c.AnonymousKubeconfig},
		apiServer: atAPIServer(c),
	}
	for name, who := range map[string]*person{"alice": &d.alice, "bob": &d.bob} {
		_, kubeconfig, err := c.User(name, "team-a-devs")
		if err != nil {
			return nil, err
		}
		*who = person{name, kubeconfig}
		if _, _, err := c.Kubectl(ctx, kubeconfig, "",
			"config", "set-context", "--current", "--namespace=team-a"); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *demo) rights(ctx context.Context) error {
	_, err := d.run(ctx, d.admin, team)
	return err
}

func (d *demo) apply(ctx context.Context) error {
	return d.all(ctx, d.alice,
		manifest,
		`kubectl wait pat comparison-list-api --for=condition=Active --timeout=30s`,
		`kubectl get pat`,
	)
}

func (d *demo) take(ctx context.Context) error {
	var err error
	if d.token, err = d.takeToken(ctx, "comparison-list-api"); err != nil {
		return err
	}
	id, err := token.Parse(d.token)
	if err != nil {
		return fmt.Errorf("expected a token of ours in the Secret: %w", err)
	}
	d.say("%s%s_…: prefix and id, which are no secret; the rest is, and is not shown", token.Prefix, id)
	return nil
}

func (d *demo) takeToken(ctx context.Context, name string) (string, error) {
	return d.remember(ctx, d.alice, "TOKEN", fmt.Sprintf(take, name))
}

func (d *demo) use(ctx context.Context) error {
	// Where kube-apiserver has just been restarted, the verifier may learn of the token a moment later.
	if _, err := d.apiServer.until(ctx, d.token, true, refusalLimit); err != nil {
		return err
	}
	who, err := d.run(ctx, d.anyone, `kubectl --token "$TOKEN" auth whoami`)
	if err != nil {
		return err
	}
	if !strings.Contains(who, "alice") || !strings.Contains(who, "team-a-devs") {
		return fmt.Errorf("expected alice and her group team-a-devs")
	}
	if _, err := d.run(ctx, d.anyone, `kubectl --token "$TOKEN" get pods -n team-a`); err != nil {
		return err
	}
	return d.refused(ctx, d.anyone, `kubectl --token "$TOKEN" get pods -n team-b`, "Forbidden")
}

func (d *demo) impostor(ctx context.Context) error {
	if _, err := d.run(ctx, d.bob, `kubectl auth can-i create pat`); err != nil {
		return err
	}
	if err := d.refused(ctx, d.bob, fmt.Sprintf(forAlice, "for-alice"), `resources: ["users"], verbs: ["impersonate"]`); err != nil {
		return err
	}
	if err := d.all(ctx, d.admin, mayBeAlice); err != nil {
		return err
	}
	if err := d.all(ctx, d.bob, fmt.Sprintf(bobMay, "yes"), fmt.Sprintf(forAlice, "for-alice"),
		`kubectl wait pat for-alice --for=condition=Active --timeout=30s`, `kubectl get pat`); err != nil {
		return err
	}
	return d.all(ctx, d.admin, `kubectl delete clusterrole,clusterrolebinding may-be-alice may-be-her-team`)
}

func (d *demo) scoped(ctx context.Context) error {
	if err := d.all(ctx, d.alice, readOnly, `kubectl wait pat dashboard --for=condition=Active --timeout=30s`); err != nil {
		return err
	}
	scoped, err := d.takeToken(ctx, "dashboard")
	if err != nil {
		return err
	}
	// The first proof that kube-apiserver enforces scopes takes some seconds.
	if _, err := d.apiServer.until(ctx, scoped, true, refusalLimit); err != nil {
		return err
	}
	if err := d.all(ctx, d.anyone, `kubectl --token "$TOKEN" get pods -n team-a`); err != nil {
		return err
	}
	if err := d.refused(ctx, d.anyone, `kubectl --token "$TOKEN" delete pat comparison-list-api -n team-a`,
		"outside of the scopes of the personal access token team-a/dashboard"); err != nil {
		return err
	}
	d.env = append(d.env, "TOKEN="+d.token)
	return d.all(ctx, d.alice, `kubectl auth can-i delete pat/comparison-list-api`, `kubectl delete pat dashboard`)
}

func (d *demo) unguarded(ctx context.Context) error {
	if err := d.all(ctx, d.admin,
		`kubectl delete mutatingwebhookconfiguration,validatingwebhookconfiguration pat-operator`); err != nil {
		return err
	}
	if err := d.all(ctx, d.bob, fmt.Sprintf(bobMay, "no")); err != nil {
		return err
	}
	return d.refused(ctx, d.bob, fmt.Sprintf(forAlice, "for-alice-again"), "ValidatingAdmissionPolicy 'pat-operator-users'")
}

func (d *demo) suspend(ctx context.Context) error {
	began := time.Now()
	if _, err := d.run(ctx, d.alice,
		`kubectl patch pat comparison-list-api --type merge -p '{"spec":{"suspend":true}}'`); err != nil {
		return err
	}
	refused, err := d.apiServer.until(ctx, d.token, false, refusalLimit)
	if err != nil {
		return err
	}
	d.say("kube-apiserver refuses it after %.1f s: it may remember a yes for 10 s", refused.Sub(began).Seconds())
	if err := d.unauthorized(ctx); err != nil {
		return err
	}
	if err := d.all(ctx, d.alice,
		`kubectl get pat`,
		`kubectl patch pat comparison-list-api --type merge -p '{"spec":{"suspend":false}}'`,
	); err != nil {
		return err
	}
	resumed := time.Now()
	works, err := d.apiServer.until(ctx, d.token, true, refusalLimit)
	if err != nil {
		return err
	}
	d.say("kube-apiserver takes it again after %d ms", works.Sub(resumed).Milliseconds())
	return d.all(ctx, d.anyone, `kubectl --token "$TOKEN" get pods -n team-a`)
}

func (d *demo) expire(ctx context.Context) error {
	end := time.Now().Add(9 * time.Second).UTC().Truncate(time.Second)
	if err := d.all(ctx, d.alice,
		fmt.Sprintf(shortLived, end.Format(time.RFC3339)),
		`kubectl wait pat short-lived --for=condition=Active --timeout=30s`,
	); err != nil {
		return err
	}
	short, err := d.takeToken(ctx, "short-lived")
	if err != nil {
		return err
	}
	if err := d.all(ctx, d.anyone, `kubectl --token "$TOKEN" get pods -n team-a`); err != nil {
		return err
	}
	d.say("it works, %.1f s before its end", time.Until(end).Seconds())
	refused, err := d.verifier.until(ctx, short, false, refusalLimit)
	if err != nil {
		return err
	}
	late := refused.Sub(end)
	if late < 0 || late > 2*time.Second {
		return fmt.Errorf("expected the verifier to refuse it at %v; it did %v later", end, late)
	}
	d.say("the verifier refuses it %d ms after its second", late.Milliseconds())
	if refused, err = d.apiServer.until(ctx, short, false, refusalLimit); err != nil {
		return err
	}
	d.say("kube-apiserver refuses it %.1f s after its second: it may remember a yes for 10 s", refused.Sub(end).Seconds())
	if err := d.unauthorized(ctx); err != nil {
		return err
	}
	d.env = append(d.env, "TOKEN="+d.token)
	return d.all(ctx, d.alice, `kubectl get pat`)
}

func (d *demo) remove(ctx context.Context) error {
	if err := d.all(ctx, d.anyone, `kubectl --token "$TOKEN" get pods -n team-a`); err != nil {
		return err
	}
	type sight struct {
		at  time.Time
		err error
	}
	verifier := make(chan sight, 1)
	go func() {
		at, err := d.verifier.until(ctx, d.token, false, refusalLimit)
		verifier <- sight{at, err}
	}()
	began := time.Now()
	if _, err := d.run(ctx, d.alice, `kubectl delete pat comparison-list-api`); err != nil {
		return err
	}
	returned := time.Now()
	seen := <-verifier
	if seen.err != nil {
		return seen.err
	}
	d.say("the verifier refuses it %d ms after kubectl was started (kubectl took %d ms)",
		seen.at.Sub(began).Milliseconds(), returned.Sub(began).Milliseconds())
	refused, err := d.apiServer.until(ctx, d.token, false, refusalLimit)
	if err != nil {
		return err
	}
	d.say("kube-apiserver refuses it %d ms after kubectl was started: it may remember a yes for 10 s",
		refused.Sub(began).Milliseconds())
	return d.unauthorized(ctx)
}

// all lets who type the scripts, each of which has to succeed.
func (d *demo) all(ctx context.Context, who person, scripts ...string) error {
	for _, script := range scripts {
		if _, err := d.run(ctx, who, script); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) unauthorized(ctx context.Context) error {
	return d.refused(ctx, d.anyone, `kubectl --token "$TOKEN" get pods -n team-a`, "Unauthorized")
}
