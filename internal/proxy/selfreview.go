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
	"bytes"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"github.com/pat-operator/pat-operator/internal/scope"
)

const (
	maxReview = 64 << 10
	maxRules  = 1 << 20

	mediaJSON     = runtime.ContentTypeJSON
	mediaProtobuf = runtime.ContentTypeProtobuf
)

var reviewCodecs = func() serializer.CodecFactory {
	scheme := runtime.NewScheme()
	utilruntime.Must(authorizationv1.AddToScheme(scheme))
	return serializer.NewCodecFactory(scheme)
}()

// codecFor returns how a media type is read and written.
func codecFor(contentType string) (runtime.Serializer, string, bool) {
	mediaType := mediaJSON // as kube-apiserver has it
	if contentType != "" {
		var err error
		if mediaType, _, err = mime.ParseMediaType(contentType); err != nil || mediaType != mediaJSON && mediaType != mediaProtobuf {
			return nil, "", false
		}
	}
	info, ok := runtime.SerializerInfoForMediaType(reviewCodecs.SupportedMediaTypes(), mediaType)
	return info.Serializer, mediaType, ok
}

func (x *exchange) asksSelf(resource string) bool {
	i := x.info
	return !x.result.Limits.Full() && i.IsResourceRequest && i.Verb == "create" && i.APIGroup == authorizationv1.GroupName &&
		i.Resource == resource && i.Subresource == ""
}

// answerSelfReview answers "may I" for a token with scopes where these say no: the API server does not know of them. What is
// inside of the scopes the API server answers. It also prepares the question for all rules.
func (x *exchange) answerSelfReview(r *http.Request) (refused *refusal, answered bool) {
	if x.asksSelf("selfsubjectrulesreviews") {
		x.rulesType = acceptedType(r.Header["Accept"])
		if x.rulesType == "" {
			return refuseReviewAccept, false
		}
		return nil, false
	}
	if !x.asksSelf("selfsubjectaccessreviews") {
		return nil, false
	}
	codec, mediaType, ok := codecFor(r.Header.Get("Content-Type"))
	if !ok || r.Header.Get("Content-Encoding") != "" {
		return refuseReviewType, false
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxReview+1))
	if err != nil {
		x.reason = reasonClientGone
		panic(http.ErrAbortHandler)
	}
	review := &authorizationv1.SelfSubjectAccessReview{}
	if len(body) > maxReview || !decodes(codec, body, review, "SelfSubjectAccessReview") {
		return refuseReviewType, false
	}
	asked := selfAsks(&review.Spec)
	if x.result.Limits.Allows(&asked) {
		r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
		return nil, false
	}
	review.TypeMeta = metav1.TypeMeta{APIVersion: authorizationv1.SchemeGroupVersion.String(), Kind: "SelfSubjectAccessReview"}
	review.Status = authorizationv1.SubjectAccessReviewStatus{Denied: true, Reason: refuseScope(&x.result, describe(&asked)).text}
	var out bytes.Buffer
	if err := codec.Encode(review, &out); err != nil {
		return refuseReviewType, false
	}
	h := x.w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(out.Len()))
	h.Set("Cache-Control", "no-store")
	x.w.WriteHeader(http.StatusCreated)
	_, _ = x.w.Write(out.Bytes())
	return nil, true
}

func decodes(codec runtime.Serializer, body []byte, into runtime.Object, kind string) bool {
	_, gvk, err := codec.Decode(body, nil, into)
	return err == nil && gvk != nil && *gvk == schema.GroupVersionKind{Group: authorizationv1.GroupName, Version: "v1", Kind: kind}
}

// selfAsks is what a review asks about. One for both a resource and a path, or neither, asks for nothing that is allowed.
func selfAsks(s *authorizationv1.SelfSubjectAccessReviewSpec) scope.Request {
	var r scope.Request
	if a := s.ResourceAttributes; a != nil {
		r = scope.Request{Verb: a.Verb, Namespace: a.Namespace, Group: a.Group, Resource: a.Resource, Subresource: a.Subresource, Name: a.Name}
	}
	if a := s.NonResourceAttributes; a != nil {
		r.Verb, r.Path = a.Verb, a.Path
	}
	return r
}

// acceptedType is what the API server is asked to answer in; empty where the client takes neither.
func acceptedType(accept []string) string {
	all := strings.Join(accept, ",")
	switch {
	case all == "", strings.Contains(all, mediaJSON), strings.Contains(all, "*/*"), strings.Contains(all, "application/*"):
		return mediaJSON
	case strings.Contains(all, mediaProtobuf):
		return mediaProtobuf
	}
	return ""
}

// narrowsRules reports whether the answer is a list of rules that the token's scopes narrow.
func (x *exchange) narrowsRules() bool { return x.rulesType != "" }

// narrowRules marks a list of rules as incomplete: it has what RBAC allows, and the token's scopes allow less.
func narrowRules(resp *http.Response) error {
	if resp.StatusCode != http.StatusCreated {
		return nil
	}
	defer func() { _ = resp.Body.Close() }()
	codec, _, ok := codecFor(resp.Header.Get("Content-Type"))
	if !ok || resp.Header.Get("Content-Encoding") != "" {
		return errReview
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRules+1))
	review := &authorizationv1.SelfSubjectRulesReview{}
	if err != nil || len(body) > maxRules || !decodes(codec, body, review, "SelfSubjectRulesReview") {
		return errReview
	}
	review.Status.Incomplete = true
	review.Status.EvaluationError = strings.TrimPrefix(review.Status.EvaluationError+
		"; the scopes of the personal access token allow only a part of these rules", "; ")
	var out bytes.Buffer
	if err := codec.Encode(review, &out); err != nil {
		return fmt.Errorf("%w: %w", errReview, err)
	}
	resp.Body, resp.ContentLength, resp.TransferEncoding = io.NopCloser(&out), int64(out.Len()), nil
	resp.Header.Set("Content-Length", strconv.Itoa(out.Len()))
	return nil
}
