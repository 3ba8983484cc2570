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

package api

import "encoding/json"

// metadata is that of an authorization server that issues no token by HTTP (RFC 8414).
type metadata struct {
	Issuer                           string   `json:"issuer"`
	IntrospectionEndpoint            string   `json:"introspection_endpoint"`
	IntrospectionEndpointAuthMethods []string `json:"introspection_endpoint_auth_methods_supported"`
	RevocationEndpoint               string   `json:"revocation_endpoint"`
	RevocationEndpointAuthMethods    []string `json:"revocation_endpoint_auth_methods_supported"`
	ResponseTypes                    []string `json:"response_types_supported"`
	GrantTypes                       []string `json:"grant_types_supported"`
	ServiceDocumentation             string   `json:"service_documentation"`
}

func metadataOf(o *Options) ([]byte, error) {
	methods := []string{"client_secret_basic", "client_secret_post", "Bearer"}
	if o.ClientCertificates {
		methods = append(methods, "tls_client_auth")
	}
	return json.Marshal(metadata{
		Issuer:                           o.URL,
		IntrospectionEndpoint:            o.URL + pathIntrospect,
		IntrospectionEndpointAuthMethods: methods,
		RevocationEndpoint:               o.URL + pathRevoke,
		RevocationEndpointAuthMethods:    []string{"none"},
		ResponseTypes:                    []string{},
		GrantTypes:                       []string{},
		ServiceDocumentation:             o.URL + pathOpenAPI,
	})
}
