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
	"fmt"
	"net/http"

	"gomodules.xyz/jsonpatch/v2"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	ctrladmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/identity"
)

// NewDefaulter returns the mutating handler. On CREATE a wholly absent spec.user becomes the requester, and a service
// account that is named gets its UID and groups; on UPDATE what is absent of spec.user is taken from the old object, never
// from the requester or a lookup, since a PUT by anybody may leave it out. Whether the requester may is the validator's to
// say, except for groups that are more than a token carries: no later step can name the way out.
//
// It works on raw JSON and answers with one patch of /spec/user: a typed object, marshalled again, would rewrite times
// and empty fields that the user wrote.
func NewDefaulter(cfg Config) ctrladmission.Handler {
	return ctrladmission.HandlerFunc(func(ctx context.Context, req ctrladmission.Request) ctrladmission.Response {
		if req.SubResource != "" {
			return ctrladmission.Allowed("")
		}
		var stamp any
		var present bool
		var err error
		switch req.Operation {
		case admissionv1.Create:
			stamp, present, err = userOnCreate(req.Object.Raw, req.UserInfo)
			if err == nil && present && stamp == nil {
				if stamp, err = cfg.accountOnCreate(ctx, req.Object.Raw); err != nil {
					return ctrladmission.Errored(http.StatusInternalServerError, err)
				}
			}
		case admissionv1.Update:
			stamp, present, err = userOnUpdate(req.OldObject.Raw, req.Object.Raw)
		case admissionv1.Delete, admissionv1.Connect:
		default:
			err = errors.New("the request names no operation")
		}
		tooMany := &field.Error{}
		switch {
		case errors.As(err, &tooMany):
			return ctrladmission.Denied(fmt.Sprintf("%s: %s", tooMany.Field, tooMany.Detail))
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
	if err != nil || spec == nil {
		return nil, false, err
	}
	if !absent(spec["user"]) {
		return nil, true, nil
	}
	// A service account's short-lived token must not become a long-lived one unasked: it has to be named.
	if isServiceAccount(requester.Username) {
		return nil, false, nil
	}
	_, present = spec["user"]
	stamped := &v1alpha1.UserInfo{Username: requester.Username, UID: requester.UID}
	seen := sets.New(user.AllAuthenticated)
	for _, group := range requester.Groups {
		if !seen.Has(group) {
			seen.Insert(group)
			stamped.Groups = append(stamped.Groups, group)
		}
	}
	// The schema would say so too, but not what to do.
	if err := identity.CheckSizeOfGroups(userPath.Child("groups"), stamped.Groups); err != nil {
		return nil, false, err
	}
	return stamped, present, nil
}

// accountOnCreate returns spec.user with what is absent of a service account's uid and groups, nil to leave it alone. An
// account that is not there is left to the validator, which knows whether the requester may hear of it.
func (c *Config) accountOnCreate(ctx context.Context, object []byte) (stamp any, err error) {
	spec, err := specOf(object)
	if err != nil {
		return nil, err
	}
	named := objectOf(spec["user"])
	var username string
	if json.Unmarshal(named["username"], &username) != nil {
		return nil, nil // absent, or no text: the schema refuses it
	}
	account, ok := identity.ServiceAccount(username)
	if !ok || (!absent(named["uid"]) && !absent(named["groups"])) {
		return nil, nil
	}
	uid, err := c.accountUID(ctx, account)
	switch {
	case err != nil:
		return nil, err
	case uid == "":
		return nil, nil
	}
	derived := map[string]any{"uid": uid, "groups": serviceaccount.MakeGroupNames(account.Namespace)}
	for name, value := range derived {
		if !absent(named[name]) {
			continue
		}
		if named[name], err = json.Marshal(value); err != nil {
			return nil, fmt.Errorf("filling in spec.user.%s: %w", name, err)
		}
	}
	return named, nil
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

// specOf returns the spec of an object, nil if it is missing or not a JSON object, which the schema refuses.
func specOf(object []byte) (rawObject, error) {
	o := objectOf(object)
	if o == nil {
		return nil, errors.New("the request holds no object")
	}
	return objectOf(o["spec"]), nil
}

// objectOf returns nil unless raw is a JSON object.
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
