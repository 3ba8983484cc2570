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
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/authentication"

	"github.com/pat-operator/pat-operator/internal/api"
	"github.com/pat-operator/pat-operator/internal/authn"
	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/test/abuse"
)

const (
	// faceRounds is how often a face and its baseline are compared, and askers how many clients ask at once.
	faceRounds, askers = 7, 8
	// faceTokens is how many tokens there are. The garbage collector marks them in some 0.1 s, so that each turn has many collections:
	// it would be the luck of a turn whether one of the few with a large index falls into it. Verify is measured with that.
	faceTokens = 20_000
	// sampled is how many answers of a face its baseline gives in turn. With one alone, HTTP/2 would compress the headers of the
	// baseline to nothing.
	sampled = 1000
	// stride is from one token that is asked about to the next: an order that no cache of the processor foresees.
	stride = 7919
)

// question is what clients ask a face, and what is in the answer.
type question struct {
	name, method, path string
	header             http.Header
	body               func(bearer string) string
	authorize          bool // the token goes into the header
	want               string
	face               http.Handler
	limits             serving.Limits
	// webhook has the baseline answer as a user of controller-runtime would, with its server.
	webhook bool
	target  float64
}

// benchFaces measures what other APIs and kube-apiserver ask, against handlers that do not look.
func benchFaces(ctx context.Context, o options, out io.Writer) error {
	index, _, err := newIndex(faceTokens)
	if err != nil {
		return err
	}
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
		Index: index, URL: "https://pat.example.com", Audience: api.DefaultAudience, MaxAge: api.DefaultMaxAge, Tokens: tokens, Authorizer: authorizer,
		RevokeRate: api.DefaultRevokeRate, Log: logr.Discard(),
	})
	if err != nil {
		return err
	}
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Authorization": {"Bearer " + stand.account}}
	questions := []*question{
		{name: "introspection", method: http.MethodPost, path: "/oauth2/introspect", header: form, body: func(b string) string { return "token=" + b },
			want: `"active":true`, face: face, limits: api.Limits, target: .95},
		{name: "forward-auth", method: http.MethodGet, path: "/auth", authorize: true, want: "{}", face: face, limits: api.Limits, target: .95},
		{name: "TokenReview, to controller-runtime's webhook", method: http.MethodPost, path: abuse.Path, header: http.Header{"Content-Type": {"application/json"}},
			body: abuse.ReviewOf, want: `"authenticated":true`, face: authn.NewTokenReviewHandler(index, authn.Options{}), limits: authn.Limits, webhook: true, target: 1},
	}
	asked := stand.asked
	var all figures
	fmt.Fprintf(out, "\nFaces with %d tokens, and handlers that do not look; %d clients, medians of %d alternating rounds (least–most)\n", faceTokens, askers, faceRounds)
	for _, q := range questions {
		for _, protocol := range []string{"HTTP/1.1", "HTTP/2"} {
			if err := compareFace(ctx, o, &all, q, protocol, index.bearers); err != nil {
				return fmt.Errorf("%s, %s: %w", q.name, protocol, err)
			}
		}
	}
	all.count("questions to the API server in all of that", fmt.Sprint(stand.asked-asked), "≤ 10", stand.asked-asked <= 10)
	return all.print(out)
}

// said is an answer of a face.
type said struct {
	header http.Header
	body   []byte
}

// sample returns answers of the face, in the order in which clients ask for them.
func (q *question) sample(bearers []string) ([]said, error) {
	answers := make([]said, sampled)
	for i := range answers {
		recorder := httptest.NewRecorder()
		request, err := q.request(context.Background(), "https://pat.example.com", bearers[i*stride%len(bearers)])
		if err != nil {
			return nil, err
		}
		q.face.ServeHTTP(recorder, request)
		if recorder.Code != http.StatusOK {
			return nil, fmt.Errorf("HTTP %d %s", recorder.Code, recorder.Body)
		}
		answers[i] = said{recorder.Header(), recorder.Body.Bytes()}
	}
	return answers, nil
}

