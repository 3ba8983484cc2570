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

package impersonation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

const records = cluster.RecordsNamespace

var api = env.APIServer{Namespaces: []string{records, cluster.OperatorNamespace, "team-a", "team-b"}}

func TestMain(m *testing.M) { os.Exit(api.Run(m)) }

// manifests reads what a file of config has.
func manifests(t *testing.T, path ...string) []client.Object {
	t.Helper()
	root, err := cluster.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(append([]string{root, "config"}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	var objects []client.Object
	for documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096); ; {
		o := &unstructured.Unstructured{}
		if err := documents.Decode(&o.Object); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatal(err)
		}
		if len(o.Object) > 0 {
			objects = append(objects, o)
		}
	}
}

// installed creates objects for the time of a test.
func installed(t *testing.T, objects ...client.Object) {
	t.Helper()
	c := api.Client(t)
	for _, o := range objects {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Delete(context.Background(), o); client.IgnoreNotFound(err) != nil {
				t.Error(err)
			}
		})
	}
}

// world is an API server where the role is installed, and nobody has a token.
func world(t *testing.T) client.WithWatch {
	t.Helper()
	installed(t, manifests(t, "rbac", "proxy", "managed", "users.yaml")...)
	t.Cleanup(func() {
		if err := api.Client(t).DeleteAllOf(context.Background(), &corev1.Secret{}, client.InNamespace(records)); err != nil {
			t.Error(err)
		}
	})
	return api.Client(t)
}

// process is an operator as far as this package goes.
type process struct {
	*Keeper
	t *testing.T
	// roles and marks count what was written, where it was.
	mu           sync.Mutex
	roles, marks int
	events       []string
	// stop ends its watches.
	stop func()
}

