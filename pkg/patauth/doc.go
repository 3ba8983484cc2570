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

// Package patauth verifies personal access tokens of pat-operator for HTTP APIs. It stands on the standard library alone.
//
// Three lines protect an API that runs in the cluster, and whose service account is bound to the ClusterRole
// system:auth-delegator:
//
//	auth, err := patauth.New(patauth.Options{Audience: "list-api", Source: &patauth.TokenReview{}})
//	if err != nil { ... }
//	http.Handle("/", auth.Middleware(handler))
//
// A handler learns who calls from [FromContext]. [RequireScope] lets a request pass only if the token has a scope, or no scopes
// at all, which stands for the full authority of its user.
//
// # Sources
//
// A [Source] answers whether a token is valid. [TokenReview] asks kube-apiserver. [Introspection] asks the API face of
// pat-operator, for services that do not reach kube-apiserver or whose cluster takes no token webhook. Both answer for one
// audience: a token counts only if its resource names that audience in spec.audiences.
//
// # What is checked
//
// Before a source is asked, a token must have the exact form of one, checksum included. After the answer, these are refused:
// another audience, the users of anonymous requests, and a user whom another authenticator than pat-operator accepted.
//
// # Answers
//
// Refusals follow RFC 6750, section 3, with a short JSON body:
//
//	401                      no credentials; the challenge has no error
//	400 invalid_request      two Authorization headers, an empty one, or a token in the URL
//	401 invalid_token        not a token, not valid, or not for this API
//	403 insufficient_scope   a scope is missing; only from RequireScope
//	503 with Retry-After     the source does not answer, or not as it should; never a 401
//
// # Bounds
//
// An accepted token is remembered for Options.CacheFor (10 s) from the moment the question was sent, and not beyond what the
// source allows. That time adds to the time that a revocation takes at the source: see docs/operations.md. A refusal is not
// remembered, so a token that is resumed, or used a moment before it is active, works with the next request. The cache holds
// Options.CacheSize tokens (10,000) and 64 MiB of names, by the SHA-256 of each token; the least recently used go first.
// Requests that arrive together with one token cause one question. At most 64 questions are on their way at once about tokens that
// were valid before, and 64 about others; more wait, for Options.Timeout (5 s) in all.
package patauth
