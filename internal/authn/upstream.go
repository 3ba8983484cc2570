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

package authn

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	kjson "sigs.k8s.io/json"

	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/internal/token"
)

const (
	// MinUpstreamTimeout is the least that an upstream gets for an answer.
	MinUpstreamTimeout = time.Second
	// MaxUpstreamTimeout is the most: the server itself gives an answer 15 seconds, and kube-apiserver 30.
	MaxUpstreamTimeout = 10 * time.Second

	// upstreamCalls is how many questions to the upstream may be under way: few of the slots of a server, and of the streams of
	// a connection, so that ours are served whatever the upstream does.
	upstreamCalls = 64
	// maxUpstreamAnswer is the maximum length of an answer in bytes.
	maxUpstreamAnswer = 1 << 20

	resultPassedOn       = "passed_on"
	resultUpstreamFailed = "upstream_failed"

	// ownExtra is in every extra key of ours.
	ownExtra = "pat-operator.io"
)

// failure is why the upstream's answer is not a good one.
type failure string

const (
	// answered: with a status that is not a success. The answer goes back as it came.
	answered failure = "Status"
	// busy: too many questions are under way.
	busy failure = "Busy"
	// timedOut: no answer, or not all of it, in time.
	timedOut failure = "Timeout"
	// unreachable: no connection, or no trust in who answers.
	unreachable failure = "Unreachable"
	// broken: the connection ended before the answer.
	broken failure = "ConnectionLost"
	// redirected: the answer names another URL, which a token is not sent to.
	redirected failure = "Redirect"
	// tooLong: the answer is longer than maxUpstreamAnswer.
	tooLong failure = "TooLong"
	// unusable: the answer is not a TokenReview.
	unusable failure = "NotATokenReview"
	// claimsOurs: the answer names a token of ours, or an extra key of ours.
	claimsOurs failure = "ClaimsOurs"
	// left: the client went away.
	left failure = "ClientLeft"
)

var failures = []failure{answered, busy, timedOut, unreachable, broken, redirected, tooLong, unusable, claimsOurs, left}

var upstreamSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
	Name:    "pat_operator_upstream_review_duration_seconds",
	Help:    "How long the other token webhook took to answer a question that was passed on, or to fail.",
	Buckets: []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
})

func init() {
	metrics.Registry.MustRegister(upstreamSeconds)
	reviews.WithLabelValues(resultPassedOn, "")
	for _, f := range failures {
		reviews.WithLabelValues(resultUpstreamFailed, string(f))
	}
}

// Upstream is another TokenReview webhook, which is asked about tokens that are not ours.
type Upstream struct {
	transport http.RoundTripper
	url       string
	timeout   time.Duration
	calls     *calls
	log       logr.Logger
	// said keeps an upstream that fails all the time from filling the log.
	said map[failure]*rate.Sometimes
}

// NewUpstream returns the webhook that a kubeconfig names, as kube-apiserver reads it. The file is read once; client-go follows
// the files that it names.
func NewUpstream(kubeconfig string, timeout time.Duration, log logr.Logger) (*Upstream, error) {
	config, server, err := loadUpstream(kubeconfig)
	if err != nil {
		return nil, err
	}
	config.UserAgent = "pat-operator"
	config.DisableCompression = true
	config.Dial = (&net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second}).DialContext
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, err
	}
	u := &Upstream{transport: transport, url: server, timeout: timeout, calls: newCalls(upstreamCalls), log: log, said: map[failure]*rate.Sometimes{}}
	for _, f := range failures {
		u.said[f] = &rate.Sometimes{First: 1, Interval: time.Minute}
	}
	return u, nil
}

// CheckUpstream reports why a kubeconfig names no webhook that tokens may be sent to. It connects to nothing.
func CheckUpstream(kubeconfig string) error {
	_, _, err := loadUpstream(kubeconfig)
	return err
}

// loadUpstream reads a kubeconfig, without the fallbacks of clientcmd: to this cluster's API server, and to localhost. No error
// quotes the file, which may hold a password.
func loadUpstream(kubeconfig string) (config *rest.Config, server string, err error) {
	rules := clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig}
	raw, err := rules.Load()
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, "", errors.New("the file does not exist: mount the Secret that has it into the pod")
	case errors.Is(err, os.ErrPermission):
		return nil, "", errors.New("the file cannot be read: let the pod's user read it")
	case err != nil:
		return nil, "", errors.New("the file is not a kubeconfig: use the one that kube-apiserver's --authentication-token-webhook-config-file named")
	}
	current, ok := raw.Contexts[raw.CurrentContext]
	if !ok {
		return nil, "", fmt.Errorf("the file has no context that current-context names (%q): set current-context", raw.CurrentContext)
	}
	cluster, ok := raw.Clusters[current.Cluster]
	if !ok {
		return nil, "", fmt.Errorf("the file has no cluster %q, which its current context names: add it", current.Cluster)
	}
	at, err := url.Parse(cluster.Server)
	switch {
	case err != nil || at.Host == "":
		return nil, "", errors.New("the server of the file's cluster is not a URL: set it as https://HOST[:PORT]/PATH")
	case at.Scheme != "https":
		return nil, "", fmt.Errorf("the server of the file's cluster is an %s URL, by which anybody on the way could read tokens: serve the webhook by https", at.Scheme)
	case cluster.InsecureSkipTLSVerify:
		return nil, "", errors.New("the file sets insecure-skip-tls-verify, so anybody on the way could read tokens: set certificate-authority, and tls-server-name if the name differs")
	}
	if config, err = clientcmd.NewDefaultClientConfig(*raw, &clientcmd.ConfigOverrides{}).ClientConfig(); err != nil {
		return nil, "", errors.New("the file's current context is incomplete: each file that it names must exist, and its user must have one credential")
	}
	if _, err := rest.TLSConfigFor(config); err != nil {
		return nil, "", errors.New("a certificate or a key that the file names cannot be read: mount it into the same folder, and name it without a folder")
	}
	// As kube-apiserver does, and a user in the URL becomes no credential.
	at.User, at.RawQuery, at.Fragment, at.Path = nil, "", "", strings.TrimSuffix(at.Path, "/")
	return config, at.String(), nil
}

