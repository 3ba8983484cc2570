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

package scope

import (
	"slices"
	"strings"
)

// Resources and verbs by which a user with few permissions gets many, or reads what opens something else.

// alwaysPaths are what discovery needs; a trailing "*" stands for whatever follows.
var alwaysPaths = []string{
	"/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", "/version", "/version/", "/healthz", "/livez", "/readyz",
}

// always reports whether every token may ask this: what there is, who it is, and what it may do.
func always(r *Request) bool {
	if r.Resource == "" {
		return r.Verb == "get" && slices.ContainsFunc(alwaysPaths, func(path string) bool {
			prefix, ok := strings.CutSuffix(path, "*")
			return r.Path == path || ok && strings.HasPrefix(r.Path, prefix)
		})
	}
	if r.Verb != "create" || r.Subresource != "" || r.Path != "" {
		return false
	}
	switch r.Group {
	case "authorization.k8s.io":
		return r.Resource == "selfsubjectaccessreviews" || r.Resource == "selfsubjectrulesreviews"
	case "authentication.k8s.io":
		return r.Resource == "selfsubjectreviews"
	}
	return false
}

// opensStream reports whether a request opens a shell or a tunnel, whatever its method.
func opensStream(r *Request) bool {
	return r.Group == "" && r.Resource == "pods" &&
		(r.Subresource == "exec" || r.Subresource == "attach" || r.Subresource == "portforward")
}

// byName reports whether a request is allowed only by a rule that names its group and resource, and only by one that names its
// verb.
func byName(r *Request) (resource, verb bool) {
	switch r.Verb {
	case "escalate", "bind", "approve", "sign", "attest":
		return true, true
	}
	if strings.HasPrefix(r.Verb, "impersonate") {
		return true, true
	}
	write := r.Verb != "get" && r.Verb != "list" && r.Verb != "watch"
	switch r.Group {
	case "":
		switch r.Resource {
		case "secrets":
			return true, false
		case "pods":
			return opensStream(r) || r.Subresource == "proxy" || r.Subresource == "ephemeralcontainers", false
		case "services":
			return r.Subresource == "proxy", false
		case "serviceaccounts":
			return r.Subresource == "token", false
		case "nodes":
			return write || r.Subresource == "proxy", false
		case "persistentvolumes":
			return write, false
		}
	case "authentication.k8s.io":
		return r.Resource == "tokenreviews", false
	case "pat-operator.io":
		return r.Resource == "personalaccesstokens" || r.Resource == "tokenpolicies", false
	case "rbac.authorization.k8s.io", "admissionregistration.k8s.io", "apiregistration.k8s.io", "apiextensions.k8s.io",
		"certificates.k8s.io":
		return write, false
	}
	return false, false
}
