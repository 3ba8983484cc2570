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
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/internal/scope"
)

const (
	somebodysKey = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
	hardwareKey  = "sk-ssh-ed25519@openssh.com AAAAGnNr"
)

// lines are valid command lines, to which the test adds a flag.
var lines = map[string][]string{
	"create": {"ci"}, "generate": {"ci", "--token-file=TEMP/manifests"}, "describe": {"ci"}, "rotate": {"ci"}, "suspend": {"ci"}, "resume": {"ci"},
	"revoke": {"--yes", "ci"}, "decrypt": {"ci", "--identity=TEMP/identity"}, "kubeconfig": {"ci"}, "scopes": nil, "can-i": {"ci", "get", "pods"}, "list": nil, "find": nil, "whoami": nil, "help": nil, "setup": nil, "doctor": nil,
	"policies": nil, "offboard": {"--yes", "alice"},
}

// tries has, for each flag or each flag of a command, valid values and values that can never work. Other flags that it needs
// precede a value.
var tries = map[string]struct{ good, bad []string }{
	"apiserver-certificate": {[]string{"--apiserver-key=/a.key /a.crt"}, []string{"", "/a.crt", "--apiserver-key=/a.key a.crt"}},
	"apiserver-key":         {[]string{"--apiserver-certificate=/a.crt /a.key"}, []string{"", "/a.key", "--apiserver-certificate=/a.crt a.key"}},
	"dir":                   {[]string{"--output=files TEMP/files"}, []string{"", "TEMP/files"}},
	"distribution":          {[]string{"kubeadm", "talos", "eks", "other"}, []string{"", "openshift", "KIND"}},
	"doctor output":         {[]string{"", "json"}, []string{"xml", "yaml"}},
	"endpoint":              {[]string{"https://10.96.0.20", "https://[fd00::a]:8443", "https://pat.example.com/authenticate"}, []string{"", "10.96.0.20", "http://10.96.0.20", "https://10.0.0.300", "https://a/b", "https://a?b"}},
	"make-token":            {[]string{"true", "false"}, []string{"", "maybe"}},
	"new-ca":                {[]string{"--endpoint=https://10.96.0.20 --dir=TEMP/ca true", "false"}, []string{"", "maybe", "true", "--endpoint=https://10.96.0.20 true", "--endpoint=https://10.96.0.20 --dir=TEMP/ca --output=json true"}},
	"node-dir":              {[]string{"/etc/pat"}, []string{"", "etc", "/etc/../pat", "/a b", "/$(x)"}},
	"operator-namespace":    {[]string{"pat-operator-system"}, []string{"", "A", "a b"}},
	"setup scopes":          {[]string{"true", "false"}, []string{"", "maybe"}},
	"setup output":          {[]string{"", "json", "--dir=TEMP/files files"}, []string{"xml", "files"}},
	"all-namespaces":        {[]string{"true", "false"}, []string{"", "maybe"}},
	"revoke all-namespaces": {[]string{"false"}, []string{"", "true", "maybe"}}, // true goes with --user
	"audience":              {[]string{"https://vault.example.com"}, []string{""}},
	"cluster-name":          {[]string{"prod"}, []string{""}},
	"copy":                  {[]string{"false"}, []string{"", "maybe"}},
	"decrypt":               {[]string{"true", "false"}, []string{"", "maybe"}},
	"display-name":          {[]string{"Build agent", "Müller & Söhne"}, []string{"", strings.Repeat("x", 129), "a\tb", "a\nb", "a\u202eb"}},
	"dry-run":               {[]string{"none", "server"}, []string{"", "client", "true"}},
	"create dry-run":        {[]string{"none", "client", "server"}, []string{"", "true"}},
	"offboard dry-run":      {[]string{"none", "client", "server"}, []string{"", "true", "--undo client"}},
	"delete":                {[]string{"true", "false"}, []string{"", "maybe", "--undo true", "--output=name true"}},
	"undo":                  {[]string{"true", "false"}, []string{"", "maybe", "--delete true"}},
	"offboard reason":       {[]string{"Left the company"}, []string{"", "--undo Left", "a\tb", "a\u202eb", strings.Repeat("x", maxReason+1)}},
	"policies output":       {[]string{"", "json", "yaml", "name", "jsonpath={.items}", "custom-columns=A:.b"}, []string{"xml", "wide", "custom-columns=A"}},
	"offboard output":       {[]string{"", "json", "yaml", "name"}, []string{"xml", "wide"}},
	"policy":                {[]string{"contractors"}, []string{""}},
	"expires-in":            {[]string{"90d", "12h", "1d12h", "1h30m", "90", "3w", "1y"}, []string{"", "0", "0d", "-1d", "4000d", "11y", "500ms", "1.5y", "90x"}},
	"expiring-within":       {[]string{"7d", "12h", "7", "1w"}, []string{"", "7x", "-7d", "soon"}},
	"filename":              {nil, []string{""}},
	"for":                   {[]string{"alice", "system:serviceaccount:team-a:ci"}, []string{""}},
	"group":                 {[]string{"--for=alice developers"}, []string{"--for=alice ", "developers"}},
	"identity":              {[]string{"TEMP/identity"}, []string{""}},
	"kubeconfig identity":   {[]string{"--decrypt TEMP/identity"}, []string{"", "TEMP/identity"}},
	"keep":                  {[]string{"true", "false"}, []string{"", "maybe"}},
	"manifest":              {[]string{"TEMP/manifest"}, []string{""}},
	"no-headers":            {[]string{"true", "false"}, []string{"", "maybe"}},
	"output":                {[]string{"json", "yaml"}, []string{"xml", "JSON"}},
	"create output":         {[]string{"token", "json", "yaml", "--copy name"}, []string{"", "wide", "name"}},
	"rotate output":         {[]string{"token", "json", "yaml", "--copy name"}, []string{"", "wide"}},
	"list output":           {[]string{"", "wide", "json", "yaml", "name", "jsonpath={.items}", "custom-columns=A:.b"}, []string{"xml", "jsonpath", "jsonpath={", "custom-columns=A"}},
	"describe output":       {[]string{"", "json", "yaml", "name", "jsonpath={.spec}", "go-template={{.spec}}"}, []string{"xml", "wide", "go-template={{"}},
	"ignore-not-found":      {[]string{"true", "false"}, []string{"", "maybe"}},
	"selector":              {[]string{"team=mail", "team in (mail,web)"}, []string{"", "a=b=c", "a in b"}},
	"watch":                 {[]string{"true", "false"}, []string{"", "maybe"}},
	"find output":           {[]string{"", "json", "yaml", "--namespace=team-a name"}, []string{"wide", "name"}},
	"check":                 {[]string{"true", "false"}, []string{"", "maybe"}},
	"embed-token":           {[]string{"true", "false"}, []string{"", "maybe"}},
	"no-proxy":              {[]string{"true", "false"}, []string{"", "maybe", "--server=https://api.example.com true"}},
	"server-ca":             {[]string{"--server=https://pat.example.com public"}, []string{"", "public"}},
	"kubeconfig output":     {[]string{"TEMP/kubeconfig", "-", "./json", "argocd", "terraform", "argocd=TEMP/secret", "terraform=TEMP/cluster.auto.tfvars.json"}, []string{"", "json", "yaml", "name", "argocd="}},
	"overlap":               {[]string{"24h", "7d", "0", "0s"}, []string{"", "24", "-1h", "367d"}},
	"in":                    {[]string{"team-b"}, []string{"", "Team B"}},
	"from":                  {[]string{"203.0.113.0/24", "203.0.113.7/32,2001:db8::/32", "::/0"}, []string{"", "203.0.113.7", "203.0.113.7/24", "203.0.113.0/24,", "office", "::ffff:203.0.113.0/120"}},
	"read-only":             {[]string{"true", "false"}, []string{"", "maybe", "--scope=metrics true"}},
	"scope":                 {[]string{"read-only", "ci-deploy -n team-a", scope.Example, "get /metrics", "--audience=https://api.example.com api:mail.send"}, []string{"", "everything", "get", "get deployments", "get pod", "api:mail.send", "get pods --namespaces team-a"}},
	"scopes output":         {[]string{""}, []string{"yaml", "clusterrole"}}, // with a preset, see TestScopes
	"reason":                {[]string{"--keep in a log"}, []string{"--keep ", "in a log", "--keep " + strings.Repeat("x", maxReason+1)}},
	"recipient":             {[]string{somebodysKey, "@TEMP/recipients"}, []string{"", "nonsense", hardwareKey, "@TEMP/empty"}},
	"retire-on-first-use":   {[]string{"--overlap=24h true", "false"}, []string{"", "maybe"}},
	"server":                {[]string{"https://api.example.com:6443", "https://10.0.0.30"}, []string{"", "https://10.0.0.300", "https://a_b"}},
	"sort-by":               {[]string{"name", "expires", "created", "modified", "last-used"}, []string{"", "age"}},
	"timeout":               {[]string{"30s", "1m"}, []string{"", "30", "0s", "-1s", "forever"}},
	"token-file":            {[]string{"TEMP/new/COMMAND"}, []string{""}},
	"whoami token-file":     {[]string{"TEMP/token", "-"}, []string{""}},
	"kubeconfig token-file": {[]string{"TEMP/token", "-"}, []string{""}},
	"token-id":              {[]string{"--keep k3xq5v7c2mzr4nbd"}, []string{"--keep ", "k3xq5v7c2mzr4nbd", "--keep K3XQ5V7C2MZR4NBD", "--keep x"}},
	"token-path":            {[]string{"/var/run/secrets/token"}, []string{""}},
	"uid":                   {[]string{"--for=alice 4711"}, []string{"--for=alice ", "4711"}},
	"unused-for":            {[]string{"30d", "30"}, []string{"", "30x", "never"}},
	"user":                  {[]string{"alice"}, []string{""}},
	"revoke user":           {nil, []string{"", "alice"}}, // it goes without a name
	"wait":                  {[]string{"true", "false"}, []string{"", "maybe"}},
	"yes":                   {[]string{"true", "false"}, []string{"", "maybe"}},
}