// goesOn reports whether a token is for the upstream: it is not one of ours, nor what a person may have made of one.
func goesOn(bearer string) bool { return strings.TrimSpace(bearer) != "" && !token.MayBeOurs(bearer) }

// upstreamAnswer is what goes back to the client.
type upstreamAnswer struct {
	status int
	header http.Header
	body   []byte
}

// serve passes a TokenReview on as it came, and the answer back as it came.
func (u *Upstream) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	began := time.Now()
	answer, failed, err := u.ask(r, body)
	if failed != busy {
		upstreamSeconds.Observe(time.Since(began).Seconds())
	}
	if failed == "" {
		reviews.WithLabelValues(resultPassedOn, "").Inc()
	} else {
		reviews.WithLabelValues(resultUpstreamFailed, string(failed)).Inc()
		if failed != left {
			u.said[failed].Do(func() {
				u.log.Error(err, "The upstream token webhook has failed", "reason", string(failed), "status", answer.status)
			})
		}
	}
	w.Header()["Content-Type"] = nil // Without it, net/http guesses one.
	for _, name := range []string{"Content-Type", "Retry-After"} {
		if values := answer.header.Values(name); len(values) > 0 {
			w.Header()[name] = values
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(answer.status)
	_, _ = w.Write(answer.body)
}

// ask returns the answer for the client, and why it is not the upstream's, or not a good one. An error says more where it
// cannot hold anything of the token: before the question was sent.
//
// kube-apiserver asks again after 429 and 502, and not after 503, as it does after the same faults of a webhook of its own. Our
// failures keep the connection, which brings questions about our tokens, too.
func (u *Upstream) ask(r *http.Request, body []byte) (upstreamAnswer, failure, error) {
	ctx, cancel := context.WithTimeout(r.Context(), u.timeout)
	defer cancel()
	ctx, end, ok := u.calls.begin(ctx, serving.Source(ctx))
	if !ok {
		return full, busy, nil
	}
	defer end()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.url+"?timeout="+u.timeout.String(), bytes.NewReader(body))
	if err != nil {
		return none, unreachable, nil
	}
	req.Header = http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json, */*"},
		// Without values it is not sent: net/http may ask again where a kept connection turns out to be closed.
		"Idempotency-Key": {},
	}
	// A RoundTripper follows no redirect.
	resp, err := u.transport.RoundTrip(req)
	if err != nil {
		return unanswered(ctx, r, err)
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode / 100 {
	case 1:
		return none, unusable, nil
	case 3:
		return none, redirected, nil
	}
	read, err := io.ReadAll(io.LimitReader(resp.Body, maxUpstreamAnswer+1))
	switch {
	case err != nil:
		return unanswered(ctx, r, err)
	case len(read) > maxUpstreamAnswer:
		return none, tooLong, nil
	}
	answer := upstreamAnswer{resp.StatusCode, resp.Header, read}
	if answer.status >= 400 {
		return answer, answered, nil
	}
	if failed := judge(read); failed != "" {
		return none, failed, nil
	}
	return answer, "", nil
}

var (
	none = upstreamAnswer{status: http.StatusServiceUnavailable}
	lost = upstreamAnswer{status: http.StatusBadGateway}
	full = upstreamAnswer{status: http.StatusTooManyRequests, header: http.Header{"Retry-After": {"1"}}}
)

// unanswered says why the upstream has not answered. A transport's error may quote what it has read.
func unanswered(ctx context.Context, r *http.Request, err error) (upstreamAnswer, failure, error) {
	var dial *net.OpError
	switch {
	case errors.Is(context.Cause(ctx), errGivenUp):
		return full, busy, nil
	case r.Context().Err() != nil:
		return none, left, nil
	case ctx.Err() != nil:
		return none, timedOut, nil
	case errors.As(err, &dial) && dial.Op == "dial":
		return none, unreachable, dial
	case utilnet.IsConnectionReset(err) || utilnet.IsHTTP2ConnectionLost(err) || utilnet.IsProbableEOF(err) || errors.Is(err, io.ErrUnexpectedEOF):
		return lost, broken, nil
	}
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		return none, unreachable, untrusted
	}
	return none, unusable, nil
}

// judge returns why an answer of success is not passed back. The authorizer and the audit log know a token of ours by the
// extra of its user, so nobody else may set it. kube-apiserver would also decode YAML and protobuf, and takes the last of two
// fields of a name; here they are unusable.
func judge(body []byte) failure {
	var review authenticationv1.TokenReview
	if strict, err := kjson.UnmarshalStrict(body, &review, kjson.DisallowDuplicateFields); err != nil || len(strict) > 0 {
		return unusable
	}
	group, _, _ := strings.Cut(review.APIVersion, "/")
	if review.Kind != "" && review.Kind != "TokenReview" || group != "" && group != authenticationv1.GroupName {
		return unusable
	}
	for key, values := range review.Status.User.Extra {
		key = strings.ToLower(key)
		if strings.Contains(key, ownExtra) {
			return claimsOurs
		}
		if strings.Contains(key, ExtraCredentialID) && slices.ContainsFunc(values, func(value string) bool {
			return strings.Contains(strings.ToUpper(value), token.CredentialPrefix)
		}) {
			return claimsOurs
		}
	}
	return ""
}
