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
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/console/page"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/recipients"
)

const (
	dateLayout = "2006-01-02"
	// clocksOff is the distance of the latest end from the limit, for an API server whose clock is behind.
	clocksOff = 5 * time.Minute
	// farthest is the largest distance of a time zone from UTC.
	farthest = 14 * time.Hour
)

// resourceName matches the name that a rendered form has for its resource. The name is fixed, so that a form that is sent twice
// creates one token.
var resourceName = regexp.MustCompile(`^token-[a-z2-7]{12}$`)

func newResourceName() string { return "token-" + strings.ToLower(rand.Text()[:12]) }

// Fields of the form.
const (
	fieldName, fieldDays, fieldDate, fieldDayEnds   = "name", "days", "date", "dayEnds"
	fieldNamespace, fieldAudiences, fieldRecipients = "namespace", "audiences", "recipients"
	fieldPermissions, fieldFor, fieldFrom           = "permissions", "for", "from"
	fieldForm                                       = "" // the form as a whole
)

// fieldOfPath maps fields of the resource to fields of the form.
var fieldOfPath = []struct{ path, field string }{
	{"spec.displayName", fieldName},
	{"spec.expiresInDays", fieldDays},
	{"spec.expiresAt", fieldDays},
	{"spec.scopes", fieldPermissions},
	{"spec.audiences", fieldAudiences},
	{"spec.from", fieldFrom},
	{"spec.delivery", fieldRecipients},
	{"metadata.namespace", fieldNamespace},
}

// formOf returns the sent form.
func formOf(r *http.Request) page.Form {
	value := func(name string) string { return strings.TrimSpace(r.PostFormValue(name)) }
	f := page.Form{
		ResourceName: r.PostFormValue("resource"),
		Name:         value(fieldName), Days: value(fieldDays), Date: value(fieldDate), DayEnds: value(fieldDayEnds),
		Permissions: value(fieldPermissions), For: value(fieldFor), Namespace: value(fieldNamespace), Audiences: value(fieldAudiences),
		Networks: value(fieldFrom), Recipients: value(fieldRecipients), Errors: map[string]string{},
	}
	f.MoreOpen = f.Recipients+f.Networks != ""
	return f
}

// resourceOf returns the resource that a form asks for, without a token, with a lifetime of at most limit. It adds to f.Errors.
func resourceOf(f *page.Form, now time.Time, limit time.Duration) (pat *v1alpha1.PersonalAccessToken, life time.Duration, expires *metav1.Time) {
	if !resourceName.MatchString(f.ResourceName) {
		f.ResourceName = newResourceName()
		f.Errors[fieldForm] = "This form did not come from this page. Check it and save it again."
	}
	if wrong := checkName(f.Name); wrong != "" {
		f.Errors[fieldName] = wrong
	}
	if len(validation.IsDNS1123Label(f.Namespace)) > 0 {
		f.Errors[fieldNamespace], f.MoreOpen = "Name a namespace: at most 63 of a-z, 0-9 and '-'.", true
	}
	latest, maxDays := now.Add(limit), int(limit/(24*time.Hour))
	if f.OnDate() {
		end, err := endOfDay(f)
		switch {
		case err != nil:
			f.Errors[fieldDate] = sentence(err.Error())
		case !end.After(now):
			f.Errors[fieldDate] = "This day has passed. Choose a later one."
		case !end.Add(-24 * time.Hour).Before(latest): // a token may end within the last day
			f.Errors[fieldDate] = fmt.Sprintf("At most %d days here. Choose an earlier day.", maxDays)
		}
		expires = &metav1.Time{Time: end}
	} else {
		days, err := strconv.Atoi(f.Days)
		if err != nil || days < 1 || days > maxDays {
			f.Errors[fieldDays] = fmt.Sprintf("At most %d days here. Choose a number of days, or a date.", maxDays)
		}
		life = time.Duration(days) * 24 * time.Hour
		expires = &metav1.Time{Time: now.Add(life).Truncate(time.Second)}
	}
	if longest := latest.Add(-clocksOff); expires.After(longest) {
		expires = &metav1.Time{Time: longest.Truncate(time.Second)}
	}
	if f.OnDate() {
		life = expires.Sub(now)
	}
	pat = &v1alpha1.PersonalAccessToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.Namespace, Name: f.ResourceName},
		Spec:       v1alpha1.PersonalAccessTokenSpec{DisplayName: f.Name, From: lines(f.Networks)},
	}
	if f.ForAPI() {
		if pat.Spec.Audiences = lines(f.Audiences); len(pat.Spec.Audiences) == 0 {
			f.Errors[fieldAudiences] = "Name the API that takes the token, or choose this cluster’s API."
		}
	}
	switch {
	case f.Permissions == "":
	case page.PermissionWord(f.Permissions) == page.Limited:
		f.Errors[fieldPermissions], f.Permissions = "Choose one of these.", ""
	default:
		pat.Spec.Scopes = []v1alpha1.Scope{{Preset: f.Permissions}}
	}
	if keys := lines(f.Recipients); len(keys) > 0 {
		if wrong := checkKeys(keys); wrong != "" {
			f.Errors[fieldRecipients] = wrong
		}
		pat.Spec.Delivery = &v1alpha1.Delivery{Recipients: keys}
	}
	if recipients.HoldsPrivateKey(f.Recipients) {
		f.Recipients = "" // do not send it back
	}
	if f.Errors[fieldRecipients] != "" {
		f.MoreOpen = true
	}
	return pat, life, expires
}

