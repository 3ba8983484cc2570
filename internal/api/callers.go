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

package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/authn"
	"github.com/pat-operator/pat-operator/internal/scope"
	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

const (
	// verbIntrospect on resourceAudiences of our group, with the audience as name, is the right to ask about tokens for it.
	verbIntrospect    = "introspect"
	resourceAudiences = "audiences"

	// questionTimeout bounds what the API server is asked about a caller. maxQuestions is how many questions of a kind are under way,
	// and maxOfSource how many of them are of one source.
	questionTimeout = 5 * time.Second
	maxQuestions    = 16
	maxOfSource     = maxQuestions / 4
	// A source may present this many service-account tokens that the API server does not vouch for.
	failuresPerSecond = 2
	failuresBurst     = 20
)

// callers tells who asks about a token, and for which audiences.
type callers struct {
	*Options
	failures *serving.Rates
	// reviews are the slots for questions about credentials, which anybody may cause. accesses are for those about the rights of
	// callers that are authenticated: unknown callers do not delay them.
	reviews, accesses *slots
	known             known
}

// caller is who asks. itself reports that the token in question is the caller's credential.
type caller struct {
	user    user.Info
	limits  scope.Limits
	itself  bool
	allowed *allowed
}

func newCallers(o *Options) *callers {
	return &callers{
		Options: o, failures: serving.NewRates(failuresPerSecond, failuresBurst), known: newKnown(o.Now),
		reviews: newSlots(maxQuestions, maxOfSource), accesses: newSlots(maxQuestions, maxOfSource),
	}
}

// unauthorized is RFC 7662 section 2.3's answer to a caller that is not known.
var unauthorized = &refusal{
	status: http.StatusUnauthorized, code: codeInvalidClient,
	text: "no valid credential of the caller was sent; send a personal access token or the token of a service account, each for " +
		"the audience of this API, as Authorization: Bearer, as Basic password or as client_secret",
	header: http.Header{"Www-Authenticate": {`Basic realm="` + realm + `", charset="UTF-8"`, `Bearer realm="` + realm + `"`}},
}

var (
	refuseBusy = &refusal{status: http.StatusServiceUnavailable, code: codeUnavailable,
		text: "the API server could not be asked about the caller; try again", header: retry}
	refuseAudience = &refusal{status: http.StatusServiceUnavailable, code: codeUnavailable, header: retry,
		text: "every token of this cluster would do as a credential, because --api-audience is an audience of the Kubernetes API; an administrator must set another"}
	refuseFailures = &refusal{status: http.StatusTooManyRequests, code: codeUnavailable,
		text: "your network sent too many credentials that are not valid; try again later", header: http.Header{"Retry-After": {"10"}}}
)

// authenticate tells who sends a request about a token.
func (c *callers) authenticate(r *http.Request, form url.Values, about string, origin serving.Origin) (*caller, *refusal) {
	credential, refused := credentialOf(r, form)
	switch {
	case refused != nil:
		return nil, refused
	case credential == "":
		return c.byCertificate(r)
	case c.Index.IsAPIAudience(c.Audience):
		return nil, refuseAudience
	case strings.Contains(credential, token.Prefix):
		return c.byToken(credential, about, origin)
	}
	return c.byServiceAccount(r.Context(), credential, origin)
}

// credentialOf returns what a caller proves itself with, or nothing. How it is sent does not matter, and neither does the name that
// goes with it.
func credentialOf(r *http.Request, form url.Values) (string, *refusal) {
	var found []string
	for _, value := range r.Header["Authorization"] {
		scheme, rest, _ := strings.Cut(value, " ")
		switch {
		case strings.EqualFold(scheme, "Bearer"):
			found = append(found, rest)
		case strings.EqualFold(scheme, "Basic"):
			secret, ok := basicSecret(rest)
			if !ok {
				return "", unauthorized
			}
			found = append(found, secret)
		default:
			return "", unauthorized
		}
	}
	if form.Has("client_secret") {
		found = append(found, form.Get("client_secret"))
	}
	switch len(found) {
	case 0:
		return "", nil
	case 1:
		if found[0] == "" {
			return "", unauthorized
		}
		return found[0], nil
	}
	return "", invalid("the caller has two credentials; send one")
}

// basicSecret is the password as RFC 6749 section 2.3.1 has clients send it: both parts are encoded as in a form.
func basicSecret(encoded string) (string, bool) {
	pair, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return "", false
	}
	_, password, ok := strings.Cut(string(pair), ":")
	if !ok {
		return "", false
	}
	secret, err := url.QueryUnescape(password)
	return secret, err == nil
}