// idle returns a server that gives the answers in turn and does not look at the tokens.
func (q *question) idle(answers []said, certificate *tls.Config) (*http.Server, func(net.Listener) net.Listener, error) {
	var asked atomic.Uint64
	if !q.webhook {
		server := serving.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			answer := answers[asked.Add(1)%sampled]
			header := w.Header()
			for name, values := range answer.header {
				header[name] = values
			}
			_, _ = w.Write(answer.body)
		}), certificate, q.limits, logr.Discard())
		return server.HTTP, server.Limit, nil
	}
	responses := make([]authentication.Response, len(answers))
	for i, answer := range answers {
		if err := json.Unmarshal(answer.body, &responses[i].TokenReview); err != nil {
			return nil, nil, err
		}
	}
	server := webhook.NewServer(webhook.Options{})
	server.Register(q.path, &authentication.Webhook{Handler: authentication.HandlerFunc(func(context.Context, authentication.Request) authentication.Response {
		return responses[asked.Add(1)%sampled]
	})})
	// As controller-runtime's server has it.
	return &http.Server{
		Handler: server.WebhookMux(), TLSConfig: certificate, MaxHeaderBytes: 1 << 20, IdleTimeout: 90 * time.Second, ReadHeaderTimeout: 32 * time.Second,
	}, func(l net.Listener) net.Listener { return l }, nil
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
func compareFace(ctx context.Context, o options, measured *figures, q *question, protocol string, bearers []string) error {
	certificate, trust, err := abuse.Certificate()
	if err != nil {
		return err
	}
	answers, err := q.sample(bearers)
	if err != nil {
		return err
	}
	own := serving.NewServer(q.face, certificate, q.limits, logr.Discard())
	baseline, limit, err := q.idle(answers, certificate)
	if err != nil {
		return err
	}
	var servers [2]string
	for i, server := range []*http.Server{own.HTTP, baseline} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		servers[i] = "https://" + listener.Addr().String()
		limited := []func(net.Listener) net.Listener{own.Limit, limit}[i](listener)
		go func() { _ = server.ServeTLS(limited, "", "") }()
		defer func() { _ = server.Close() }()
	}
	transport := &http.Transport{TLSClientConfig: trust.Clone(), ForceAttemptHTTP2: protocol == "HTTP/2", MaxIdleConnsPerHost: askers}
	if protocol != "HTTP/2" {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		transport.TLSClientConfig.NextProtos = []string{"http/1.1"}
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var rates, cpus, perSecond []float64
	var all [2]abuse.Latencies
	for round := range faceRounds + 1 {
		var rate, used [2]float64
		for turn := range servers {
			i := (turn + round) % len(servers)
			runtime.GC() // the garbage of the other one is not this one's to collect
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
			used[i], rate[i] = milliseconds(after-before)/float64(len(took)), float64(len(took))/lasted.Seconds()
			if round > 0 {
				all[i] = append(all[i], took...)
			}
		}
		if round == 0 {
			continue // opens the connections, and has the caller known
		}
		rates, cpus, perSecond = append(rates, rate[0]/rate[1]), append(cpus, used[0]/used[1]), append(perSecond, rate[0])
	}
	var p99 [2]time.Duration
	for i := range all {
		slices.Sort(all[i])
		p99[i] = all[i].Quantile(.99)
	}
	measured.add(q.name+", "+protocol+": rate, to a handler that does not look", fmt.Sprintf("×%s: %.0f a second", spread(rates), median(perSecond)),
		fmt.Sprintf("≥ ×%.2f", q.target), median(rates) >= q.target)
	measured.add("the same: p99 of all rounds", fmt.Sprintf("×%.2f: %v", ratio(p99[0], p99[1]), round(p99[0])), "≤ ×1.00", p99[0] <= p99[1])
	measured.add("the same: CPU for a request, that of the client included", "×"+spread(cpus), "", true)
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
				r.err = q.ask(ctx, client, server, bearers[i*stride%len(bearers)])
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
