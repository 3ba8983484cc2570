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

// Package proxyconfig is what clients have to know to use the proxy: its address and its CA, and the ConfigMap that publishes them.
package proxyconfig

import (
	"fmt"
	"strings"

	"github.com/pat-operator/pat-operator/internal/cacert"
	"github.com/pat-operator/pat-operator/internal/host"
)

const (
	// ConfigMapName is the ConfigMap in the operator's namespace.
	ConfigMapName = "pat-operator-proxy"

	// KeyURL is its key of the URL, https://HOST[:PORT].
	KeyURL = "url"
	// KeyCA is its key of the CA, in PEM; absent where clients know the CA.
	KeyCA = "ca.crt"
)

// Config is where clients reach the proxy.
type Config struct {
	// URL is https://HOST[:PORT].
	URL string
	// CA signs the proxy's certificate, in PEM; empty if a public CA does, or one that clients know.
	CA []byte
}

// Data is that of the ConfigMap.
func (c Config) Data() map[string]string {
	data := map[string]string{KeyURL: c.URL}
	if len(c.CA) > 0 {
		data[KeyCA] = string(c.CA)
	}
	return data
}

// FromData reads the ConfigMap. Tokens are sent to its URL, so what no proxy writes is an error.
func FromData(data map[string]string) (Config, error) { return Read(ConfigMapName, "proxy", data) }

// Read reads a ConfigMap that says, in the same form, where clients reach a component.
func Read(name, component string, data map[string]string) (Config, error) {
	unusable := "the ConfigMap " + name + " cannot be used: "
	c := Config{URL: strings.TrimSuffix(data[KeyURL], "/")}
	switch {
	case c.URL == "":
		return Config{}, fmt.Errorf("the ConfigMap %s is empty: no %s has run, or it cannot write it; see its log", name, component)
	case !host.Server(c.URL):
		return Config{}, fmt.Errorf("%sits %s is not https://HOST[:PORT]", unusable, KeyURL)
	}
	if data[KeyCA] == "" {
		return c, nil
	}
	certs, err := cacert.Parse([]byte(data[KeyCA]))
	if err != nil {
		return Config{}, fmt.Errorf("%sits %s %w", unusable, KeyCA, err)
	}
	c.CA = cacert.Encode(certs...)
	return c, nil
}
