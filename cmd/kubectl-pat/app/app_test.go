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

package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/meta/testrestmapper"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
)

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// madeToken is the token of randomness that is all zeros.
const madeToken = "kubepat_aaaaaaaaaaaaaaaa_0000000000000000000000000000000000000000000"

// trial is a run of the plugin against a fake cluster.
type trial struct {
	Environment
	client      client.WithWatch
	out, errOut *bytes.Buffer
}

func newTrial(t *testing.T, hooks interceptor.Funcs, pats ...*v1alpha1.PersonalAccessToken) *trial {
	t.Helper()
	t.Setenv("KUBECONFIG", "/dev/null")
	builder := fake.NewClientBuilder().WithScheme(kinds).WithRESTMapper(mapper).
		WithStatusSubresource(&v1alpha1.PersonalAccessToken{}).WithInterceptorFuncs(hooks).
		WithIndex(&v1alpha1.PersonalAccessToken{}, "spec.user.username", func(o client.Object) []string {
			return []string{holder.Username(o.(*v1alpha1.PersonalAccessToken))}
		})
	for _, pat := range pats {
		builder.WithObjects(pat)
	}
	c := builder.Build()
	streams, _, out, errOut := genericiooptions.NewTestIOStreams()
	return &trial{
		Environment: Environment{
			IOStreams: streams,
			Clock:     clocktesting.NewFakePassiveClock(start),
			Random:    zeros{},
			Version:   "test",
			Width:     func(io.Writer) int { return 0 },
			Connect:   func(genericclioptions.RESTClientGetter, io.Writer) (client.WithWatch, error) { return c, nil },
			Resources: func(genericclioptions.RESTClientGetter) (meta.RESTMapper, error) {
				return testrestmapper.TestOnlyStaticRESTMapper(scheme.Scheme), nil
			},
		},
		client: c, out: out, errOut: errOut,
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// run expects an exit code; out and errOut have the output.
func (tr *trial) run(ctx context.Context, t *testing.T, code int, args ...string) {
	t.Helper()
	tr.out.Reset()
	tr.errOut.Reset()
	if got := Run(ctx, tr.Environment, args); got != code {
		t.Errorf("kubectl pat %s: exit code %d; want %d\n%s", strings.Join(args, " "), got, code, tr.errOut)
	}
}

// errs expects the last line of standard error to be want.
func (tr *trial) errs(t *testing.T, want string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(tr.errOut.String(), "\n"), "\n")
	if got := lines[len(lines)-1]; got != want {
		t.Errorf("standard error ends with\n%s\nwant\n%s", got, want)
	}
}

// operator makes the fake cluster process each new resource like the operator, as soon as a client watches.
func operator(conditions ...metav1.Condition) interceptor.Funcs {
	var made *v1alpha1.PersonalAccessToken
	return interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			pat := o.(*v1alpha1.PersonalAccessToken)
			if pat.Spec.User == nil {
				pat.Spec.User = &v1alpha1.UserInfo{Username: "alice"}
			}
			err := c.Create(ctx, o, opts...)
			made = pat.DeepCopy()
			return err
		},
		Watch: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) (w watch.Interface, err error) {
			if w, err = c.Watch(ctx, list, opts...); err != nil {
				return nil, err
			}
			made.Status.Conditions = conditions
			return w, c.Status().Update(ctx, made)
		},
	}
}

var (
	isReady   = metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReconciled}
	isActive  = metav1.Condition{Type: v1alpha1.ConditionActive, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonActive}
	isIssuing = metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonIssuing, Message: "Wait."}
	isStalled = metav1.Condition{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonEndedTokensFull, Message: "Too many\x1b[31m."}
)

func withConditions(generation int64, conditions ...metav1.Condition) *v1alpha1.PersonalAccessToken {
	pat := &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "ci", Generation: generation}}
	for _, c := range conditions {
		if c.ObservedGeneration == 0 {
			c.ObservedGeneration = generation
		}
		pat.Status.Conditions = append(pat.Status.Conditions, c)
	}
	return pat
}

