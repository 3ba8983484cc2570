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

// Package doctor finds out whether an installation works, with the rights of the user who asks. It says of each thing that it is
// well, that it is not and what to do, or that it could not look. It never takes the last for the first.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/proxyconfig"
)

// Result is how a check ended.
type Result string

// The results.
const (
	OK     Result = "ok"
	Failed Result = "failed"
	// Due is nothing wrong yet.
	Due Result = "due"
	// Unchecked is that the doctor could not look. It is never OK.
	Unchecked Result = "unchecked"
)

// Finding is what one check has found.
type Finding struct {
	// Check is what was looked at, such as "kube-apiserver 10.0.0.1:6443".
	Check   string `json:"check"`
	Result  Result `json:"result"`
	Message string `json:"message"`
	// Fix is what to do next; empty for what is well.
	Fix string `json:"fix,omitempty"`
}

// Options of a check-up.
type Options struct {
	// Config is the user's way to the API server, Client a client with it.
	Config *rest.Config
	Client client.WithWatch
	// OperatorNamespace is where pat-operator is.
	OperatorNamespace string
	// Namespace is where a token is made, in a dry run or with MakeToken.
	Namespace string
	// MakeToken lets a token be made, used and revoked, to measure how long kube-apiserver takes a revoked token.
	MakeToken bool
	// Version of the plugin.
	Version string
	Clock   clock.PassiveClock
	Random  io.Reader
	// Progress is told what takes long.
	Progress func(format string, args ...any)
}

// Run makes every check. The error is that of a doctor who could do nothing.
func Run(ctx context.Context, o Options) ([]Finding, error) {
	d := &doctor{Options: o}
	d.checkProxy(ctx)
	d.checkAPI(ctx)
	if err := d.askServers(ctx); err != nil {
		return nil, err
	}
	d.checkAdmission(ctx)
	d.checkWorkloads(ctx)
	d.checkCA(ctx)
	d.checkVersions(ctx)
	d.checkScopes(ctx)
	if o.MakeToken {
		d.measure(ctx)
	}
	for i, f := range d.findings {
		d.findings[i].Fix = strings.ReplaceAll(f.Fix, "NAMESPACE", o.OperatorNamespace)
	}
	return d.findings, nil
}

// Passed reports whether nothing has failed and whether kube-apiserver itself or the proxy was asked: of what the doctor did not
// see, nobody should think that it works.
func Passed(findings []Finding) bool {
	asked := false
	for _, f := range findings {
		if f.Result == Failed {
			return false
		}
		asked = asked || f.Result == OK && (strings.HasPrefix(f.Check, serverCheck) || strings.HasPrefix(f.Check, proxyAtCheck))
	}
	return asked
}

// Count returns how many findings have one of these results.
func Count(findings []Finding, results ...Result) int {
	n := 0
	for _, f := range findings {
		if slices.Contains(results, f.Result) {
			n++
		}
	}
	return n
}

type doctor struct {
	Options
	findings []Finding
	// servers are those that have answered.
	servers []*server
	// scoped reports that each of them enforces the scopes of tokens.
	scoped bool
	// proxy is one that works; nil without one.
	proxy *proxyconfig.Config
}

func (d *doctor) add(result Result, check, message, fix string) {
	d.findings = append(d.findings, Finding{check, result, message, fix})
}

func (d *doctor) ok(check, format string, args ...any) {
	d.add(OK, check, fmt.Sprintf(format, args...), "")
}

// unread says of a failed read what follows: the object does not exist, or nobody knows.
func (d *doctor) unread(check, what string, err error, fix string) {
	switch {
	case apierrors.IsNotFound(err):
		d.add(Failed, check, what+" does not exist", fix)
	case apierrors.IsForbidden(err):
		d.add(Unchecked, check, "you may not read "+what, "ask a cluster administrator")
	default:
		d.add(Unchecked, check, fmt.Sprintf("cannot read %s: %v", what, err), "try again")
	}
}

var errNoServer = errors.New("no kube-apiserver answers")
