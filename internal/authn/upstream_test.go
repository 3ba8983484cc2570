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
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	authenticationv1 "k8s.io/api/authentication/v1"
	authenticationv1beta1 "k8s.io/api/authentication/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/cacert"
	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

const foreignToken = "other-8d7f2c"

// staleVerifier can tell nothing, and counts what it is asked.
type staleVerifier struct{ asked atomic.Int32 }

func (v *staleVerifier) Verify(string, []string, time.Time) verifier.Result {
	v.asked.Add(1)
	return verifier.Result{Verdict: verifier.NotReady}
}

func (v *staleVerifier) VerifyScoped(bearer string, audiences []string, at time.Time) verifier.Result {
	return v.Verify(bearer, audiences, at)
}

// webhook is an upstream with its own handler.
func webhook(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// kubeconfigOf writes the kubeconfig of an upstream, with edits.
func kubeconfigOf(t testing.TB, s *httptest.Server, edits ...func(*clientcmdapi.Config)) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["other"] = &clientcmdapi.Cluster{
		Server:                   s.URL + "/review/",
		CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}),
	}
	config.AuthInfos["us"] = &clientcmdapi.AuthInfo{Token: "webhook-credential"}
	config.Contexts["other"] = &clientcmdapi.Context{Cluster: "other", AuthInfo: "us"}
	config.CurrentContext = "other"
	for _, edit := range edits {
		edit(config)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// upstream is one that has a minute for an answer, which is for good: nothing waits for its end.
func upstream(t testing.TB, h http.HandlerFunc) *Upstream {
	t.Helper()
	u, err := NewUpstream(kubeconfigOf(t, webhook(t, h)), time.Minute, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func failedBy(f failure) float64 {
	return testutil.ToFloat64(reviews.WithLabelValues(resultUpstreamFailed, string(f)))
}

func says(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// yes is an answer about carol with something in her extra.
func yes(extra string) string {
	return `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":"` + foreignToken + `"},` +
		`"status":{"authenticated":true,"user":{"username":"carol","extra":{` + extra + `}},"audiences":["a"]}}`
}

func TestUpstreamGetsWhatCameAndItsAnswerGoesBack(t *testing.T) {
	type asked struct {
		Path, Query, Body, Host string
		Header                  http.Header
	}
	var got asked
	answer := " " + yes(`"example.org/team":["a"],"authentication.kubernetes.io/credential-id":["JTI=1"]`) + "\n"
	u := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = asked{Path: r.URL.Path, Query: r.URL.RawQuery, Body: string(body), Header: r.Header}
		w.Header().Set("X-Other", "stays")
		w.Header().Set("Warning", `299 - "old"`)
		says(http.StatusCreated, "application/json; charset=utf-8", answer)(w, r)
	})
	stale := &staleVerifier{}
	h := NewTokenReviewHandler(stale, Options{Upstream: u})
	for _, version := range []string{"v1", "v1beta1"} {
		for _, path := range []string{authnconfig.TokenReviewPath, authnconfig.ScopedPath} {
			before, slow := testutil.ToFloat64(reviews.WithLabelValues(resultPassedOn, "")), testutil.CollectAndCount(reviewSeconds)
			body := " " + review(version, foreignToken, "x", "y") + " "
			w := post(t, h, body, func(r *http.Request) {
				r.URL.Path = path
				r.Header.Set("Authorization", "Bearer of-the-client")
				r.Header.Set("X-Client", "stays")
			})
			if w.Code != http.StatusCreated || w.Body.String() != answer || w.Header().Get("Content-Type") != "application/json; charset=utf-8" {
				t.Errorf("%s %s: %d %v %q", version, path, w.Code, w.Header(), w.Body)
			}
			if w.Header().Get("X-Other") != "" || w.Header().Get("Warning") != "" || w.Header().Get("Connection") != "" {
				t.Errorf("headers: %v", w.Header())
			}
			want := asked{Path: "/review", Query: "timeout=1m0s", Body: body, Header: http.Header{
				"Accept": {"application/json, */*"}, "Authorization": {"Bearer webhook-credential"}, "Content-Type": {"application/json"},
				"Content-Length": {fmt.Sprint(len(body))}, "User-Agent": {"pat-operator"},
			}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the question (-want +got):\n%s", diff)
			}
			if counted := testutil.ToFloat64(reviews.WithLabelValues(resultPassedOn, "")) - before; counted != 1 {
				t.Errorf("counted %v times", counted)
			}
			if testutil.CollectAndCount(reviewSeconds) != slow {
				t.Error("its time counts as ours")
			}
		}
	}
	if stale.asked.Load() != 0 {
		t.Error("the verifier was asked about a token of the other webhook")
	}
}

func TestTokensOfOursAreNotPassedOn(t *testing.T) {
	u := upstream(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s was asked", r.URL) })
	stale := &staleVerifier{}
	h := NewTokenReviewHandler(stale, Options{Upstream: u})
	_, plaintext, err := token.New(strings.NewReader(strings.Repeat("random", 10)))
	if err != nil {
		t.Fatal(err)
	}
	ours := []string{
		"", " \t\n", plaintext, token.Prefix, plaintext[:30], plaintext + "x", " " + plaintext, "\ufeff" + plaintext, `"` + plaintext + `"`,
		strings.ToUpper(plaintext), "Kubepat_" + plaintext[8:], "Bearer " + plaintext, "kubpat_" + plaintext[8:], plaintext[3:],
	}
	for i, bearer := range ours {
		if w := post(t, h, review("v1", bearer)); w.Code != http.StatusInternalServerError {
			t.Errorf("%q: %d", bearer, w.Code)
		}
		// As any JSON encoder may write it.
		escaped := strings.Replace(review("v1", bearer), token.Prefix, `\u006bubepat\u005f`, 1)
		if w := post(t, h, escaped); w.Code != http.StatusInternalServerError {
			t.Errorf("%q: %d", escaped, w.Code)
		}
		if got := int(stale.asked.Load()); got != 2*i+2 {
			t.Fatalf("%q: the verifier was asked %d times", bearer, got)
		}
	}
}

func TestADrainSendsForeignTokensElsewhereToo(t *testing.T) {
	drain := &serving.Drain{}
	drain.Begin()
	u := upstream(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s was asked", r.URL) })
	w := post(t, newHandler(t, Options{Upstream: u, Drain: drain}), review("v1", foreignToken))
	if w.Code != http.StatusInternalServerError || w.Header().Get("Retry-After") != "0" || w.Header().Get("Connection") != "close" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// What a webhook may do wrong, on purpose or not, and what kube-apiserver gets instead.
func TestAnUpstreamThatFails(t *testing.T) {
	hijacked := func(do func(net.Conn)) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			do(conn)
			_ = conn.Close()
		}
	}
	elsewhere := webhook(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s: a redirect was followed", r.URL) })
	header := func(h http.HandlerFunc, key, value string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(key, value)
			h(w, r)
		}
	}
	const json = "application/json"
	for name, tc := range map[string]struct {
		does   http.HandlerFunc
		why    failure
		status int
		// body and retryAfter are the upstream's, where they go back.
		body, retryAfter string
	}{
		"500":                       {says(500, "text/plain", "broken"), answered, 500, "broken", ""},
		"503, later":                {header(says(503, "text/plain", "soon"), "Retry-After", "7"), answered, 503, "soon", "7"},
		"429":                       {header(says(429, "text/plain", ""), "Retry-After", "1"), answered, 429, "", "1"},
		"401":                       {says(401, json, `{"kind":"Status"}`), answered, 401, `{"kind":"Status"}`, ""},
		"redirect":                  {header(says(307, "text/plain", ""), "Location", elsewhere.URL), redirected, 503, "", ""},
		"another kind of redirect":  {header(says(303, "text/plain", ""), "Location", elsewhere.URL), redirected, 503, "", ""},
		"not modified":              {says(304, "", ""), redirected, 503, "", ""},
		"too long":                  {says(200, json, yes("")+strings.Repeat(" ", maxUpstreamAnswer)), tooLong, 503, "", ""},
		"an error that is too long": {says(500, "text/plain", strings.Repeat("x", maxUpstreamAnswer+1)), tooLong, 503, "", ""},
		"no body":                   {says(200, json, ""), unusable, 503, "", ""},
		"HTML":                      {says(200, "text/html", "<html>Welcome"), unusable, 503, "", ""},
		"YAML":                      {says(200, "application/yaml", "kind: TokenReview\nstatus: {authenticated: true}"), unusable, 503, "", ""},
		"two documents":             {says(200, json, yes("")+yes("")), unusable, 503, "", ""},
		"another kind":              {says(200, json, `{"kind":"Status","apiVersion":"v1"}`), unusable, 503, "", ""},
		"another group":             {says(200, json, `{"kind":"TokenReview","apiVersion":"example.org/v1"}`), unusable, 503, "", ""},
		"gzip without being asked":  {header(says(200, json, "\x1f\x8b\x08"), "Content-Encoding", "gzip"), unusable, 503, "", ""},
		"two fields of a name": {says(200, json, strings.Replace(yes(`"pat-operator.io/name":["a/b"]`), `"status"`, `"status":{},"status"`, 1)),
			unusable, 503, "", ""},
		"no HTTP": {hijacked(func(c net.Conn) { _, _ = c.Write([]byte("you sent " + foreignToken + "\r\n\r\n")) }), unusable, 503, "", ""},
		"closes":  {hijacked(func(net.Conn) {}), broken, 502, "", ""},
		"resets": {hijacked(func(c net.Conn) {
			_ = c.(*tls.Conn).NetConn().(*net.TCPConn).SetLinger(0)
			_ = c.(*tls.Conn).NetConn().Close()
		}), broken, 502, "", ""},
		"half an answer": {hijacked(func(c net.Conn) {
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + yes("")[:50]))
		}), broken, 502, "", ""},
		"upgrades":          {hijacked(func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 101 Switching Protocols\r\n\r\n")) }), unusable, 503, "", ""},
		"our scopes":        {says(200, json, yes(`"pat-operator.io/scopes":["limited"]`)), claimsOurs, 503, "", ""},
		"our name":          {says(200, json, yes(`"pat-operator.io/name":["team-a/ci"]`)), claimsOurs, 503, "", ""},
		"our key, no value": {says(200, json, yes(`"pat-operator.io/x":[]`)), claimsOurs, 503, "", ""},
		"in another case":   {says(200, json, yes(`"PAT-Operator.io/scopes":["x"]`)), claimsOurs, 503, "", ""},
		"escaped":           {says(200, json, yes(`"pat\u002doperator.io/scopes":["x"]`)), claimsOurs, 503, "", ""},
		"a domain of ours":  {says(200, json, yes(`"x.pat-operator.io/a":["x"]`)), claimsOurs, 503, "", ""},
		"a token of ours": {says(200, json, yes(`"authentication.kubernetes.io/credential-id":["PAT=abcdefghijklmnop"]`)),
			claimsOurs, 503, "", ""},
		"a second credential": {says(200, json, yes(`"authentication.kubernetes.io/credential-id":["JTI=1"," pat=abcdefghijklmnop"]`)),
			claimsOurs, 503, "", ""},
		"ours without a user": {says(200, json, strings.Replace(yes(`"pat-operator.io/name":["a"]`), "true", "false", 1)), claimsOurs, 503, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			logger, logged := capture()
			s := httptest.NewUnstartedServer(tc.does)
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.StartTLS() // HTTP/1.1, for hijacked
			defer s.Close()
			u, err := NewUpstream(kubeconfigOf(t, s), time.Minute, logger)
			if err != nil {
				t.Fatal(err)
			}
			before := failedBy(tc.why)
			h := newHandler(t, Options{Upstream: u, Log: logger})
			w := post(t, h, review("v1", foreignToken))
			if w.Code != tc.status || w.Body.String() != tc.body || w.Header().Get("Retry-After") != tc.retryAfter || w.Header().Get("Location") != "" {
				t.Errorf("%d %v %q, want %d %q", w.Code, w.Header(), w.Body, tc.status, tc.body)
			}
			if w.Header().Get("Connection") != "" {
				t.Error("the connection ends, which has questions about our tokens, too")
			}
			if counted := failedBy(tc.why) - before; counted != 1 {
				t.Errorf("%s is counted %v times", tc.why, counted)
			}
			post(t, h, review("v1", foreignToken))
			if got := strings.Count(logged.String(), "upstream"); got != 1 || !strings.Contains(logged.String(), string(tc.why)) {
				t.Errorf("want one line that names %s:\n%s", tc.why, logged)
			}
			if strings.Contains(logged.String(), "8d7f2c") {
				t.Errorf("the log holds the token:\n%s", logged)
			}
			if w := post(t, h, review("v1", unknownToken[:3]+"kubepat_")); w.Code != http.StatusOK {
				t.Errorf("a token of ours: %d", w.Code)
			}
		})
	}
}

func TestAnUpstreamThatCannotBeReachedOrTrusted(t *testing.T) {
	s := webhook(t, says(200, "application/json", yes("")))
	closed := httptest.NewUnstartedServer(nil)
	closed.StartTLS()
	closed.Close()
	for name, tc := range map[string]struct {
		edit func(*clientcmdapi.Config)
		want int
		says string
	}{
		"nobody listens":    {func(c *clientcmdapi.Config) { c.Clusters["other"].Server = closed.URL }, 503, "refused"},
		"another CA":        {func(c *clientcmdapi.Config) { c.Clusters["other"].CertificateAuthorityData = otherCA(t) }, 503, "certificate"},
		"another name":      {func(c *clientcmdapi.Config) { c.Clusters["other"].TLSServerName = "example.org" }, 503, "example.org"},
		"the server's name": {func(c *clientcmdapi.Config) { c.Clusters["other"].TLSServerName = "example.com" }, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			logger, logged := capture()
			u, err := NewUpstream(kubeconfigOf(t, s, tc.edit), time.Minute, logger)
			if err != nil {
				t.Fatal(err)
			}
			before := failedBy(unreachable)
			w := post(t, newHandler(t, Options{Upstream: u}), review("v1", foreignToken))
			if w.Code != tc.want || !strings.Contains(logged.String(), tc.says) {
				t.Errorf("%d, want %d; log: %s", w.Code, tc.want, logged)
			}
			if counted := failedBy(unreachable) - before; (counted == 1) != (tc.want == 503) {
				t.Errorf("counted %v times", counted)
			}
		})
	}
}

// An upstream that says nothing, or a byte now and then, ends by its timeout.
func TestAnUpstreamHasATimeout(t *testing.T) {
	for name, does := range map[string]http.HandlerFunc{
		"hangs": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"drips": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, " ")
				_ = http.NewResponseController(w).Flush()
				time.Sleep(time.Millisecond)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := upstream(t, does)
			u.timeout = 100 * time.Millisecond
			before := failedBy(timedOut)
			w := post(t, newHandler(t, Options{Upstream: u}), review("v1", foreignToken))
			if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "" {
				t.Errorf("%d %v, want a bare 503", w.Code, w.Header())
			}
			if counted := failedBy(timedOut) - before; counted != 1 {
				t.Errorf("counted %v times", counted)
			}
		})
	}
}

