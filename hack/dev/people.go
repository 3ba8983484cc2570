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
	"strings"
	"time"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/issuer"
)

// developer has places for a person's name: a namespace of the own where the person may do what developers do.
const developer = `apiVersion: v1
kind: Namespace
metadata: {name: %[1]s}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: developer, namespace: %[1]s}
rules:
- apiGroups: [pat-operator.io]
  resources: [personalaccesstokens]
  verbs: [create, get, list, watch, update, patch, delete]
- {apiGroups: [pat-operator.io], resources: [personalaccesstokens/status], verbs: [get, patch]}
- {apiGroups: [""], resources: [secrets], verbs: [get]}
- {apiGroups: [""], resources: [pods], verbs: [get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: developer, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: developer}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: %[1]s}]
---
`

// sample has places for the resource's name, its namespace, the display name and what else its spec has.
const sample = `apiVersion: pat-operator.io/v1alpha1
kind: PersonalAccessToken
metadata: {name: %s, namespace: %s}
spec: {displayName: %q, %s}
---
`

// expiryWarnings are the operator's own, and one that has the sample of three days warn of its end at once.
const expiryWarnings = "--expiry-warnings=168h,71h59m58s,24h"

// samples are tokens in the states that the console tells apart.
func samples(now time.Time) map[string]string {
	soonOver := now.Add(10 * time.Second).UTC().Format(time.RFC3339)
	return map[string]string{
		"alice": fmt.Sprintf(sample, "comparison-list-api", "alice", "PoliteMail Comparison List API", "expiresInDays: 90") +
			fmt.Sprintf(sample, "monthly-report", "alice", "Monthly report", "expiresInDays: 365") +
			fmt.Sprintf(sample, "conference-demo", "alice", "Conference demo", "expiresInDays: 3") +
			fmt.Sprintf(sample, "newsletter-import", "alice", "Newsletter import", "expiresInDays: 180, suspend: true") +
			fmt.Sprintf(sample, "trial", "alice", "Trial of the import", fmt.Sprintf("expiresAt: %q", soonOver)),
		"bob": fmt.Sprintf(sample, "build-agent", "bob", "Build agent", "expiresInDays: 30"),
	}
}

// settlePeople gives everybody who can sign in to the console a namespace with some tokens, each made by its user.
func settlePeople(ctx context.Context, c *cluster.Cluster) error {
	people := issuer.People()
	var rights strings.Builder
	for _, person := range people {
		fmt.Fprintf(&rights, developer, person.Name)
	}
	if _, _, err := c.Kubectl(ctx, c.AdminKubeconfig, rights.String(), "apply", "-f", "-"); err != nil {
		return err
	}
	for name, manifests := range samples(time.Now()) {
		_, kubeconfig, err := c.User(name)
		if err != nil {
			return err
		}
		if err := patiently(ctx, func() error {
			_, _, err := c.Kubectl(ctx, kubeconfig, manifests, "apply", "-f", "-")
			return err
		}); err != nil {
			return fmt.Errorf("tokens of %s: %w", name, err)
		}
	}
	return nil
}

// patiently tries again for a while: rights take effect a moment after they are written.
func patiently(ctx context.Context, do func() error) error {
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := do()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// consoleNamespaces are where the console looks for tokens.
func consoleNamespaces() string {
	var names []string
	for _, person := range issuer.People() {
		names = append(names, person.Name)
	}
	return "--console-namespaces=" + strings.Join(names, ",")
}

// credentials are what may be typed in to sign in.
func credentials() string {
	var all []string
	for _, person := range issuer.People() {
		all = append(all, person.Name+" / "+person.Password)
	}
	return strings.Join(all, ", or ")
}
