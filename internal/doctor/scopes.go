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
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/pat-operator/pat-operator/internal/authnconfig"
)

const (
	scopesCheck   = "scopes"
	fixAuthorizer = "write the files again, on each control plane node: kubectl pat setup --scopes"
)

var errMayNotAsk = errors.New("you may not create subjectaccessreviews")

// fixes say what to do about a kube-apiserver that does not enforce scopes.
var fixes = map[authnconfig.Enforcement]string{
	authnconfig.NotAsked:  "for tokens with scopes: kubectl pat setup --scopes",
	authnconfig.Overruled: "make the authorizer pat-operator the first of the AuthorizationConfiguration: kubectl pat setup --scopes",
	authnconfig.Elsewhere: fixAuthorizer,
	authnconfig.Failing:   fixVerifier + "; " + fixAuthorizer,
	authnconfig.FailsOpen: "set failurePolicy: Deny for the authorizer pat-operator: kubectl pat setup --scopes",
}

// scopesOf is what a kube-apiserver does with the scopes of tokens.
type scopesOf struct {
	found    authnconfig.Enforcement
	cause    string
	everyone bool
	err      error
}

// checkScopes asks each kube-apiserver as the verifier does, and reads what the verifier has found. Without any authorizer tokens
// with scopes are refused, and nothing is wrong.
func (d *doctor) checkScopes(ctx context.Context) {
	installation, proven := d.provenScopes(ctx)
	results := make([]scopesOf, len(d.servers))
	wired, enforced := 0, 0
	for i, s := range d.servers {
		results[i] = s.scopes(ctx, installation)
		if r := results[i]; r.err == nil && r.found != authnconfig.NotAsked {
			wired++
		}
		if results[i].found == authnconfig.Enforced {
			enforced++
		}
	}
	for i, s := range d.servers {
		d.judgeScopes(ctx, s, results[i], wired > 0)
	}
	d.scoped = enforced > 0 && enforced == len(d.servers)
	switch {
	case wired == 0:
	case proven == "true":
		d.ok(scopesCheck, "the verifier has the proof of every kube-apiserver, and accepts tokens with scopes")
	case proven == "false":
		d.add(Failed, scopesCheck, "the verifier refuses tokens with scopes: it lacks the proof of a kube-apiserver",
			"its log names the server: kubectl -n NAMESPACE logs -l app.kubernetes.io/name=pat-operator --tail=20; behind a load balancer list every server with --kube-apiservers (verifier.apiServers of the chart)")
	default:
		d.add(Unchecked, scopesCheck, "the ConfigMap "+authnconfig.ConfigMapName+" does not say whether the verifier has the proof of every kube-apiserver", fixVerifier)
	}
}

// provenScopes returns what the verifier has published, empty where that is not known; checkCA says why.
func (d *doctor) provenScopes(ctx context.Context) (installation, proven string) {
	configMap, err := d.published(ctx)
	if err != nil {
		return "", ""
	}
	return configMap.Data[authnconfig.KeyInstallation], configMap.Data[authnconfig.KeyScopesEnforced]
}

// scopes asks the server what it does with the scopes of tokens.
func (s *server) scopes(ctx context.Context, installation string) (r scopesOf) {
	ask := func(ctx context.Context, review *authorizationv1.SubjectAccessReview) (authorizationv1.SubjectAccessReviewStatus, error) {
		ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
		defer cancel()
		answer := &authorizationv1.SubjectAccessReview{}
		status, _, err := s.do(ctx, http.MethodPost, "/apis/authorization.k8s.io/v1/subjectaccessreviews", "application/json", review, answer)
		switch {
		case err != nil:
		case status == http.StatusForbidden:
			err = errMayNotAsk
		case status != http.StatusCreated:
			err = fmt.Errorf("it answers HTTP %d to a SubjectAccessReview", status)
		}
		return answer.Status, err
	}
	if r.found, r.cause, r.err = authnconfig.Probe(ctx, installation, ask); r.err == nil && r.found != authnconfig.NotAsked {
		r.everyone, r.err = authnconfig.AskedForEveryone(ctx, ask)
	}
	return r
}

// judgeScopes says what a server does with the scopes of tokens. wired reports that one of the servers has our authorizer.
func (d *doctor) judgeScopes(ctx context.Context, s *server, r scopesOf, wired bool) {
	check := scopesCheck + " at " + s.host
	if r.err != nil {
		fix := "see its log"
		if errors.Is(r.err, errMayNotAsk) {
			fix = "ask a cluster administrator"
		}
		d.add(Unchecked, check, cause(r.err).Error(), fix)
		return
	}
	switch message := string(r.found); r.found {
	case authnconfig.Enforced:
		d.ok(check, "%s", message)
	case authnconfig.NotAsked:
		flags, _ := s.flags(ctx)
		file := flags[authnconfig.FlagAuthorizationConfig]
		switch {
		case strings.Contains(file, "pat-operator"):
			d.add(Failed, check, message+", although it has --"+authnconfig.FlagAuthorizationConfig+"="+file+": that lacks the authorizer pat-operator, or has other matchConditions", fixAuthorizer)
		case wired:
			d.add(Failed, check, message+", and another kube-apiserver does: so these are refused", "on this one, too: kubectl pat setup --scopes")
		case d.proxy != nil:
			d.add(Due, check, message+", so these work at the proxy alone", fixes[r.found])
		default:
			d.add(Due, check, message+", so these are refused", fixes[r.found])
		}
	default:
		d.add(Failed, check, strings.TrimSuffix(message+": "+r.cause, ": "), fixes[r.found])
	}
	if r.everyone {
		d.add(Failed, check, "kube-apiserver asks the verifier about everyone's requests, and denies them all while it does not answer: the authorizer pat-operator lacks its matchConditions", fixAuthorizer)
	}
}
