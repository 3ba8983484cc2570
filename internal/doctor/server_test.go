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

package doctor

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTheDoctorJudgesEachKubeAPIServer(t *testing.T) {
	diagnose(t, map[string]diagnosis{
		"no webhook, and no flags to see": {
			change: func(p *patient) { p.text, p.flagz = "invalid bearer token", http.StatusNotFound },
			lost:   well[:2], more: []string{"failed kube-apiserver HOST: does not ask the verifier: its flag is missing, or another webhook has its place"}, failed: true,
		},
		"no webhook": {
			change: func(p *patient) {
				p.text, p.flags["authentication-token-webhook-config-file"] = "invalid bearer token", ""
			},
			lost: well[:2], more: []string{"failed kube-apiserver HOST: does not ask the verifier: its flag --authentication-token-webhook-config-file is missing"}, failed: true,
		},
		"another webhook": {
			change: func(p *patient) { p.text = "invalid bearer token" },
			lost:   well[:2], more: []string{"failed kube-apiserver HOST: does not ask the verifier: its token webhook is another one, /etc/x"}, failed: true,
		},
		"a webhook that accepts all": {
			change: func(p *patient) { p.authenticated, p.text = true, "" },
			lost:   well[:2], more: []string{"failed kube-apiserver HOST: accepts a token that nobody has: one of its authenticators accepts whatever comes"}, failed: true,
		},
		"an answer that nobody knows": {
			change: func(p *patient) { p.text = "[invalid bearer token, no\x1b[2J]" },
			lost:   well[:1], more: []string{"failed kube-apiserver HOST: does not get an answer from the verifier: [invalid bearer token, no\x1b[2J]"}, failed: true,
		},
		"no right to ask": {
			change: func(p *patient) { p.status = http.StatusForbidden },
			lost:   well[:2], more: []string{"unchecked kube-apiserver HOST: you may not create tokenreviews"}, failed: true,
		},
		"no credentials": {
			change: func(p *patient) { p.status = http.StatusUnauthorized },
			lost:   well[:2], more: []string{"unchecked kube-apiserver HOST: it does not accept your credentials"}, failed: true,
		},
		"an old Kubernetes without flags to see": {
			change: func(p *patient) { p.flagz, p.kubernetes = http.StatusNotFound, "v1.33.1" },
			lost:   []string{well[1], well[12]},
			more:   []string{"unchecked kube-apiserver HOST: how long it takes a revoked token: it does not show its flags (Kubernetes before 1.37)", "ok versions: Kubernetes is v1.33.1"},
		},
		"no right to the flags": {
			change: func(p *patient) { p.flagz = http.StatusForbidden },
			lost:   well[1:2], more: []string{"unchecked kube-apiserver HOST: how long it takes a revoked token: you may not read /flagz"},
		},
		"a long TTL": {
			change: func(p *patient) { p.flags["authentication-token-webhook-cache-ttl"] = "2m0s" },
			lost:   well[1:2], more: []string{"failed kube-apiserver HOST: takes a revoked token for 2m0s more"}, failed: true,
		},
		"a clock ahead": {
			change: func(p *patient) { p.date = now.Add(61 * time.Second) },
			lost:   well[2:3], more: []string{"failed clock: the clocks of this machine and of kube-apiserver HOST differ by 1m1s"}, failed: true,
		},
		"a clock behind": {
			change: func(p *patient) { p.date = now.Add(-time.Hour) },
			lost:   well[2:3], more: []string{"failed clock: the clocks of this machine and of kube-apiserver HOST differ by 1h0m0s"}, failed: true,
		},
		"the addresses may not be read": {
			change: func(p *patient) { p.forbid("EndpointSliceList") },
			more:   []string{"unchecked kube-apiserver: you may not read the addresses of each kube-apiserver (endpointslices of the namespace default)"},
		},
	})
}

// Each kube-apiserver is asked by its own address; what is not reached is said, and what the kubeconfig leads to stands in.
func TestEachAddressIsAsked(t *testing.T) {
	p := newPatient(t)
	p.certified(t)
	host := strings.TrimPrefix(p.server.URL, "https://")
	p.options.Config.Host = "https://127.0.0.1:1" // nobody
	p.objects = append(p.objects, addressed(host))
	if diff := cmp.Diff(well, p.lines(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	p = newPatient(t)
	p.objects = append(p.objects, addressed("127.0.0.1:1"))
	want := append([]string{"unchecked kube-apiserver 127.0.0.1:1: this machine does not reach it: dial tcp 127.0.0.1:1: connect: connection refused"}, well...)
	if diff := cmp.Diff(want, p.lines(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	p = newPatient(t)
	p.options.Config.Host = "https://127.0.0.1:1"
	if got := p.lines(t); len(got) != 1 || !strings.HasPrefix(got[0], "no kube-apiserver answers at 127.0.0.1:1: ") {
		t.Errorf("got %q", got)
	}
}

// An address in the cluster gets the user's credentials only if it proves to be the API server.
func TestCredentialsGoToTheAPIServerOnly(t *testing.T) {
	p, thief := newPatient(t), newPatient(t)
	p.objects = append(p.objects, addressed(strings.TrimPrefix(thief.server.URL, "https://")))
	lines := p.lines(t)
	if len(thief.bearers()) > 0 || !strings.Contains(lines[0], "this machine does not reach it: tls: failed to verify certificate") {
		t.Errorf("the thief got %v\n%s", thief.bearers(), strings.Join(lines, "\n"))
	}
	p.options.Config.Insecure, p.options.Config.CAData = true, nil
	lines = p.lines(t)
	if len(thief.bearers()) > 0 || !strings.Contains(lines[0], "your credentials were sent to no further address") {
		t.Errorf("the thief got %v\n%s", thief.bearers(), strings.Join(lines, "\n"))
	}
	if got := p.bearers(); len(got) == 0 || got[0] != "Bearer mine" {
		t.Errorf("the API server got %v", got)
	}
}
