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

// Package identity decides which users may never have a token. It is pure. Admission, the controller and the verifier each
// call it, so a user that gets past one of them is stopped by the next.
package identity

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

const (
	systemPrefix         = "system:"
	serviceAccountPrefix = "system:serviceaccount:"
	serviceAccountsGroup = "system:serviceaccounts"
	bootstrappersGroup   = "system:bootstrappers"
	everybodysGroup      = "system:authenticated"

	// The limits of spec.user in the schema, in characters and in items. Those of groups are in bytes.
	maxUsername   = 512
	maxUID        = 256
	maxGroups     = 1000
	maxGroup      = 1024
	maxAllGroups  = 128 << 10
	maxExtraKeys  = 16
	maxValues     = 16
	maxValue      = 1024
	maxExtraKey   = 317 // a DNS subdomain, a slash and a label
	maxErrors     = 16  // so that a hostile identity makes no endless message
	maxQuoteRunes = 64
)

// extraKey is what kube-apiserver takes as a header's name, "domain/name" as a rule, and in one spelling only.
var extraKey = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]*[a-z0-9])?(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?)?$`)

// reservedExtra are the prefixes of extra keys that describe how a user authenticated, and their only legitimate source.
var reservedExtra = []struct{ prefix, owner string }{
	{"authentication.kubernetes.io/", "Kubernetes"},
	{"pat-operator.io/", "pat-operator"},
}

// Check returns an error for each part of u that may not be in any token, each naming its field under path and the way
// out. A user who may never have a token is field.ErrorTypeForbidden; an invalid name is any other type. At most 16 are
// returned.
func Check(path *field.Path, u *v1alpha1.UserInfo) field.ErrorList {
	if u == nil {
		return field.ErrorList{field.Required(path, "name the user whose token this is")}
	}
	errs := checkUsername(path.Child("username"), u.Username)
	errs = append(errs, checkText(path.Child("uid"), u.UID, maxUID)...)
	errs = append(errs, checkGroups(path, u)...)
	errs = append(errs, checkExtra(path.Child("extra"), u)...)
	return errs[:min(len(errs), maxErrors)]
}

// Equal reports whether a and b are the same identity. The order of groups does not matter, that of an extra key's values
// does.
func Equal(a, b *v1alpha1.UserInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Username == b.Username && a.UID == b.UID &&
		(slices.Equal(a.Groups, b.Groups) || slices.Equal(set(a.Groups), set(b.Groups))) &&
		maps.EqualFunc(a.Extra, b.Extra, func(x, y v1alpha1.ExtraValue) bool { return slices.Equal(x, y) })
}

// ServiceAccount returns the service account that a user name stands for; false where it is not exactly
// system:serviceaccount:<namespace>:<name>.
func ServiceAccount(username string) (types.NamespacedName, bool) {
	rest, ok := strings.CutPrefix(username, serviceAccountPrefix)
	if !ok {
		return types.NamespacedName{}, false
	}
	namespace, name, _ := strings.Cut(rest, ":")
	if len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return types.NamespacedName{}, false
	}
	return types.NamespacedName{Namespace: namespace, Name: name}, true
}

func set(items []string) []string { return slices.Compact(slices.Sorted(slices.Values(items))) }

func checkUsername(path *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "name the user whose token this is")}
	}
	if errs := checkText(path, name, maxUsername); len(errs) > 0 {
		return errs
	}
	_, account := ServiceAccount(name)
	switch {
	case imitatesSystem(name):
		return field.ErrorList{imitation(path, name)}
	case strings.HasPrefix(name, systemPrefix) && !account:
		return field.ErrorList{field.Forbidden(path, fmt.Sprintf(
			"%s is one of Kubernetes' own users, which may have no personal access token; name a person", quote(name)))}
	}
	return nil
}

func checkGroups(user *field.Path, u *v1alpha1.UserInfo) field.ErrorList {
	path := user.Child("groups")
	if err := CheckSizeOfGroups(path, u.Groups); err != nil {
		return field.ErrorList{err}
	}
	var errs field.ErrorList
	for i, name := range u.Groups {
		errs = append(errs, checkGroup(user, path.Index(i), name, u.Username)...)
	}
	return errs
}

// CheckSizeOfGroups returns an error where the groups are more than a token carries.
func CheckSizeOfGroups(path *field.Path, groups []string) *field.Error {
	const wayOut = "list the groups that the token needs in spec.user.groups"
	if n := len(groups); n > maxGroups {
		err := field.TooMany(path, n, maxGroups)
		err.Detail = fmt.Sprintf("a token carries at most %d groups; %s", maxGroups, wayOut)
		return err
	}
	all := 0
	for i, name := range groups {
		if len(name) > maxGroup {
			err := field.TooLong(path.Index(i), "", maxGroup)
			err.Detail = fmt.Sprintf("the name of a group has at most %d bytes, and this one has %d; %s", maxGroup, len(name), wayOut)
			return err
		}
		all += len(name)
	}
	if all > maxAllGroups {
		err := field.TooLong(path, "", maxAllGroups)
		err.Detail = fmt.Sprintf("a token carries groups of at most %d bytes together, and these have %d; %s", maxAllGroups, all, wayOut)
		return err
	}
	return nil
}

func checkGroup(user, path *field.Path, name, username string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "a group has a name; leave it out")}
	}
	if errs := checkText(path, name, maxGroup); len(errs) > 0 {
		return errs
	}
	switch {
	case imitatesSystem(name):
		return field.ErrorList{imitation(path, name)}
	case neverGroup(name):
		return field.ErrorList{field.Forbidden(path, fmt.Sprintf(
			"%s may be in no token; set %s, with username, uid and the groups but this one", quote(name), user))}
	}
	account, isAccount := ServiceAccount(username)
	switch {
	case isAccount && slices.Contains([]string{serviceAccountsGroup, serviceAccountsGroup + ":" + account.Namespace, everybodysGroup}, name):
	case isServiceAccountsGroup(name):
		return field.ErrorList{field.Forbidden(path, fmt.Sprintf(
			"%s is a group of service accounts, and the user is not in it; leave it out", quote(name)))}
	case isAccount:
		return field.ErrorList{field.Invalid(path, short(name),
			"a service account is only in the groups that Kubernetes gives it; leave it out")}
	}
	return nil
}

// Carried reports whether a person's token may list a group. system:authenticated it has without.
func Carried(group string) bool {
	return group != everybodysGroup && len(checkGroup(nil, nil, group, "")) == 0
}

func neverGroup(name string) bool {
	switch name {
	case "system:masters", "system:nodes", "system:unauthenticated", bootstrappersGroup:
		return true
	}
	return strings.HasPrefix(name, bootstrappersGroup+":")
}

func isServiceAccountsGroup(name string) bool {
	return name == serviceAccountsGroup || strings.HasPrefix(name, serviceAccountsGroup+":")
}

func checkExtra(path *field.Path, u *v1alpha1.UserInfo) field.ErrorList {
	extra := u.Extra
	if len(extra) > maxExtraKeys {
		return field.ErrorList{field.TooMany(path, len(extra), maxExtraKeys)}
	}
	if _, ok := ServiceAccount(u.Username); ok && len(extra) > 0 {
		return field.ErrorList{field.Invalid(path, field.OmitValueType{}, "the token of a service account carries no extra; leave it out")}
	}
	var errs field.ErrorList
	for _, key := range slices.Sorted(maps.Keys(extra)) {
		if err := checkExtraKey(path.Key(quote(key)), key); err != nil {
			errs = append(errs, err)
			continue
		}
		at := path.Key(key)
		values := extra[key]
		switch {
		case len(values) == 0:
			errs = append(errs, field.Required(at, "an extra key has a value; leave it out"))
		case len(values) > maxValues:
			errs = append(errs, field.TooMany(at, len(values), maxValues))
		default:
			for i, value := range values {
				errs = append(errs, checkExtraValue(at.Index(i), value)...)
			}
		}
	}
	return errs
}

func checkExtraKey(path *field.Path, key string) *field.Error {
	for _, r := range reservedExtra {
		if strings.HasPrefix(strings.ToLower(key), r.prefix) {
			return field.Forbidden(path, fmt.Sprintf("only %s sets keys under %s; leave it out", r.owner, r.prefix))
		}
	}
	if !IsExtraKey(key) {
		return field.Invalid(path, short(key),
			"an extra key is lower-case letters, digits, '-', '_' and '.', as a rule a domain, a slash and a name; spell it so, or leave it out")
	}
	return nil
}

// IsExtraKey reports whether a user's extra can have a key.
func IsExtraKey(key string) bool { return len(key) <= maxExtraKey && extraKey.MatchString(key) }

func checkExtraValue(path *field.Path, value string) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "a value of an extra key is not empty; leave it out")}
	}
	errs := checkText(path, value, maxValue)
	for _, err := range errs {
		err.BadValue = field.OmitValueType{}
	}
	return errs
}

func imitation(path *field.Path, name string) *field.Error {
	return field.Forbidden(path, fmt.Sprintf(
		"%s can be mistaken for one of Kubernetes' own names, which are lower-case and begin with %q; leave it out, or have it renamed where people log in",
		quote(name), systemPrefix))
}

// quote shows a name so that no look-alike stays hidden.
func quote(name string) string { return strconv.QuoteToASCII(short(name)) }

// short shortens a name for a message, and removes characters that cannot be shown.
func short(s string) string {
	s = strings.ToValidUTF8(s, string(utf8.RuneError))
	n := 0
	for i := range s {
		if n++; n > maxQuoteRunes {
			return s[:i] + "…"
		}
	}
	return s
}
