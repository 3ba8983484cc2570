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
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/cacert"
	"github.com/pat-operator/pat-operator/internal/proxyconfig"
)

const (
	proxyCheck = "proxy"
	// proxyAtCheck is of a proxy that was asked.
	proxyAtCheck = "proxy at "
	proxyTimeout = 15 * time.Second

	fixProxyLog     = "see its log: kubectl -n NAMESPACE logs deployment/pat-operator-proxy --tail=20"
	fixProxyAddress = "does this address lead to the Service pat-operator-proxy? kubectl -n NAMESPACE get service,endpointslices"
)

// waysOut are what to do where a published address is not reached.
type waysOut struct {
	log, address, tls, trust, url, name string
	// inside reports that clients may all be in the cluster, whose names this machine does not know.
	inside bool
}

var proxyWaysOut = waysOut{
	log: fixProxyLog, address: fixProxyAddress,
	tls:   "let nothing end TLS in front of the proxy (docs/install/proxy.md), or, with a certificate of your own, set proxy.tls.secretName, so that the proxy publishes no CA",
	trust: "give clients the CA: kubectl pat kubeconfig NAME --server URL --server-ca FILE; or use a certificate of a public CA",
	url:   "set --proxy-external-url (proxy.externalURL of the chart) to the address that clients use",
	name:  "make a DNS record that leads to the Service pat-operator-proxy: kubectl -n NAMESPACE get service pat-operator-proxy",
}

// checkProxy looks at a proxy as its clients see it: where it is published, by which certificate it is known, and whether it is
// the one that answers there. A cluster without a proxy has no line.
func (d *doctor) checkProxy(ctx context.Context) {
	configMap := &corev1.ConfigMap{}
	key := client.ObjectKey{Namespace: d.OperatorNamespace, Name: proxyconfig.ConfigMapName}
	if err := d.Client.Get(ctx, key, configMap); apierrors.IsNotFound(err) {
		return
	} else if err != nil {
		d.unread(proxyCheck, "the ConfigMap "+key.String(), err, "")
		return
	}
	config, err := proxyconfig.FromData(configMap.Data)
	if err != nil {
		d.add(Failed, proxyCheck, err.Error(), fixProxyLog)
		return
	}
	if expired := d.expiredCA(&config); expired != "" {
		d.add(Failed, proxyCheck, "the CA of the proxy expired at "+expired, fixProxyLog)
		return
	}
	d.ok(proxyCheck, "the ConfigMap %s leads to %s", proxyconfig.ConfigMapName, config.URL)
	d.Progress("Asking the proxy…")
	if d.askProxy(ctx, config) {
		d.proxy = &config
	}
}

// expiredCA returns when the last of the published CAs ended, empty if one is valid.
func (d *doctor) expiredCA(config *proxyconfig.Config) string {
	if len(config.CA) == 0 {
		return ""
	}
	certs, err := cacert.Parse(config.CA)
	if err != nil {
		return "" // FromData has read it
	}
	last := certs[0].NotAfter
	for _, cert := range certs {
		if cert.NotAfter.After(last) {
			last = cert.NotAfter
		}
	}
	if d.Clock.Now().Before(last) {
		return ""
	}
	return stamp(last)
}

// askProxy sends a request without a credential, and reports whether a proxy refuses it.
func (d *doctor) askProxy(ctx context.Context, config proxyconfig.Config) bool {
	s, err := newServer(&rest.Config{Host: config.URL, TLSClientConfig: rest.TLSClientConfig{CAData: config.CA}}, "")
	if err != nil {
		d.add(Failed, proxyCheck, err.Error(), fixProxyLog)
		return false
	}
	check := proxyAtCheck + s.host
	ctx, cancel := context.WithTimeout(ctx, proxyTimeout)
	defer cancel()
	answer, header, err := s.refusal(ctx)
	if err != nil {
		result, message, fix := proxyWaysOut.unreached(cause(err), len(config.CA) > 0)
		d.add(result, check, message, fix)
		return false
	}
	if len(config.CA) > 0 {
		d.ok(check, "its certificate is of the published CA")
	} else {
		d.ok(check, "this machine trusts its certificate; no CA is published")
	}
	switch wantsToken := strings.HasPrefix(header.Get("WWW-Authenticate"), "Bearer"); {
	case answer.Code == http.StatusUnauthorized && wantsToken && answer.Kind != "":
		d.ok(check, "it refuses a request without a token")
		return true
	case answer.Code == http.StatusServiceUnavailable && answer.Kind != "":
		d.add(Failed, check, "it cannot verify tokens at the moment", fixProxyLog)
	default:
		d.add(Failed, check, fmt.Sprintf("something else than the proxy answers a request without a token, by HTTP %d", answer.Code),
			fixProxyAddress+"; a load balancer or a sign-in in front of it may answer, or kube-apiserver itself")
	}
	return false
}

// unreached says what a failed connection means.
func (w *waysOut) unreached(err error, published bool) (result Result, message, fix string) {
	name, otherName := errors.AsType[x509.HostnameError](err)
	dns, unresolved := errors.AsType[*net.DNSError](err)
	switch {
	case is[x509.UnknownAuthorityError](err) && published:
		return Failed, "its certificate is not of the published CA, so clients do not trust it", w.tls
	case is[x509.UnknownAuthorityError](err):
		return Failed, "this machine does not trust its certificate, and no CA is published", w.trust
	case otherName:
		return Failed, fmt.Sprintf("its certificate is for another name: %v", name), w.url
	case is[*tls.CertificateVerificationError](err):
		return Failed, fmt.Sprintf("its certificate is not valid: %v", err), w.log
	case is[tls.RecordHeaderError](err), errors.Is(err, http.ErrSchemeMismatch):
		return Failed, fmt.Sprintf("it does not answer by TLS: %v", err), w.address + "; " + w.tls
	case unresolved && dns.IsNotFound && !w.inside:
		return Failed, fmt.Sprintf("its name leads nowhere: %v", err), w.name
	case errors.Is(err, syscall.ECONNREFUSED):
		return Failed, fmt.Sprintf("nothing answers there: %v", err), w.address
	}
	return Unchecked, fmt.Sprintf("this machine does not reach it: %v", err), "run this on a machine from which it is used; " + w.address
}

// refusal sends a request without a credential. The Status is empty where the answer has no Status.
func (s *server) refusal(ctx context.Context) (answer metav1.Status, header http.Header, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/version", nil)
	if err != nil {
		return answer, nil, err
	}
	response, err := s.http.Do(request)
	if err != nil {
		return answer, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&answer) != nil || answer.Kind != "Status" {
		answer = metav1.Status{}
	}
	answer.Code = int32(response.StatusCode) //nolint:gosec // an HTTP status
	return answer, response.Header, nil
}

func is[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}
