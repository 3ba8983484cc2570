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

package controllers

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
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
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/cache"
	"github.com/pat-operator/pat-operator/internal/identity"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
)

const recordsNamespace = cluster.RecordsNamespace

var soak = flag.Bool("soak", false, "try every fate of a write, and longer schedules of two leaders")

// census counts the records of all worlds.
var census *Census

// watched hands each event of a resource to the processes of its world, as their own watches would.
var watched dispatcher

type dispatcher struct {
	mu        sync.Mutex
	operators map[string][]*Reconciler
	deleted   map[types.UID]bool
}

func (d *dispatcher) join(namespace string, r *Reconciler) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.operators == nil {
		d.operators, d.deleted = map[string][]*Reconciler{}, map[types.UID]bool{}
	}
	d.operators[namespace] = append(d.operators[namespace], r)
}

func (d *dispatcher) each(o any, tell func(*Reconciler, *v1alpha1.PersonalAccessToken)) {
	pat, ok := o.(*v1alpha1.PersonalAccessToken)
	if !ok {
		return // Inferred from a list.
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.operators[pat.Namespace] {
		tell(r, pat)
	}
}

func (d *dispatcher) OnAdd(o any, _ bool) {
	d.each(o, func(r *Reconciler, pat *v1alpha1.PersonalAccessToken) { r.saw(context.Background(), pat) })
}

func (d *dispatcher) OnUpdate(_, o any) { d.OnAdd(o, false) }

func (d *dispatcher) OnDelete(o any) {
	d.each(o, func(r *Reconciler, pat *v1alpha1.PersonalAccessToken) {
		r.sightings.gone(pat, r.Clock.Now())
		d.deleted[pat.UID] = true
	})
}

func (d *dispatcher) saysDeleted(uid types.UID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.deleted[uid]
}

// accepted are guards that are in force and stay so.
type accepted struct{}

func (accepted) Judged(context.Context) error { return nil }
func (accepted) Accepted() error              { return nil }

// admin is a client of the real API server; cached is the operator's, whose reads come from a cache that has the indexes
// and whose writes are held to the policy on delivery Secrets.
var admin, cached client.WithWatch

// config reaches the real API server as an administrator.
var config *rest.Config

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	ctrl.SetLogger(logr.Discard())
	if err := os.Setenv("GOGC", "800"); err != nil {
		return 0, err
	}
	server := env.APIServer{
		CRDs: true, Namespaces: []string{recordsNamespace},
		// Thousands of small worlds: no copy of each object in kube-apiserver's memory, which would also make a list wait for
		// it, and no collecting of small heaps all the time.
		Flags: map[string]string{"watch-cache": "false"},
	}
	var err error
	config, err = server.Start()
	defer server.Stop()
	if err != nil {
		return 0, err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	if admin, err = client.NewWithWatch(config, client.Options{Scheme: env.Scheme}); err != nil {
		return 0, err
	}
	account := rest.CopyConfig(config)
	account.Impersonate = rest.ImpersonationConfig{UserName: cluster.OperatorUser, Groups: []string{"system:masters"}}
	writer, err := client.NewWithWatch(account, client.Options{Scheme: env.Scheme})
	if err != nil {
		return 0, err
	}
	if err := holdToPolicy(ctx, writer); err != nil {
		return 0, err
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: env.Scheme, Cache: CacheOptions(recordsNamespace), Metrics: metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		return 0, err
	}
	if err := setupIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return 0, err
	}
	stopped := make(chan error, 1)
	go func() { stopped <- mgr.Start(ctx) }()
	if !mgr.GetCache().WaitForCacheSync(ctx) {
		return 0, errors.New("the cache did not sync")
	}
	cached = readFrom{writer, mgr.GetCache()}
	if census, err = NewCensus(ctx, mgr.GetCache(), lifecycle.Config{MaxLifetime: 366 * 24 * time.Hour}, clock.RealClock{}); err != nil {
		return 0, err
	}
	resources, err := mgr.GetCache().GetInformer(ctx, &v1alpha1.PersonalAccessToken{})
	if err != nil {
		return 0, err
	}
	if _, err := resources.AddEventHandler(&watched); err != nil {
		return 0, err
	}
	code := m.Run()
	stop()
	return code, <-stopped
}

// holdToPolicy installs the policy on delivery Secrets and waits until the operator's account is held to it.
func holdToPolicy(ctx context.Context, account client.Client) error {
	manifest, err := os.Open(filepath.Join("..", "config", "policy", "delivery.yaml"))
	if err != nil {
		return err
	}
	defer func() { _ = manifest.Close() }()
	for decoder := yaml.NewYAMLOrJSONDecoder(manifest, 4096); ; {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(o); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		if err := admin.Create(ctx, o); err != nil {
			return err
		}
	}
	return wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, env.Patience, true, func(ctx context.Context) (bool, error) {
		other := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "not-a-token"}}
		return apierrors.IsForbidden(account.Create(ctx, other, client.DryRunAll)), nil
	})
}

