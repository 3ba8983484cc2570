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
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/proxyconfig"
)

const (
	apiCheck     = "API face"
	apiAtCheck   = "API face at "
	apiConfigMap = "pat-operator-api"
	// metadataPath is where the API face says who it is (RFC 8414).
	metadataPath = "/.well-known/oauth-authorization-server"
	// maxIssuer is longer than https://HOST:PORT.
	maxIssuer = 300

	fixAPILog     = "see its log: kubectl -n NAMESPACE logs deployment/pat-operator-api --tail=20"
	fixAPIAddress = "does this address lead to the Service pat-operator-api? kubectl -n NAMESPACE get service,endpointslices"
	fixAPIURL     = "set --api-external-url (api.externalURL of the chart) to the address that other APIs use"
)

var apiWaysOut = waysOut{
	log: fixAPILog, address: fixAPIAddress, url: fixAPIURL, inside: true,
	tls:   "let nothing end TLS in front of the API face, or, with a certificate of your own, set api.tls.secretName, so that it publishes no CA",
	trust: "give the APIs that ask the CA of its certificate; or use a certificate of a public CA",
}

// checkAPI looks at the API face as the APIs that ask it see it: where it is published, by which certificate it is known, and
// whether it is the one that answers there. A cluster without an API face has no line.
func (d *doctor) checkAPI(ctx context.Context) {
	configMap := &corev1.ConfigMap{}
	key := client.ObjectKey{Namespace: d.OperatorNamespace, Name: apiConfigMap}
	if err := d.Client.Get(ctx, key, configMap); apierrors.IsNotFound(err) {
		return
	} else if err != nil {
		d.unread(apiCheck, "the ConfigMap "+key.String(), err, "")
		return
	}
	config, err := proxyconfig.Read(apiConfigMap, apiCheck, configMap.Data)
	if err != nil {
		d.add(Failed, apiCheck, err.Error(), fixAPILog)
		return
	}
	if expired := d.expiredCA(&config); expired != "" {
		d.add(Failed, apiCheck, "the CA of the API face expired at "+expired, fixAPILog)
		return
	}
	d.ok(apiCheck, "the ConfigMap %s leads to %s", apiConfigMap, config.URL)
	d.Progress("Asking the API face…")
	d.askAPI(ctx, &config)
}

// askAPI asks without a credential who answers.
func (d *doctor) askAPI(ctx context.Context, config *proxyconfig.Config) {
	s, err := newServer(&rest.Config{Host: config.URL, TLSClientConfig: rest.TLSClientConfig{CAData: config.CA}}, "")
	if err != nil {
		d.add(Failed, apiCheck, err.Error(), fixAPILog)
		return
	}
	check := apiAtCheck + s.host
	ctx, cancel := context.WithTimeout(ctx, proxyTimeout)
	defer cancel()
	issuer, status, err := s.issuer(ctx)
	switch {
	case err != nil:
		result, message, fix := apiWaysOut.unreached(cause(err), len(config.CA) > 0)
		d.add(result, check, message, fix)
	case issuer == "":
		d.add(Failed, check, fmt.Sprintf("something else than the API face answers, by HTTP %d", status), fixAPIAddress)
	case issuer != config.URL:
		d.add(Failed, check, fmt.Sprintf("it calls itself %q, and APIs that compare the two refuse it", issuer), fixAPIURL+"; "+fixAPIAddress)
	default:
		d.ok(check, "it answers by that name")
	}
}

// issuer returns what the API face calls itself; empty where something else answers.
func (s *server) issuer(ctx context.Context) (issuer string, status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+metadataPath, nil)
	if err != nil {
		return "", 0, err
	}
	c := *s.http // A sign-in may redirect to itself.
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := c.Do(request)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Issuer        string `json:"issuer"`
		Introspection string `json:"introspection_endpoint"`
	}
	if response.StatusCode != http.StatusOK || json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&answer) != nil ||
		answer.Introspection == "" || len(answer.Issuer) > maxIssuer {
		return "", response.StatusCode, nil
	}
	return answer.Issuer, response.StatusCode, nil
}
