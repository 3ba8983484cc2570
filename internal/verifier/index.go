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

package verifier

import (
	"errors"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/identity"
	"github.com/pat-operator/pat-operator/internal/policy"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/internal/token"
)

const (
	shardCount = 64
	// maxRevoked bounds what is remembered of one status.revoked that is rewritten repeatedly before its record exists to
	// tell which ids matter.
	maxRevoked = 64
)

var refusedRecords = prometheus.NewCounter(prometheus.CounterOpts{
	Name: "pat_operator_verifier_records_refused_total",
	Help: "Changes of a record that the verifier refused because it is inconsistent.",
})

func init() { metrics.Registry.MustRegister(refusedRecords) }

// Index is every token that any record or resource speaks of, by id. The event methods may be called from several
// goroutines, those of one feed in the order of its events; objects given to them must not be written to afterwards.
type Index struct {
	log  logr.Logger
	seed maphash.Seed

	// mu is held by writers only.
	mu sync.Mutex
	// entries are keyed by the name of the record's Secret, which is the resource's, digested.
	entries  map[string]*entry
	accounts map[types.NamespacedName]types.UID
	// ofUser are the entries with a record, by the user's name.
	ofUser map[string][]*entry
	// policies have a lock of their own. They change only while mu is held.
	policies *policy.Set

	shards [shardCount]shard

	// listener is told of each id that is published anew; changed are those since mu was taken.
	listener func(id string)
	changed  []string

	own atomic.Pointer[[]string]
	// ready returns why the index may be too stale to answer; nil if no feed vouches for it yet.
	ready atomic.Pointer[func(time.Time) error]
}

// entry holds the facts under one name. Record and resource may be of two UIDs: neither feed waits for the other.
type entry struct {
	name     string
	record   *recordFacts
	resource *resourceFacts
	// refused names the change of the record that was last refused, so that it is reported once.
	refused   refusal
	published []idEntry
	// revoked are the ids that the status of the resource with this UID has ever named as such, so that nobody takes it back.
	revoked []string
	uid     types.UID
}

type refusal struct{ resourceVersion, reason string }

type shard struct {
	mu  sync.RWMutex
	ids map[tokenID]indexEntries
}

type tokenID [token.IDLength]byte

// NewIndex returns an empty index, which says NotReady until its feeds have synced and its audiences are known.
func NewIndex(log logr.Logger) *Index {
	x := &Index{
		log:      log,
		seed:     maphash.MakeSeed(),
		entries:  map[string]*entry{},
		accounts: map[types.NamespacedName]types.UID{},
		ofUser:   map[string][]*entry{},
		policies: policy.NewSet(),
	}
	for i := range x.shards {
		x.shards[i].ids = map[tokenID]indexEntries{}
	}
	return x
}

// OnChange has f called with every id whose claims have changed, after readers see the change and without a lock held. Call it
// before the index is fed.
func (x *Index) OnChange(f func(id string)) { x.listener = f }

// lock takes the writers' lock. The function it returns releases the lock, then tells the listener what has changed.
func (x *Index) lock() (unlock func()) {
	x.mu.Lock()
	return func() {
		changed := x.changed
		x.changed = nil
		x.mu.Unlock()
		for _, id := range changed {
			x.listener(id)
		}
	}
}

// SetRecord takes a Secret of the records namespace. A Secret that is not a record, is marked deleted or is inconsistent
// makes every token of a former version invalid.
func (x *Index) SetRecord(secret *corev1.Secret) {
	if secret.Type != record.SecretType || secret.DeletionTimestamp != nil {
		x.DeleteRecord(secret.Name)
		return
	}
	r, err := record.FromSecret(secret)

	defer x.lock()()
	e := x.entry(secret.Name)
	x.disown(e)
	if err != nil {
		e.record = nil
		if change := (refusal{secret.ResourceVersion, err.Error()}); change != e.refused {
			e.refused = change
			refusedRecords.Inc()
			x.log.Info("Refusing an inconsistent record; its tokens do not work",
				"secret", secret.Name, "resourceVersion", secret.ResourceVersion, "reason", err.Error())
		}
		x.rejoin(e)
		return
	}
	e.record, e.refused = factsOfRecord(r), refusal{}
	username := e.record.user.Username
	x.ofUser[username] = append(x.ofUser[username], e)
	x.rejoin(e)
}

// DeleteRecord forgets the record in the Secret of this name.
func (x *Index) DeleteRecord(secretName string) {
	defer x.lock()()
	e, ok := x.entries[secretName]
	if !ok {
		return
	}
	x.disown(e)
	e.record, e.refused = nil, refusal{}
	x.rejoin(e)
}

// SetResource takes a PersonalAccessToken. Of its status only what ends a token is believed.
func (x *Index) SetResource(pat *v1alpha1.PersonalAccessToken) {
	name := record.SecretName(pat.Namespace, pat.Name)

	defer x.lock()()
	e := x.entry(name)
	e.resource = factsOfResource(pat)
	if e.uid != pat.UID {
		e.uid, e.revoked = pat.UID, nil
	}
	for _, id := range e.resource.revoked {
		if len(e.revoked) < maxRevoked && !slices.Contains(e.revoked, id) {
			e.revoked = append(e.revoked, id)
		}
	}
	x.rejoin(e)
}

