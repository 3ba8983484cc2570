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

package e2e

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/faults/proxy"
	"github.com/pat-operator/pat-operator/test/long"
)

var patResource = schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "personalaccesstokens"}

// liar is between the operator and the API server. It lies about PersonalAccessTokens, or about the time, while it is told to.
type liar struct {
	*proxy.Proxy

	mu  sync.Mutex
	lie *lie
	// ahead is how far the Date of each answer is ahead of the API server's clock.
	ahead time.Duration
}

// lie is what a liar says. The operator's cache is filled from lists that lack the resources that the lie is about, and its
// watch shows nothing.
type lie struct {
	// of says which names the lie is about; nil: all.
	of map[string]bool
	// status answers reads of these resources; 200: a list without them, and 404 of each by its name.
	status int
	// relists refuses watches, so that a list is asked for.
	relists bool

	asked map[string]bool // namespace/name of what was read by its name while the lie was told
	over  chan struct{}   // closed when it is told no more
}

func (l *lie) about(name string) bool { return l.of == nil || l.of[name] }

// throughALiar has the operator reach the API server through a liar for the rest of the test.
func throughALiar(t *testing.T) *liar {
	t.Helper()
	certificate, err := cl.ServingCertificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cl.Anonymous().CAData)
	l := &liar{}
	l.Proxy, err = proxy.New(proxy.Options{Upstream: cl.Server, RootCAs: roots, Certificate: certificate, Answer: l.answer, Change: l.change})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		operator.Kill()
		dropLease(t)
		startOperator(t)
		l.Close()
	})
	if err := operator.Stop(); err != nil {
		t.Error(err)
	}
	l.startOperator(t)
	return l
}

// startOperator starts an operator, which replays every record.
func (l *liar) startOperator(t *testing.T) {
	t.Helper()
	next, err := cl.StartManager(context.Background(), cluster.ManagerOptions{Command: "operator", Server: l.URL, Args: verbose})
	if err != nil {
		t.Fatal(err)
	}
	operator = next
}

// killOperator kills the operator. The next one need not wait for its lease to expire.
func killOperator(t *testing.T) {
	t.Helper()
	operator.Kill()
	dropLease(t)
}

func dropLease(t *testing.T) {
	t.Helper()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.OperatorNamespace, Name: "pat-operator"}}
	if err := client.IgnoreNotFound(admin.Delete(context.Background(), lease)); err != nil {
		t.Fatal(err)
	}
}

func (l *liar) tell(next *lie) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lie != nil {
		close(l.lie.over)
	}
	if l.lie = next; next != nil {
		next.asked, next.over = map[string]bool{}, make(chan struct{})
	}
}

// asked reports whether all these names of a namespace were read while the present lie was told.
func (l *liar) asked(ns string, names []string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !slices.ContainsFunc(names, func(name string) bool { return !l.lie.asked[ns+"/"+name] })
}

// cutOff ends every connection of the operator, which connects again.
func (l *liar) cutOff(t *testing.T) {
	t.Helper()
	for _, mode := range []proxy.Mode{proxy.Cut, proxy.Pass} {
		if err := l.Set(mode); err != nil {
			t.Fatal(err)
		}
	}
}

func (l *liar) shift(ahead time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ahead = ahead
}

// present is the lie that a request is to be answered with; nil: none.
func (l *liar) present(info *request.RequestInfo) *lie {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lie == nil || info.APIGroup != patResource.Group || info.Resource != patResource.Resource || info.Subresource != "" {
		return nil
	}
	return l.lie
}

