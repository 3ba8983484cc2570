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
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/policies"
)

// A policy refuses requests and cuts what is open, with a text that names the way out; removed, it leaves no trace.
func TestAPolicyCutsAndRefuses(t *testing.T) {
	const denies = "the personal access token is not honored any more: a TokenPolicy denies it; look at it with kubectl pat describe"
	b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("watch") {
			w.Header().Set("Content-Type", "application/json")
			stream(w, r)
		}
	})
	for name, tc := range map[string]struct {
		policy, says string
		code         int
	}{
		"it denies":         {`{deny: {reason: Left the company}}`, denies, 401},
		"is not understood": {`{allowedWeekdays: [Monday]}`, denies, 401},
		"it ends the token": {`{maxLifetimeDays: 0}`, denies, 401},
		"it takes a group":  {`{allowedGroups: [devs]}`, "the personal access token is not honored any more: its user or its limits have changed; connect again", 200},
	} {
		resp := b.open(b.client(true), b.token, "/api/v1/pods?watch=1")
		if _, err := io.ReadFull(resp.Body, make([]byte, len("first\n"))); err != nil {
			t.Fatal(err)
		}
		b.index.SetPolicy(policies.New("p", tc.policy))
		if rest, err := io.ReadAll(resp.Body); err == nil || !strings.Contains(string(rest), tc.says) {
			t.Errorf("%s: the watch says %q, %v; want %q", name, rest, err, tc.says)
		}
		resp2, body := b.do("GET", "/version", "")
		if tc.code == 401 {
			wantStatus(t, resp2, body, 401, "no valid personal access token was sent; look at the token with kubectl pat describe")
		} else if groups := b.last().Header["Impersonate-Group"]; resp2.StatusCode != 200 || slices.Contains(groups, "team:a") || !slices.Contains(groups, "devs") {
			t.Errorf("%s: HTTP %d with the groups %q", name, resp2.StatusCode, groups)
		}
		b.index.DeletePolicy("p")
		if resp, body := b.do("GET", "/version", ""); resp.StatusCode != 200 {
			t.Errorf("%s, and is gone: HTTP %d %s", name, resp.StatusCode, body)
		}
	}
	b.index.SetPolicy(policies.New("p", `{allowedFrom: [10.0.0.0/8]}`))
	resp, body := b.do("GET", "/version", "")
	wantStatus(t, resp, body, 403, "personal access token team-a/ci may not be used from 127.0.0.1; use it from one of the networks that its spec.from and TokenPolicies allow")
	b.index.SetPolicy(policies.New("p", `{allowedFrom: [127.0.0.0/8]}`))
	if resp, body := b.do("GET", "/version", ""); resp.StatusCode != 200 {
		t.Errorf("from inside: HTTP %d %s", resp.StatusCode, body)
	}
}

// Where a policy ends the token while a request is open, the request is told so, and not that the token has expired.
func TestAPolicyEndsAnOpenRequest(t *testing.T) {
	b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		stream(w, r)
	})
	token := b.issue("old", alice)
	token.Record.Current.IssuedAt = time.Now().Add(2*time.Second - 30*v1alpha1.Day)
	token.Feed(t, b.index)
	b.index.SetPolicy(policies.New("p", `{maxLifetimeDays: 30}`))
	resp := b.open(b.client(true), token, "/api/v1/pods?watch=1")
	if rest, err := io.ReadAll(resp.Body); err == nil || !strings.Contains(string(rest), "a TokenPolicy denies it") {
		t.Errorf("%q, %v", rest, err)
	}
}

// Where that policy is gone by then, the request goes on.
func TestAPolicyThatIsGoneEndsNothing(t *testing.T) {
	goOn := make(chan struct{})
	b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
		case <-goOn:
			_, _ = io.WriteString(w, "second\n")
		}
	})
	token, ends := b.issue("old", alice), time.Now().Add(2*time.Second)
	token.Record.Current.IssuedAt = ends.Add(-30 * v1alpha1.Day)
	token.Feed(t, b.index)
	b.index.SetPolicy(policies.New("p", `{maxLifetimeDays: 30}`))
	resp := b.open(b.client(true), token, "/api/v1/namespaces/a/pods/web/log?follow=true")
	b.index.DeletePolicy("p")
	env.Eventually(t, env.Patience, func() bool { return time.Now().After(ends.Add(time.Second)) }, func() string { return "time stands still" })
	close(goOn)
	if all, err := io.ReadAll(resp.Body); err != nil || string(all) != "first\nsecond\n" {
		t.Errorf("%q, %v", all, err)
	}
}