// DeleteResource forgets a PersonalAccessToken, whatever its UID.
func (x *Index) DeleteResource(namespace, name string) {
	key := record.SecretName(namespace, name)
	defer x.lock()()
	if e, ok := x.entries[key]; ok {
		e.resource = nil
		x.rejoin(e)
	}
}

// SetServiceAccount takes the UID of a service account.
func (x *Index) SetServiceAccount(namespace, name string, uid types.UID) {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	defer x.lock()()
	if x.accounts[key] == uid {
		return
	}
	x.accounts[key] = uid
	x.rejoinOwned(key)
}

// DeleteServiceAccount forgets a service account, whatever its UID.
func (x *Index) DeleteServiceAccount(namespace, name string) {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	defer x.lock()()
	delete(x.accounts, key)
	x.rejoinOwned(key)
}

// SetPolicy takes a TokenPolicy, with whatever fields it has.
func (x *Index) SetPolicy(object *unstructured.Unstructured) {
	p := policy.Parse(object)
	defer x.lock()()
	was := x.policies.Put(p)
	if was.Equal(p) {
		return // Its status changes with every token that it matches.
	}
	if len(p.Unknown) > 0 {
		x.log.Info("A TokenPolicy has fields that this version does not know; it matches and denies more than it says",
			"policy", p.Name, "fields", p.Unknown)
	}
	x.rejoinMatched(was, p)
}

// DeletePolicy forgets the TokenPolicy of this name.
func (x *Index) DeletePolicy(name string) {
	defer x.lock()()
	x.rejoinMatched(x.policies.Remove(name), nil)
}

// Policies are those that the index knows.
func (x *Index) Policies() *policy.Set { return x.policies }

// SetAPIAudiences says which audiences are the API server's own; an empty list changes nothing.
func (x *Index) SetAPIAudiences(audiences []string) {
	own := slices.DeleteFunc(slices.Clone(audiences), func(a string) bool { return a == "" })
	if len(own) > 0 {
		x.own.Store(&own)
	}
}

// MarkSynced says that what the index holds is to be believed whatever its age: for one that is filled by hand.
func (x *Index) MarkSynced() { x.vouchedBy(func(time.Time) error { return nil }) }

// vouchedBy says whom to ask whether what the index holds is to be believed at a time.
func (x *Index) vouchedBy(ready func(time.Time) error) { x.ready.Store(&ready) }

var (
	errNoFeeds     = errors.New("the verifier's feeds have not started")
	errNoAudiences = errors.New("the API server's audiences are not known")
)

// Ready says what Verify waits for at a time, or nil.
func (x *Index) Ready(now time.Time) error {
	ready := x.ready.Load()
	switch {
	case ready == nil:
		return errNoFeeds
	case len(x.apiAudiences()) == 0:
		return errNoAudiences
	}
	return (*ready)(now)
}

// recordKeys are the Secrets that the index knows records by, or has refused.
func (x *Index) recordKeys(namespace string) []types.NamespacedName {
	x.mu.Lock()
	defer x.mu.Unlock()
	var keys []types.NamespacedName
	for name, e := range x.entries {
		if e.record != nil || e.refused != (refusal{}) {
			keys = append(keys, types.NamespacedName{Namespace: namespace, Name: name})
		}
	}
	return keys
}

func (x *Index) resourceKeys() []types.NamespacedName {
	x.mu.Lock()
	defer x.mu.Unlock()
	var keys []types.NamespacedName
	for _, e := range x.entries {
		if e.resource != nil {
			keys = append(keys, e.resource.key)
		}
	}
	return keys
}

func (x *Index) policyKeys() []types.NamespacedName {
	var keys []types.NamespacedName
	for _, p := range x.policies.All() {
		keys = append(keys, types.NamespacedName{Name: p.Name})
	}
	return keys
}

func (x *Index) accountKeys() []types.NamespacedName {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Collect(maps.Keys(x.accounts))
}

// size is how much the index holds, by kind. It walks nothing that grows.
func (x *Index) size() map[string]int {
	ids := 0
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.RLock()
		ids += len(s.ids)
		s.mu.RUnlock()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return map[string]int{"token_ids": ids, "names": len(x.entries), "serviceaccounts": len(x.accounts), "policies": x.policies.Len()}
}

// IsAPIAudience reports whether an audience is one of the API server's own, as far as they are known.
func (x *Index) IsAPIAudience(audience string) bool {
	return slices.Contains(x.apiAudiences(), audience)
}

func (x *Index) apiAudiences() []string {
	if own := x.own.Load(); own != nil {
		return *own
	}
	return nil
}