// Wrong usage changes nothing, is exit code 2, and says in one line what is right.
func TestUsage(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"unknown command":          {[]string{"forge"}, `unknown command "forge"; see kubectl pat --help`},
		"misspelt command":         {[]string{"crate", "x"}, `unknown command "crate"; did you mean create? See kubectl pat --help`},
		"kubectl's delete":         {[]string{"delete", "x"}, `unknown command "delete"; did you mean revoke? See kubectl pat --help`},
		"kubectl's get":            {[]string{"get"}, `unknown command "get"; did you mean describe or list? See kubectl pat --help`},
		"version":                  {[]string{"version"}, `unknown command "version"; did you mean --version? See kubectl pat --help`},
		"renew":                    {[]string{"renew", "x"}, `unknown command "renew"; did you mean rotate? See kubectl pat --help`},
		"help of nothing":          {[]string{"help", "lst"}, `unknown command "lst"; did you mean list? See kubectl pat --help`},
		"help of too much":         {[]string{"help", "list", "mine"}, `unknown command "list mine"; see kubectl pat --help`},
		"help of a hostile word":   {[]string{"help", "a\x1b[2J"}, `unknown command "a\x1b[2J"; see kubectl pat --help`},
		"unknown flag":             {[]string{"create", "x", "--life=1d"}, `unknown flag: --life; see kubectl pat create --help`},
		"user is not for":          {[]string{"create", "x", "--user=alice"}, `unknown flag: --user; see kubectl pat create --help`},
		"no name":                  {[]string{"create"}, `kubectl pat create takes one NAME, and 0 were given; see kubectl pat create --help`},
		"two names":                {[]string{"generate", "a", "b"}, `kubectl pat generate takes one NAME, and 2 were given; see kubectl pat generate --help`},
		"no name for Kubernetes":   {[]string{"create", "My_Token"}, `"My_Token" is not a valid resource name: use at most 63 of a-z, 0-9, '-' and '.', and put the name for people into --display-name`},
		"a hostile name":           {[]string{"create", "a\x1b[2Jb"}, `"a\x1b[2Jb" is not a valid resource name: use at most 63 of a-z, 0-9, '-' and '.', and put the name for people into --display-name`},
		"too long a name":          {[]string{"create", strings.Repeat("a", 64)}, `"` + strings.Repeat("a", 64) + `" is not a valid resource name: use at most 63 of a-z, 0-9, '-' and '.', and put the name for people into --display-name`},
		"no namespace":             {[]string{"create", "x", "-n", "A b"}, `"A b" is not a valid namespace: use at most 63 of a-z, 0-9 and '-'`},
		"too long a display name":  {[]string{"create", "x", "--display-name", strings.Repeat("ä", 129)}, `--display-name has 129 characters: use at most 128`},
		"a group without a user":   {[]string{"create", "x", "--group=g"}, `--group and --uid describe the user of --for: add --for USER`},
		"no period":                {[]string{"create", "x", "--expires-in=90x"}, `invalid argument "90x" for "--expires-in" flag: a period is a number of days such as 90d, of weeks or years such as 3w or 1y, or of hours, minutes and seconds such as 12h or 1h30m; set it as --expires-in=90d; see kubectl pat create --help`},
		"output of create":         {[]string{"create", "x", "-o", "wide"}, `--output "wide" is not one of token, json, yaml, name`},
		"a dry run":                {[]string{"create", "x", "--dry-run=yes"}, `--dry-run "yes" is not one of none, client, server`},
		"no time":                  {[]string{"create", "x", "--timeout=0s"}, `--timeout 0s is not positive: give a time to wait, such as 30s`},
		"nowhere for the token":    {[]string{"create", "x", "-o", "name"}, `-o name does not print the token, which cannot be shown later: add --token-file FILE or --copy`},
		"two places":               {[]string{"create", "x", "--copy", "--token-file=t"}, `give either --copy or --token-file, not both`},
		"both on one stream":       {[]string{"generate", "x"}, `manifest and token cannot both go to standard output: name a file for the token, which is secret (--token-file FILE), or for the manifest (--manifest FILE)`},
		"output of generate":       {[]string{"generate", "x", "-o", "name"}, `--output "name" is not one of yaml, json`},
		"a user of Kubernetes":     {[]string{"generate", "x", "--for=system:node:a", "--copy"}, `spec.user.username: Forbidden: "system:node:a" is one of Kubernetes' own users, which may have no personal access token; name a person`},
		"output of list":           {[]string{"list", "-o", "token"}, `--output "token" is not one of wide, json, yaml, name, custom-columns=NAME:.PATH,..., jsonpath='{.PATH}' or go-template='{{.PATH}}', each also of a file, as in jsonpath-file=FILE`},
		"a path for list":          {[]string{"list", "-o", "jsonpath={.items"}, "--output: error parsing jsonpath {.items, unclosed action"},
		"no path for list":         {[]string{"list", "-o", "jsonpath"}, "--output: template format specified but no template given"},
		"columns of list":          {[]string{"list", "-o", "custom-columns=NAME"}, "--output: unexpected custom-columns spec: NAME, expected <header>:<json-path-expr>"},
		"a selector for list":      {[]string{"list", "-l", "team=mail=web"}, "--selector: found '=', expected: ',' or 'end of string'; write it as team=mail, or 'team in (mail,web)'"},
		"output of setup":          {[]string{"setup", "-o", "yaml"}, `--output "yaml" is not one of files, json`},
		"files of setup, nowhere":  {[]string{"setup", "-o", "files"}, `--output files needs a folder: add --dir FOLDER`},
		"a folder for a text":      {[]string{"setup", "--dir", "x"}, `--dir works only with --output files or --new-ca`},
		"a CA for nobody":          {[]string{"setup", "--new-ca", "--dir", "x"}, `--new-ca needs --endpoint: nothing is published before the cluster exists; give the address that the verifier will have, as in --endpoint https://10.96.0.20`},
		"a CA nowhere":             {[]string{"setup", "--new-ca", "--endpoint", "https://10.96.0.20"}, `--new-ca needs --dir: add --dir FOLDER for the files`},
		"a key on the screen":      {[]string{"setup", "--new-ca", "--endpoint", "https://10.96.0.20", "--dir", "x", "-o", "json"}, `--new-ca writes files: leave --output out, or give --output files`},
		"no distribution":          {[]string{"setup", "--distribution", "k8s"}, `--distribution "k8s" is not one of kubeadm, kind, k3s, rke2, talos, kops, kubespray, hosted, eks, gke, aks, other`},
		"no endpoint":              {[]string{"setup", "--endpoint", "10.96.0.20"}, `--endpoint must begin with https://, e.g. https://10.96.0.20/authenticate`},
		"no folder of nodes":       {[]string{"setup", "--node-dir", "/a b"}, `--node-dir "/a b" is not an absolute path of letters, digits, '.', '_' and '-', such as /etc/kubernetes/pki/pat-operator`},
		"half a certificate":       {[]string{"setup", "--apiserver-key", "/a"}, `--apiserver-certificate and --apiserver-key go together: set both, or neither`},
		"a certificate's own path": {[]string{"setup", "--apiserver-certificate", "a", "--apiserver-key", "/a"}, `--apiserver-certificate "a" is not an absolute path: kube-apiserver reads it, from a folder of its own`},
		"no namespace of setup":    {[]string{"doctor", "--operator-namespace", "A b"}, `--operator-namespace "A b" is not a valid namespace: use at most 63 of a-z, 0-9 and '-'`},
		"output of doctor":         {[]string{"doctor", "-o", "yaml"}, `--output "yaml" is not one of json`},
		"status is doctor":         {[]string{"status"}, `unknown command "status"; did you mean doctor? See kubectl pat --help`},
		"order of list":            {[]string{"list", "--sort-by", "age"}, `--sort-by "age" is not one of name, created, modified, expires, last-used`},
		"no preset":                {[]string{"create", "x", "--scope=readonly"}, `--scope: "readonly" is not a preset; use read-only, namespace-admin, ci-deploy, metrics, or write a scope like "get,list pods,deployments.apps -n team-a"`},
		"two kinds of scopes":      {[]string{"create", "x", "--read-only", "--scope=metrics"}, `--read-only and --scope: a scope adds to what --read-only allows; if that is what you want, give --scope read-only as well, instead of --read-only`},
		"a resource's group":       {[]string{"create", "x", "--scope=get,patch deployments/scale"}, `--scope: in a scope, deployments/scale is written deployments.apps/scale`},
		"a resource's plural":      {[]string{"generate", "x", "--copy", "--scope=get pod"}, `--scope: in a scope, pod is written pods`},
		"a scope of another API":   {[]string{"create", "x", "--scope=api:mail.send"}, `--scope api:mail.send is for another API: name the API with --audience, as in --audience https://api.example.com`},
		"no such preset":           {[]string{"scopes", "root"}, `"root" is not a preset; use read-only, namespace-admin, ci-deploy, metrics`},
		"two presets":              {[]string{"scopes", "metrics", "read-only"}, `kubectl pat scopes takes at most one PRESET, and 2 were given; see kubectl pat scopes --help`},
		"the role of no preset":    {[]string{"scopes", "-o", "clusterrole"}, `-o clusterrole prints the role of one preset: name it, as in kubectl pat scopes read-only -o clusterrole`},
		"output of scopes":         {[]string{"scopes", "metrics", "-o", "yaml"}, `--output "yaml" is not one of clusterrole`},
		"half a question":          {[]string{"can-i", "ci", "get"}, `kubectl pat can-i takes NAME VERB RESOURCE [OBJECT], as in kubectl pat can-i ci get pods; see kubectl pat can-i --help`},
		"two places of a request":  {[]string{"can-i", "ci", "get", "pods", "-A", "--in=team-b"}, `give either --all-namespaces or --in, not both`},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, interceptor.Funcs{
				Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
					t.Error("something is created")
					return nil
				},
			})
			tr.run(t.Context(), t, exitUsage, tc.args...)
			if got, want := tr.errOut.String(), "error: "+tc.want+"\n"; got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			if tr.out.Len() > 0 {
				t.Errorf("standard output: %s", tr.out)
			}
		})
	}
}