// Each flag accepts the values in its help. The error for a value that can never work names the flag and, unless it is empty or
// conflicts with another flag, a value that works.
func TestCase60_EachFlagOfEachCommand(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	if err := os.Mkdir(filepath.Join(dir, "new"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"token": madeToken, "recipients": somebodysKey, "empty": "# nothing\n",
		"identity": "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	used := map[string]bool{}
	for _, cmd := range newRootCommand(newTrial(t, interceptor.Funcs{}).Environment).Commands() {
		name := cmd.Name()
		line, ok := lines[name]
		if !ok {
			t.Errorf("no line of %s is known", name)
		}
		cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "help" {
				return
			}
			which := f.Name
			if _, ok := tries[name+" "+f.Name]; ok {
				which = name + " " + f.Name
			}
			used[which] = true
			values, ok := tries[which]
			if !ok {
				t.Errorf("no value of %s --%s is tried", name, f.Name)
			}
			try := func(value string, code int) string {
				t.Helper()
				args := []string{name}
				for _, arg := range line {
					if !strings.HasPrefix(arg, "--"+f.Name) {
						args = append(args, arg)
					}
				}
				for strings.HasPrefix(value, "--") {
					var with string
					with, value, _ = strings.Cut(value, " ")
					args = append(args, with)
				}
				args = append(args, "--"+f.Name+"="+value)
				for i := range args {
					args[i] = strings.NewReplacer("TEMP", dir, "COMMAND", name).Replace(args[i])
				}
				tr := newTrial(t, interceptor.Funcs{})
				tr.Connect = func(genericclioptions.RESTClientGetter, io.Writer) (client.WithWatch, error) {
					return nil, errors.New("no cluster")
				}
				t.Setenv("KUBECONFIG", kubeconfigWith(t, "server: https://api.example.com"))
				tr.In = strings.NewReader(madeToken)
				got := Run(t.Context(), tr.Environment, args)
				if (got == exitUsage) != (code == exitUsage) {
					t.Errorf("kubectl pat %q: exit code %d\n%s", args, got, tr.errOut)
				}
				return tr.errOut.String()
			}
			for _, value := range values.good {
				try(value, exitOK)
			}
			for _, value := range values.bad {
				said := try(value, exitUsage)
				if !strings.Contains(said, "--"+f.Name) && !strings.Contains(said, "-"+f.Shorthand+" ") {
					t.Errorf("kubectl pat %s --%s=%s: it does not name the flag: %s", name, f.Name, value, said)
				}
			}
		})
	}
	for which := range tries {
		if !used[which] {
			t.Errorf("%s is tried, but does not exist", which)
		}
	}
}
