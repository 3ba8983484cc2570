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
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
)

const (
	// maxSightings bounds what is remembered of one status that is rewritten repeatedly before its record exists, which decides
	// which ids matter.
	maxSightings = 64
	// maxDeletions bounds how many deletions are remembered, those of the last keepDeletion excepted: a paused leader may still
	// create a record for a resource that is gone.
	maxDeletions = 10_000
	keepDeletion = lifecycle.RemovalWindow
	// patience bounds the wait for the cache to show a write of this process.
	patience = 5 * time.Second
)

// sightings hold what the watch of resources has shown and no later event may undo: ids that status named as revoked or as used,
// until the record has them, and UIDs that were deleted. The zero value works.
type sightings struct {
	mu      sync.Mutex
	seen    map[types.NamespacedName]*sighting
	deleted map[types.NamespacedName]deletion
	written map[types.NamespacedName]written
	// newest is the latest resourceVersion of any PersonalAccessToken.
	newest string
}

// written are the resourceVersions of this process's own last writes of a name: of its status and of its record.
type written struct {
	status, record string
	at             time.Time
}

type sighting struct {
	uid           types.UID
	revoked, used []string
}

type deletion struct {
	uid types.UID
	at  time.Time
}

// saw records a resource that an event or a read has shown. relevant reports which ids may matter.
func (s *sightings) saw(pat *v1alpha1.PersonalAccessToken, relevant func(id string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(pat.ResourceVersion)
	var revoked, used []string
	for _, r := range pat.Status.Revoked {
		revoked = append(revoked, r.TokenID)
	}
	if pat.Status.FirstUsedAt != nil && pat.Spec.Rotation != nil && pat.Spec.Rotation.RetireOnFirstUse {
		used = []string{pat.Status.TokenID}
	}
	key := types.NamespacedName{Namespace: pat.Namespace, Name: pat.Name}
	was := s.seen[key]
	if was != nil && was.uid != pat.UID {
		delete(s.seen, key)
		was = nil
	}
	if len(revoked)+len(used) == 0 {
		return
	}
	if was == nil {
		if s.seen == nil {
			s.seen = map[types.NamespacedName]*sighting{}
		}
		was = &sighting{uid: pat.UID}
		s.seen[key] = was
	}
	was.revoked = merge(was.revoked, revoked, relevant)
	was.used = merge(was.used, used, relevant)
}

func merge(known, ids []string, relevant func(string) bool) []string {
	for _, id := range ids {
		if len(known) < maxSightings && !slices.Contains(known, id) && relevant(id) {
			known = append(known, id)
		}
	}
	return known
}

// gone records a deletion that the watch itself has reported.
func (s *sightings) gone(pat *v1alpha1.PersonalAccessToken, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(pat.ResourceVersion)
	if s.deleted == nil {
		s.deleted = map[types.NamespacedName]deletion{}
	}
	if len(s.deleted) >= maxDeletions {
		for key, d := range s.deleted {
			if now.Sub(d.at) > keepDeletion {
				delete(s.deleted, key)
			}
		}
	}
	key := types.NamespacedName{Namespace: pat.Namespace, Name: pat.Name}
	s.deleted[key] = deletion{pat.UID, now}
	delete(s.seen, key)
}

// of returns the sightings of a name: those of the resource with a UID, and which UID was deleted.
func (s *sightings) of(key types.NamespacedName, uid types.UID) (revoked, used []string, deleted types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seen := s.seen[key]; seen != nil && seen.uid == uid {
		revoked, used = slices.Clone(seen.revoked), slices.Clone(seen.used)
	}
	return revoked, used, s.deleted[key].uid
}

// keep forgets the ids of a name that are no longer relevant.
func (s *sightings) keep(key types.NamespacedName, relevant func(id string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen[key]
	if seen == nil {
		return
	}
	irrelevant := func(id string) bool { return !relevant(id) }
	seen.revoked = slices.DeleteFunc(seen.revoked, irrelevant)
	seen.used = slices.DeleteFunc(seen.used, irrelevant)
	if len(seen.revoked)+len(seen.used) == 0 {
		delete(s.seen, key)
	}
}

// wroteStatus and wroteRecord record a write of this process, which the cache will show later.
func (s *sightings) wroteStatus(key types.NamespacedName, version string, now time.Time) {
	s.wrote(key, now, func(w *written) { w.status = version })
}

func (s *sightings) wroteRecord(key types.NamespacedName, version string, now time.Time) {
	s.wrote(key, now, func(w *written) { w.record = version })
}

func (s *sightings) wrote(key types.NamespacedName, now time.Time, note func(*written)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.written == nil {
		s.written = map[types.NamespacedName]written{}
	}
	w := s.written[key]
	w.at = now
	note(&w)
	s.written[key] = w
}

// behind reports whether the cache, which shows these resourceVersions of a resource and its record, is older than this
// process's own last writes. The wait ends after patience, since another write may have undone them.
func (s *sightings) behind(key types.NamespacedName, status, record string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.written[key]
	if !ok {
		return false
	}
	statusShows := w.status == "" || status == "" || reached(status, w.status) // Without a resource, it was deleted since.
	recordShows := w.record == "" || record != "" && reached(record, w.record)
	if statusShows && recordShows || now.Sub(w.at) > patience || now.Before(w.at) {
		delete(s.written, key)
		return false
	}
	return true
}

// listed records the resourceVersion of a list, and reports whether it is at least as new as every one before.
func (s *sightings) listed(version string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if version == "" || s.newest != "" && !reached(version, s.newest) {
		return false
	}
	s.newest = version
	return true
}

func (s *sightings) advance(version string) {
	if s.newest == "" || reached(version, s.newest) {
		s.newest = version
	}
}

// reached reports whether a resourceVersion is the other one or a later one.
func reached(version, other string) bool {
	order, err := resourceversion.CompareResourceVersion(version, other)
	return err == nil && order >= 0
}
