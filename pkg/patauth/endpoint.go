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

package patauth

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// maxAnswer is the length of the longest answer of a source that is read, in bytes. A user has at most 128 KiB of groups.
const maxAnswer = 1 << 20

// endpoint is the server that a source asks, by a URL that does not change and files that do.
type endpoint struct {
	url       string
	caFile    string // empty: the system's
	tokenFile string

	mu     sync.Mutex // guards the rest
	ca     []byte     // what caFile had when client was made
	client *http.Client
}

// newEndpoint checks a URL and reads the files. option names the field of the URL in errors.
func newEndpoint(option, rawURL, path, caFile, tokenFile string) (*endpoint, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%s is not a URL such as https://HOST/PATH, without a user, a query and a fragment", option)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, fmt.Errorf("%s must begin with https://, since tokens are sent there; http:// is for this machine alone", option)
	}
	e := &endpoint{url: u.JoinPath(path).String(), caFile: caFile, tokenFile: tokenFile}
	if _, err := e.connect(); err != nil {
		return nil, err
	}
	if _, err := e.credential(); err != nil {
		return nil, err
	}
	return e, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// connect returns the client for what the CA file says now. Reading it for each question costs little, compared with the question.
func (e *endpoint) connect() (*http.Client, error) {
	var ca []byte
	if e.caFile != "" {
		var err error
		if ca, err = os.ReadFile(e.caFile); err != nil {
			return nil, fmt.Errorf("cannot read the CA file: %w", err)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.client != nil && bytes.Equal(ca, e.ca) {
		return e.client, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if e.caFile != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf("the CA file %s has no PEM certificate", e.caFile)
		}
	}
	if e.client != nil {
		e.client.CloseIdleConnections()
	}
	e.ca = ca
	e.client = &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
			TLSClientConfig:        config,
			TLSHandshakeTimeout:    10 * time.Second,
			MaxIdleConnsPerHost:    maxQuestions,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true, // An answer is as long as it looks.
		},
		// A redirect would send the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return e.client, nil
}

// credential is this service's own, from a file that is read each time: projected tokens rotate.
func (e *endpoint) credential() (string, error) {
	data, err := os.ReadFile(e.tokenFile)
	if err != nil {
		return "", fmt.Errorf("cannot read the token file: %w", err)
	}
	credential := strings.TrimSpace(string(data))
	if credential == "" || strings.ContainsFunc(credential, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("the token file %s does not hold one token", e.tokenFile)
	}
	return credential, nil
}

// post sends a body and returns the answer, if it is JSON and has the status want.
func (e *endpoint) post(ctx context.Context, contentType string, body []byte, want int) ([]byte, error) {
	client, err := e.connect()
	if err != nil {
		return nil, err
	}
	credential, err := e.credential()
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+credential)
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "pat-operator-patauth")
	// A question may be asked again on another connection. So net/http learns it, without a header that is sent.
	request.Header["Idempotency-Key"] = nil
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != want {
		return nil, statusError(response.StatusCode)
	}
	mediaType, _, _ := strings.Cut(response.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(mediaType), "application/json") || response.Header.Get("Content-Encoding") != "" {
		return nil, fmt.Errorf("%s answers with something else than JSON", e.url)
	}
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the answer of %s: %w", e.url, err)
	}
	if len(answer) > maxAnswer {
		return nil, errors.New("the answer is longer than 1 MiB")
	}
	return answer, nil
}

// statusError is the status of an answer that does not have the one that it should have.
type statusError int

func (e statusError) Error() string {
	return fmt.Sprintf("the source answers with the status %d", int(e))
}
