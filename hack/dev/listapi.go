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
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/pat-operator/pat-operator/test/cluster"
)

const forListAPI = `kubectl apply -f - <<'END'
apiVersion: pat-operator.io/v1alpha1
kind: PersonalAccessToken
metadata: {name: reports, namespace: team-a}
spec:
  audiences: [list-api]
  scopes: [{api: "lists:read"}]
END`

// listAPI shows an API outside of Kubernetes that takes tokens by pkg/patauth, and a token for it that its finder ends.
func (d *demo) listAPI(ctx context.Context) error {
	// The API may ask kube-apiserver about tokens, and has one of its own, as a pod would have it.
	if err := d.all(ctx, d.admin,
		`kubectl create serviceaccount list-api -n team-a`,
		`kubectl create clusterrolebinding list-api --clusterrole=system:auth-delegator --serviceaccount=team-a:list-api`,
		`kubectl create token list-api -n team-a > ~/list-api.token`,
	); err != nil {
		return err
	}
	api, err := d.cluster.StartListAPI(ctx, filepath.Join(d.cluster.Dir, "list-api.token"))
	if err != nil {
		return err
	}
	return errors.Join(d.useListAPI(ctx, api), api.Stop())
}

func (d *demo) useListAPI(ctx context.Context, api *cluster.ListAPI) error {
	d.say("the API of pkg/patauth/examples/comparisonlist serves at %s, behind three lines of pkg/patauth", api.URL)
	mine := d.token
	if err := d.all(ctx, d.alice, forListAPI, `kubectl wait pat reports --for=condition=Active --timeout=30s`); err != nil {
		return err
	}
	reports, err := d.takeToken(ctx, "reports")
	if err != nil {
		return err
	}
	valid := atListAPI(api)
	if _, err := valid.until(ctx, reports, true, refusalLimit); err != nil {
		return err
	}
	for _, request := range []struct{ method, token, name, want string }{
		{http.MethodGet, reports, "$TOKEN", "200 OK"},
		{http.MethodPost, reports, "$TOKEN", "insufficient_scope"},
		{http.MethodGet, mine, "comparison-list-api", "invalid_token"},
	} {
		if err := d.request(ctx, request.method, api.URL+"/lists", request.token, request.name, request.want); err != nil {
			return err
		}
	}
	d.say("the last one is alice's token for kube-apiserver: it does not name this API. The other one is worthless at kube-apiserver")
	if err := d.refused(ctx, d.anyone, `kubectl --token "$TOKEN" auth whoami`, "Unauthorized"); err != nil {
		return err
	}
	ended, err := d.finder(ctx, reports)
	if err != nil {
		return err
	}
	refused, err := valid.until(ctx, reports, false, refusalLimit)
	if err != nil {
		return err
	}
	d.say("the API refuses it after %.1f s: kube-apiserver may remember a yes for 10 s, and this API for %.0f s",
		max(0, refused.Sub(ended).Seconds()), cluster.ListAPICacheFor.Seconds())
	d.env = append(d.env, "TOKEN="+mine)
	if err := d.request(ctx, http.MethodGet, api.URL+"/lists", reports, "$TOKEN", "invalid_token"); err != nil {
		return err
	}
	return d.all(ctx, d.alice, `kubectl wait pat reports --for=condition=Active=false --timeout=30s`,
		`kubectl get pat reports -o jsonpath='{.status.revoked}{"\n"}'`)
}

// atListAPI asks the API for its lists.
func atListAPI(api *cluster.ListAPI) probe {
	return func(ctx context.Context, token string) (bool, error) {
		status, _, err := sendToken(ctx, http.MethodGet, api.URL+"/lists", token)
		switch {
		case err != nil:
			return false, err
		case status == http.StatusOK:
			return true, nil
		case status == http.StatusUnauthorized:
			return false, nil
		}
		return false, fmt.Errorf("the API answered %d", status)
	}
}

// request shows a request with a token, which has a name, and its answer, which must contain want. It needs no curl.
func (d *demo) request(ctx context.Context, method, url, token, name, want string) error {
	fmt.Fprintf(d.out, "%s: %s %s, with the token %s\n", d.anyone.name, method, url, name)
	status, body, err := sendToken(ctx, method, url, token)
	if err != nil {
		return err
	}
	answer := fmt.Sprintf("%d %s\n%s", status, http.StatusText(status), body)
	d.show(answer)
	if !strings.Contains(answer, want) {
		return fmt.Errorf("expected an answer with %q", want)
	}
	return nil
}

func sendToken(ctx context.Context, method, url, token string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}