// An upstream that hangs for good holds its share of questions, and nothing of ours.
func TestAnUpstreamThatHangsDoesNotTouchOurs(t *testing.T) {
	asked, done := make(chan struct{}, 2*upstreamCalls), make(chan struct{})
	u := upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	})
	h := newHandler(t, Options{Upstream: u})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	leaves := func(r *http.Request) { *r = *r.WithContext(ctx) }
	var hanging sync.WaitGroup
	for range upstreamCalls {
		hanging.Go(func() { post(t, h, review("v1", foreignToken), leaves) })
	}
	go func() { hanging.Wait(); close(done) }()
	for range upstreamCalls {
		<-asked
	}
	before := failedBy(busy)
	for range 100 {
		w := post(t, h, review("v1", foreignToken))
		if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" || w.Header().Get("Connection") != "" {
			t.Fatalf("one more: %d %v", w.Code, w.Header())
		}
	}
	if counted := failedBy(busy) - before; counted != 100 {
		t.Errorf("counted %v times", counted)
	}
	for range 1000 {
		if w := post(t, h, review("v1", "kubepat_ is ours")); w.Code != http.StatusOK {
			t.Fatalf("a token of ours: %d", w.Code)
		}
	}
	select {
	case <-done:
		t.Error("they do not hang")
	default:
	}
	cancel()
	<-done
	if w := post(t, h, review("v1", foreignToken), func(r *http.Request) { *r = *r.WithContext(ctx) }); w.Code == http.StatusTooManyRequests {
		t.Error("clients that left hold their places")
	}
}