// commandsOf returns all commands below cmd, except those of cobra.
func commandsOf(parent *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	for _, cmd := range parent.Commands() {
		if cmd.Name() != "completion" && cmd.Name() != "help" {
			all = append(append(all, cmd), commandsOf(cmd)...)
		}
	}
	return all
}

func TestHelpOfEveryCommandHasExamples(t *testing.T) {
	tr := newTrial(t, interceptor.Funcs{})
	root := newRootCommand(tr.Environment)
	all := append(commandsOf(root), root)
	if len(all) < 14 {
		t.Errorf("there are %d commands", len(all))
	}
	for _, cmd := range all {
		path := cmd.CommandPath()
		if cmd.Short == "" || cmd.Long == "" || cmd.Example == "" {
			t.Errorf("%s says too little of itself", path)
		}
		if !strings.Contains(cmd.Example, "  "+path+" ") && !strings.Contains(cmd.Example, "$("+path+" ") {
			t.Errorf("no example of %s has it:\n%s", path, cmd.Example)
		}
		tr.run(t.Context(), t, exitOK, append(strings.Fields(path)[2:], "--help")...)
		if got := tr.out.String(); !strings.HasPrefix(got, cmd.Long) || !strings.Contains(got, "\nExamples:\n"+cmd.Example+"\n") || tr.errOut.Len() > 0 {
			t.Errorf("%s --help prints\n%s%s", path, got, tr.errOut)
		}
	}
}

