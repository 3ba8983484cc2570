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

package patauth

import (
	"container/list"
	"crypto/sha256"
	"time"
)

const (
	// maxCacheBytes is how much memory the identities of a cache take at most, in bytes, whatever the names of users and groups.
	maxCacheBytes = 64 << 20
	// entryBytes is what an entry takes without the texts of its identity: about.
	entryBytes = 512
)

// key is the SHA-256 of a token. A token has 256 random bits, so its hash tells nothing about it.
type key [sha256.Size]byte

// keyOf returns the key of what has the length of a token.
func keyOf(token string) key {
	var b [tokenLength]byte // on the stack
	return sha256.Sum256(b[:copy(b[:], token)])
}

// cache remembers identities for a while, and that their tokens were valid for longer. The least recently used go first. It is not for
// concurrent use.
type cache struct {
	maxEntries, maxBytes int
	bytes                int
	entries              map[key]*list.Element
	recent               *list.List // of *entry, the most recently used first
}

type entry struct {
	key      key
	identity *Identity
	bytes    int
	// until is compared by the monotonic clock and by the wall clock, whichever ran on further: one stands still while a
	// machine sleeps, the other can be set back.
	until time.Time
}

func newCache(maxEntries, maxBytes int) *cache {
	return &cache{maxEntries: maxEntries, maxBytes: maxBytes, entries: map[key]*list.Element{}, recent: list.New()}
}

// get returns an identity that holds at the time now, or nil. known reports whether the token was valid when it was last asked about.
func (c *cache) get(k key, now time.Time) (identity *Identity, known bool) {
	element := c.entries[k]
	if element == nil {
		return nil, false
	}
	c.recent.MoveToFront(element)
	e := element.Value.(*entry)
	if !now.Before(e.until) || now.UnixNano() >= e.until.UnixNano() {
		return nil, true
	}
	return e.identity, true
}

// put remembers an identity until a time.
func (c *cache) put(k key, identity *Identity, until time.Time) {
	c.drop(k)
	e := &entry{key: k, identity: identity, bytes: entryBytes + identity.size(), until: until}
	c.entries[k] = c.recent.PushFront(e)
	c.bytes += e.bytes
	for len(c.entries) > c.maxEntries || c.bytes > c.maxBytes {
		c.remove(c.recent.Back())
	}
}

// drop forgets a token.
func (c *cache) drop(k key) {
	if element := c.entries[k]; element != nil {
		c.remove(element)
	}
}

func (c *cache) remove(element *list.Element) {
	e := c.recent.Remove(element).(*entry)
	delete(c.entries, e.key)
	c.bytes -= e.bytes
}
