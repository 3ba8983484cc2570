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

package main

import (
	"bytes"
	"strings"
	"testing"
)

// Each component has the flags that it uses and no others.
func TestEachHalfHasItsOwnFlags(t *testing.T) {
	for command, foreign := range map[string][]string{
		"operator": {"--verifier-bind-address=:1", "--max-staleness=60s", "--api-audiences=a", "--verifier-client-ca-file=a", "--last-used-rate=1"},
		"verifier": {"--admission-bind-address=:1", "--leader-elect", "--secret-delivery", "--restricting-extra-keys=a", "--expiry-warnings=1h"},
	} {
		for _, flag := range foreign {
			err := run(t.Context(), []string{command, flag}, &bytes.Buffer{}, &bytes.Buffer{})
			if err == nil || !strings.HasPrefix(err.Error(), "unknown flag: ") {
				t.Errorf("%s %s: %v", command, flag, err)
			}
		}
	}
}

// What a person meets on the command line, before anything has started.
func TestFlagsAreCheckedBeforeAnythingStarts(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no namespace":       {[]string{"--records-namespace=A B"}, `--records-namespace "A B" is not a namespace; set names of a-z, 0-9 and '-', as --records-namespace=team-a`},
		"one for both":       {[]string{"--records-namespace=x", "--operator-namespace=x"}, `--records-namespace and --operator-namespace are both "x": a reader of records must not be able to read keys; name two`},
		"no address":         {[]string{"--verifier-bind-address=9444"}, `--verifier-bind-address "9444" is not [HOST]:PORT`},
		"admission address":  {[]string{"--admission-bind-address="}, `--admission-bind-address "" is not [HOST]:PORT`},
		"too short a life":   {[]string{"--max-lifetime=1h"}, "--max-lifetime 1h0m0s is not between 24h and 87840h0m0s (3660 days)"},
		"too long a life":    {[]string{"--max-lifetime=90000h"}, "--max-lifetime 90000h0m0s is not between 24h and"},
		"no skew":            {[]string{"--max-clock-skew=1s"}, "--max-clock-skew 1s is less than 2s: the API server's Date counts whole seconds"},
		"no proof":           {[]string{"--max-staleness=19s"}, "--max-staleness 19s is less than 20s: a proof takes up to half of it"},
		"no warning":         {[]string{"--expiry-warnings=24h,-1h"}, "--expiry-warnings -1h0m0s is not a time before an end; set hours, as --expiry-warnings=168h,24h"},
		"too many writes":    {[]string{"--last-used-rate=1001"}, "--last-used-rate 1001 is not between 0 and 1000"},
		"no host":            {[]string{"--serving-host=a_b"}, `--serving-host "a_b" is neither a DNS name nor an IP address`},
		"two at once":        {[]string{"--max-lifetime=1h", "--serving-host=a_b"}, "--serving-host"},
		"bodies logged":      {[]string{"--zap-log-level=8"}, "--zap-log-level is 8 or more, at which client-go logs the bodies of Secrets; set at most --zap-log-level=7"},
		"unknown flag":       {[]string{"--no-such"}, "unknown flag: --no-such"},
		"no such kubeconfig": {[]string{"--kubeconfig=/no/such"}, "no way to the cluster (set --kubeconfig, or run in a pod)"},
	} {
		t.Run(name, func(t *testing.T) {
			for command, isHalf := range map[string]bool{"run": false, "operator": true, "verifier": true} {
				err := run(t.Context(), append([]string{command}, tc.args...), &bytes.Buffer{}, &bytes.Buffer{})
				if isHalf && err != nil && strings.HasPrefix(err.Error(), "unknown flag: ") {
					continue // the other component's
				}
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%s: got %v; want %q", command, err, tc.want)
				}
			}
		})
	}
}

func TestVersionAndHelp(t *testing.T) {
	for _, tc := range []struct{ arg, want string }{{"version", version}, {"--help", "verifier"}} {
		var out bytes.Buffer
		if err := run(t.Context(), []string{tc.arg}, &out, &out); err != nil || !strings.Contains(out.String(), tc.want) {
			t.Errorf("%s: %v, %q", tc.arg, err, out.String())
		}
	}
}
