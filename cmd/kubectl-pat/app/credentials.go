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
	"errors"
	"net/url"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
)

// asBearer connects to the cluster of kubectl's flags with only this token: a client certificate of the kubeconfig would take
// precedence.
type asBearer struct {
	*genericclioptions.ConfigFlags
	token string
}

// ToRESTConfig implements genericclioptions.RESTClientGetter.
func (b asBearer) ToRESTConfig() (*rest.Config, error) {
	config, err := restConfig(b.ConfigFlags)
	if err != nil {
		return nil, err
	}
	server, err := serverOf(config)
	if err != nil {
		return nil, err
	}
	if server.Scheme != "https" {
		return nil, errNoTLS
	}
	bare := rest.AnonymousClientConfig(config)
	bare.BearerToken = b.token
	if *b.Impersonate != "" { // --as
		bare.Impersonate = config.Impersonate
	}
	return bare, nil
}

var errNoTLS = errors.New("the API server's address is not https, and a token must not cross the network in clear text: use an https address")

// serverOf returns the full URL of the API server.
func serverOf(config *rest.Config) (*url.URL, error) {
	tls := config.TLSClientConfig
	secure := tls.Insecure || tls.CAFile != "" || len(tls.CAData) > 0
	server, _, err := rest.DefaultServerURL(config.Host, "", schema.GroupVersion{}, secure)
	return server, err
}
