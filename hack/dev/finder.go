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

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/pat-operator/pat-operator/test/cluster"
)

// finder has a token that was found ended by its finder, who has nothing but the token, through the API face. It returns when the
// API face said so.
func (d *demo) finder(ctx context.Context, token string) (ended time.Time, err error) {
	root, err := cluster.ModuleRoot()
	if err != nil {
		return ended, err
	}
	if _, err := d.run(ctx, d.admin, `kubectl apply -k `+filepath.Join(root, "config", "rbac", "api")); err != nil {
		return ended, err
	}
	face, err := startAPI(ctx, d.cluster)
	if err != nil {
		return ended, err
	}
	err = d.end(ctx, face, token)
	ended = time.Now()
	return ended, errors.Join(err, face.Stop())
}

// end sends the token to be revoked, as curl would.
func (d *demo) end(ctx context.Context, face *cluster.Manager, token string) error {
	d.say("the token leaks. Its finder needs no account in this cluster to end it: manager verifier --faces=api serves at %s", face.APIURL())
	ca, err := d.run(ctx, d.admin, `kubectl get configmap pat-operator-api -n pat-operator-system -o jsonpath='{.data.ca\.crt}'`)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(ca)) {
		return errors.New("the API face has published no CA")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}
	defer transport.CloseIdleConnections()
	fmt.Fprintf(d.out, "%s: POST %s/oauth2/revoke, with token=$TOKEN as the body\n", d.anyone.name, face.APIURL())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, face.APIURL()+"/oauth2/revoke", strings.NewReader(url.Values{"token": {token}}.Encode()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	d.show(response.Status + "\n" + string(body))
	if response.StatusCode != http.StatusOK {
		return errors.New("expected 200 OK")
	}
	return nil
}