// byCertificate takes a certificate that the server has verified.
func (c *callers) byCertificate(r *http.Request) (*caller, *refusal) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil, unauthorized
	}
	subject := r.TLS.VerifiedChains[0][0].Subject
	if subject.CommonName == "" {
		return nil, unauthorized
	}
	return &caller{user: &user.DefaultInfo{Name: subject.CommonName, Groups: append(slices.Clone(subject.Organization), user.AllAuthenticated)}}, nil
}

// byToken takes a token of ours that is for this API, or the very one that is asked about.
func (c *callers) byToken(credential, about string, origin serving.Origin) (*caller, *refusal) {
	if credential == about {
		return &caller{itself: true}, nil
	}
	result := c.Index.VerifyFrom(credential, []string{c.Audience}, c.Now())
	switch {
	case result.Verdict == verifier.NotReady:
		return nil, refuseNotReady
	case result.Verdict != verifier.Authenticated:
		return nil, unauthorized
	case result.Networks != nil && (origin.ByTrusted && !origin.Forwarded || !result.Networks.Allow(origin.Address)):
		return nil, unauthorized
	}
	return &caller{limits: result.Limits, user: &user.DefaultInfo{
		Name: result.User.Username, UID: result.User.UID, Groups: groupsOf(&result), Extra: authn.Extra(&result),
	}}, nil
}

// byServiceAccount asks the API server about a token that says that it is for this API.
func (c *callers) byServiceAccount(ctx context.Context, credential string, origin serving.Origin) (*caller, *refusal) {
	if known := c.known.get(credential); known != nil {
		return known, nil
	}
	expires, ok := mayBeFor(credential, c.Audience, c.Now())
	if !ok {
		return nil, unauthorized
	}
	source := origin.Source()
	failures := c.failures.Of(source)
	if failures.TokensAt(c.Now()) < 1 {
		return nil, refuseFailures
	}
	ctx, done, refused := c.reviews.take(ctx, source)
	if refused != nil {
		return nil, refused
	}
	defer done()
	// Each question counts as a failure until the API server vouches for the credential, so questions at once count, too.
	if !failures.AllowN(c.Now(), 1) {
		return nil, refuseFailures
	}
	response, ok, err := c.Tokens.AuthenticateToken(authenticator.WithAudiences(ctx, authenticator.Audiences{c.Audience}), credential)
	switch {
	case err != nil:
		return nil, refuseBusy
	case !ok || response.User.GetName() == user.Anonymous || slices.Contains(response.User.GetGroups(), user.AllUnauthenticated):
		return nil, unauthorized
	}
	// A Reservation gives nothing back after its time, which is now.
	failures.AllowN(c.Now(), -1)
	asking := &caller{user: response.User}
	c.known.add(credential, asking, expires.Sub(c.Now()))
	return asking, nil
}

// mayBeFor reports whether a credential says that it is a JSON web token for an audience, and has not expired, and returns when it
// does. Nothing is verified: the API server does that, and is not asked about anything else.
func mayBeFor(credential, audience string, now time.Time) (expires time.Time, ok bool) {
	parts := strings.SplitN(credential, ".", 4)
	if len(parts) != 3 {
		return time.Time{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims jwt.Claims
	if err != nil || json.Unmarshal(payload, &claims) != nil || !claims.Audience.Contains(audience) || claims.Expiry == nil {
		return time.Time{}, false
	}
	expires = claims.Expiry.Time()
	return expires, now.Before(expires)
}

// permitted returns the audiences that a caller may ask about.
func (c *callers) permitted(ctx context.Context, asking *caller, audiences []string, origin serving.Origin) ([]string, *refusal) {
	if asking.itself || asking.allowed.all(audiences) {
		return audiences, nil
	}
	// Delegate may remember the answer, and does not tell. Then the slot is held for no time.
	ctx, done, refused := c.accesses.take(ctx, origin.Source())
	if refused != nil {
		return nil, refused
	}
	defer done()
	var permitted []string
	for _, audience := range audiences {
		if !asking.limits.Allows(&scope.Request{Verb: verbIntrospect, Group: v1alpha1.GroupVersion.Group, Resource: resourceAudiences, Name: audience}) {
			continue
		}
		decision, _, err := c.Authorizer.Authorize(ctx, authorizer.AttributesRecord{
			User: asking.user, Verb: verbIntrospect, APIGroup: v1alpha1.GroupVersion.Group, APIVersion: v1alpha1.GroupVersion.Version,
			Resource: resourceAudiences, Name: audience, ResourceRequest: true,
		})
		if err != nil {
			return nil, refuseBusy
		}
		if decision == authorizer.DecisionAllow {
			asking.allowed.add(audience)
			permitted = append(permitted, audience)
		}
	}
	return permitted, nil
}
