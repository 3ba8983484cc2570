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

package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/webhook/authentication"

	"github.com/pat-operator/pat-operator/internal/api"
	"github.com/pat-operator/pat-operator/internal/authn"
	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/test/abuse"
	"github.com/pat-operator/pat-operator/test/fleet"
)

const (
	// faceRounds is how often a face and its baseline are compared, and askers how many clients ask at once.
	faceRounds, askers = 5, 8
)

// question is what clients ask a face, and what is in the answer.
type question struct {
	name, method, path string
	header             http.Header
	body               func(bearer string) string
	authorize          bool // the token goes into the header
	want               string
	// face answers, and idle does not look and answers the same.
	face, idle http.Handler
	// plain has the baseline on a server of net/http without our limits.
	plain  bool
	target float64
}

// benchFaces measures what other APIs and kube-apiserver ask, against handlers that do not look.
func benchFaces(ctx context.Context, o options, out io.Writer, large *indexed) error {
	stand, err := newStandIn()
	if err != nil {
		return err
	}
	defer stand.Close()
	tokens, authorizer, err := api.Delegate(&rest.Config{Host: stand.URL}, stand.Client())
	if err != nil {
		return err
	}
	face, err := api.New(api.Options{
		Index: large, URL: "https://pat.example.com", Audience: api.DefaultAudience, MaxAge: api.DefaultMaxAge, Tokens: tokens, Authorizer: authorizer,
		RevokeRate: api.DefaultRevokeRate, Log: logr.Discard(),
	})
	if err != nil {
		return err
	}
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Authorization": {"Bearer " + stand.account}}
	user := authenticationv1.UserInfo{Username: "user-000001@example.com", Groups: []string{"group-1", "group-2", "group-3", "group-4", "group-5"}}
	blind := &authentication.Webhook{Handler: authentication.HandlerFunc(func(context.Context, authentication.Request) authentication.Response {
		return authentication.ReviewResponse(true, user, "", fleet.Audience)
	})}
	questions := []*question{
		{name: "introspection", method: http.MethodPost, path: "/oauth2/introspect", header: form, body: func(b string) string { return "token=" + b },
			want: `"active":true`, face: face, target: .95},
		{name: "forward-auth", method: http.MethodGet, path: "/auth", authorize: true, want: "{}", face: face, target: .95},
		{name: "TokenReview, to controller-runtime's webhook", method: http.MethodPost, path: abuse.Path, header: http.Header{"Content-Type": {"application/json"}},
			body: abuse.ReviewOf, want: `"authenticated":true`, face: authn.NewTokenReviewHandler(large, authn.Options{}), idle: blind, plain: true, target: 1},
	}
	asked := stand.asked
	var all figures
	fmt.Fprintf(out, "\nFaces with %d tokens, and handlers that do not look; %d clients, medians of %d alternating rounds (least–most)\n", o.tokens, askers, faceRounds)
	for _, q := range questions {
		if q.idle == nil {
			if q.idle, err = answering(q, large.bearers[0]); err != nil {
				return err
			}
		}
		for _, protocol := range []string{"HTTP/1.1", "HTTP/2"} {
			if err := compareFace(ctx, o, &all, q, protocol, large.bearers); err != nil {
				return fmt.Errorf("%s, %s: %w", q.name, protocol, err)
			}
		}
	}
	all.count("questions to the API server in all of that", fmt.Sprint(stand.asked-asked), "≤ 10", stand.asked-asked <= 10)
	return all.print(out)
}

// answering returns a handler that answers as the face does, and does not look.
func answering(q *question, bearer string) (http.Handler, error) {
	recorder := httptest.NewRecorder()
	request, err := q.request(context.Background(), "https://pat.example.com", bearer)
	if err != nil {
		return nil, err
	}
	q.face.ServeHTTP(recorder, request)
	if recorder.Code != http.StatusOK {
		return nil, fmt.Errorf("%s: HTTP %d %s", q.name, recorder.Code, recorder.Body)
	}
	header, body := recorder.Header(), recorder.Body.Bytes()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for name, values := range header {
			w.Header()[name] = values
		}
		_, _ = w.Write(body)
	}), nil
}