// lookup returns the index entries of an id. Only the writers may touch the waiting ones.
func (x *Index) lookup(id string) (all indexEntries, ok bool) {
	s := x.shard(id)
	s.mu.RLock()
	defer s.mu.RUnlock()
	all, ok = s.ids[tokenID([]byte(id))]
	return all, ok
}

func (x *Index) shard(id string) *shard {
	return &x.shards[maphash.String(x.seed, id)%shardCount]
}

func (x *Index) entry(name string) *entry {
	e, ok := x.entries[name]
	if !ok {
		e = &entry{name: name}
		x.entries[name] = e
	}
	return e
}

func (x *Index) disown(e *entry) {
	if e.record == nil {
		return
	}
	username := e.record.user.Username
	all := x.ofUser[username]
	if len(all) == 1 {
		delete(x.ofUser, username)
		return
	}
	at, last := slices.Index(all, e), len(all)-1
	all[at], all[last] = all[last], nil
	x.ofUser[username] = all[:last]
}

func (x *Index) rejoinOwned(account types.NamespacedName) {
	for _, e := range x.ofUser[serviceaccount.MakeUsername(account.Namespace, account.Name)] {
		x.rejoin(e)
	}
}

// rejoinMatched joins the tokens anew that a policy matches, or the one that it replaces did.
func (x *Index) rejoinMatched(was, is *policy.Policy) {
	rejoin := func(e *entry) {
		if e.record == nil {
			return
		}
		if namespace, user := e.record.resource.Namespace, e.record.user; was.Matches(namespace, user) || is.Matches(namespace, user) {
			x.rejoin(e)
		}
	}
	users, noneElse := policy.UsersOf(was, is)
	if !noneElse {
		for _, e := range x.entries {
			rejoin(e)
		}
		return
	}
	// Each person who leaves may leave a policy behind, so that there are thousands.
	for _, username := range users {
		for _, e := range x.ofUser[username] {
			rejoin(e)
		}
	}
}

// rejoin publishes the index entries of a resource anew, and forgets a resource without any.
func (x *Index) rejoin(e *entry) {
	if e.record != nil && e.resource != nil && identity.Equal(e.record.user, e.resource.spec.User) {
		e.resource.spec.User = e.record.user // kept once
	}
	if e.record != nil {
		e.revoked = slices.DeleteFunc(e.revoked, func(id string) bool { return !e.record.knows(id) && !e.resource.names(id) })
	}
	revoked := e.revoked
	if e.resource != nil {
		revoked = slices.Concat(revoked, e.resource.revoked)
	}
	next := x.join(e.record, e.resource, revoked)
	gone := make(map[string]*indexEntry, len(e.published))
	for _, c := range e.published {
		gone[c.id] = c.indexEntry
	}
	for _, c := range next {
		x.replace(c.id, gone[c.id], c.indexEntry)
		delete(gone, c.id)
	}
	for id, c := range gone {
		x.replace(id, c, nil)
	}
	e.published = next
	if e.record == nil && e.resource == nil && e.refused == (refusal{}) {
		delete(x.entries, e.name)
	}
}

// replace puts one entry of an id in the place of another, either of which may be nil, in one step for readers.
func (x *Index) replace(id string, old, next *indexEntry) {
	key := tokenID([]byte(id))
	s := x.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.listener != nil {
		x.changed = append(x.changed, id)
	}
	all := s.ids[key]
	all.remove(old)
	all.add(next)
	all.promote()
	if all.empty() {
		delete(s.ids, key)
		return
	}
	s.ids[key] = all
}

// Use is the use of a resource's tokens by its status, with the data that a newer status needs.
type Use struct {
	// ResourceVersion is that of the resource which said so.
	ResourceVersion string
	// TokenID is the current token's by status; FirstUsedAt is of that one. Zero times stand for never.
	TokenID                 string
	FirstUsedAt, LastUsedAt time.Time
	// LastUsedFrom is the address of the last use; empty where it is not known.
	LastUsedFrom string
	// Current reports whether the verified token is the current one by its record.
	Current bool
}

func useOf(pat *v1alpha1.PersonalAccessToken) Use {
	u := Use{ResourceVersion: pat.ResourceVersion, TokenID: pat.Status.TokenID, LastUsedFrom: pat.Status.LastUsedFrom}
	if at := pat.Status.FirstUsedAt; at != nil {
		u.FirstUsedAt = at.Time
	}
	if at := pat.Status.LastUsedAt; at != nil {
		u.LastUsedAt = at.Time
	}
	return u
}

// Use returns what is known of the use of a resource's tokens; false where the token with this id is not one of its own, or
// the resource is gone.
func (x *Index) Use(namespace, name, id string) (Use, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.entries[record.SecretName(namespace, name)]
	if e == nil || e.resource == nil || e.resource.deleting || e.record == nil || !e.record.knows(id) ||
		(record.Resource{Namespace: namespace, Name: name, UID: e.resource.uid}) != e.record.resource {
		return Use{}, false
	}
	u := e.resource.use
	u.Current = e.record.current == id
	return u, true
}