// operator starts a process with a cache of its own, whose role is not kept until keep or round are called.
func operator(t *testing.T, with ...func(*interceptor.Funcs)) *process {
	t.Helper()
	p := &process{t: t}
	byObject := ByObject()
	byObject[&corev1.Secret{}] = cache.ByObject{Namespaces: map[string]cache.Config{records: {}}}
	c, err := cache.New(api.Config(t), cache.Options{Scheme: env.Scheme, ByObject: byObject, DefaultTransform: cache.TransformStripManagedFields()})
	if err != nil {
		t.Fatal(err)
	}
	funcs := interceptor.Funcs{Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
		return c.Update(ctx, o, opts...)
	}}
	for _, f := range with {
		f(&funcs)
	}
	update := funcs.Update
	funcs.Update = func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
		p.mu.Lock()
		if _, ok := o.(*rbacv1.ClusterRole); ok {
			p.roles++
		} else {
			p.marks++
		}
		p.mu.Unlock()
		return update(ctx, c, o, opts...)
	}
	p.Keeper, err = New(Options{
		Client: interceptor.NewClient(api.Client(t), funcs), Cache: c, RecordsNamespace: records, Clock: clock.RealClock{},
		Recorder: p, Log: logr.Discard(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- c.Start(ctx) }()
	p.stop = sync.OnceFunc(func() {
		stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(p.stop)
	if !c.WaitForCacheSync(ctx) {
		t.Fatal("the cache did not sync")
	}
	for _, synced := range p.synced {
		env.Eventually(t, env.Patience, synced, func() string { return "the watches do not sync" })
	}
	return p
}

// Eventf implements events.EventRecorder.
func (p *process) Eventf(regarding, _ runtime.Object, kind, reason, _, note string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := regarding.(client.Object)
	p.events = append(p.events, fmt.Sprintf("%s %s %s/%s: %s", kind, reason, o.GetNamespace(), o.GetName(), fmt.Sprintf(note, args...)))
}

// WithLogger implements events.EventRecorderLogger, where it is asked for.
func (p *process) WithLogger(logr.Logger) events.EventRecorderLogger { return nil }

func (p *process) written() (roles, marks int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.roles, p.marks
}

// keep keeps the role until the test, or the process, ends.
func (p *process) keep() (stop func()) {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Start(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			p.t.Error(err)
		}
	})
	p.t.Cleanup(stop)
	return stop
}

// keptIs waits until the role holds these names, sorted.
func keptIs(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	env.Eventually(t, env.Patience, func() bool { got = kept(t); return slices.Equal(got, want) },
		func() string { return "names (-want +got):\n" + cmp.Diff(want, got) })
}

// kept is what the role holds.
func kept(t *testing.T) []string {
	t.Helper()
	role := &rbacv1.ClusterRole{}
	if err := api.Client(t).Get(t.Context(), client.ObjectKey{Name: RoleName}, role); err != nil {
		t.Fatal(err)
	}
	var names []string
	for n := range namesOf(role.Rules) {
		names = append(names, n.resource+"/"+n.name)
	}
	slices.Sort(names)
	return names
}

// put creates or updates a record.
func put(t *testing.T, rec *record.Record) {
	t.Helper()
	c := api.Client(t)
	secret := secretOf(t, rec)
	if err := c.Update(t.Context(), secret); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	} else if err != nil {
		if err := c.Create(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
	}
}

// shows waits until a process has seen all of these names, and no others.
func (p *process) shows(want ...string) {
	p.t.Helper()
	var got []string
	env.Eventually(p.t, env.Patience, func() bool {
		fit, _ := p.ledger.names()
		got = nil
		for n := range fit {
			got = append(got, n.resource+"/"+n.name)
		}
		slices.Sort(got)
		return slices.Equal(got, want)
	}, func() string { return "the watch shows (-want +got):\n" + cmp.Diff(want, got) })
}

// A token that is made appears, one that ends disappears, and so it is across a restart.
func TestTheRoleFollowsTheTokens(t *testing.T) {
	world(t)
	p := operator(t)
	stop := p.keep()
	put(t, recorded("a", "alice", []string{"devs", "system:authenticated"}))
	keptIs(t, "groups/devs", "users/alice")
	put(t, recorded("b", "bob", []string{"devs"}))
	keptIs(t, "groups/devs", "users/alice", "users/bob")
	put(t, recorded("a", "alice", []string{"devs"}, ended))
	keptIs(t, "groups/devs", "users/bob")
	put(t, recorded("a", "alice", []string{"devs"}, suspended))
	put(t, recorded("c", "carol", nil))
	keptIs(t, "groups/devs", "users/bob", "users/carol")
	stop()
	p.stop()

	// Meanwhile.
	put(t, recorded("b", "bob", []string{"devs"}, ended))
	put(t, recorded("d", "dora", []string{"ops"}))
	if err := api.Client(t).Delete(t.Context(), secretOf(t, recorded("c", "carol", nil))); err != nil {
		t.Fatal(err)
	}
	operator(t).keep()
	keptIs(t, "groups/ops", "users/dora")
	put(t, recorded("d", "dora", []string{"ops"}, ended))
	keptIs(t)
}

// What changes nothing of the names costs no request, and what changes many of them at once costs few.
func TestRequestsDoNotGrowWithTokens(t *testing.T) {
	world(t)
	p := operator(t)
	put(t, recorded("a", "alice", []string{"devs"}))
	p.shows("groups/devs", "users/alice")
	p.keep()
	keptIs(t, "groups/devs", "users/alice")
	roles, marks := p.written()
	const tokens = 40
	for i := range tokens {
		put(t, recorded(fmt.Sprint("more-", i), "alice", []string{"devs"}))
		put(t, recorded(fmt.Sprint("more-", i), "alice", []string{"devs"}, replaced))
	}
	put(t, recorded("last", "zoe", nil)) // After all of the others.
	keptIs(t, "groups/devs", "users/alice", "users/zoe")
	if after, afterMarks := p.written(); after != roles+1 || afterMarks != marks {
		t.Errorf("%d more writes of the role and %d of the marker; want one, for the one new name", after-roles, afterMarks-marks)
	}

	began := time.Now()
	roles, marks = p.written()
	for i := range tokens {
		put(t, recorded(fmt.Sprint("more-", i), fmt.Sprint("user-", i), nil))
	}
	put(t, recorded("last", "zoe", nil, ended))
	env.Eventually(t, env.Patience, func() bool { return len(kept(t)) == tokens+2 }, func() string { return fmt.Sprint(kept(t)) })
	after, afterMarks := p.written()
	// At most one write of the role each leastPause, and two of the marker for each of those.
	if most := int(time.Since(began)/leastPause) + 2; after-roles > most || afterMarks-marks > 2*most {
		t.Errorf("%d writes of the role and %d of the marker in %v for %d tokens", after-roles, afterMarks-marks, time.Since(began), tokens)
	}
}

// A process whose watch stands still drops nothing, and adds what it knows. Once another's watch works, the names go.
func TestNothingIsDroppedWithoutProof(t *testing.T) {
	world(t)
	put(t, recorded("a", "alice", nil))
	stale := operator(t)
	stale.patience = 2 * time.Second
	stale.shows("users/alice")
	stale.stop() // Its watches. It still believes that alice's is the only token.

	other := operator(t)
	put(t, recorded("b", "bob", []string{"devs"}))
	other.shows("groups/devs", "users/alice", "users/bob")
	if _, err := other.round(t.Context()); err != nil {
		t.Fatal(err)
	}
	keptIs(t, "groups/devs", "users/alice", "users/bob")

	role := &rbacv1.ClusterRole{}
	if err := api.Client(t).Get(t.Context(), client.ObjectKey{Name: RoleName}, role); err != nil {
		t.Fatal(err)
	}
	stale.sawRole(role)
	stale.ledger.saw(secretOf(t, recorded("c", "carol", nil)))
	_, err := stale.round(t.Context())
	if err == nil || !strings.Contains(err.Error(), "cannot prove that users or groups of the role are not needed any more: the watch of the records does not show") {
		t.Errorf("error %v; want that nothing is proven", err)
	}
	keptIs(t, "groups/devs", "users/alice", "users/bob", "users/carol")

	// Carol has no token, by a watch that works.
	env.Eventually(t, env.Patience, func() bool {
		_, err := other.round(t.Context())
		return err == nil && !slices.Contains(kept(t), "users/carol")
	}, func() string { return fmt.Sprint(kept(t)) })
	keptIs(t, "groups/devs", "users/alice", "users/bob")
}

// The records namespace may refuse the marker, by a quota for instance: names are added all the same.
func TestWithoutAMarkerNamesAreOnlyAdded(t *testing.T) {
	long.Only(t)
	world(t)
	full := false
	p := operator(t, func(f *interceptor.Funcs) {
		f.Update = func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			if _, ok := o.(*corev1.Secret); ok && full {
				return errors.New("exceeded quota")
			}
			return c.Update(ctx, o, opts...)
		}
	})
	put(t, recorded("a", "alice", nil))
	p.shows("users/alice")
	if _, err := p.round(t.Context()); err != nil {
		t.Fatal(err)
	}
	full = true
	put(t, recorded("a", "alice", nil, ended))
	put(t, recorded("b", "bob", nil))
	p.shows("users/bob")
	if _, err := p.round(t.Context()); err == nil || !strings.Contains(err.Error(), "exceeded quota") {
		t.Errorf("error %v; want the quota", err)
	}
	keptIs(t, "users/alice", "users/bob")
	full = false
	if _, err := p.round(t.Context()); err != nil {
		t.Fatal(err)
	}
	keptIs(t, "users/bob")
}

