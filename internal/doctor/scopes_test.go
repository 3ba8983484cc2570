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
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/pat-operator/pat-operator/internal/authnconfig"
)

func TestTheDoctorJudgesScopes(t *testing.T) {
	diagnose(t, map[string]diagnosis{
		"no authorizer for scopes": {
			change: func(p *patient) { p.authorizer = "none" },
			lost:   well[13:], more: []string{"due scopes at HOST: " + notAskedLine + ", so these are refused"},
		},
		"an authorizer whose matchConditions are others": {
			change: func(p *patient) {
				p.authorizer, p.flags["authorization-config"] = "none", "/etc/pat-operator/authorization.yaml"
			},
			lost: well[13:], more: []string{"failed scopes at HOST: " + notAskedLine + ", although it has --authorization-config=/etc/pat-operator/authorization.yaml: that lacks the authorizer pat-operator, or has other matchConditions"}, failed: true,
		},
		"an authorizer without matchConditions": {
			change: func(p *patient) { p.authorizer = "for everyone" },
			more:   []string{"failed scopes at HOST: kube-apiserver asks the verifier about everyone's requests, and denies them all while it does not answer: the authorizer pat-operator lacks its matchConditions"}, failed: true,
		},
		"an authorizer after RBAC": {
			change: func(p *patient) { p.authorizer = "last" },
			lost:   well[13:14], more: []string{"failed scopes at HOST: kube-apiserver has an authorizer before that of pat-operator, which allows requests of tokens with scopes"}, failed: true,
		},
		"another cluster's authorizer": {
			change: func(p *patient) { p.authorizer = "of another cluster" },
			lost:   well[13:14], more: []string{"failed scopes at HOST: kube-apiserver asks the verifier of another installation about tokens with scopes"}, failed: true,
		},
		"an authorizer without a verifier": {
			change: func(p *patient) { p.authorizer = "down" },
			lost:   well[13:14], more: []string{"failed scopes at HOST: kube-apiserver gets no answer from the verifier about tokens with scopes, so they may do nothing: connection refused"}, failed: true,
		},
		"an authorizer whose failures pass": {
			change: func(p *patient) { p.authorizer = "open" },
			lost:   well[13:14], more: []string{"failed scopes at HOST: kube-apiserver lets tokens with scopes do everything while the verifier does not answer"}, failed: true,
		},
		"no proof": {
			change: func(p *patient) { p.objects[4].(*corev1.ConfigMap).Data[authnconfig.KeyScopesEnforced] = "false" },
			lost:   well[14:], more: []string{"failed scopes: the verifier refuses tokens with scopes: it lacks the proof of a kube-apiserver"}, failed: true,
		},
		"no right to ask about scopes": {
			change: func(p *patient) { p.reviews = http.StatusForbidden },
			lost:   well[13:], more: []string{"unchecked scopes at HOST: you may not create subjectaccessreviews"},
		},
		"no answer about scopes": {
			change: func(p *patient) { p.reviews = http.StatusServiceUnavailable },
			lost:   well[13:], more: []string{"unchecked scopes at HOST: it answers HTTP 503 to a SubjectAccessReview"},
		},
	})
}

// One of two kube-apiservers lacks the authorizer: that is a fault, since the verifier then refuses tokens with scopes at both.
func TestAnAuthorizerMissesOnOneOfTwo(t *testing.T) {
	p, second := newPatient(t), newPatient(t)
	p.certified(t)
	second.certified(t)
	second.authorizer = "none"
	p.options.Config.CAData = append(p.options.Config.CAData, second.options.Config.CAData...)
	host := strings.TrimPrefix(second.server.URL, "https://")
	other := addressed(host)
	other.SetName("kubernetes-2")
	p.objects = append(p.objects, addressed(strings.TrimPrefix(p.server.URL, "https://")), other)
	p.objects[4].(*corev1.ConfigMap).Data[authnconfig.KeyScopesEnforced] = "false"
	lines := p.lines(t)
	for _, want := range []string{
		well[13], "failed scopes at " + host + ": " + notAskedLine + ", and another kube-apiserver does: so these are refused",
		"failed scopes: the verifier refuses tokens with scopes: it lacks the proof of a kube-apiserver",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("%s is not in\n%s", want, strings.Join(lines, "\n"))
		}
	}
}