// A newcomer gets a place from the source that has the most, and never from one that has as many.
func TestASourceThatHasNoneIsServed(t *testing.T) {
	source := func(i int) netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32) }
	c := newCalls(4)
	var contexts []context.Context
	begin := func(i int) (func(), bool) {
		ctx, end, ok := c.begin(t.Context(), source(i))
		if ok {
			contexts = append(contexts, ctx)
		}
		return end, ok
	}
	for range 4 {
		if _, ok := begin(1); !ok {
			t.Fatal("no place while there are some")
		}
	}
	for i, want := range []struct {
		source int
		ok     bool
		ended  int // of contexts; -1: none
	}{{1, false, -1}, {2, true, 0}, {2, true, 1}, {2, false, -1}, {1, false, -1}, {3, true, 2}, {3, false, -1}} {
		if _, ok := begin(want.source); ok != want.ok {
			t.Fatalf("%d: %v", i, ok)
		}
		if want.ended >= 0 && !errors.Is(context.Cause(contexts[want.ended]), errGivenUp) {
			t.Errorf("%d: %d does not end", i, want.ended)
		}
	}
	if len(c.open) != 4 {
		t.Errorf("%d are open", len(c.open))
	}
}

func otherCA(t *testing.T) []byte {
	t.Helper()
	ca, _, _, err := cacert.New("another", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return cacert.Encode(ca)
}

// Whatever kube-apiserver would read out of an answer that is passed back, it has no extra of ours.
func FuzzUpstreamAnswer(f *testing.F) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{authenticationv1.AddToScheme, authenticationv1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			f.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme).UniversalDeserializer()
	ours := `"pat-operator.io/scopes":["x"],"authentication.kubernetes.io/credential-id":["PAT=a"]`
	for _, seed := range []string{
		yes(""), yes(ours), strings.Replace(yes(ours), `"kind"`, `"Kind"`, 1), strings.Replace(yes(ours), "status", "Status", 1), "k8s\x00" + yes(ours),
		"kind: TokenReview\napiVersion: authentication.k8s.io/v1\nstatus: {user: {extra: {pat-operator.io/a: [x]}}}", "{}" + yes(ours), `{"status":null}`,
		strings.Replace(yes(ours), "v1", "v1beta1", 1), strings.Replace(yes(ours), `"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview",`, "", 1),
	} {
		f.Add([]byte(seed))
	}
	gvk := authenticationv1.SchemeGroupVersion.WithKind("TokenReview")
	f.Fuzz(func(t *testing.T, body []byte) {
		if judge(body) != "" {
			return
		}
		read, _, err := decoder.Decode(body, &gvk, nil)
		if err != nil {
			return
		}
		var extra map[string]authenticationv1.ExtraValue
		switch review := read.(type) {
		case *authenticationv1.TokenReview:
			extra = review.Status.User.Extra
		case *authenticationv1beta1.TokenReview:
			encoded, _ := json.Marshal(review.Status.User.Extra)
			_ = json.Unmarshal(encoded, &extra)
		default:
			t.Fatalf("it is a %T", read)
		}
		for key, values := range extra {
			if strings.Contains(key, "pat-operator.io") || key == ExtraCredentialID && strings.Contains(strings.Join(values, " "), "PAT=") {
				t.Errorf("%s: %q is passed back", key, values)
			}
		}
	})
}