// What others make of the role is undone, and a role that is applied again is filled again.
func TestTheRoleIsKept(t *testing.T) {
	c := world(t)
	p := operator(t)
	p.keep()
	put(t, recorded("a", "alice", nil))
	keptIs(t, "users/alice")
	for name, rules := range map[string][]rbacv1.PolicyRule{
		"another user": {{Verbs: []string{"impersonate"}, APIGroups: []string{""}, Resources: []string{"users"}, ResourceNames: []string{"alice", "mallory"}}},
		"everything":   {{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}},
		"nothing":      nil,
	} {
		t.Run(name, func(t *testing.T) {
			role := &rbacv1.ClusterRole{}
			if err := c.Get(t.Context(), client.ObjectKey{Name: RoleName}, role); err != nil {
				t.Fatal(err)
			}
			role.Rules = rules
			if err := c.Update(t.Context(), role); err != nil {
				t.Fatal(err)
			}
			env.Eventually(t, env.Patience, func() bool {
				if err := c.Get(t.Context(), client.ObjectKey{Name: RoleName}, role); err != nil {
					t.Fatal(err)
				}
				return len(role.Rules) == 1 && slices.Equal(role.Rules[0].ResourceNames, []string{"alice"}) && slices.Equal(role.Rules[0].Verbs, []string{"impersonate"})
			}, func() string { return fmt.Sprint(role.Rules) })
		})
	}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: RoleName}}
	if err := c.Delete(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	env.Eventually(t, env.Patience, func() bool { return p.current() == nil }, func() string { return "the watch does not show that the role is gone" })
	role.ResourceVersion = ""
	if err := c.Create(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	keptIs(t, "users/alice")
}

// Two leaders, as where one was paused, and tokens that come and go: nothing is lost, nothing stays.
func TestTwoLeadersKeepOneRole(t *testing.T) {
	long.Only(t)
	world(t)
	for range 2 {
		operator(t).keep()
	}
	for i := range 10 {
		put(t, recorded(fmt.Sprint("t-", i), fmt.Sprint("user-", i), []string{"devs"}))
		if i > 0 {
			put(t, recorded(fmt.Sprint("t-", i-1), fmt.Sprint("user-", i-1), []string{"devs"}, ended))
		}
	}
	keptIs(t, "groups/devs", "users/user-9")
}

// An event names the token that does not fit, once.
func TestAnEventNamesWhoIsRefused(t *testing.T) {
	world(t)
	p := operator(t)
	many := make([]string, 999)
	for i := range 11 {
		for j := range many {
			many[j] = fmt.Sprintf("group-%d-%d", i, j)
		}
		secret := secretOf(t, recorded(fmt.Sprint("t-", i), fmt.Sprint("user-", i), many))
		secret.CreationTimestamp = metav1.NewTime(start.Add(time.Duration(i) * time.Second))
		p.ledger.saw(secret)
	}
	for range 2 {
		if _, err := p.round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(kept(t)); got != MaxNames {
		t.Errorf("the role holds %d names; want %d", got, MaxNames)
	}
	want := []string{"Warning ImpersonationLimit team-a/t-10: The proxy cannot act for this token: its user and groups do not fit into the ClusterRole " +
		"pat-operator-impersonator-users, which holds 10000 names of 1024 KiB together. Delete tokens that nobody needs, or make this one for fewer groups. " +
		"An administrator can choose another form of impersonation."}
	if diff := cmp.Diff(want, p.events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
