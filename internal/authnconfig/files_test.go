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

package authnconfig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/pat-operator/pat-operator/internal/cacert"
)

const server, serverName = "https://10.96.0.20/authenticate", "pat-operator-verifier.pat-operator-system.svc"

func newCA(t *testing.T) []byte {
	t.Helper()
	cert, _, _, err := cacert.New("ca", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return cacert.Encode(cert)
}

func data(t *testing.T, c Config) map[string]string {
	t.Helper()
	data, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestTheTwoFiles(t *testing.T) {
	first, second := newCA(t), newCA(t)
	// A relative folder that is not there yet, from a working directory of our own.
	t.Chdir(t.TempDir())
	for _, bundle := range [][]byte{first, append(first, second...)} {
		c := Config{Server: "https://pat.example.com:8443/authenticate", ServerName: serverName, Bundle: bundle}
		files, err := c.Files()
		if err != nil {
			t.Fatal(err)
		}
		paths, err := Write("etc/pat", files)
		if err != nil {
			t.Fatal(err)
		}
		caPath, path := paths[0], paths[1]
		if !filepath.IsAbs(path) || filepath.Base(path) != KubeconfigFile || caPath != filepath.Join(filepath.Dir(path), CAFile) {
			t.Errorf("paths %s, %s", path, caPath)
		}
		config, err := clientcmd.BuildConfigFromFlags("", path)
		if err != nil {
			t.Fatal(err)
		}
		if config.Host != c.Server || config.ServerName != serverName || config.CAFile != caPath || len(config.CAData) > 0 {
			t.Errorf("host %s, server name %s, CA file %s, %d bytes of CA data", config.Host, config.ServerName, config.CAFile, len(config.CAData))
		}
		raw, err := clientcmd.LoadFromFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if named := raw.Clusters["pat-operator"].CertificateAuthority; named != CAFile {
			t.Errorf("the kubeconfig names the CA file %s; want %s, which leaves the folder open", named, CAFile)
		}
		if got, err := os.ReadFile(caPath); err != nil || string(got) != string(bundle) {
			t.Errorf("%v; %s holds\n%s", err, caPath, got)
		}
		modes := map[string]os.FileMode{}
		entries, err := os.ReadDir(filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			info, err := entry.Info()
			if err != nil {
				t.Fatal(err)
			}
			modes[entry.Name()] = info.Mode()
		}
		if diff := cmp.Diff(map[string]os.FileMode{KubeconfigFile: 0o644, CAFile: 0o644}, modes); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
	}
	if err := os.WriteFile("file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Write("file", []File{{CAFile, ""}}); err == nil || !strings.Contains(err.Error(), "file") {
		t.Errorf("error = %v", err)
	}
}

// What an administrator takes over from the ConfigMap reaches kube-apiserver, and a shell of root. Its writer, a verifier, gets
// nothing there but an address and CAs.
func TestWhatIsPublishedIsTakenOverInParts(t *testing.T) {
	c := Config{Server: server, ServerName: serverName, Bundle: append(newCA(t), newCA(t)...)}
	got, err := FromData(data(t, c))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, tc := range map[string]struct {
		change func(data map[string]string)
		// want is the error; empty: what was added is not taken over.
		want string
	}{
		"a program to run": {change: func(data map[string]string) {
			data[KeyKubeconfig] = strings.Replace(data[KeyKubeconfig], "user: {}",
				"user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/evil, interactiveMode: Never}}", 1)
		}},
		"a command after the kubeconfig": {change: func(data map[string]string) { data[KeyKubeconfig] += "# \nPAT-OPERATOR\nevil\n" }, want: "its kubeconfig cannot be read"},
		"a command in a comment":         {change: func(data map[string]string) { data[KeyKubeconfig] += "#\n#PAT-OPERATOR evil\n" }},
		"a command after the CA":         {change: func(data map[string]string) { data[KeyCA] += "PAT-OPERATOR\nevil\n" }, want: "its ca.crt is not PEM"},
		"a command before the CA":        {change: func(data map[string]string) { data[KeyCA] = "PAT-OPERATOR\nevil\n" + data[KeyCA] }},
		"no TLS": {change: func(data map[string]string) {
			data[KeyKubeconfig] = strings.Replace(data[KeyKubeconfig], "https://", "http://", 1)
		}, want: "its server must begin with https://"},
		"another line in the address": {change: func(data map[string]string) {
			data[KeyKubeconfig] = strings.Replace(data[KeyKubeconfig], "server: "+server, `server: "https://10.0.0.1/evil\n/authenticate"`, 1)
		}, want: "its server is not a URL"},
		"another line in the name": {change: func(data map[string]string) {
			data[KeyKubeconfig] = strings.Replace(data[KeyKubeconfig], serverName, `"a\nevil"`, 1)
		}, want: "its tls-server-name is not a DNS name"},
		"a name for the shell": {change: func(data map[string]string) {
			data[KeyKubeconfig] = strings.Replace(data[KeyKubeconfig], server, "https://10.0.0.1/$(evil)/authenticate", 1)
		}, want: "its server must have a path of letters"},
		"no context": {change: func(data map[string]string) {
			data[KeyKubeconfig] = strings.Replace(data[KeyKubeconfig], "current-context: pat-operator", "", 1)
		}, want: "its kubeconfig names no cluster"},
		"nothing": {change: func(data map[string]string) { clear(data) }, want: "the ConfigMap pat-operator-authn is empty: no verifier has run, or it cannot write it; see its log"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := data(t, c)
			tc.change(changed)
			got, err := FromData(changed)
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "evil") {
					t.Errorf("got %v; want %s", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			kubeconfig, err := got.Kubeconfig()
			if err != nil || strings.Contains(string(kubeconfig)+string(got.Bundle), "evil") {
				t.Errorf("%v, taken over:\n%s%s", err, kubeconfig, got.Bundle)
			}
		})
	}
}

func TestURLsThatCannotWorkAreRefused(t *testing.T) {
	for name, tc := range map[string]struct{ server, want string }{
		"good":                      {server, ""},
		"good, with a port":         {"https://[fd00::a]:8443/authenticate", ""},
		"nothing":                   {"", "--server is empty"},
		"no scheme":                 {"10.96.0.20/authenticate", "--server must begin with https://"},
		"host and port only":        {"localhost:9444", "--server must begin with https://"},
		"http":                      {"http://10.96.0.20/authenticate", "--server must begin with https://"},
		"no host":                   {"https:///authenticate", "--server must name a host"},
		"port only":                 {"https://:9444/authenticate", "--server must name a host"},
		"empty port":                {"https://10.96.0.20:/authenticate", "--server must name a port"},
		"port too high":             {"https://10.96.0.20:65536/authenticate", "--server must name a port"},
		"port not a number":         {"https://10.96.0.20:https/authenticate", "--server is not a URL"},
		"no path":                   {"https://10.96.0.20", "--server must end with the path /authenticate"},
		"slash after it":            {server + "/", "--server must end with the path /authenticate"},
		"a path before it":          {"https://10.96.0.20/pat/authenticate", ""},
		"query":                     {server + "?a=b", "--server must not have a query"},
		"empty query":               {server + "?", "--server must not have a query"},
		"fragment":                  {server + "#", "--server must not have a query or a fragment"},
		"password":                  {"https://u:hunter2@10.96.0.20/authenticate", "--server must not hold a user name"},
		"password in no URL":        {"https://u:hunter2@10.96.0.20:x/authenticate", "--server is not a URL"},
		"characters for a shell":    {"https://10.96.0.20/`hunter2`/authenticate", "--server must have a path of letters"},
		"characters for a terminal": {"https://10.96.0.20/%1b/authenticate", "--server must have a path of letters"},
	} {
		t.Run(name, func(t *testing.T) {
			err := CheckURL("--server", tc.server)
			if (err == nil) != (tc.want == "") || err != nil && (!strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hunter2")) {
				t.Errorf("got %v; want %s", err, tc.want)
			}
		})
	}
}

func TestAClientCertificateIsNamedByPath(t *testing.T) {
	c := Config{Server: server, ServerName: serverName, Bundle: newCA(t), Present: ClientCertificate{"/etc/pat/kas.crt", "/etc/pat/kas.key"}}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := c.Kubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.Load(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if user := config.AuthInfos["kube-apiserver"]; user.ClientCertificate != "/etc/pat/kas.crt" || user.ClientKey != "/etc/pat/kas.key" {
		t.Errorf("certificate %s, key %s", user.ClientCertificate, user.ClientKey)
	}
	for want, present := range map[string]ClientCertificate{
		"--apiserver-certificate and --apiserver-key go together: set both, or neither": {CertFile: "/a"},
		`--apiserver-key "a.key" is not an absolute path`:                               {"/a", "a.key"},
	} {
		c.Present = present
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v; want %q", present, err, want)
		}
	}
}

// The files of a kube-apiserver that enforces scopes lead to the faces for it, and name each other.
func TestTheFilesWithScopes(t *testing.T) {
	c := Config{Server: server, ServerName: serverName, Bundle: newCA(t), Present: ClientCertificate{"/a.crt", "/a.key"}}
	files, err := c.ScopedFiles(37, "/etc/pat")
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]string{}
	for _, file := range files {
		content[file.Name] = file.Content
	}
	for name, want := range map[string]string{KubeconfigFile: server + "/scoped", AuthorizerFile: "https://10.96.0.20/authorize"} {
		config, err := clientcmd.Load([]byte(content[name]))
		if err != nil {
			t.Fatal(err)
		}
		cluster := config.Clusters["pat-operator"]
		if cluster.Server != want || cluster.TLSServerName != serverName || cluster.CertificateAuthority != CAFile || config.AuthInfos["kube-apiserver"].ClientCertificate != "/a.crt" {
			t.Errorf("%s:\n%s", name, content[name])
		}
	}
	if want := string(AuthorizationConfiguration(37, "/etc/pat/"+AuthorizerFile)); content[AuthorizationFile] != want || len(files) != 4 {
		t.Errorf("%d files, %s", len(files), content[AuthorizationFile])
	}
}
