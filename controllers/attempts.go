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
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
)

const (
	firstAttemptAfter = time.Second
	lastAttemptAfter  = 5 * time.Minute
)

// attempts delays further attempts to issue a token after one failed. The queue's own backoff would not: each attempt writes the
// record and status, and the events of these writes are not held back. The zero value works.
type attempts struct {
	mu      sync.Mutex
	backoff workqueue.TypedRateLimiter[types.UID]
	next    map[types.UID]time.Time
}

// wait is how long it is until the next attempt, 0 if it is due.
func (a *attempts) wait(uid types.UID, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return max(a.next[uid].Sub(now), 0)
}

// failed delays the next attempt, longer each time, and returns the delay.
func (a *attempts) failed(uid types.UID, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next == nil {
		a.next = map[types.UID]time.Time{}
		a.backoff = workqueue.NewTypedItemExponentialFailureRateLimiter[types.UID](firstAttemptAfter, lastAttemptAfter)
	}
	wait := a.backoff.When(uid)
	a.next[uid] = now.Add(wait)
	return wait
}

// succeeded forgets the attempts for a resource, also for one that is gone.
func (a *attempts) succeeded(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next != nil {
		delete(a.next, uid)
		a.backoff.Forget(uid)
	}
}