func (l *liar) answer(info *request.RequestInfo, w http.ResponseWriter, r *http.Request) bool {
	told := l.present(info)
	if told == nil {
		return false
	}
	if info.Verb == "watch" {
		switch {
		case r.URL.Query().Get("sendInitialEvents") == "true":
			writeError(w, apierrors.NewInvalid(schema.GroupKind{}, "", nil)) // So a list is asked for instead.
		case told.relists:
			writeError(w, apierrors.NewResourceExpired("the liar says"))
		default:
			l.mu.Lock()
			over := told.over
			l.mu.Unlock()
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-over:
			case <-r.Context().Done():
			}
		}
		return true
	}
	if info.Name == "" || !told.about(info.Name) || info.Verb != "get" && info.Verb != "list" {
		r.Header.Del("Accept-Encoding") // So that change can read it.
		return false
	}
	l.mu.Lock()
	told.asked[info.Namespace+"/"+info.Name] = true
	l.mu.Unlock()
	switch {
	case told.status == http.StatusForbidden:
		writeError(w, apierrors.NewForbidden(patResource, info.Name, errors.New("the liar says")))
	case told.status == http.StatusNotFound:
		http.Error(w, "404 page not found", http.StatusNotFound) // as of an API that is not served
	case info.Verb == "get":
		writeError(w, apierrors.NewNotFound(patResource, info.Name))
	default:
		r.Header.Del("Accept-Encoding")
		return false
	}
	return true
}

func writeError(w http.ResponseWriter, err *apierrors.StatusError) {
	status := err.Status()
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(status.Code))
	_ = json.NewEncoder(w).Encode(status)
}

// change takes what a lie is about out of a list, and shifts the Date of every answer.
func (l *liar) change(info *request.RequestInfo, resp *http.Response) error {
	l.mu.Lock()
	ahead := l.ahead
	l.mu.Unlock()
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil && ahead != 0 {
		resp.Header.Set("Date", date.Add(ahead).Format(http.TimeFormat))
	}
	told := l.present(info)
	if told == nil || info.Verb != "list" || resp.StatusCode != http.StatusOK {
		return nil
	}
	raw, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	var list struct {
		metav1.TypeMeta `json:",inline"`
		metav1.ListMeta `json:"metadata"`
		Items           []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	list.Items = slices.DeleteFunc(list.Items, func(item json.RawMessage) bool {
		var object metav1.PartialObjectMetadata
		return json.Unmarshal(item, &object) == nil && told.about(object.Name)
	})
	if raw, err = json.Marshal(list); err != nil {
		return err
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
	resp.Header.Set("Content-Length", strconv.Itoa(len(raw)))
	return nil
}

// recordOf is the record of a resource.
func recordOf(t *testing.T, ns, name string) *record.Record {
	t.Helper()
	rec, _, invalid, err := record.Get(t.Context(), admin, cluster.RecordsNamespace, client.ObjectKey{Namespace: ns, Name: name})
	if err = errors.Join(invalid, err); err != nil {
		t.Fatal(err)
	}
	return rec
}

// An API server, or a proxy before it, says for a while that resources are not there, and each new leader asks about every
// record. Nothing ends by that, and afterwards each token works and can be rotated and revoked.
func TestCase43_LiesAboutResourcesEndNothing(t *testing.T) {
	long.Only(t)
	ns := team(t)
	l := throughALiar(t)
	tokens := map[string]string{"one": issued(t, alice, pat(ns, "one")), "other": issued(t, alice, pat(ns, "other"))}
	mine, ofHolder := holder(t, ns, "mine", time.Hour)
	create(t, alice, pat(ns, "mine", ofHolder))
	waitFor(t, ns, "mine", v1alpha1.ConditionActive, "True/Active")
	tokens["mine"] = mine
	names, before := slices.Sorted(maps.Keys(tokens)), recordsOf(t, ns)
	unchanged := func(after string) {
		t.Helper()
		if got := recordsOf(t, ns); !maps.Equal(got, before) {
			t.Errorf("%s: records %v; want %v", after, got, before)
		}
		for _, name := range names {
			if rec := recordOf(t, ns, name); rec == nil || len(rec.Ended) > 0 || rec.Current == nil || rec.Current.Digest == "" {
				t.Fatalf("%s: the record of %s is %+v", after, name, rec)
			}
		}
	}
	// found are those of the names that are not noted as missing.
	found := func(names []string) []string {
		return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return recordOf(t, ns, name).MissingSince != nil })
	}
	t.Run("a running operator relists", func(t *testing.T) {
		l.tell(&lie{status: http.StatusOK, relists: true})
		l.cutOff(t)
		eventually(t, 2*patience, func() bool { return len(found(names)) == 0 }, func() string { return "what an empty list lacks is not noted" })
		unchanged("a list that is empty")
		l.tell(nil)
		eventually(t, 2*patience, func() bool { return len(found(names)) == len(names) }, func() string { return "what is listed again is still missing" })
		unchanged("a list that is not")
	})
	for _, tc := range []struct {
		name string
		lie  *lie
		long time.Duration
	}{
		{"404", &lie{status: http.StatusNotFound}, *soak / 30},
		{"403", &lie{status: http.StatusForbidden}, *soak / 30},
		{"a list without one", &lie{of: map[string]bool{"one": true}, status: http.StatusOK}, *soak / 3},
		{"empty lists", &lie{status: http.StatusOK}, *soak / 3},
	} {
		about := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !tc.lie.about(name) })
		l.tell(tc.lie)
		leaders := 1
		if *soak > 0 {
			leaders = 3
		}
		for range leaders {
			l.tell(tc.lie)
			killOperator(t)
			l.startOperator(t)
			eventually(t, 2*patience, func() bool {
				if tc.lie.status == http.StatusOK {
					return len(found(about)) == 0
				}
				return l.asked(ns, about)
			}, func() string { return tc.name + ": nobody asks about the resources" })
			lasts := time.Now().Add(tc.long / time.Duration(leaders))
			eventually(t, patience+tc.long, func() bool {
				unchanged(tc.name)
				return time.Now().After(lasts)
			}, func() string { return "the lie does not end" })
		}
		l.tell(nil)
		unchanged("after " + tc.name)
		for _, plaintext := range tokens {
			accepted(t, plaintext)
		}
	}
	// The cache of this operator has never shown the resources.
	if err := merge(t, alice, ns, "one", `{"spec":{"rotation":{"trigger":"2"}}}`); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, func() bool {
		id := get(t, ns, "one").Status.TokenID
		return id != "" && !strings.Contains(tokens["one"], id)
	}, func() string { return "the token is not rotated" })
	tokens["one"] = take(t, alice, ns, "one")
	accepted(t, tokens["one"])
	for _, name := range []string{"other", "mine"} {
		if err := alice.Status().Patch(t.Context(), pat(ns, name), revocation(t, ns, name)); err != nil {
			t.Fatal(err)
		}
		waitFor(t, ns, name, v1alpha1.ConditionActive, "False/Revoked")
		refused(t, tokens[name])
	}
	if err := alice.Delete(t.Context(), pat(ns, "one")); err != nil {
		t.Fatal(err)
	}
	refused(t, tokens["one"])
	eventually(t, patience, func() bool { return recordsOf(t, ns)[recordName(ns, "one")] == "" }, func() string { return "what is deleted keeps its record" })
}

