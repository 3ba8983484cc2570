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
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// otherWebhook knows other-token, which is carol's, and remembers every token that it was asked about.
type otherWebhook struct {
	mu   sync.Mutex
	seen []string
	bad  []string // requests without kube-apiserver's credential
}

func (o *otherWebhook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var review authenticationv1.TokenReview
	err := json.NewDecoder(r.Body).Decode(&review)
	o.mu.Lock()
	o.seen = append(o.seen, review.Spec.Token)
	if err != nil || r.URL.Path != "/review" || r.Header.Get("Authorization") != "Bearer of-the-webhook" {
		o.bad = append(o.bad, r.URL.String())
	}
	o.mu.Unlock()
	review.Status = authenticationv1.TokenReviewStatus{Authenticated: review.Spec.Token == "other-token"}
	if review.Status.Authenticated {
		review.Status.User = authenticationv1.UserInfo{Username: "carol", Groups: []string{"others"}}
	}
	review.Spec = authenticationv1.TokenReviewSpec{}
	_ = json.NewEncoder(w).Encode(review)
}

// serve starts it at an address, and returns its server.
func (o *otherWebhook) serve(t *testing.T, address string) *httptest.Server {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(o)
	_ = s.Listener.Close()
	s.Listener = listener
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{env.Must[tls.Certificate](t)(cl.ServingCertificate("127.0.0.1"))}, MinVersion: tls.VersionTLS13}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// A cluster whose token webhook is not ours keeps it behind ours: its tokens work, it sees none of ours, and ours work without it.
func TestAClusterThatHasATokenWebhookKeepsIt(t *testing.T) {
	long.Only(t)
	ns := team(t)
	other := &otherWebhook{}
	server := other.serve(t, "127.0.0.1:0")
	ca, err := os.ReadFile(cl.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := env.Must[string](t)(cl.Kubeconfig("kube-apiserver", &rest.Config{
		Host: server.URL + "/review", BearerToken: "of-the-webhook", TLSClientConfig: rest.TLSClientConfig{CAData: ca},
	}))
	restartVerifier(t, "--upstream-token-webhook-kubeconfig="+kubeconfig)
	defer restartVerifier(t)

	if carol := accepted(t, "other-token"); carol.Username != "carol" || !slices.Contains(carol.Groups, "others") {
		t.Errorf("it is %+v", carol)
	}
	ours := issued(t, alice, pat(ns, "before"))
	if got := accepted(t, ours); got.Username != "alice" {
		t.Errorf("it is %+v", got)
	}
	for _, bearerToken := range []string{"another-token", ours + "x", strings.ToUpper(ours), "kubpat_" + ours[len("kubepat_"):]} {
		if _, err := env.WhoIs(t.Context(), bearer(t, bearerToken)); !apierrors.IsUnauthorized(err) {
			t.Errorf("%v; want Unauthorized", err)
		}
	}

	server.Close()
	if got := accepted(t, issued(t, alice, pat(ns, "meanwhile"))); got.Username != "alice" {
		t.Errorf("while the other webhook is down, it is %+v", got)
	}
	if _, err := env.WhoIs(t.Context(), bearer(t, "never-seen-token")); !apierrors.IsUnauthorized(err) {
		t.Errorf("a token of a webhook that is down: %v; want Unauthorized", err)
	}
	other.serve(t, server.Listener.Addr().String())
	if carol := accepted(t, "other-token"); carol.Username != "carol" {
		t.Errorf("it is %+v", carol)
	}

	other.mu.Lock()
	defer other.mu.Unlock()
	for _, seen := range other.seen {
		if seen != "other-token" && seen != "another-token" {
			t.Errorf("the other webhook was asked about a token that is not its own: %d characters", len(seen))
		}
	}
	if !slices.Contains(other.seen, "another-token") || len(other.bad) > 0 {
		t.Errorf("it was asked about %q; wrongly: %q", other.seen, other.bad)
	}
}