func TestAKubeconfigThatTokensMayNotBeSentTo(t *testing.T) {
	s := webhook(t, nil)
	for name, tc := range map[string]struct {
		edit func(*clientcmdapi.Config)
		want string
	}{
		"no current context": {func(c *clientcmdapi.Config) { c.CurrentContext = "" },
			`the file has no context that current-context names (""): set current-context`},
		"another context": {func(c *clientcmdapi.Config) { c.CurrentContext = "x" },
			`the file has no context that current-context names ("x"): set current-context`},
		"no cluster": {func(c *clientcmdapi.Config) { c.Contexts["other"].Cluster = "x" },
			`the file has no cluster "x", which its current context names: add it`},
		"http": {func(c *clientcmdapi.Config) { c.Clusters["other"].Server = "http://webhook.example.com/review" },
			"the server of the file's cluster is an http URL, by which anybody on the way could read tokens: serve the webhook by https"},
		"no server": {func(c *clientcmdapi.Config) { c.Clusters["other"].Server = "" },
			"the server of the file's cluster is not a URL: set it as https://HOST[:PORT]/PATH"},
		"a host": {func(c *clientcmdapi.Config) { c.Clusters["other"].Server = "webhook.example.com" },
			"the server of the file's cluster is not a URL: set it as https://HOST[:PORT]/PATH"},
		"unverified": {func(c *clientcmdapi.Config) { c.Clusters["other"].InsecureSkipTLSVerify = true },
			"the file sets insecure-skip-tls-verify, so anybody on the way could read tokens: set certificate-authority, and tls-server-name if the name differs"},
		"a CA that is not there": {func(c *clientcmdapi.Config) {
			c.Clusters["other"].CertificateAuthorityData, c.Clusters["other"].CertificateAuthority = nil, "ca.crt"
		}, "the file's current context is incomplete: each file that it names must exist, and its user must have one credential"},
		"a CA that is not a certificate": {func(c *clientcmdapi.Config) { c.Clusters["other"].CertificateAuthorityData = []byte("no") },
			"a certificate or a key that the file names cannot be read: mount it into the same folder, and name it without a folder"},
		"two credentials": {func(c *clientcmdapi.Config) {
			c.AuthInfos["us"].Username, c.AuthInfos["us"].Password = "us", "secret-8d7f2c"
		},
			"the file's current context is incomplete: each file that it names must exist, and its user must have one credential"},
		"right": {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var edits []func(*clientcmdapi.Config)
			if tc.edit != nil {
				edits = append(edits, tc.edit)
			}
			err := CheckUpstream(kubeconfigOf(t, s, edits...))
			if got := fmt.Sprint(err); tc.want != "" && got != tc.want || tc.want == "" && err != nil {
				t.Errorf("%v\nwant %s", err, tc.want)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	const missing = "the file does not exist: mount the Secret that has it into the pod"
	if err := CheckUpstream(file); err == nil || err.Error() != missing {
		t.Errorf("%v\nwant %s", err, missing)
	}
	if err := os.WriteFile(file, bytes.Repeat([]byte("secret-8d7f2c: ["), 3), 0o600); err != nil {
		t.Fatal(err)
	}
	const garbage = "the file is not a kubeconfig: use the one that kube-apiserver's --authentication-token-webhook-config-file named"
	if err := CheckUpstream(file); err == nil || err.Error() != garbage {
		t.Errorf("%v\nwant %s", err, garbage)
	}
}