// The API server's clock is five minutes ahead, then behind, when resources are planted without guards: the operator, whose
// clock is not proven, refuses them all the same, and the records namespace shows it.
func TestCase51_APlantedResourceAndAClockThatIsOff(t *testing.T) {
	long.Only(t)
	ns := team(t)
	l := throughALiar(t)
	clocks := map[string]time.Duration{"ahead": 5 * time.Minute, "behind": -5 * time.Minute}
	for name, ahead := range clocks {
		l.shift(ahead)
		eventually(t, 2*patience, func() bool { return operator.Ready(t.Context()) != nil }, func() string { return "the operator's clock counts as proven" })
		plant(t, pat(ns, name, func(s *spec) { s.User = &v1alpha1.UserInfo{Username: "admin"} }))
		eventually(t, 2*patience, func() bool {
			rec := recordOf(t, ns, name)
			return rec != nil && rec.Refused == record.RefusedNotJudged
		}, func() string { return fmt.Sprintf("%s: the record is %+v", name, recordOf(t, ns, name)) })
	}
	l.shift(0)
	for name := range clocks {
		waitFor(t, ns, name, v1alpha1.ConditionStalled, "True/NotAuthorized")
		if rec := recordOf(t, ns, name); rec.Granted != nil || rec.Current != nil || rec.Pending != nil {
			t.Errorf("%s: the record is %+v", name, rec)
		}
	}
}
