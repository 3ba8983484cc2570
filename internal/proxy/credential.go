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

package proxy

import (
	"encoding/base64"
	"net/http"
	"strings"
)

// bearerProtocol begins the WebSocket subprotocol by which browsers send a bearer token.
const bearerProtocol = "base64url.bearer.authorization.k8s.io."

// takeCredential returns the one credential of a request and removes it, so that it goes nowhere else. It is empty where the
// request has no credential. ok is false where there are two or something else than a bearer token: programs differ in which one they take.
func takeCredential(h http.Header) (bearer string, ok bool) {
	given := h["Authorization"]
	delete(h, "Authorization")
	found := 0
	for _, value := range given {
		scheme, token, isPair := strings.Cut(value, " ")
		if !isPair || !strings.EqualFold(scheme, "Bearer") || token == "" || strings.ContainsAny(token, " \t,") {
			return "", false
		}
		bearer, found = token, found+1
	}
	const name = "Sec-Websocket-Protocol"
	offered := h[name]
	delete(h, name)
	var protocols []string
	for _, line := range offered {
		for protocol := range strings.SplitSeq(line, ",") {
			protocol = strings.TrimSpace(protocol)
			encoded, isBearer := strings.CutPrefix(protocol, bearerProtocol)
			if !isBearer {
				protocols = append(protocols, protocol)
				continue
			}
			token, err := base64.RawURLEncoding.DecodeString(encoded)
			if err != nil {
				return "", false
			}
			bearer, found = string(token), found+1
		}
	}
	if len(protocols) > 0 {
		h.Set(name, strings.Join(protocols, ", "))
	}
	return bearer, found <= 1
}
