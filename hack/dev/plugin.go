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
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pat-operator/pat-operator/test/cluster"
)

// plugin is the same by kubectl pat: the token is made on alice's machine and never in the cluster; revoked, its resource stays
// as a trace.
func (d *demo) plugin(ctx context.Context) error {
	mine := d.token
	laptop, err := d.remember(ctx, d.alice, "TOKEN", `TOKEN=$(kubectl pat create my-laptop --display-name "My laptop" --expires-in 12h)`)
	if err != nil {
		return err
	}
	who, err := d.run(ctx, d.anyone, `printf %s "$TOKEN" | kubectl pat whoami --token-file -`)
	if err != nil {
		return err
	}
	if !strings.Contains(who, "alice") || !strings.Contains(who, "my-laptop") {
		return fmt.Errorf("expected alice, by my-laptop")
	}
	d.say("the cluster has its digest, and never had the token")
	if err := d.all(ctx, d.alice,
		`kubectl wait pat my-laptop --for=jsonpath='{.status.lastUsedAt}' --timeout=30s`,
		`kubectl pat list`,
		`kubectl pat revoke my-laptop --keep --reason "left on a train"`,
	); err != nil {
		return err
	}
	if _, err := d.apiServer.until(ctx, laptop, false, refusalLimit); err != nil {
		return err
	}
	if err := d.unauthorized(ctx); err != nil {
		return err
	}
	d.env = append(d.env, "TOKEN="+mine)
	return d.all(ctx, d.alice, `kubectl get pat my-laptop -o wide`)
}

// buildPlugin builds kubectl pat, and lets kubectl find it.
func (d *demo) buildPlugin(ctx context.Context) error {
	bin := filepath.Join(d.cluster.Dir, "bin")
	if err := cluster.BuildPlugin(ctx, bin); err != nil {
		return err
	}
	return prependPath(bin)
}

// prependPath lets what is in dir be found.
func prependPath(dir string) error {
	return os.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}
