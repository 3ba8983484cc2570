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

package console

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/console/page"
	"github.com/pat-operator/pat-operator/internal/holder"
)

// refusal is an error of the console, in words for people.
type refusal struct {
	status int
	page.Problem
}

func (r *refusal) Error() string { return r.Title + ": " + r.Detail }

// fail shows an error, or leads to signing in.
func (c *Console) fail(w http.ResponseWriter, r *http.Request, v *visitor, err error) {
	if c.retrySameSite(w, r, err) {
		return
	}
	over := errors.Is(err, errSessionOver) || apierrors.IsUnauthorized(err)
	switch {
	case over && c.byProxy, errors.Is(err, errNoSession) && c.byProxy:
		c.problem(w, r, http.StatusUnauthorized, page.Problem{
			Title: "You are not signed in", Detail: "The proxy in front of this page sent no credential that the API server accepts.",
			Next: "Sign in at the proxy, and load this page again.",
		})
	case over, errors.Is(err, errNoSession):
		to := url.Values{}
		if over {
			to.Set("over", "1")
		}
		if r.Method == http.MethodGet && r.URL.Path != "/" {
			to.Set("return", r.URL.RequestURI())
		}
		target := "/sign-in"
		if len(to) > 0 {
			target += "?" + to.Encode()
		}
		if fragment(r) || r.URL.Path == "/table" {
			http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodPost { // reloading the page sends the form again
			c.problem(w, r, http.StatusUnauthorized, page.Problem{
				Title: "Your session is over", Detail: "Nothing was done.",
				Next: "Sign in, which opens a new tab. Then load this page again: your browser sends what you typed once more.",
				Link: "/sign-in", LinkText: "Sign in", NewTab: true,
			})
			return
		}
		http.Redirect(w, r, target, http.StatusSeeOther)
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil: // the visitor has left
	default:
		status, p := c.explain(err)
		if _, own := errors.AsType[*refusal](err); !own && status >= 500 && r.Method != http.MethodPost {
			p.Detail, p.Next = "Nothing was changed.", "Load the page again in a moment."
		}
		c.problemTo(w, r, v, status, p)
	}
}

// explain describes an error for people.
func (c *Console) explain(err error) (status int, p page.Problem) {
	if asked, ok := errors.AsType[*refusal](err); ok {
		return asked.status, asked.Problem
	}
	p = page.Problem{Cause: holder.Visible(err.Error()), Link: "/", LinkText: "To my tokens"}
	if answer := (apierrors.APIStatus)(nil); errors.As(err, &answer) && answer.Status().Code != 0 {
		status, p.Cause = int(answer.Status().Code), holder.Visible(answer.Status().Message)
	}
	switch {
	case errors.Is(err, holder.ErrUnknown): // this case comes first: the cause says what may exist and how to revoke it
		c.log.Error(err, "The outcome of a console request is unknown")
		status, p.Title = http.StatusBadGateway, "It is unknown whether this was done"
		p.Detail, p.Cause, p.Next = "The answer of the API server was lost.", holder.Visible(err.Error()), "Look at your tokens in a moment, then try again."
	case errors.Is(err, holder.ErrRotated), errors.Is(err, holder.ErrDeleted), apierrors.IsConflict(err):
		status, p.Title, p.Next = http.StatusConflict, "The token was changed in the meantime", "Look at the token again, then decide."
	case apierrors.IsForbidden(err) && len(policies(err)) > 0:
		p.Title, p.Detail = "Your administrators do not allow this", sentence(strings.Join(policies(err), "; "))
		p.Next = "Change what you asked for, or show this to an administrator."
	case apierrors.IsForbidden(err):
		p.Title, p.Next = "You may not do this", "Ask an administrator for the permission named below."
	case isMissing(err, "namespaces", true):
		p.Title, p.Next = "Namespace not found", "Choose another one."
	case isMissing(err, "personalaccesstokens", false):
		p.Title, p.Next = "This cluster has no personal access tokens", "Ask those who run it to install pat-operator."
	case apierrors.IsNotFound(err):
		p.Title, p.Next = "This token no longer exists", "It was revoked, or it never existed."
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		p.Title, p.Next = "This is not possible", "Change what you asked for, or show the cause below to an administrator."
	case apierrors.IsTooManyRequests(err):
		p.Title, p.Next = "The API server is busy", "Try again in a moment."
	case status >= 400 && status < 500:
		p.Title = "The API server refused this"
	case status >= 500:
		status, p.Title, p.Next = http.StatusBadGateway, "The API server could not do it", "Try again in a moment, then ask those who run the cluster."
	default:
		c.log.Error(err, "A request of the console failed")
		status, p.Title = http.StatusBadGateway, "The API server does not answer"
		p.Detail, p.Cause, p.Next = "It is unknown whether anything was done.", "", "Look at your tokens in a moment, then try again."
	}
	return status, p
}

// inForm describes an error above a form that keeps its input. The page folds the cause away.
func (c *Console) inForm(err error) (status int, text, cause string) {
	status, p := c.explain(err)
	return status, strings.Join(strings.Fields(p.Title+". "+p.Detail+" "+p.Next), " "), p.Cause
}

// policies are what TokenPolicies say against a request.
func policies(err error) []string {
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) || answer.Status().Details == nil {
		return nil
	}
	var all []string
	for _, cause := range answer.Status().Details.Causes {
		if cause.Type == v1alpha1.ReasonDeniedByPolicy {
			all = append(all, holder.Visible(cause.Message))
		}
	}
	return all
}

// isMissing reports whether an object of a resource does not exist or, unless named, the resource itself.
func isMissing(err error, resource string, named bool) bool {
	var answer apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &answer) || answer.Status().Details == nil {
		return false
	}
	details := answer.Status().Details
	return details.Kind == resource && (details.Name != "") == named
}

func (c *Console) problem(w http.ResponseWriter, r *http.Request, status int, p page.Problem) {
	c.problemTo(w, r, nil, status, p)
}

func (c *Console) problemTo(w http.ResponseWriter, r *http.Request, v *visitor, status int, p page.Problem) {
	c.show(w, status, func(w io.Writer) error { return page.ShowProblem(w, c.shell(r, v, p.Title), p) })
}
