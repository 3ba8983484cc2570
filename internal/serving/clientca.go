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

package serving

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"
)

// ClientCA verifies client certificates by a file of CA certificates, and follows the file. It is a Runnable of every
// replica.
type ClientCA struct {
	content *dynamiccertificates.DynamicFileCAContent
}

// NewClientCA reads the file.
func NewClientCA(file string) (*ClientCA, error) {
	content, err := dynamiccertificates.NewDynamicCAContentFromFile("client-ca", file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the client CAs: %w", err)
	}
	return &ClientCA{content: content}, nil
}

// NeedLeaderElection is false: every replica serves.
func (*ClientCA) NeedLeaderElection() bool { return false }

// Start follows the file until ctx ends. An unusable file keeps the CAs that were read before.
func (c *ClientCA) Start(ctx context.Context) error {
	c.content.Run(ctx, 1)
	return nil
}

// Require returns a configuration by which only holders of a certificate of the CAs complete a handshake.
func (c *ClientCA) Require(base *tls.Config) *tls.Config {
	return c.ask(base, tls.RequireAndVerifyClientCert)
}

// Accept returns a configuration by which clients may have a certificate of the CAs, and no other.
func (c *ClientCA) Accept(base *tls.Config) *tls.Config {
	return c.ask(base, tls.VerifyClientCertIfGiven)
}

func (c *ClientCA) ask(base *tls.Config, how tls.ClientAuthType) *tls.Config {
	config := base.Clone()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		options, ok := c.content.VerifyOptions()
		if !ok {
			return nil, errors.New("there are no client CAs")
		}
		asking := base.Clone()
		asking.ClientAuth, asking.ClientCAs = how, options.Roots
		// A resumed session would not be verified by the CAs of today.
		asking.SessionTicketsDisabled = true
		return asking, nil
	}
	return config
}
