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
	"time"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
)

// Use is the use of a resource's tokens by its status, with the data that a newer status needs.
type Use struct {
	// ResourceVersion is that of the resource which said so.
	ResourceVersion string
	// TokenID is the current token's by status; FirstUsedAt is of that one. Zero times stand for never.
	TokenID                 string
	FirstUsedAt, LastUsedAt time.Time
	// Current reports whether the verified token is the current one by its record.
	Current bool
}

func useOf(pat *v1alpha1.PersonalAccessToken) Use {
	u := Use{ResourceVersion: pat.ResourceVersion, TokenID: pat.Status.TokenID}
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