func TestHelpOfTheRoot(t *testing.T) {
	tr := newTrial(t, interceptor.Funcs{})
	tr.Version = "v1.2.3"
	tr.run(t.Context(), t, exitOK)
	help := tr.out.String()
	for _, want := range []string{"\n  create ", "\nFlags:\n  -h, --help", "--version", `-n NAMESPACE, --context NAME, --kubeconfig FILE and all others of "kubectl options"`} {
		if !strings.Contains(help, want) {
			t.Errorf("%q is not in\n%s", want, help)
		}
	}
	for _, wrong := range []string{"--as-group", "--insecure-skip-tls-verify", "Global Flags"} {
		if strings.Contains(help, wrong) {
			t.Errorf("%q is in\n%s", wrong, help)
		}
	}
	for _, args := range [][]string{{"--help"}, {"help"}} {
		tr.run(t.Context(), t, exitOK, args...)
		if diff := cmp.Diff(help, tr.out.String()); diff != "" {
			t.Errorf("%v (-want +got):\n%s", args, diff)
		}
	}
	tr.run(t.Context(), t, exitOK, "list", "--help")
	help = tr.out.String()
	tr.run(t.Context(), t, exitOK, "help", "list")
	if diff := cmp.Diff(help, tr.out.String()); diff != "" {
		t.Errorf("help list (-want +got):\n%s", diff)
	}
}

func TestVersion(t *testing.T) {
	tr := newTrial(t, interceptor.Funcs{})
	for set, want := range map[string]string{"v1.2.3": "^v1[.]2[.]3$", "": "^(v0.*|devel [(]go.+[)])$"} {
		tr.Version = Version(set)
		tr.run(t.Context(), t, exitOK, "--version")
		if got := strings.TrimSuffix(tr.out.String(), "\n"); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%q: got %q; want %s", set, got, want)
		}
	}
}