// readFrom is a client whose reads come from elsewhere, as a manager's does.
type readFrom struct {
	client.WithWatch
	reader client.Reader
}

func (r readFrom) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	return r.reader.Get(ctx, key, o, opts...)
}

func (r readFrom) List(ctx context.Context, l client.ObjectList, opts ...client.ListOption) error {
	return r.reader.List(ctx, l, opts...)
}

// world is one namespace and what a test does in it, by a clock of its own. The reconciler is called by hand, so that
// nothing happens but what the test says.
type world struct {
	t         *testing.T
	ctx       context.Context
	namespace string
	clock     *testingclock.FakePassiveClock
	events    *recorder
	// mutate, where set, makes the operator's code other than it is: what it asks of a client is not what the client sends.
	mutate, mutateLive func(client.WithWatch) client.WithWatch
	operator
	ledger
}

// operator is a reconciler and the process that it is.
type operator struct {
	*Reconciler
	api *process
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "team-"}}
	if err := admin.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, ctx: t.Context(), namespace: ns.Name,
		clock:  testingclock.NewFakePassiveClock(time.Now()),
		events: &recorder{},
	}
	w.restart()
	return w
}

// restart is another process with the same clock: all that it knows is in the cluster.
func (w *world) restart() { w.operator = w.start() }

// start makes a process of the operator.
func (w *world) start() operator {
	api := &process{sending: w.sending, sent: w.sent}
	to, live := api.client(cached), api.client(counted(admin, &api.live))
	if w.mutate != nil {
		to = w.mutate(to)
	}
	if w.mutateLive != nil {
		live = w.mutateLive(live)
	}
	r := &Reconciler{
		Client:           to,
		Live:             live,
		Recorder:         w.events,
		Clock:            w.clock,
		ClockCheck:       func() error { return nil },
		Random:           rand.Reader,
		RecordsNamespace: recordsNamespace,
		Config:           lifecycle.Config{MaxLifetime: 366 * 24 * time.Hour, SecretDelivery: true, MaxRemembered: 5000},
		Guards:           accepted{},
		Census:           census,
	}
	watched.join(w.namespace, r)
	return operator{api: api, Reconciler: r}
}

func (w *world) advance(d time.Duration) { w.clock.SetTime(w.clock.Now().Add(d)) }

// create makes a PersonalAccessToken of alice's, as admission would have stamped it.
func (w *world) create(name string, with ...func(*v1alpha1.PersonalAccessToken)) *v1alpha1.PersonalAccessToken {
	w.t.Helper()
	pat := &v1alpha1.PersonalAccessToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name},
		Spec:       v1alpha1.PersonalAccessTokenSpec{User: &v1alpha1.UserInfo{Username: "alice", Groups: []string{"devs"}}},
	}
	for _, f := range with {
		f(pat)
	}
	if err := admin.Create(w.ctx, pat); err != nil {
		w.t.Fatal(err)
	}
	if w.names == nil {
		w.names = map[types.UID]string{}
	}
	w.names[pat.UID] = name
	return pat
}

func (w *world) key(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: w.namespace, Name: name}
}

func (w *world) get(name string) *v1alpha1.PersonalAccessToken {
	w.t.Helper()
	pat := &v1alpha1.PersonalAccessToken{}
	if err := admin.Get(w.ctx, w.key(name), pat); err != nil {
		w.t.Fatal(err)
	}
	return pat
}

