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
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/identity"
)

const (
	// parallelReviews is how many SubjectAccessReviews one request has under way at a time, and allQuestions how many questions
	// all requests have, so that they do not keep the API server from answering the controller's.
	parallelReviews = 8
	allQuestions    = 16
	// authorityTimeout and adviceTimeout fit, one after the other, into the webhook's 5 seconds.
	authorityTimeout = 3 * time.Second
	adviceTimeout    = time.Second
	// adviceTTL is how long an answer is good enough for a warning.
	adviceTTL = time.Minute
)

// question is the request of a SubjectAccessReview, answer its result.
type (
	question = authorizationv1.SubjectAccessReviewSpec
	answer   struct {
		allowed bool
		// partial tells that not every rule could be weighed.
		partial bool
		err     error
	}
)

// ask puts questions to the API server, some at a time, and returns their answers in the same order.
func ask(ctx context.Context, asker Creator, questions []question) []answer {
	answers := make([]answer, len(questions))
	slots := make(chan struct{}, parallelReviews)
	var wg sync.WaitGroup
	for i := range questions {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			answers[i].err = ctx.Err()
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			review := &authorizationv1.SubjectAccessReview{Spec: questions[i]}
			err := asker.Create(ctx, review)
			answers[i] = answer{
				allowed: err == nil && review.Status.Allowed && !review.Status.Denied,
				partial: review.Status.EvaluationError != "",
				err:     err,
			}
		})
	}
	wg.Wait()
	return answers
}

// remembering asks no question again that was answered within ttl.
type remembering struct {
	Creator
	ttl     time.Duration
	mu      sync.Mutex
	answers map[string]remembered
}

type remembered struct {
	status authorizationv1.SubjectAccessReviewStatus
	until  time.Time
}

// maxRemembered bounds the remembered answers; beyond it all of them are forgotten.
const maxRemembered = 4096

func (r *remembering) Create(ctx context.Context, object client.Object, options ...client.CreateOption) error {
	review, ok := object.(*authorizationv1.SubjectAccessReview)
	if !ok {
		return r.Creator.Create(ctx, object, options...)
	}
	raw, err := json.Marshal(review.Spec)
	if err != nil {
		return err
	}
	key := string(raw)
	r.mu.Lock()
	was, ok := r.answers[key]
	r.mu.Unlock()
	if ok && time.Now().Before(was.until) {
		review.Status = was.status
		return nil
	}
	asked := time.Now()
	if err := r.Creator.Create(ctx, review, options...); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answers == nil || len(r.answers) >= maxRemembered {
		r.answers = map[string]remembered{}
	}
	r.answers[key] = remembered{review.Status, asked.Add(r.ttl)}
	return nil
}

// right is the verb impersonate on one part of a user.
type right struct {
	// path is where spec names that part, and name what it is called in a message.
	path *field.Path
	name string
	// on is what kube-apiserver would ask about, were the user impersonated.
	on authorizationv1.ResourceAttributes
	// partial tells that the right may be there, since not every rule could be weighed.
	partial bool
}

// rightsTo are the rights that stand for all of u. An account's UID and groups follow from the account.
func rightsTo(u *v1alpha1.UserInfo) []right {
	if account, ok := identity.ServiceAccount(u.Username); ok {
		return []right{impersonate(userPath.Child("username"), "service account "+account.String(), authorizationv1.ResourceAttributes{
			Resource: "serviceaccounts", Namespace: account.Namespace, Name: account.Name,
		})}
	}
	rights := []right{impersonate(userPath.Child("username"), "user "+quote(u.Username),
		authorizationv1.ResourceAttributes{Resource: "users", Name: u.Username})}
	if u.UID != "" {
		rights = append(rights, impersonate(userPath.Child("uid"), "uid "+quote(u.UID),
			authorizationv1.ResourceAttributes{Group: authenticationv1.GroupName, Resource: "uids", Name: u.UID}))
	}
	for i, group := range u.Groups {
		rights = append(rights, impersonate(userPath.Child("groups").Index(i), "group "+quote(group),
			authorizationv1.ResourceAttributes{Resource: "groups", Name: group}))
	}
	for _, key := range slices.Sorted(maps.Keys(u.Extra)) {
		for i, value := range u.Extra[key] {
			rights = append(rights, impersonate(userPath.Child("extra").Key(key).Index(i), "this value of extra "+quote(key),
				authorizationv1.ResourceAttributes{Group: authenticationv1.GroupName, Resource: "userextras", Subresource: key, Name: value}))
		}
	}
	return rights
}

func impersonate(path *field.Path, name string, on authorizationv1.ResourceAttributes) right {
	// The newer verbs, impersonate:<mode>, allow less than acting as a user at any time, so they do not count.
	on.Verb, on.Version = "impersonate", "v1"
	return right{path: path, name: name, on: on}
}

// lacking returns those of rights that the requester does not have now. An error is the one to answer with.
func (c *Config) lacking(ctx context.Context, requester *authenticationv1.UserInfo, rights []right) ([]right, error) {
	questions := make([]question, 0, len(rights))
	for _, r := range rights {
		questions = append(questions, question{
			User: requester.Username, UID: requester.UID, Groups: requester.Groups, Extra: extraOf(requester), ResourceAttributes: &r.on,
		})
	}
	var lacking []right
	for i, a := range ask(ctx, c.Client, questions) {
		switch {
		case a.err != nil:
			logf.FromContext(ctx).Error(a.err, "cannot ask who may impersonate", "resource", rights[i].on.Resource)
			return nil, tryAgain("whether you may impersonate the user could not be asked")
		case !a.allowed:
			rights[i].partial = a.partial
			lacking = append(lacking, rights[i])
		}
	}
	return lacking, nil
}

func extraOf(requester *authenticationv1.UserInfo) map[string]authorizationv1.ExtraValue {
	extra := make(map[string]authorizationv1.ExtraValue, len(requester.Extra))
	for key, values := range requester.Extra {
		extra[key] = authorizationv1.ExtraValue(values)
	}
	return extra
}

// lacked says that the right is missing, and what would grant it.
func (r *right) lacked() *field.Error {
	again := ""
	if r.partial {
		again = "; not every rule could be weighed, so try again first"
	}
	return field.Forbidden(r.path, fmt.Sprintf("you may not impersonate %s; what grants it: %s%s", r.name, r.rule(), again))
}

// rule is the RBAC rule that grants the right, as YAML.
func (r *right) rule() string {
	resource, where := r.on.Resource, ""
	if r.on.Subresource != "" {
		resource += "/" + r.on.Subresource
	}
	if r.on.Namespace != "" {
		where = " in a Role of namespace " + r.on.Namespace
	}
	return fmt.Sprintf("{apiGroups: [%q], resources: [%q], verbs: [%q], resourceNames: [%+q]}%s", r.on.Group, resource, r.on.Verb, r.on.Name, where)
}

// quote shows a name so that no look-alike stays hidden.
func quote(name string) string { return strconv.QuoteToASCII(name) }

// tryAgain is for what could not be found out: the request is refused, and nothing was wrong with it.
func tryAgain(what string) error {
	return apierrors.NewInternalError(errors.New(what + "; try again"))
}
