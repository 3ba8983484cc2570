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
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"gomodules.xyz/jsonpatch/v2"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	ctrladmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// NewDefaulter returns the mutating handler. On CREATE a wholly absent spec.user becomes the requester; on UPDATE what is
// absent of it is taken from the old object, never from the requester, since a PUT by anybody may leave it out.
//
// It works on raw JSON and answers with one patch of /spec/user: a typed object, marshalled again, would rewrite times
// and empty fields that the user wrote.
func NewDefaulter() ctrladmission.Handler {
	return ctrladmission.HandlerFunc(func(_ context.Context, req ctrladmission.Request) ctrladmission.Response {
		if req.SubResource != "" {
			return ctrladmission.Allowed("")
		}
		var stamp any
		var present bool
		var err error
		switch req.Operation {
		case admissionv1.Create:
			stamp, present, err = userOnCreate(req.Object.Raw, req.UserInfo)
		case admissionv1.Update:
			stamp, present, err = userOnUpdate(req.OldObject.Raw, req.Object.Raw)
		case admissionv1.Delete, admissionv1.Connect:
		default:
			err = errors.New("the request names no operation")
		}
		switch {
		case err != nil:
			return ctrladmission.Errored(http.StatusBadRequest, err)
		case stamp == nil:
			return ctrladmission.Allowed("")
		}
		operation := "add"
		if present {
			operation = "replace"
		}
		return ctrladmission.Patched("", jsonpatch.NewOperation(operation, "/spec/user", stamp))
	})
}

// rawObject is a JSON object whose members stay as they were written.
type rawObject map[string]json.RawMessage

// userOnCreate returns what spec.user is to be, nil to leave it alone, and whether spec has the member.
func userOnCreate(object []byte, requester authenticationv1.UserInfo) (stamp any, present bool, err error) {
	spec, err := specOf(object)
	if err != nil || spec == nil || !absent(spec["user"]) {
		return nil, false, err
	}
	// A service account's short-lived token must not become a long-lived one unasked: it has to be named.
	if isServiceAccount(requester.Username) {
		return nil, false, nil
	}
	_, present = spec["user"]
	stamped := &v1alpha1.UserInfo{Username: requester.Username, UID: requester.UID}
	for _, group := range requester.Groups {
		if group != user.AllAuthenticated && !slices.Contains(stamped.Groups, group) {
			stamped.Groups = append(stamped.Groups, group)
		}
	}
	return stamped, present, nil
}

// userOnUpdate returns what spec.user is to be, nil to leave it alone, and whether spec has the member.
func userOnUpdate(oldObject, object []byte) (stamp any, present bool, err error) {
	spec, err := specOf(object)
	if err != nil || spec == nil {
		return nil, false, err
	}
	oldSpec, err := specOf(oldObject)
	if err != nil {
		return nil, false, err
	}
	was := objectOf(oldSpec["user"])
	if was == nil {
		return nil, false, nil
	}
	_, present = spec["user"]
	is := objectOf(spec["user"])
	if is == nil {
		if !absent(spec["user"]) {
			return nil, false, nil // no object: the schema refuses it
		}
		is = rawObject{}
	}
	filled := false
	for _, name := range []string{"username", "uid", "groups", "extra"} {
		if absent(is[name]) && !absent(was[name]) {
			is[name] = was[name]
			filled = true
		}
	}
	if !filled {
		return nil, false, nil
	}
	return is, present, nil
}

// specOf returns the spec of an object, nil where there is none or it is no object, which the schema refuses.
func specOf(object []byte) (rawObject, error) {
	o := objectOf(object)
	if o == nil {
		return nil, errors.New("the request holds no object")
	}
	return objectOf(o["spec"]), nil
}

// objectOf returns nil for what is no JSON object.
func objectOf(raw json.RawMessage) rawObject {
	var o rawObject
	if json.Unmarshal(raw, &o) != nil {
		return nil
	}
	return o
}

func absent(raw json.RawMessage) bool {
	return len(raw) == 0 || bytes.Equal(bytes.TrimSpace(raw), []byte("null"))
}