// change patches the resource as a user would.
func (w *world) change(name string, f func(*v1alpha1.PersonalAccessToken)) {
	w.t.Helper()
	pat := w.get(name)
	before := pat.DeepCopy()
	f(pat)
	if err := admin.Patch(w.ctx, pat, client.MergeFrom(before)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) delete(name string) {
	w.t.Helper()
	if err := admin.Delete(w.ctx, w.get(name)); err != nil {
		w.t.Fatal(err)
	}
}

// reconcile reconciles once and returns when to come back.
func (w *world) reconcile(name string) (time.Duration, error) {
	w.t.Helper()
	w.awaitCaches(name)
	result, err := w.Reconcile(w.ctx, ctrl.Request{NamespacedName: w.key(name)})
	return result.RequeueAfter, err
}

// settle reconciles until the operator is at rest and the cache shows it, and returns when to come back.
func (w *world) settle(name string) time.Duration {
	w.t.Helper()
	for deadline := time.Now().Add(env.Patience); ; {
		after, err := w.rest(w.operator, name, 2)
		if err == nil && w.cacheIsCurrent() {
			return after
		}
		if err != nil || time.Now().After(deadline) {
			w.t.Fatalf("%s does not come to rest: %v", name, err)
		}
	}
}

// rest lets an operator reconcile, as its queue would, until `enough` runs in a row write nothing and return no error.
func (w *world) rest(o operator, name string, enough int) (after time.Duration, err error) {
	quiet := 0
	for range 40 {
		before := o.api.effects()
		w.awaitCaches(name)
		var result ctrl.Result
		result, err = o.Reconcile(w.ctx, ctrl.Request{NamespacedName: w.key(name)})
		if err != nil || o.api.effects() != before {
			quiet = 0
		} else if quiet++; quiet == enough {
			return result.RequeueAfter, nil
		}
	}
	return 0, fmt.Errorf("no rest after 40 reconciles: %w", err)
}

// cacheIsCurrent reports whether the cache shows the records of this namespace as the API server has them.
func (w *world) cacheIsCurrent() bool {
	live, seen := &corev1.SecretList{}, &corev1.SecretList{}
	match := client.MatchingLabels{record.LabelNamespace: w.namespace}
	if err := errors.Join(
		admin.List(w.ctx, live, client.InNamespace(recordsNamespace), match),
		cached.List(w.ctx, seen, client.InNamespace(recordsNamespace), match),
	); err != nil {
		w.t.Fatal(err)
	}
	versions := func(l *corev1.SecretList) string {
		var all []string
		for i := range l.Items {
			all = append(all, l.Items[i].Name+"@"+l.Items[i].ResourceVersion)
		}
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	return versions(live) == versions(seen)
}

// record is that of a resource, or the tombstone under its name.
func (w *world) record(uid types.UID) *record.Record {
	w.t.Helper()
	secret := &corev1.Secret{}
	if err := admin.Get(w.ctx, recordKey(w.key(w.names[uid])), secret); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil
		}
		w.t.Fatal(err)
	}
	rec, err := record.FromSecret(secret)
	if err != nil {
		w.t.Fatal(err)
	}
	if rec.Resource.UID != uid && !rec.Tombstone() {
		return nil
	}
	return rec
}

func recordKey(key types.NamespacedName) types.NamespacedName {
	return types.NamespacedName{Namespace: recordsNamespace, Name: record.SecretName(key.Namespace, key.Name)}
}

// awaitCaches waits until the cache shows a resource, its record and its service account as the API server has them: what
// changes there wakes the operator's queue.
func (w *world) awaitCaches(name string) {
	w.t.Helper()
	key := w.key(name)
	pat := &v1alpha1.PersonalAccessToken{}
	w.awaitShown(key, pat)
	w.awaitShown(recordKey(key), &corev1.Secret{})
	w.awaitDeletions(name, pat.UID)
	if pat.Spec.User != nil {
		if account, ok := identity.ServiceAccount(pat.Spec.User.Username); ok {
			w.awaitShown(account, cache.ServiceAccounts())
		}
	}
}

// awaitDeletions waits until the watch has told of the end of every resource of a name but the one that is there.
func (w *world) awaitDeletions(name string, there types.UID) {
	w.t.Helper()
	for uid, its := range w.names {
		if its != name || uid == there {
			continue
		}
		env.Eventually(w.t, env.Patience, func() bool { return watched.saysDeleted(uid) },
			func() string { return fmt.Sprintf("the watch does not say that %s was deleted", uid) })
	}
}

func (w *world) awaitShown(key types.NamespacedName, o client.Object) {
	w.t.Helper()
	env.Eventually(w.t, env.Patience, func() bool {
		seen := o.DeepCopyObject().(client.Object)
		seen.SetResourceVersion("")
		o.SetResourceVersion("")
		if err := errors.Join(client.IgnoreNotFound(admin.Get(w.ctx, key, o)), client.IgnoreNotFound(cached.Get(w.ctx, key, seen))); err != nil {
			w.t.Fatal(err)
		}
		return o.GetResourceVersion() == seen.GetResourceVersion()
	}, func() string { return fmt.Sprintf("the cache does not show %T %s", o, key) })
}

// deliveries are the delivery Secrets of the namespace.
func (w *world) deliveries() []corev1.Secret {
	w.t.Helper()
	var all corev1.SecretList
	if err := admin.List(w.ctx, &all, client.InNamespace(w.namespace), client.MatchingFields{"type": v1alpha1.SecretTypeToken}); err != nil {
		w.t.Fatal(err)
	}
	return all.Items
}

// condition returns "<status>/<reason>" of a condition, "" if it is absent.
func (w *world) condition(name, conditionType string) string {
	w.t.Helper()
	return conditionOf(w.get(name), conditionType)
}

func conditionOf(pat *v1alpha1.PersonalAccessToken, conditionType string) string {
	for _, c := range pat.Status.Conditions {
		if c.Type == conditionType {
			return string(c.Status) + "/" + c.Reason
		}
	}
	return ""
}

func (w *world) expect(name, active, ready, stalled string) {
	w.t.Helper()
	got := [3]string{w.condition(name, "Active"), w.condition(name, "Ready"), w.condition(name, "Stalled")}
	if want := [3]string{active, ready, stalled}; got != want {
		w.t.Errorf("Active, Ready, Stalled are %q; want %q", got, want)
	}
}
