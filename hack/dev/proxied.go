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
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/pat-operator/pat-operator/test/cluster"
)

const (
	// samplesProxy is config/default with the proxy, which acts for the users of active tokens.
	samplesProxy = "config/samples/proxy"
	// managedImpersonation has the operator keep the list of these users.
	managedImpersonation = "--managed-impersonation"
	// watchLimit is how long a watch may take to begin, and to end.
	watchLimit = 2 * time.Minute
)

// proxyOptions start the proxy of a cluster that ends at any time.
func proxyOptions() cluster.ManagerOptions {
	return cluster.ManagerOptions{Command: "proxy", Args: []string{"--proxy-drain-delay=0s", "--proxy-drain=1s", "--proxy-audit-log=off"}}
}

// proxied shows a kube-apiserver without any flag of ours, as in EKS, GKE and AKS, and the proxy in front of it.
func (d *demo) proxied(ctx context.Context) error {
	if err := d.buildPlugin(ctx); err != nil {
		return err
	}
	if err := d.all(ctx, d.alice,
		`kubectl pat create my-laptop --expires-in 12h --token-file ~/laptop.token`,
		`kubectl pat kubeconfig my-laptop --token-file ~/laptop.token -o ~/laptop.kubeconfig --check`,
	); err != nil {
		return err
	}
	if err := d.refused(ctx, d.anyone, `kubectl --token "$(cat ~/laptop.token)" get pods -n team-a`, "Unauthorized"); err != nil {
		return err
	}
	d.say("that was kube-apiserver itself, which knows nothing of tokens; the kubeconfig leads to the proxy, and names alice's file")
	return d.all(ctx, person{"alice, by the proxy", filepath.Join(d.cluster.Dir, "laptop.kubeconfig")},
		`kubectl auth whoami`,
		`kubectl get pods`,
	)
}

// cut shows a watch that a revocation ends. A shell (kubectl exec) ends in the same way; here no kubelet runs one.
func (d *demo) cut(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, watchLimit)
	defer cancel()
	const watch = `kubectl get configmaps --watch`
	if _, err := d.run(ctx, d.admin, `kubectl create configmap listed -n team-a`); err != nil {
		return err
	}
	d.prompt(person{name: "alice, by the proxy"}, watch+` &`)
	cmd := d.cluster.Command(ctx, filepath.Join(d.cluster.Dir, "laptop.kubeconfig"), "/bin/sh", "-c", watch)
	out := &output{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	// shows waits for a ConfigMap in the output.
	shows := func(name string) error {
		return wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(context.Context) (bool, error) {
			select {
			case exit := <-ended:
				return false, errors.Join(errors.New("expected the watch to stay open: "+out.String()), exit)
			default:
				return strings.Contains(out.String(), name), nil
			}
		})
	}
	// kubectl lists first. What is new after that shows that the watch is open.
	if err := shows("listed"); err != nil {
		return err
	}
	if _, err := d.run(ctx, d.admin, `kubectl create configmap seen -n team-a`); err != nil {
		return err
	}
	if err := shows("seen"); err != nil {
		return err
	}
	if _, err := d.run(ctx, d.alice, `kubectl pat revoke my-laptop --yes`); err != nil {
		return err
	}
	revoked := time.Now()
	select {
	case exit := <-ended:
		d.show(out.String())
		if ctx.Err() != nil || !strings.Contains(out.String(), "Failure") {
			return errors.Join(errors.New("expected the watch to end as an error, which kubectl shows as a Status"), exit)
		}
		d.say("the watch ended %d ms after kubectl pat revoke did, and as an error: nobody takes it for complete", max(0, time.Since(revoked).Milliseconds()))
	case <-ctx.Done():
		return fmt.Errorf("expected the revocation to end the watch within %v", watchLimit)
	}
	d.say("a shell (kubectl exec) ends in the same way, and says why; this cluster has no kubelet to show it")
	return d.refused(ctx, person{"alice, by the proxy", filepath.Join(d.cluster.Dir, "laptop.kubeconfig")}, `kubectl get pods`, "no valid personal access token was sent")
}

// output is what a command prints, to be read while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
