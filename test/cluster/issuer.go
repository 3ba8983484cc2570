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

package cluster

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/pat-operator/pat-operator/test/issuer"
)

const (
	authenticationConfig = "authentication.yaml"
	clientSecretFile     = "console-client-secret"
)

// startIssuer serves Options.Issuer, and writes what makes kube-apiserver trust it: before kube-apiserver starts, which
// asks the issuer for its keys then and only 10 seconds later again.
func (c *Cluster) startIssuer() error {
	if len(c.opts.Issuer) == 0 {
		return nil
	}
	c.IssuerURL = fmt.Sprintf("https://127.0.0.1:%d", c.ports.issuer)
	var err error
	if c.Issuer, err = issuer.New(c.IssuerURL, c.ConsoleURL+"/callback", c.opts.Issuer...); err != nil {
		return err
	}
	if err := c.writeAuthenticationConfig(); err != nil {
		return err
	}
	if err := os.WriteFile(c.path(clientSecretFile), []byte(issuer.ClientSecret), 0o600); err != nil {
		return err
	}
	certificate, err := c.ServingCertificate("127.0.0.1")
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", c.ports.issuer))
	if err != nil {
		return err
	}
	c.issuer = &http.Server{
		Handler:           c.Issuer,
		ReadHeaderTimeout: time.Minute,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
	}
	go func() { _ = c.issuer.ServeTLS(listener, "", "") }() // ends with stopIssuer
	return nil
}

func (c *Cluster) stopIssuer() {
	if c.issuer != nil {
		_ = c.issuer.Close()
	}
}

// writeAuthenticationConfig is what an administrator writes so that kube-apiserver takes the issuer's ID tokens.
func (c *Cluster) writeAuthenticationConfig() error {
	version := apiserverv1.SchemeGroupVersion
	if c.Minor < 34 {
		version.Version = "v1beta1" // with the same fields
	}
	config, err := yaml.Marshal(apiserverv1.AuthenticationConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: version.String(), Kind: "AuthenticationConfiguration"},
		JWT: []apiserverv1.JWTAuthenticator{{
			Issuer: apiserverv1.Issuer{
				URL: c.IssuerURL, CertificateAuthority: string(c.ca.pem()), Audiences: []string{issuer.ClientID},
			},
			ClaimMappings: apiserverv1.ClaimMappings{
				Username: apiserverv1.PrefixedClaimOrExpression{Claim: "preferred_username", Prefix: ptr.To("")},
				Groups:   apiserverv1.PrefixedClaimOrExpression{Claim: "groups", Prefix: ptr.To("")},
			},
		}},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(c.path(authenticationConfig), config, 0o600)
}

// consoleArgs are the flags of the manager that serves the console.
func (c *Cluster) consoleArgs() []string {
	args := []string{
		fmt.Sprintf("--console-bind-address=127.0.0.1:%d", c.ports.console),
		"--console-url=" + c.ConsoleURL,
	}
	if c.Issuer == nil {
		return args
	}
	return append(args,
		"--console-oidc-issuer-url="+c.IssuerURL,
		"--console-oidc-client-id="+issuer.ClientID,
		"--console-oidc-client-secret-file="+c.path(clientSecretFile),
		"--console-oidc-ca-file="+c.CAFile,
	)
}
