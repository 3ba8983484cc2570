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

package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/token"
)

const (
	serverCheck = "kube-apiserver"
	// serverName is in the certificate of each kube-apiserver.
	serverName = "kubernetes.default.svc"

	dialTimeout = 5 * time.Second
	// reviewTimeout is longer than kube-apiserver waits for a verifier.
	reviewTimeout = 45 * time.Second
	// maxAnswer is longer than the flags of kube-apiserver.
	maxAnswer = 1 << 20
	// maxSkew is the --max-clock-skew of operator and verifier.
	maxSkew = time.Minute
)

// server is one kube-apiserver, or what is in front of several.
type server struct {
	// host is HOST:PORT.
	host string
	base string
	http *http.Client
	// skew is how far its clock is ahead of ours.
	skew time.Duration

	review authenticationv1.TokenReviewStatus
	status int
	err    error
}

func newServer(config *rest.Config, address string) (*server, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	if address != "" {
		// The credentials go to nobody but a kube-apiserver of this cluster: it proves its name to the CA of the kubeconfig.
		config.Host, config.ServerName = "https://"+address, serverName
	}
	if config.Dial == nil {
		config.Dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	config.WarningHandler = rest.NoWarnings{}
	c, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	base, _, err := rest.DefaultServerURL(config.Host, "", metav1.Unversioned, true)
	if err != nil {
		return nil, err
	}
	return &server{host: base.Host, base: strings.TrimSuffix(base.String(), "/"), http: c}, nil
}

func (s *server) do(ctx context.Context, method, path, accept string, in, out any) (status int, header http.Header, err error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return 0, nil, err
		}
		body = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, s.base+path, body)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Accept", accept)
	request.Header.Set("Content-Type", "application/json")
	response, err := s.http.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err == nil && response.StatusCode < 300 && out != nil {
		err = json.Unmarshal(data, out)
	}
	return response.StatusCode, response.Header, err
}

// ask has the server review a token that nobody has, and looks at its clock.
func (s *server) ask(ctx context.Context, plaintext string, now func() time.Time) {
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	in := &authenticationv1.TokenReview{
		TypeMeta: metav1.TypeMeta{APIVersion: authenticationv1.SchemeGroupVersion.String(), Kind: "TokenReview"},
		Spec:     authenticationv1.TokenReviewSpec{Token: plaintext},
	}
	out := &authenticationv1.TokenReview{}
	var header http.Header
	s.status, header, s.err = s.do(ctx, http.MethodPost, "/apis/authentication.k8s.io/v1/tokenreviews", "application/json", in, out)
	s.review = out.Status
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		s.skew = date.Sub(now().Truncate(time.Second))
	}
}

// addresses are those of every kube-apiserver.
func (d *doctor) addresses(ctx context.Context) ([]string, error) {
	slices := &discoveryv1.EndpointSliceList{}
	err := d.Client.List(ctx, slices, client.InNamespace(metav1.NamespaceDefault), client.MatchingLabels{discoveryv1.LabelServiceName: "kubernetes"})
	if err != nil {
		return nil, err
	}
	var addresses []string
	for _, slice := range slices.Items {
		for _, port := range slice.Ports {
			for _, endpoint := range slice.Endpoints {
				for _, address := range endpoint.Addresses {
					if port.Port != nil && net.ParseIP(address) != nil {
						addresses = append(addresses, net.JoinHostPort(address, strconv.Itoa(int(*port.Port))))
					}
				}
			}
		}
	}
	return unique(addresses), nil
}

func unique(texts []string) []string {
	slices.Sort(texts)
	return slices.Compact(texts)
}

// askServers asks each kube-apiserver by its own address, and where that is not possible, whatever the kubeconfig leads to.
func (d *doctor) askServers(ctx context.Context) error {
	_, plaintext, err := token.New(d.Random)
	if err != nil {
		return err
	}
	d.Progress("Asking kube-apiserver about a token that nobody has…")
	addresses, err := d.addresses(ctx)
	switch {
	case err != nil:
		d.unread(serverCheck, "the addresses of each kube-apiserver (endpointslices of the namespace default)", err, "")
		d.findings[len(d.findings)-1].Result = Unchecked
	case d.Config.Insecure:
		addresses = nil
		d.add(Unchecked, serverCheck, "the kubeconfig does not verify the API server, so your credentials were sent to no further address", "use a kubeconfig with the CA of the cluster")
	}
	asked := make([]*server, len(addresses))
	var group sync.WaitGroup
	for i, address := range addresses {
		if asked[i], err = newServer(d.Config, address); err != nil {
			return err
		}
		group.Go(func() { asked[i].ask(ctx, plaintext, d.Clock.Now) })
	}
	group.Wait()
	unreached := 0
	for _, s := range asked {
		if s.err != nil {
			unreached++
			d.add(Unchecked, serverCheck+" "+s.host, fmt.Sprintf("this machine does not reach it: %v", cause(s.err)), "run this on a machine that does, such as a control plane node")
			continue
		}
		d.servers = append(d.servers, s)
	}
	if len(d.servers) == 0 {
		s, err := newServer(d.Config, "")
		if err != nil {
			return err
		}
		if s.ask(ctx, plaintext, d.Clock.Now); s.err != nil {
			return fmt.Errorf("%w at %s: %w", errNoServer, s.host, s.err)
		}
		if unreached > 1 {
			d.add(Unchecked, serverCheck+" "+s.host, fmt.Sprintf("it stands for %d of them, and one has answered", unreached), "")
		}
		d.servers = []*server{s}
	}
	for _, s := range d.servers {
		d.judge(ctx, s)
	}
	return nil
}

