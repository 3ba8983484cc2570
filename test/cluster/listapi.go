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
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"
)

// ListAPI is pkg/patauth/examples/comparisonlist as a process, which asks this cluster's kube-apiserver about tokens. It is of
// another module, so it is known by its address alone.
type ListAPI struct {
	// URL is where it serves, over plain HTTP.
	URL     string
	process *process
}

// ListAPICacheFor is how long it remembers an accepted token.
const ListAPICacheFor = time.Second

// StartListAPI builds and starts the example, with further flags. tokenFile has the token of its own, which may create tokenreviews,
// or introspect where the flags say so. Stop it before the cluster.
func (c *Cluster) StartListAPI(ctx context.Context, tokenFile string, args ...string) (*ListAPI, error) {
	binary, err := build(ctx, filepath.Join(c.Dir, "bin", "comparisonlist"), filepath.Join("pkg", "patauth"), "./examples/comparisonlist")
	if err != nil {
		return nil, err
	}
	address, _, err := c.Address()
	if err != nil {
		return nil, err
	}
	a := &ListAPI{URL: "http://" + address}
	args = append([]string{
		"--listen=" + address, "--kubernetes=" + c.Server, "--ca=" + c.CAFile, "--token=" + tokenFile, "--cache-for=" + ListAPICacheFor.String(),
	}, args...)
	if a.process, err = startProcess("comparisonlist", c.path("comparisonlist.log"), c.Env(""), binary, args...); err != nil {
		return nil, err
	}
	if err := a.process.waitReady(ctx, time.Minute, func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL+"/lists", nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("it answers %s to a request without a token", response.Status)
		}
		return nil
	}); err != nil {
		a.process.kill()
		return nil, err
	}
	return a, nil
}

// Stop ends it.
func (a *ListAPI) Stop() error { return a.process.stop(30 * time.Second) }
