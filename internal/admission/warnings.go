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

package admission

import (
	"context"
	"fmt"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	ctrladmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/policy"
	"github.com/pat-operator/pat-operator/internal/record"
)

const year = 365 * v1alpha1.Day

// concern is a warning that is due where a question is answered with yes.
type concern struct {
	// topic is what only the first concern of is voiced.
	topic    string
	question question
	warning  string
}

// long warns of a life of more than a year.
func long(s *spec, now time.Time) ctrladmission.Warnings {
	end := lifecycle.End(s, now)
	if !end.After(now.Add(year)) {
		return nil
	}
	return ctrladmission.Warnings{fmt.Sprintf(
		"the token lives more than a year, until %s, and anyone who finds it can use it that long; set spec.expiresInDays to 365 or less", lifecycle.Stamp(end))}
}

// onlyByProxy warns that a token with networks works only at the proxy: kube-apiserver's webhook does not say where a request
// comes from. was is nil on creation.
func onlyByProxy(was, is *spec) ctrladmission.Warnings {
	if len(is.From) == 0 || was != nil && len(was.From) > 0 {
		return nil
	}
	return ctrladmission.Warnings{
		"with spec.from the token works only through the proxy, from these networks; the API server's webhook refuses it; leave spec.from out for a token that works at the API server, too",
	}
}

// cutShort warns of a rotation whose present token ends before its overlap is over: what spec and policies say of a token's life
// holds for that one, too.
func cutShort(s *spec, current *record.Token, limits policy.Limits, now time.Time) ctrladmission.Warnings {
	if s.Rotation == nil || s.Rotation.OverlapSeconds == 0 || !now.Before(current.EndsAt()) {
		return nil
	}
	overlap := now.Add(time.Duration(s.Rotation.OverlapSeconds) * time.Second)
	end := lifecycle.StopsAt(s, current, limits)
	if !end.Before(overlap) || end.Equal(current.EndsAt()) {
		return nil
	}
	if latest, by := limits.End(current.IssuedAt); by != nil && !end.Before(latest) {
		if !now.Before(end) {
			return nil // It has stopped already.
		}
		return ctrladmission.Warnings{fmt.Sprintf(
			"the token that is replaced, %s, ends at %s, before the overlap is over: TokenPolicy %+.64q lets a token live %d days at most; install the new one before that",
			current.ID, lifecycle.Stamp(end), by.Name, *by.Spec.MaxLifetimeDays)}
	}
	when := "at " + lifecycle.Stamp(end)
	if !now.Before(end) {
		when = "at once"
	}
	way := "set a later spec.expiresAt"
	if s.ExpiresAt == nil {
		way = "its days count from when it was issued; set more in spec.expiresInDays, or spec.expiresAt"
	}
	return ctrladmission.Warnings{fmt.Sprintf(
		"the token that is replaced, %s, ends %s, before the overlap is over: %s for it to work as long", current.ID, when, way)}
}

// readers are concerns about who may read the Secret that the token is delivered in. Who else may is not asked, since
// only named subjects can be asked about.
func readers(s *spec, namespace string) []concern {
	if !inSecret(s) {
		return nil
	}
	accounts := serviceaccount.MakeGroupNames(namespace)
	var concerns []concern
	for _, who := range []struct {
		name   string
		groups []string
	}{
		{"everybody who is logged in", []string{user.AllAuthenticated}},
		{"every pod of the cluster", []string{user.AllAuthenticated, serviceaccount.AllServiceAccountsGroup}},
		{fmt.Sprintf("every pod of namespace %q", namespace), append([]string{user.AllAuthenticated}, accounts...)},
	} {
		concerns = append(concerns, concern{
			topic: "readers",
			question: question{Groups: who.groups, ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: namespace, Verb: "get", Version: "v1", Resource: "secrets",
			}},
			warning: fmt.Sprintf(
				"%s may read Secrets in namespace %q, where the token will be; make the token on your own machine (spec.token), or have that right taken away", who.name, namespace),
		})
	}
	return concerns
}

// powerful are concerns about groups that may do everything.
func powerful(s *spec) []concern {
	if s.User == nil {
		return nil
	}
	var concerns []concern
	for _, group := range s.User.Groups[:min(len(s.User.Groups), maxOthersGroups)] {
		concerns = append(concerns, concern{
			topic: "group " + group,
			question: question{Groups: []string{group}, ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: "*", Group: "*", Version: "*", Resource: "*",
			}},
			warning: fmt.Sprintf("group %+.64q may do everything in the cluster, and so may this token; leave it out of spec.user.groups where the token can do without", group),
		})
	}
	return concerns
}

// advise voices concerns as far as they can be settled within a second. It never fails.
func (c *Config) advise(ctx context.Context, concerns []concern) ctrladmission.Warnings {
	ctx, cancel := context.WithTimeout(ctx, adviceTimeout)
	defer cancel()
	questions := make([]question, 0, len(concerns))
	for _, concern := range concerns {
		questions = append(questions, concern.question)
	}
	var warnings ctrladmission.Warnings
	voiced := map[string]bool{}
	for i, a := range ask(ctx, c.advice, questions) {
		if topic := concerns[i].topic; a.allowed && !voiced[topic] {
			voiced[topic] = true
			warnings = append(warnings, concerns[i].warning)
		}
	}
	return warnings
}