// cause leaves out the URL, which is in the line already.
func cause(err error) error {
	if of, ok := errors.AsType[*url.Error](err); ok {
		return of.Err
	}
	return err
}

// judge says what a server has answered.
func (d *doctor) judge(ctx context.Context, s *server) {
	check := serverCheck + " " + s.host
	switch {
	case s.status == http.StatusForbidden:
		d.add(Unchecked, check, "you may not create tokenreviews", "ask a cluster administrator")
	case s.status == http.StatusUnauthorized:
		d.add(Unchecked, check, "it does not accept your credentials", "log in again")
	case s.status != http.StatusCreated:
		d.add(Unchecked, check, fmt.Sprintf("it answers HTTP %d to a TokenReview", s.status), "see its log")
	case s.review.Authenticated:
		d.add(Failed, check, "accepts a token that nobody has: one of its authenticators accepts whatever comes", "see its flags")
	default:
		a := read(s.review.Error)
		flags, why := s.flags(ctx)
		if file := flags[authnconfig.FlagConfigFile]; a.holds == notAsked && flags != nil {
			a.message = "does not ask the verifier: its flag --" + authnconfig.FlagConfigFile + " is missing"
			if file != "" {
				a.message = "does not ask the verifier: its token webhook is another one, " + file
				a.fix = "kube-apiserver takes one token webhook: keep that one behind ours, " + authnconfig.AnotherWebhook
			}
		}
		if a.holds == notAsked && d.proxy != nil {
			a.result, a.message = Due, a.message+". Tokens work at the proxy alone, which is how it has to be where nobody can set flags (EKS, GKE, AKS)"
			a.fix = "elsewhere: " + a.fix
		}
		d.add(a.result, check, a.message, a.fix)
		d.judgeTTL(check, a, flags, why)
	}
	if skew := s.skew.Abs(); skew > maxSkew {
		d.add(Failed, "clock", fmt.Sprintf("the clocks of this machine and of kube-apiserver %s differ by %v", s.host, skew.Round(time.Second)),
			"set both by NTP: tokens end by the clocks of the cluster, and a verifier whose clock is off by more than a minute refuses them all")
	} else {
		d.ok("clock", "those of this machine and of kube-apiserver %s agree", s.host)
	}
}

func (d *doctor) judgeTTL(check string, a answer, flags map[string]string, why string) {
	const cached = "how long it takes a revoked token"
	ttl, err := time.ParseDuration(flags[authnconfig.FlagCacheTTL])
	switch {
	case a.holds == notAsked, d.MakeToken && flags == nil:
	case flags == nil:
		d.add(Unchecked, check, cached+": "+why, "add --make-token: a token is made, used and revoked")
	case err != nil:
		d.add(Unchecked, check, cached+": it shows no --"+authnconfig.FlagCacheTTL, "add --make-token: a token is made, used and revoked")
	case ttl > authnconfig.CacheTTL:
		d.add(Failed, check, fmt.Sprintf("takes a revoked token for %v more", ttl), fmt.Sprintf("set --%s=%v: kubectl pat setup", authnconfig.FlagCacheTTL, authnconfig.CacheTTL))
	default:
		d.ok(check, "takes a revoked token for %v at most", ttl)
	}
}

// flags returns those of the server, or nil and why it does not show them.
func (s *server) flags(ctx context.Context) (flags map[string]string, why string) {
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	var out struct {
		Flags map[string]string `json:"flags"`
	}
	status, _, err := s.do(ctx, http.MethodGet, "/flagz", "application/json;as=Flagz;v=v1beta1;g=config.k8s.io", nil, &out)
	switch {
	case err != nil:
		return nil, fmt.Sprintf("cannot read its flags: %v", err)
	case status == http.StatusForbidden:
		return nil, "you may not read /flagz"
	case status != http.StatusOK || len(out.Flags) == 0:
		return nil, "it does not show its flags (Kubernetes before 1.37)"
	}
	return out.Flags, ""
}
