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
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

func TestKubeconfigHasTheClusterAndNoCredential(t *testing.T) {
	pat, plaintext := holderMade(t, 7)
	const warning = "Warning: %s is an address of this machine or network, which a holder elsewhere cannot reach: give another one with --server URL"
	for name, tc := range map[string]struct {
		cluster string
		args    []string
		want    string // the cluster
		name    string
		warns   []string
	}{
		"with a CA in a file": {cluster: "server: https://api.example.com:6443\ncertificate-authority: ca.crt\ntls-server-name: kubernetes.example.com",
			want: "certificate-authority-data: dGhlIENB\nserver: https://api.example.com:6443\ntls-server-name: kubernetes.example.com"},
		"with a CA inside, and a proxy": {cluster: "server: https://api.example.com/k8s\ncertificate-authority-data: dGhlIENB\nproxy-url: https://proxy.example.com:3128",
			want: "certificate-authority-data: dGhlIENB\nproxy-url: https://proxy.example.com:3128\nserver: https://api.example.com/k8s"},
		"without a CA": {cluster: "server: https://api.example.com", want: "server: https://api.example.com"},
		"not verified": {cluster: "server: https://api.example.com\ninsecure-skip-tls-verify: true",
			want:  "insecure-skip-tls-verify: true\nserver: https://api.example.com",
			warns: []string{"Warning: insecure-skip-tls-verify is set, as in your kubeconfig: the holder sends the token to any server that answers at https://api.example.com"}},
		"for another address": {cluster: "server: https://127.0.0.1:6443", args: []string{"--server", "https://api.example.com", "--cluster-name", "theirs"},
			want: "server: https://api.example.com", name: "theirs"},
		"of this machine": {cluster: "server: https://127.0.0.1:6443", want: "server: https://127.0.0.1:6443",
			warns: []string{strings.Replace(warning, "%s", "https://127.0.0.1:6443", 1)}},
		"by a proxy of this network": {cluster: "server: https://api.example.com\nproxy-url: http://10.0.0.1:3128",
			want:  "proxy-url: http://10.0.0.1:3128\nserver: https://api.example.com",
			warns: []string{"Warning: the proxy http://10.0.0.1:3128 is an address of this machine or network, which a holder elsewhere cannot reach"}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, interceptor.Funcs{}, pat)
			tr.In = strings.NewReader(plaintext)
			t.Setenv("KUBECONFIG", kubeconfigWith(t, tc.cluster))
			tr.run(t.Context(), t, exitOK, append([]string{"kubeconfig", "ci"}, tc.args...)...)
			name := tc.name
			if name == "" {
				name = "prod"
			}
			want := `apiVersion: v1
clusters:
- cluster:
    ` + strings.ReplaceAll(tc.want, "\n", "\n    ") + `
  name: ` + name + `
contexts:
- context:
    cluster: ` + name + `
    namespace: team-a
    user: ci
  name: ci@` + name + `
current-context: ci@` + name + `
kind: Config
users:
- name: ci
  user:
    token: ` + plaintext + `
`
			got := strings.Replace(tr.out.String(), "preferences: {}\n", "", 1)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got, want := strings.TrimSpace(tr.errOut.String()), strings.Join(tc.warns, "\n"); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if _, err := clientcmd.Load(tr.out.Bytes()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestKubeconfigRefuses(t *testing.T) {
	pat, plaintext := holderMade(t, 7)
	_, foreign := tokenOf(t, 8)
	const (
		cluster = "server: https://api.example.com"
		gone    = ". The token from standard input is not printed; if it is lost, run: kubectl pat rotate ci -n team-a"
		byProxy = "the proxy-url of your kubeconfig contains a user name or password, which would be in the holder's: give a kubeconfig with --kubeconfig whose proxy-url has neither and works for the holder"
	)
	for name, tc := range map[string]struct {
		cluster, in string
		args        []string
		code        int
		want        string
	}{
		"another's token":     {in: foreign, code: exitError, want: "this is token baeaqcaibaeaqcai, but team-a/ci has a4dqobyha4dqobyh: kubectl pat find shows where it belongs" + gone},
		"another with its ID": {in: forge(t, plaintext), code: exitError, want: "this token has the ID of the token of team-a/ci, but differs from it" + gone},
		"a proxy's password":  {cluster: cluster + "\nproxy-url: http://me:hunter2@proxy.example.com:3128", in: plaintext, code: exitUsage, want: byProxy},
		"a proxy's user":      {cluster: cluster + "\nproxy-url: socks5://me@proxy.example.com:3128", in: plaintext, code: exitUsage, want: byProxy},
		"no token":            {in: "hunter2", code: exitError, want: "standard input does not hold a personal access token, which has 74 characters and begins with kubepat_: was all of it copied?"},
		"a token cut off":     {in: plaintext[:73], code: exitError, want: "standard input does not hold a personal access token, which has 74 characters and begins with kubepat_: was all of it copied?"},
		"no TLS":              {cluster: "server: http://api.example.com", in: plaintext, code: exitError, want: errNoTLS.Error()},
		"no TLS for them":     {in: plaintext, args: []string{"--server", "http://api.example.com"}, code: exitError, want: errNoTLS.Error()},
		"a name in the address": {in: plaintext, args: []string{"--server", "https://me:hunter2@api.example.com"}, code: exitUsage,
			want: "the API server's address contains a user name, which would be in the kubeconfig: give another address with --server URL"},
		"a token as a path": {args: []string{"--token-path", plaintext}, code: exitUsage, want: errTokenGiven.Error()},
		"a token as a file": {args: []string{"--token-file", plaintext}, code: exitUsage, want: errTokenGiven.Error()},
		"two sources":       {args: []string{"--token-path", "a", "--decrypt"}, code: exitUsage, want: "give either --decrypt or --token-path, not both"},
		"three sources":     {args: []string{"--token-path", "a", "--decrypt", "--token-file", "b"}, code: exitUsage, want: "give either --decrypt or --token-file, not both"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, interceptor.Funcs{}, pat)
			tr.In = strings.NewReader(tc.in)
			if tc.cluster == "" {
				tc.cluster = cluster
			}
			t.Setenv("KUBECONFIG", kubeconfigWith(t, tc.cluster))
			file := filepath.Join(t.TempDir(), "out")
			tr.run(t.Context(), t, tc.code, append([]string{"kubeconfig", "ci", "-o", file}, tc.args...)...)
			tr.errs(t, "error: "+tc.want)
			if _, err := os.Stat(file); err == nil || tr.out.Len() > 0 {
				t.Errorf("something is written: %v %s", err, tr.out)
			}
			if strings.Contains(tr.errOut.String(), "hunter2") || strings.Contains(tr.errOut.String(), plaintext[25:50]) {
				t.Errorf("standard error has a secret: %s", tr.errOut)
			}
		})
	}
}

// The operator may be slower than the pipe, which may be the only place that has the token.
func TestKubeconfigOfATokenThatIsNotIssuedYet(t *testing.T) {
	pat, plaintext := holderMade(t, 7)
	pat.Status = v1alpha1.PersonalAccessTokenStatus{}
	t.Run("its own", func(t *testing.T) {
		tr := newTrial(t, interceptor.Funcs{}, pat)
		tr.In = strings.NewReader(plaintext)
		t.Setenv("KUBECONFIG", kubeconfigWith(t, "server: https://api.example.com"))
		tr.run(t.Context(), t, exitOK, "kubeconfig", "pat/ci")
		tr.errs(t, "Warning: the token is not active yet: the operator has not processed it yet; is it running?")
		if !strings.Contains(tr.out.String(), "token: "+plaintext) {
			t.Errorf("standard output: %s", tr.out)
		}
	})
	t.Run("another with its ID", func(t *testing.T) {
		tr := newTrial(t, interceptor.Funcs{}, pat)
		tr.In = strings.NewReader(forge(t, plaintext))
		t.Setenv("KUBECONFIG", kubeconfigWith(t, "server: https://api.example.com"))
		tr.run(t.Context(), t, exitError, "kubeconfig", "ci")
		if !strings.HasPrefix(tr.errOut.String(), "error: this token has the ID of the token of team-a/ci, but differs from it. The token from standard input ") {
			t.Errorf("standard error: %s", tr.errOut)
		}
	})
}

func TestKubeconfigOpensTheOutputFirst(t *testing.T) {
	pat, plaintext := holderMade(t, 7)
	tr := newTrial(t, interceptor.Funcs{}, pat)
	in := strings.NewReader(plaintext)
	tr.In = in
	t.Setenv("KUBECONFIG", kubeconfigWith(t, "server: https://api.example.com"))
	file := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(file, []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	tr.run(t.Context(), t, exitError, "kubeconfig", "ci", "-o", file)
	tr.errs(t, "error: --output: "+file+" already exists and is not overwritten: choose another name, or remove the file first")
	if in.Len() != len(plaintext) {
		t.Error("standard input was read")
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "theirs" {
		t.Errorf("the file is now %q: %v", text, err)
	}
}

func TestReachable(t *testing.T) {
	for host, want := range map[string]bool{
		"api.example.com": true, "8.8.8.8": true, "2001:4860:4860::8888": true, "api.example.com.": true,
		"localhost": false, "kubernetes": false, "kubernetes.default.svc": false, "x.cluster.local": false, "mac.local": false,
		"docker.internal": false, "foo.localhost": false, "LOCALHOST.": false,
		"127.0.0.1": false, "10.1.2.3": false, "192.168.0.1": false, "172.16.0.1": false, "100.64.1.1": false, "169.254.1.1": false,
		"0.0.0.0": false, "::1": false, "fd00::1": false, "fe80::1": false, "": false,
	} {
		if got := reachable(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}

// Wrong usage changes nothing, is exit code 2, and shows no token.
func TestUsageOfReadingCommands(t *testing.T) {
	_, plaintext := tokenOf(t, 7)
	for args, want := range map[string]string{
		"describe":                                  "kubectl pat describe takes one NAME or more, and none was given; see kubectl pat describe --help",
		"describe a -o wide":                        "--output \"wide\" is not one of json, yaml, name, custom-columns=NAME:.PATH,..., jsonpath='{.PATH}' or go-template='{{.PATH}}', each also of a file, as in jsonpath-file=FILE",
		"describe a " + plaintext:                   errTokenGiven.Error(),
		"describe KUBEPAT_x":                        errTokenGiven.Error(),
		"decrypt":                                   "kubectl pat decrypt takes one NAME, and 0 were given; see kubectl pat decrypt --help",
		"decrypt a b":                               "kubectl pat decrypt takes one NAME, and 2 were given; see kubectl pat decrypt --help",
		"decrypt a -f b":                            "give either a NAME or -f FILE, not both",
		"decrypt a -i b --copy=1 --x":               "unknown flag: --x; see kubectl pat decrypt --help",
		"decrypt " + plaintext:                      errTokenGiven.Error(),
		"whoami a":                                  "kubectl pat whoami takes no arguments, and 1 were given; see kubectl pat whoami --help",
		"whoami -o wide":                            `--output "wide" is not one of json, yaml`,
		"whoami " + plaintext:                       errTokenGiven.Error(),
		"whoami --token-file " + plaintext:          errTokenGiven.Error(),
		"whoami --token a --token-file b":           "give either --token or --token-file, not both",
		"find aaaaaaaaaaaaaaaa":                     "kubectl pat find takes no arguments: pass the token, ID or text on standard input, as in kubectl pat find < FILE",
		"find " + plaintext:                         errTokenGiven.Error(),
		"find -A -n a":                              "give either --all-namespaces or --namespace, not both",
		"find -o name":                              "-o name prints no namespaces: give one with -n NAMESPACE, or use -o json",
		"find -A -o name":                           "-o name prints no namespaces: give one with -n NAMESPACE, or use -o json",
		"find -o wide":                              `--output "wide" is not one of json, yaml, name`,
		"kubeconfig":                                "kubectl pat kubeconfig takes one NAME, and 0 were given; see kubectl pat kubeconfig --help",
		"kubeconfig a -i b":                         "-i works only with --decrypt: add --decrypt",
		"kubeconfig a -o json":                      "-o is the file to write, argocd or terraform, and a kubeconfig is always YAML; for a file of this name use -o ./json",
		"kubeconfig a -o argocd=":                   "-o argocd= names no file: give one, as in -o argocd=argocd.secret, or leave = out",
		"kubeconfig a -o terraform --token-path b":  "-o terraform contains the token, which --token-path does not give: use --token-file FILE",
		"kubeconfig a --embed-token --token-path b": "--embed-token needs the token, which --token-path does not give: use --token-file FILE",
		"kubeconfig a --check --token-path b":       "--check needs the token, which --token-path does not give: use --token-file FILE",
		"kubeconfig a --server-ca b":                "--server-ca works only with --server: add --server URL",
		"kubeconfig a --no-proxy --server b":        "give either --no-proxy or --server, not both",
		"kubeconfig " + plaintext:                   errTokenGiven.Error(),
	} {
		t.Run(strings.ReplaceAll(args, plaintext, "TOKEN"), func(t *testing.T) {
			tr := newTrial(t, interceptor.Funcs{})
			tr.run(t.Context(), t, exitUsage, strings.Fields(args)...)
			if got, want := tr.errOut.String(), "error: "+want+"\n"; got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			if tr.out.Len() > 0 {
				t.Errorf("standard output: %s", tr.out)
			}
		})
	}
}
