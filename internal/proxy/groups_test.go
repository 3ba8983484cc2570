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
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

// list plays an API server that is asked which groups the impersonator may name.
type list struct {
	mu     sync.Mutex
	groups []string
	fail   error
	asked  []string
	now    time.Time
}

func (l *list) may(_ context.Context, group string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, group)
	return slices.Contains(l.groups, group), l.fail
}

func (l *list) set(groups ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.groups = groups
}

func (l *list) clock() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// pass lets time pass, and forgets what was asked.
func (l *list) pass(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now, l.asked = l.now.Add(d), nil
}

func dropping(l *list) func(*Options) {
	l.now = time.Now()
	return func(o *Options) { o.Groups = newGroups(l.may, l.clock) }
}

func TestGroupsThatAreNotListedAreLeftOut(t *testing.T) {
	for _, tc := range []struct {
		name         string
		user         v1alpha1.UserInfo
		listed, want []string
		asked        int
	}{
		{"all are listed", alice, []string{"devs", "team:a"}, []string{"devs", "team:a"}, 2},
		{"one is not", alice, []string{"team:a"}, []string{"team:a"}, 2},
		{"none is", alice, nil, nil, 2},
		{"a part of a name is another name", alice, []string{"dev", "devs2", "DEVS", "team:a"}, []string{"team:a"}, 2},
		{"everybody's group is not asked for", alice, []string{"devs", "team:a", "system:authenticated"}, []string{"devs", "team:a"}, 2},
		{"a user without groups", v1alpha1.UserInfo{Username: "bob@example.com"}, nil, nil, 0},
		{"the first is not", v1alpha1.UserInfo{Username: "bob@example.com", Groups: []string{"a", "b"}}, []string{"b"}, []string{"b"}, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := &list{groups: tc.listed}
			b := newBed(t, nil, dropping(l))
			token := b.issue("grouped", tc.user)
			for range 3 { // The answers are remembered.
				if resp, text := b.doAs(token.Bearer, "GET", "/api/v1/namespaces/team-a/pods", ""); resp.StatusCode != http.StatusOK {
					t.Fatalf("HTTP %d %s", resp.StatusCode, text)
				}
				r := b.last()
				if got := r.Header["Impersonate-Group"]; !slices.Equal(got, tc.want) {
					t.Errorf("groups are %q; want %q", got, tc.want)
				}
				if r.Header.Get("Impersonate-User") != tc.user.Username || r.Header.Get("Impersonate-Uid") != tc.user.UID ||
					r.Header.Get("Impersonate-Extra-Authentication.kubernetes.io%2fcredential-Id") != "PAT="+token.ID() {
					t.Errorf("the request is from %s", identityOf(r))
				}
			}
			if len(l.asked) != tc.asked {
				t.Errorf("asked for %q", l.asked)
			}
		})
	}
}

// What the account may do changes: a group that it may name from now on counts soon, and another is not sent for long.
func TestAListOfGroupsIsFollowed(t *testing.T) {
	l := &list{groups: []string{"devs"}}
	b := newBed(t, nil, dropping(l))
	want := func(after time.Duration, groups string, asked int) {
		t.Helper()
		l.pass(after)
		b.do("GET", "/api/v1/namespaces/team-a/pods", "")
		if got := strings.Join(b.last().Header["Impersonate-Group"], " "); got != groups || len(l.asked) != asked {
			t.Errorf("groups are %q, asked for %q; want %q and %d questions", got, l.asked, groups, asked)
		}
	}
	want(0, "devs", 2)
	l.set("devs", "team:a")
	want(unlistedFor-time.Millisecond, "devs", 0)
	want(time.Millisecond, "devs team:a", 1)
	l.set()
	want(listedFor-unlistedFor-time.Millisecond, "devs team:a", 0)
	want(time.Millisecond, "team:a", 1)
	want(unlistedFor, "", 2)
}

