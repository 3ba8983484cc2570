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
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/pat-operator/pat-operator/internal/identity"
	"github.com/pat-operator/pat-operator/internal/record"
)

const (
	// MaxNames is how many users and groups the role holds at most.
	MaxNames = 10_000
	// maxBytes bounds the sum of their lengths: etcd takes objects of 1.5 MiB.
	maxBytes = 1 << 20
	// reserved begins names of Kubernetes' own users and groups. The policy admits none of them into the role.
	reserved = "system:"
)

// name is a user or a group.
type name struct {
	resource, name string // resource is users or groups
}

// carrier is what a record contributes: the names that its tokens need.
type carrier struct {
	resource record.Resource
	// since is when the record was created; the tokens of older records come first where names are refused.
	since time.Time
	names []name
}

// ledger counts who active tokens stand for. The watch of records feeds it.
type ledger struct {
	mu sync.Mutex
	// carriers are by the name of the record's Secret.
	carriers map[string]carrier
	count    map[name]int
	bytes    int
	// marked is the latest resourceVersion of the marker.
	marked string
	// changed is closed, and replaced, when anything above changes.
	changed chan struct{}
}

func newLedger() *ledger {
	return &ledger{carriers: map[string]carrier{}, count: map[name]int{}, changed: make(chan struct{})}
}

// saw takes what the watch shows of a Secret of the records namespace. It reports whether another name is needed, or one less.
func (l *ledger) saw(secret *corev1.Secret) bool {
	switch {
	case secret.Name == MarkerName:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.marked = secret.ResourceVersion
		l.wake()
		return false
	case secret.Type != record.SecretType:
		return false
	}
	return l.set(secret.Name, carrierOf(secret))
}

// gone takes the end of a Secret.
func (l *ledger) gone(secret string) bool { return l.set(secret, carrier{}) }

func (l *ledger) set(secret string, is carrier) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.carriers[secret]
	if slices.Equal(was.names, is.names) && was.resource == is.resource {
		return false
	}
	l.add(was.names, -1)
	l.add(is.names, 1)
	if len(is.names) == 0 {
		delete(l.carriers, secret)
	} else {
		l.carriers[secret] = is
	}
	l.wake()
	return true
}

func (l *ledger) add(names []name, n int) {
	for _, of := range names {
		before := l.count[of]
		l.count[of] += n
		switch after := l.count[of]; {
		case after == 0:
			delete(l.count, of)
			l.bytes -= len(of.name)
		case before == 0:
			l.bytes += len(of.name)
		}
	}
}

func (l *ledger) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// marker returns the latest resourceVersion of the marker, and a channel that is closed when anything changes.
func (l *ledger) marker() (version string, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.marked, l.changed
}

// names returns who active tokens stand for, and the carriers whose names do not all fit. Those of older records come first.
func (l *ledger) names() (fit map[name]bool, refused []carrier) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fit = make(map[name]bool, min(len(l.count), MaxNames))
	if len(l.count) <= MaxNames && l.bytes <= maxBytes {
		for of := range l.count {
			fit[of] = true
		}
		return fit, nil
	}
	ordered := slices.SortedFunc(maps.Values(l.carriers), func(a, b carrier) int {
		return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.resource.Namespace, b.resource.Namespace), cmp.Compare(a.resource.Name, b.resource.Name))
	})
	bytes := 0
	for _, c := range ordered {
		more, length := 0, 0
		for _, of := range c.names {
			if !fit[of] {
				more, length = more+1, length+len(of.name)
			}
		}
		if len(fit)+more > MaxNames || bytes+length > maxBytes {
			refused = append(refused, c)
			continue
		}
		bytes += length
		for _, of := range c.names {
			fit[of] = true
		}
	}
	return fit, refused
}

// carrierOf is what a record contributes. A record that cannot be read contributes nothing: no token of it verifies.
func carrierOf(secret *corev1.Secret) carrier {
	rec, err := record.FromSecret(secret)
	if err != nil || !active(rec) {
		return carrier{}
	}
	if strings.HasPrefix(rec.User.Username, reserved) {
		return carrier{} // A service account; no other such user has tokens. Its groups are the API server's to know.
	}
	if len(identity.Check(nil, &rec.User)) > 0 {
		return carrier{} // The proxy refuses it too.
	}
	c := carrier{resource: rec.Resource, since: secret.CreationTimestamp.Time, names: []name{{users, rec.User.Username}}}
	for _, group := range rec.User.Groups {
		if !strings.HasPrefix(group, reserved) {
			c.names = append(c.names, name{groups, group})
		}
	}
	slices.SortFunc(c.names, compareNames)
	c.names = slices.Compact(c.names)
	return c
}

func compareNames(a, b name) int {
	return cmp.Or(cmp.Compare(a.resource, b.resource), cmp.Compare(a.name, b.name))
}

// active reports whether a token of the record may verify now, or again without another wish of its user. It errs on the side
// of yes: a record whose resource cannot be found counts, since that proves nothing.
func active(rec *record.Record) bool {
	if rec.Tombstone() || rec.Granted == nil || rec.Granted.Suspend {
		return false
	}
	for _, t := range []*record.Token{rec.Current, rec.Previous} {
		if t != nil && rec.EndOf(t.ID) == nil {
			return true
		}
	}
	return false
}

// reached reports whether a version is at least another one.
func reached(version, other string) bool {
	order, err := resourceversion.CompareResourceVersion(version, other)
	return err == nil && order >= 0
}