func TestATokenInTheArgumentsIsNotAFileName(t *testing.T) {
	_, plaintext := tokenOf(t, 7)
	for args, want := range map[string]bool{
		"whoami --token-file kubepat_ci.txt":                                false,
		"whoami --token-file=/home/me/kubepat_ci.txt":                       false,
		"create ci --token-file a=kubepat_ci.txt":                           false,
		"generate ci --token-file kubepat_ci --manifest kubepat_ci.yaml":    false,
		"create ci --recipient @kubepat_vendor.pub":                         false,
		"decrypt -f kubepat_ci.age -i kubepat_key":                          false,
		"kubeconfig ci -o kubepat_ci.yaml --kubeconfig=/home/me/kubepat_me": false,
		"kubeconfig ci --token-path /etc/kubepat_production_cluster.token":  false,
		"--token " + plaintext + " whoami":                                  false,
		"--token=" + plaintext + " whoami":                                  false,

		"whoami --token-file " + plaintext:                      true,
		"whoami --token-file=" + strings.ToUpper(plaintext):     true,
		"whoami --token-file /home/me/" + plaintext:             true,
		"whoami --token-file " + plaintext[:30]:                 true,
		"whoami --token-file " + plaintext[:9] + plaintext[10:]: true, // a letter of its ID is missing
		"create ci --recipient @" + plaintext:                   true,
		"create ci --recipient " + plaintext:                    true,
		"kubeconfig ci -o " + plaintext:                         true,
		"whoami --token-file a kubepat_ci.txt":                  true,
		"whoami --token-file=a kubepat_ci.txt":                  true,
		"revoke KUBEPAT_x":                                      true,
		"revoke ci --keep --reason=kubepat_x":                   true,
		"create ci --display-name kubepat_x":                    true,
		"list --token a " + plaintext:                           true,
		"kubepat_ci.txt":                                        true,
	} {
		if got := tokenAmong(strings.Fields(args)); got != want {
			t.Errorf("%s: %v", args, got)
		}
	}
	for _, cmd := range commandsOf(newRootCommand(newTrial(t, interceptor.Funcs{}).Environment)) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			value, _ := pflag.UnquoteUsage(f)
			listed := slices.Contains(fileFlags, "--"+f.Name) && (f.Shorthand == "" || slices.Contains(fileFlags, "-"+f.Shorthand))
			if (value == "FILE" || value == "PATH") && !listed {
				t.Errorf("--%s of %s takes a file", f.Name, cmd.Name())
			}
		})
	}
}

func TestErrorsWithoutAnOperator(t *testing.T) {
	tr := newTrial(t, interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return apierrors.NewGenericServerResponse(404, "get", v1alpha1.GroupVersion.WithResource("personalaccesstokens").GroupResource(), "", "", 0, true)
		},
	})
	tr.run(t.Context(), t, exitError, "list")
	tr.errs(t, "error: the server could not find the requested resource (get personalaccesstokens.pat-operator.io); pat-operator is not installed on this cluster: install it, or choose another cluster with --context")
}

func TestErrorsWithoutACluster(t *testing.T) {
	refused := &url.Error{Op: "Get", URL: "https://10.0.0.1:6443/apis/x?y", Err: &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}}
	unknown := &url.Error{Op: "Get", URL: "https://api.example.com/apis", Err: &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "api.example.com", IsNotFound: true}}}
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"refused":              {refused, "no cluster answers at https://10.0.0.1:6443: dial tcp: connection refused; is this the right cluster (--context, --kubeconfig)?"},
		"no such host":         {unknown, "no cluster answers at https://api.example.com: dial tcp: lookup api.example.com: no such host; is this the right cluster (--context, --kubeconfig)?"},
		"in another":           {fmt.Errorf("ci: %w", refused), "ci: no cluster answers at https://10.0.0.1:6443: dial tcp: connection refused; is this the right cluster (--context, --kubeconfig)?"},
		"credentials, or none": {apierrors.NewUnauthorized("Unauthorized"), "Unauthorized; the API server does not accept your credentials: they have ended, or they are a personal access token and no verifier answers; for more run kubectl pat whoami"},
	} {
		tr := newTrial(t, interceptor.Funcs{List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error { return tc.err }})
		tr.run(t.Context(), t, exitError, "list")
		if got, want := tr.errOut.String(), "error: "+tc.want+"\n"; got != want {
			t.Errorf("%s: got %s\nwant %s", name, got, want)
		}
	}
	_, plaintext := tokenOf(t, 7)
	for _, args := range [][]string{{"list"}, {"create", "ci"}, {"whoami"}, {"whoami", "--token-file=-"}, {"kubeconfig", "ci"}} {
		tr := newTrial(t, interceptor.Funcs{})
		tr.Connect, tr.In = Connect, strings.NewReader(plaintext)
		tr.run(t.Context(), t, exitError, args...)
		if got, want := tr.errOut.String(), "error: "+errNoCluster.Error()+"\n"; got != want {
			t.Errorf("%v: got %s\nwant %s", args, got, want)
		}
	}
}
