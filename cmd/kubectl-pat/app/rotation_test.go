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

package app

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/internal/holder"
)

// rotationGiven returns rotationFlags from these flags.
func rotationGiven(t *testing.T, args ...string) *rotationFlags {
	t.Helper()
	flags := &rotationFlags{}
	set := pflag.NewFlagSet("rotate", pflag.ContinueOnError)
	flags.bind(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	return flags
}

func TestRotationFlagsThatAreAbsentComeFromSpec(t *testing.T) {
	seconds := func(n int32) *int32 { return &n }
	retire := func(is bool) *bool { return &is }
	for name, tc := range map[string]struct {
		args []string
		want holder.RotateOptions
	}{
		"nothing":          {},
		"all":              {[]string{"--overlap=24h", "--retire-on-first-use", "--expires-in=36h"}, holder.RotateOptions{Overlap: seconds(86400), RetireOnFirstUse: retire(true), ExpiresIn: 36 * time.Hour}},
		"none, and it not": {[]string{"--overlap=0", "--retire-on-first-use=false"}, holder.RotateOptions{Overlap: seconds(0), RetireOnFirstUse: retire(false)}},
	} {
		if diff := cmp.Diff(tc.want, rotationGiven(t, tc.args...).options()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestRotationErrorsNameTheFlag(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		err  error
		want string
	}{
		"first use without an overlap": {[]string{"--retire-on-first-use"}, holder.ErrNoOverlap, "--retire-on-first-use needs an overlap, in which both tokens work: add --overlap 24h"},
		"no overlap, but first use":    {[]string{"--overlap=0s"}, holder.ErrNoOverlap, "without an overlap the old token ends at once, so spec.rotation.retireOnFirstUse has no effect: add --retire-on-first-use=false, or a longer --overlap"},
		"an end that is near":          {nil, &holder.EndError{ExpiresAt: *after(2 * day)}, "the new token would expire soon, at 2026-11-26T12:00:00Z (spec.expiresAt): set its lifetime with --expires-in 90d"},
		"an end that has passed":       {nil, &holder.EndError{ExpiresAt: metav1.NewTime(start), Passed: true}, "spec.expiresAt (2026-11-24T12:00:00Z) has passed, so no token would be issued: set the lifetime of the new token with --expires-in 90d"},
		"rotated by another":           {nil, holder.ErrRotated, "nothing was changed: the token was rotated, or its delivery was changed, in the meantime; look at it, then run this again"},
		"anything else":                {nil, errNotConfirmed, errNotConfirmed.Error()},
	} {
		if got := rotationGiven(t, tc.args...).inFlags(tc.err); got.Error() != tc.want {
			t.Errorf("%s: got %v; want %s", name, got, tc.want)
		}
	}
}

func TestOverlap(t *testing.T) {
	for text, want := range map[string]int32{"0": 0, "0s": 0, "90s": 90, "24h": 86400, "1w": 604800, "366d": 31622400, "24": -1, "367d": -1, "-1h": -1, "": -1} {
		var o overlap
		if err := o.Set(text); (err != nil) != (want < 0) || err == nil && int32(o) != want {
			t.Errorf("%q: %d, %v", text, o, err)
		}
	}
}
