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

package proxy

import (
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/pat-operator/pat-operator/internal/identity"
	"github.com/pat-operator/pat-operator/internal/scope"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

const allowedMethods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

// checkRequest refuses what is not a request to the Kubernetes API.
func (x *exchange) checkRequest(r *http.Request) *refusal {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
	default:
		return refuseMethod
	}
	if !strings.HasPrefix(r.URL.Path, "/") {
		return refusePath
	}
	return nil
}

// checkIdentity refuses what asks for another identity, and removes what only proxies set. What a client says with Impersonate
// headers is refused and not dropped, because it would otherwise run as another user than it asked for.
func (x *exchange) checkIdentity(r *http.Request) *refusal {
	for name := range r.Header {
		switch {
		case hasPrefixFold(name, impersonatePrefix):
			return refuseImpersonation
		case hasPrefixFold(name, "x-remote-"), strings.EqualFold(name, "proxy-authorization"):
			delete(r.Header, name)
		}
	}
	return nil
}

// authenticate verifies the one credential of the request, and takes it out of the request.
func (x *exchange) authenticate(r *http.Request) *refusal {
	bearer, ok := takeCredential(r.Header)
	if !ok {
		x.proxy.fail(r, x)
		return refuseCredentials
	}
	x.result = x.proxy.Index.VerifyProxied(bearer, x.began)
	reviews.WithLabelValues(x.result.Verdict.String(), string(x.result.Reason)).Inc()
	switch x.result.Verdict {
	case verifier.Authenticated:
	case verifier.NotReady:
		x.reason = string(x.result.Reason)
		f := *refuseNotReady
		f.why = x.reason
		return &f
	default:
		x.proxy.fail(r, x)
		f := *refuseUnauthorized
		f.why = string(x.result.Reason)
		return &f
	}
	if len(identity.Check(field.NewPath("user"), &x.result.User)) > 0 {
		return refuseIdentity
	}
	return nil
}

// checkNetwork refuses a token outside of its networks.
func (x *exchange) checkNetwork(*http.Request) *refusal {
	if !x.result.Networks.Allow(x.origin.Address) {
		return refuseAddress(&x.result, x.origin.Address.String())
	}
	x.proxy.Used(&x.result, x.began, x.origin.Address.String())
	return nil
}

// checkScopes reads what the request asks for, from what will be sent on, and refuses what is outside of the token's scopes.
func (x *exchange) checkScopes(r *http.Request) *refusal {
	r.URL.RawQuery = cleanQuery(r.URL.RawQuery)
	info, err := infoOf(r)
	if err != nil {
		return refusePath
	}
	x.info = info
	x.upgrade = len(r.Header["Upgrade"]) > 0
	x.long = x.upgrade || info.Verb == "watch" || info.Subresource == "proxy" ||
		info.Resource == "pods" && info.Subresource == "log" && slices.Contains(r.URL.Query()["follow"], "true")
	if x.result.Limits.Full() {
		return nil
	}
	for _, asked := range asks(r, info) {
		if !x.result.Limits.Allows(&asked) {
			return refuseScope(&x.result, describe(&asked))
		}
	}
	return nil
}

// infoOf reads a request as kube-apiserver does, by the same code. That code logs a query that does not parse, in which a client may
// have put a token, and goes on with the parameter watch alone: so it gets no more of such a query.
func infoOf(r *http.Request) (*request.RequestInfo, error) {
	if query := r.URL.Query(); len(query) > 0 &&
		scheme.ParameterCodec.DecodeParameters(query, metav1.SchemeGroupVersion, &internalversion.ListOptions{}) != nil {
		bare := *r.URL
		bare.RawQuery = url.Values{"watch": query["watch"]}.Encode()
		r = r.WithContext(r.Context()) // a copy
		r.URL = &bare
	}
	return requestInfo.NewRequestInfo(r)
}

// cleanQuery drops parameters that do not parse, as the ReverseProxy does, so that what is checked is what is sent.
func cleanQuery(query string) string {
	if query == "" {
		return ""
	}
	if values, err := url.ParseQuery(query); err != nil {
		return values.Encode()
	}
	return query
}

// asks returns everything that a request needs. kube-apiserver asks for "create" itself where an update or an apply creates; the
// proxy cannot know, and always asks.
func asks(r *http.Request, info *request.RequestInfo) []scope.Request {
	if !info.IsResourceRequest {
		return []scope.Request{{Verb: info.Verb, Path: info.Path}}
	}
	asked := scope.Request{
		Verb: info.Verb, Namespace: info.Namespace, Group: info.APIGroup, Resource: info.Resource, Subresource: info.Subresource, Name: info.Name,
	}
	all := []scope.Request{asked}
	creates := info.Subresource == "" && (info.Verb == "patch" && applies(r) ||
		(info.Verb == "update" || info.Verb == "patch") && slices.Contains(createdOnUpdate[info.APIGroup], info.Resource))
	if creates || info.Subresource == "proxy" && len(r.Header["Upgrade"]) > 0 {
		asked.Verb = "create"
		all = append(all, asked)
	}
	return all
}

// createdOnUpdate are the resources that an update creates where they are missing, by API group.
var createdOnUpdate = map[string][]string{
	"":                          {"services", "events", "endpoints", "limitranges"},
	"events.k8s.io":             {"events"},
	"coordination.k8s.io":       {"leases", "leasecandidates"},
	"node.k8s.io":               {"runtimeclasses"},
	"rbac.authorization.k8s.io": {"roles", "rolebindings", "clusterroles", "clusterrolebindings"},
}

// applies reports whether a patch is a server-side apply. A type that does not parse counts as one.
func applies(r *http.Request) bool {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err != nil || mediaType == string(types.ApplyYAMLPatchType) || mediaType == string(types.ApplyCBORPatchType) ||
		strings.Contains(mediaType, "apply")
}

// describe says what is asked for, as in "delete pods/exec in namespace team-a".
func describe(r *scope.Request) string {
	if r.Resource == "" {
		return fmt.Sprintf("%s %s", r.Verb, r.Path)
	}
	what := r.Resource
	if r.Subresource != "" {
		what += "/" + r.Subresource
	}
	if r.Group != "" {
		what += " of " + r.Group
	}
	if r.Namespace != "" {
		what += " in namespace " + r.Namespace
	}
	return r.Verb + " " + what
}

// checkUpgrade lets a connection become what the proxy can follow. Any other protocol, HTTP/2 above all, would carry requests
// that nobody looks at.
func (x *exchange) checkUpgrade(r *http.Request) *refusal {
	if !x.upgrade {
		return nil
	}
	if v := r.Header["Upgrade"]; len(v) != 1 || !strings.EqualFold(v[0], "websocket") && !strings.EqualFold(v[0], "SPDY/3.1") {
		return refuseUpgrade
	}
	return nil
}