// A group that is never listed is asked for less and less often, and one that was listed for a while soon again.
func TestANoHoldsLongerEachTime(t *testing.T) {
	l := &list{now: time.Now()}
	g := newGroups(l.may, l.clock)
	holds := func(want time.Duration, listed bool) {
		t.Helper()
		for _, tc := range []struct {
			after time.Duration
			asked int
		}{{0, 1}, {want - time.Millisecond, 0}} {
			l.pass(tc.after)
			unlisted, err := g.Unlisted(t.Context(), []string{"devs"})
			if err != nil || (len(unlisted) == 0) != listed || len(l.asked) != tc.asked {
				t.Errorf("after %v: unlisted are %q, %v, with %d questions", tc.after, unlisted, err, len(l.asked))
			}
		}
		l.pass(time.Millisecond)
	}
	for _, s := range []time.Duration{2, 4, 8, 16, 32, 60, 60} {
		holds(s*time.Second, false)
	}
	l.set("devs")
	holds(time.Minute, true)
	l.set()
	holds(2*time.Second, false)
	holds(4*time.Second, false)
}

// A request whose groups cannot be asked for is not sent: it would be refused, or be from a user with other groups. The next one asks again.
func TestWithoutAnAnswerAboutGroupsNothingIsSent(t *testing.T) {
	l := &list{groups: []string{"devs", "team:a"}, fail: errors.New("the API server is away")}
	b := newBed(t, nil, dropping(l))
	resp, text := b.do("POST", "/api/v1/namespaces/team-a/pods", "{}")
	wantStatus(t, resp, text, http.StatusServiceUnavailable, "the API server cannot be reached from the proxy; try again")
	if resp.Header.Get("Retry-After") != "1" || len(b.requests()) != 0 {
		t.Errorf("Retry-After %q, and %d requests were sent", resp.Header.Get("Retry-After"), len(b.requests()))
	}
	l.mu.Lock()
	l.fail = nil
	l.mu.Unlock()
	if resp, text := b.do("GET", "/api/v1/namespaces/team-a/pods", ""); resp.StatusCode != http.StatusOK || len(b.last().Header["Impersonate-Group"]) != 2 {
		t.Errorf("HTTP %d %s with the groups %q", resp.StatusCode, text, b.last().Header["Impersonate-Group"])
	}
}

// A token that ends while its groups are asked for is not honored any more.
func TestATokenThatEndsWhileGroupsAreAskedFor(t *testing.T) {
	asked, answer := make(chan struct{}, 2), make(chan struct{})
	defer close(answer)
	b := newBed(t, nil, func(o *Options) {
		o.Groups = newGroups(func(context.Context, string) (bool, error) {
			asked <- struct{}{}
			<-answer
			return true, nil
		}, time.Now)
	})
	go func() {
		<-asked
		b.token.Revoke(t, b.index)
	}()
	resp, text := b.do("GET", "/api/v1/namespaces/team-a/pods", "")
	wantStatus(t, resp, text, http.StatusUnauthorized, "the personal access token is not honored any more")
	if len(b.requests()) != 0 {
		t.Error("the API server has seen the request")
	}
}

// Requests that need the same answer share one question, and one that goes away does not end it for the others.
func TestOneQuestionForManyRequests(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	var questions atomic.Int32
	g := newGroups(func(ctx context.Context, _ string) (bool, error) {
		if questions.Add(1) == 1 {
			close(asked)
		}
		<-answer
		return true, ctx.Err()
	}, time.Now)
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := g.Unlisted(ctx, []string{"devs"})
		gone <- err
	}()
	<-asked
	results := make(chan error, 20)
	for range cap(results) {
		go func() {
			unlisted, err := g.Unlisted(t.Context(), []string{"devs"})
			if len(unlisted) > 0 {
				err = fmt.Errorf("unlisted are %q", unlisted)
			}
			results <- err
		}()
	}
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the request that goes away gets %v", err)
	}
	close(answer)
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := questions.Load(); n != 1 {
		t.Errorf("%d questions", n)
	}
}

func TestAuditTellsOfTheGroupsThatAreLeftOut(t *testing.T) {
	x := &exchange{proxy: &Proxy{}, w: &answer{}, unlisted: make([]string, 100), result: verifier.Result{User: alice}}
	for i := range x.unlisted {
		x.unlisted[i] = fmt.Sprint("group-", i)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/api", nil)
	if err != nil {
		t.Fatal(err)
	}
	told := x.line(r, "Request").Request.WithoutGroups
	if len(told) != toldGroups || told[0] != "group-0" {
		t.Errorf("told of %q", told)
	}
	told[0] = "changed"
	if x.unlisted[0] != "group-0" {
		t.Error("what audit shortens is the request's own")
	}
}
