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

package app

import (
	"net"
	"net/url"
	"strings"

	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
)

// warn says what will keep the holder from using the kubeconfig, or from using it safely.
func (o *kubeconfigOptions) warn(pat *v1alpha1.PersonalAccessToken, cluster *clientcmdv1.Cluster, id string) {
	if server, err := url.Parse(cluster.Server); err == nil && !reachable(server.Hostname()) {
		o.sayf("Warning: %s is an address of this machine or network, which a holder elsewhere does not reach: give theirs by --server URL", cluster.Server)
	}
	if proxy, err := url.Parse(cluster.ProxyURL); err == nil && cluster.ProxyURL != "" {
		if !reachable(proxy.Hostname()) {
			o.sayf("Warning: the proxy %s is an address of this machine or network, which a holder elsewhere does not reach", proxy.Redacted())
		}
	}
	if cluster.InsecureSkipTLSVerify {
		o.sayf("Warning: insecure-skip-tls-verify is set, as in yours: the holder gives the token to whoever answers at %s", cluster.Server)
	}
	if len(pat.Spec.Audiences) > 0 {
		o.sayf("Warning: the token is for %s: the API server takes it only if it is one of these", strings.Join(pat.Spec.Audiences, ", "))
	}
	switch active := holder.Active(pat); {
	case holder.StateOf(pat, o.Clock.Now()) == holder.StateExpired:
		o.sayf("Warning: the token has expired; for a new one run: %s", rotateCommand(pat))
	case active != nil && active.Status != "True":
		o.sayf("Warning: the token is not active: %s", holder.Says(active))
	case id != "" && id != pat.Status.TokenID && id != pat.Status.PreviousTokenID:
		o.sayf("Warning: the token is not active yet: the operator has not looked at it; is it running?")
	}
}

// reachable tells of hosts that people elsewhere may reach, as far as the name shows it.
func reachable(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsGlobalUnicast() && !ip.IsPrivate() && !sharedAddresses.Contains(ip)
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if !strings.Contains(host, ".") {
		return false
	}
	for _, local := range []string{".localhost", ".local", ".internal", ".svc", ".cluster.local"} {
		if strings.HasSuffix(host, local) {
			return false
		}
	}
	return true
}

// sharedAddresses are those between a provider and its customers (RFC 6598).
var sharedAddresses = &net.IPNet{IP: net.IPv4(100, 64, 0, 0).To4(), Mask: net.CIDRMask(10, 32)}
