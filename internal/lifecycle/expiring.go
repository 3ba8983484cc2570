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

package lifecycle

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// expiringSoon warns that the current token's end is near: by the shortest warning whose time has come.
func expiringSoon(in Input) *Condition {
	var within time.Duration
	end := EffectiveEnd(&in.Resource.Spec, in.Record.Current)
	for _, w := range warnings(in) {
		if !in.Now.Before(end.Add(-w)) && (within == 0 || w < within) {
			within = w
		}
	}
	if within == 0 {
		return nil
	}
	return &Condition{Status: true, Reason: v1alpha1.ReasonExpiringSoon, Message: fmt.Sprintf(
		"Token %s expires at %s, in less than %s; %s.", in.Record.Current.ID, stamp(end), duration.HumanDuration(within), again(&in.Resource.Spec))}
}

// warnings are how long before its end the current token is warned of. It leaves out tokens that are rotated automatically
// before, and warnings that would show from the token's first day.
func warnings(in Input) []time.Duration {
	t := in.Record.Current
	if due, ok := rotationDue(in); ok && in.Now.Before(due) || in.Record.EndOf(t.ID) != nil {
		return nil
	}
	var out []time.Duration
	for _, w := range in.Config.ExpiryWarnings {
		if w < EffectiveEnd(&in.Resource.Spec, t).Sub(t.IssuedAt) {
			out = append(out, w)
		}
	}
	return out
}