// checkName returns what is wrong with a display name, or "".
func checkName(name string) string {
	switch length := utf8.RuneCountInString(name); {
	case length == 0:
		return "Enter what the token is for, so that you know later which one to revoke."
	case length > holder.MaxDisplayName:
		return fmt.Sprintf("This has %d characters: use at most %d.", length, holder.MaxDisplayName)
	}
	return ""
}

// checkKeys returns why a token cannot be encrypted to these keys, as a sentence that counts them from one.
func checkKeys(keys []string) string {
	if len(keys) <= recipients.MaxEntries {
		for i, key := range keys {
			if errs := recipients.Check(nil, []string{key}); len(errs) > 0 {
				return fmt.Sprintf("Key %d %s.", i+1, errs[0].Detail)
			}
		}
	}
	switch errs := recipients.Check(nil, keys); {
	case len(errs) == 0:
		return ""
	case errs[0].Type == field.ErrorTypeInvalid:
		return fmt.Sprintf("One key %s.", errs[0].Detail)
	default:
		return sentence(errs[0].Detail)
	}
}

// endOfDay returns the last second of the date, in the visitor's time zone if known, else in UTC.
func endOfDay(f *page.Form) (time.Time, error) {
	day, err := time.Parse(dateLayout, f.Date)
	if err != nil {
		return day, errors.New("write the date as YYYY-MM-DD")
	}
	end := day.Add(24*time.Hour - time.Second)
	if f.DayEnds == "" {
		return end, nil
	}
	there, err := time.Parse(time.RFC3339, f.DayEnds)
	if err != nil || there.Sub(end).Abs() > farthest {
		return end, errors.New("this day ends at another time in every time zone: choose the date again")
	}
	return there.UTC().Truncate(time.Second), nil
}

// lines returns the different lines of a text.
func lines(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !slices.Contains(all, line) {
			all = append(all, line)
		}
	}
	return all
}

// fieldTexts are the errors at fields whose value the API server refuses. The page folds the API server's message away.
var fieldTexts = map[string]string{
	fieldName: "This name is not accepted here.", fieldDays: "This is longer than allowed here. Choose a shorter life.",
	fieldDate: "This is later than allowed here. Choose an earlier day.", fieldAudiences: "These names are not accepted here.",
	fieldRecipients: "These recipients are not accepted here.", fieldNamespace: "This namespace is not accepted here.",
	fieldPermissions: "These permissions are not accepted here.",
	fieldFrom:        "These networks are not accepted here. Write each as 203.0.113.0/24 or 2001:db8::/32.",
}

// refusedFields adds errors to the fields that the API server refuses, and reports whether there are any.
func refusedFields(f *page.Form, err error) bool {
	if isMissing(err, "namespaces", true) {
		f.Errors[fieldNamespace], f.MoreOpen = fmt.Sprintf("Namespace %s does not exist.", f.Namespace), true
		return true
	}
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) || !apierrors.IsInvalid(err) || answer.Status().Details == nil {
		return false
	}
	for _, cause := range answer.Status().Details.Causes {
		for _, known := range fieldOfPath {
			if !strings.HasPrefix(cause.Field, known.path) {
				continue
			}
			name := known.field
			if name == fieldDays && f.OnDate() {
				name = fieldDate
			}
			f.Errors[name] = fieldTexts[name]
			if name == fieldPermissions && f.Permissions == "" {
				f.Errors[name] = "This cluster allows only tokens with limited permissions. Choose what the token may do."
			}
		}
	}
	f.MoreOpen = f.MoreOpen || f.Errors[fieldNamespace]+f.Errors[fieldFrom]+f.Errors[fieldRecipients] != ""
	return len(f.Errors) > 0
}

// sentence turns a clause into a sentence.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(text)
	text = strings.ToUpper(string(first)) + text[size:]
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}