func (q *question) request(ctx context.Context, server, bearer string) (*http.Request, error) {
	body := ""
	if q.body != nil {
		body = q.body(bearer)
	}
	r, err := http.NewRequestWithContext(ctx, q.method, server+q.path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range q.header {
		r.Header[name] = values
	}
	if q.authorize {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	return r, nil
}

// compareFace asks a face and its baseline in turn.
func compareFace(ctx context.Context, o options, all *figures, q *question, protocol string, bearers []string) error {
	certificate, trust, err := abuse.Certificate()
	if err != nil {
		return err
	}
	var servers [2]string
	for i, handler := range []http.Handler{q.face, q.idle} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		if i == 1 && q.plain {
			server := &http.Server{Handler: handler, TLSConfig: certificate.Clone(), ReadHeaderTimeout: time.Minute}
			go func() { _ = server.ServeTLS(listener, "", "") }()
			defer func() { _ = server.Close() }()
		} else {
			running, stop := context.WithCancel(ctx)
			defer stop()
			go func() {
				_ = serving.NewServer(handler, certificate, api.Limits, logr.Discard()).Run(running, listener, nil, 0)
			}()
		}
		servers[i] = "https://" + listener.Addr().String()
	}
	transport := &http.Transport{TLSClientConfig: trust.Clone(), ForceAttemptHTTP2: protocol == "HTTP/2", MaxIdleConnsPerHost: askers}
	if protocol != "HTTP/2" {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		transport.TLSClientConfig.NextProtos = []string{"http/1.1"}
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var rates, p99s, cpus, own []float64
	for round := range faceRounds + 1 {
		var rate, p99, used [2]float64
		for turn := range servers {
			i := (turn + round) % len(servers)
			before, err := cpu(os.Getpid())
			if err != nil {
				return err
			}
			took, lasted, err := askFor(ctx, client, q, servers[i], bearers, o.duration/2)
			if err != nil {
				return err
			}
			after, err := cpu(os.Getpid())
			if err != nil {
				return err
			}
			used[i] = milliseconds(after-before) / float64(len(took))
			rate[i], p99[i] = float64(len(took))/lasted.Seconds(), milliseconds(took.Quantile(.99))
		}
		if round == 0 {
			continue // opens the connections, and has the caller known
		}
		rates, p99s, own = append(rates, rate[0]/rate[1]), append(p99s, p99[0]/p99[1]), append(own, rate[0])
		cpus = append(cpus, used[0]/used[1])
	}
	all.add(q.name+", "+protocol+": rate, to a handler that does not look", fmt.Sprintf("×%s: %.0f a second", spread(rates), median(own)),
		fmt.Sprintf("≥ ×%.2f", q.target), median(rates) >= q.target)
	all.add("the same: p99", "×"+spread(p99s), "", true)
	all.add("the same: CPU for a request, that of the client included", "×"+spread(cpus), "", true)
	return nil
}

// askFor has the clients ask for a time, and returns how long each answer took.
func askFor(ctx context.Context, client *http.Client, q *question, server string, bearers []string, d time.Duration) (all abuse.Latencies, lasted time.Duration, err error) {
	type result struct {
		took abuse.Latencies
		err  error
	}
	results, begun := make(chan result, askers), time.Now()
	for n := range askers {
		go func() {
			var r result
			for i := n; time.Since(begun) < d && r.err == nil; i += askers {
				asked := time.Now()
				r.err = q.ask(ctx, client, server, bearers[i*7919%len(bearers)])
				r.took = append(r.took, time.Since(asked))
			}
			results <- r
		}()
	}
	for range askers {
		r := <-results
		all, err = append(all, r.took...), errors.Join(err, r.err)
	}
	lasted = time.Since(begun)
	slices.Sort(all)
	return all, lasted, err
}

func (q *question) ask(ctx context.Context, client *http.Client, server, bearer string) error {
	request, err := q.request(ctx, server, bearer)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && (response.StatusCode != http.StatusOK || !strings.Contains(string(body), q.want)) {
		err = fmt.Errorf("HTTP %d %.200s", response.StatusCode, body)
	}
	return err
}

// standIn is an API server that knows one service account, which may ask about every audience.
type standIn struct {
	*httptest.Server
	account string
	asked   int
}

func newStandIn() (*standIn, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: key}, nil)
	if err != nil {
		return nil, err
	}
	s := &standIn{}
	s.account, err = jwt.Signed(signer).Claims(jwt.Claims{
		Subject: "system:serviceaccount:apps:lists", Audience: jwt.Audience{api.DefaultAudience}, Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour)),
	}).Serialize()
	if err != nil {
		return nil, err
	}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked++
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/tokenreviews") {
			review := &authenticationv1.TokenReview{Status: authenticationv1.TokenReviewStatus{
				Authenticated: true, User: authenticationv1.UserInfo{Username: "system:serviceaccount:apps:lists"}, Audiences: []string{api.DefaultAudience},
			}}
			review.APIVersion, review.Kind = "authentication.k8s.io/v1", "TokenReview"
			_ = json.NewEncoder(w).Encode(review)
			return
		}
		review := &authorizationv1.SubjectAccessReview{Status: authorizationv1.SubjectAccessReviewStatus{Allowed: true}}
		review.APIVersion, review.Kind = "authorization.k8s.io/v1", "SubjectAccessReview"
		_ = json.NewEncoder(w).Encode(review)
	}))
	return s, nil
}
