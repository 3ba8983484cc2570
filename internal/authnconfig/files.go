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

// Package authnconfig is what kube-apiserver has to know to ask the verifier: the path of its face, the two files that
// kube-apiserver reads, and the ConfigMap that publishes what is in them.
package authnconfig

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/pat-operator/pat-operator/internal/cacert"
	"github.com/pat-operator/pat-operator/internal/host"
)

const (
	// TokenReviewPath is where kube-apiserver posts TokenReviews; it never follows a redirect.
	TokenReviewPath = "/authenticate"
	// ScopedPath is TokenReviewPath for a kube-apiserver that asks the authorizer at AuthorizePath, and so enforces scopes.
	ScopedPath = TokenReviewPath + "/scoped"
	// AuthorizePath is where kube-apiserver posts SubjectAccessReviews about tokens with scopes.
	AuthorizePath = "/authorize"
	// ScopedError is the answer about a valid token with scopes where they are not enforced.
	ScopedError = "the personal access token has scopes, and this API server does not enforce them at the moment"
	// UnknownError is the only answer about a token that may become valid later: it reaches every client that posts a
	// TokenReview to the API server.
	UnknownError = "the personal access token cannot be verified at the moment"

	// KubeconfigFile is what kube-apiserver's --authentication-token-webhook-config-file names.
	KubeconfigFile = "pat-operator-authn.kubeconfig"
	// CAFile holds the bundle, as a file of its own because kube-apiserver rereads only that.
	CAFile = "pat-operator-ca.crt"

	// FlagConfigFile is the flag of kube-apiserver that names KubeconfigFile.
	FlagConfigFile = "authentication-token-webhook-config-file"
	// AnotherWebhook is the guide for a kube-apiserver where this flag names another webhook.
	AnotherWebhook = "https://github.com/pat-operator/pat-operator/blob/main/docs/operations.md#a-cluster-that-already-has-a-token-webhook"
	// FlagCacheTTL is its flag for CacheTTL.
	FlagCacheTTL = "authentication-token-webhook-cache-ttl"
	// AuthorizerFile is the kubeconfig of the authorizer, which AuthorizationFile names.
	AuthorizerFile = "pat-operator-authorizer.kubeconfig"
	// AuthorizationFile is what FlagAuthorizationConfig names; see AuthorizationConfiguration.
	AuthorizationFile = "authorization.yaml"
	// FlagAuthorizationConfig is kube-apiserver's flag for AuthorizationFile; it replaces FlagAuthorizationMode.
	FlagAuthorizationConfig = "authorization-config"
	// FlagAuthorizationMode names authorizers, where FlagAuthorizationConfig does not.
	FlagAuthorizationMode = "authorization-mode"
	// CacheTTL is how long kube-apiserver may remember that a token is valid.
	CacheTTL = 10 * time.Second

	// Namespace is the operator's, unless the installation has another.
	Namespace = "pat-operator-system"
	// Service leads to the verifier.
	Service = "pat-operator-verifier"
	// CASecretName names the Secret, in the operator's namespace, that holds the CA of what the verifier serves: the one that
	// kube-apiserver has a copy of.
	CASecretName = "pat-operator-verifier-ca"
	// CAOverlap is how long a new CA is published before it signs. It leaves an administrator time to replace the CA file of
	// every kube-apiserver.
	CAOverlap = 300 * 24 * time.Hour
	// CAValidity is five years.
	CAValidity = 5 * 365 * 24 * time.Hour

	// ConfigMapName names the ConfigMap, in the operator's namespace, from which administrators take the files that
	// kube-apiserver reads. The installation creates it; everyone who is authenticated may read it, since it holds no secret.
	ConfigMapName = "pat-operator-authn"
	// KeyCA is its key for the CAs of the verifier, as PEM.
	KeyCA = "ca.crt"
	// KeyKubeconfig is its key for a kubeconfig that names CAFile in the same folder, which kube-apiserver rereads.
	KeyKubeconfig = "kubeconfig"
	// KeyScoped is its key for that kubeconfig on a kube-apiserver that enforces scopes.
	KeyScoped = "kubeconfig-scoped"
	// KeyAuthorizer is its key for the kubeconfig of the authorizer that enforces scopes.
	KeyAuthorizer = "kubeconfig-authorizer"
	// KeyScopesEnforced is its key for whether tokens with scopes work: "true" or "false". It is news for people, and nothing
	// that decides believes it.
	KeyScopesEnforced = "scopes-enforced"
	// KeyInstallation is its key for what the authorizer of this installation answers with; see Probe.
	KeyInstallation = "installation"
	// KeyEmbedded is its key for a kubeconfig that holds the CAs itself.
	KeyEmbedded = "kubeconfig-embedded"
)

// ClientCertificate names the files of a client certificate and its key, which kube-apiserver reads
// and presents to a verifier that asks for one; both or neither.
type ClientCertificate struct{ CertFile, KeyFile string }

// Config is how kube-apiserver reaches the verifier and trusts it.
type Config struct {
	// Server is the URL of the TokenReview face.
	Server string
	// ServerName is the DNS name in the verifier's certificate.
	ServerName string
	// Bundle are the CAs to trust, as PEM.
	Bundle []byte
	// Present is empty in what is published.
	Present ClientCertificate
}

// ServerName returns the name in the certificate of a verifier in this namespace.
func ServerName(namespace string) string { return Service + "." + namespace + ".svc" }

// Kubeconfig returns the kubeconfig that names CAFile without a folder, so both can be copied anywhere together.
func (c Config) Kubeconfig() ([]byte, error) {
	return c.kubeconfig(&clientcmdapi.Cluster{CertificateAuthority: CAFile})
}

// Embedded returns the kubeconfig that holds the CAs itself.
func (c Config) Embedded() ([]byte, error) {
	return c.kubeconfig(&clientcmdapi.Cluster{CertificateAuthorityData: c.Bundle})
}

func (c Config) kubeconfig(cluster *clientcmdapi.Cluster) ([]byte, error) {
	const name, user = "pat-operator", "kube-apiserver"
	cluster.Server, cluster.TLSServerName = c.Server, c.ServerName
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = cluster
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificate: c.Present.CertFile, ClientKey: c.Present.KeyFile}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: user}
	config.CurrentContext = name
	kubeconfig, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("encode the kubeconfig: %w", err)
	}
	return kubeconfig, nil
}

// at is the Config of another face of the same verifier, whose path is that of TokenReviews.
func (c Config) at(path string) Config {
	c.Server = strings.TrimSuffix(c.Server, TokenReviewPath) + path
	return c
}

// Data returns what the ConfigMap holds.
func (c Config) Data() (map[string]string, error) {
	kubeconfig, err := c.Kubeconfig()
	if err != nil {
		return nil, err
	}
	embedded, err := c.Embedded()
	if err != nil {
		return nil, err
	}
	scoped, err := c.at(ScopedPath).Kubeconfig()
	if err != nil {
		return nil, err
	}
	authorizer, err := c.at(AuthorizePath).Kubeconfig()
	if err != nil {
		return nil, err
	}
	return map[string]string{
		KeyCA: string(c.Bundle), KeyKubeconfig: string(kubeconfig), KeyEmbedded: string(embedded),
		KeyScoped: string(scoped), KeyAuthorizer: string(authorizer),
	}, nil
}

// FromData reads what the ConfigMap holds. An administrator puts the files into the hands of kube-apiserver, whose privileges
// the writer of the ConfigMap does not have. So of the kubeconfig, which could run a program, only the address and the name are
// taken, and each part is checked and encoded anew.
func FromData(data map[string]string) (Config, error) {
	const unusable = "the ConfigMap " + ConfigMapName + " cannot be used: "
	if data[KeyKubeconfig] == "" || data[KeyCA] == "" {
		return Config{}, errors.New("the ConfigMap " + ConfigMapName + " is empty: no verifier has run, or it cannot write it; see its log")
	}
	kubeconfig, err := clientcmd.Load([]byte(data[KeyKubeconfig]))
	if err != nil {
		return Config{}, errors.New(unusable + "its kubeconfig cannot be read")
	}
	var cluster *clientcmdapi.Cluster
	if context := kubeconfig.Contexts[kubeconfig.CurrentContext]; context != nil {
		cluster = kubeconfig.Clusters[context.Cluster]
	}
	if cluster == nil {
		return Config{}, errors.New(unusable + "its kubeconfig names no cluster")
	}
	certs, err := cacert.Parse([]byte(data[KeyCA]))
	if err != nil {
		return Config{}, fmt.Errorf("%sits %s %w", unusable, KeyCA, err)
	}
	c := Config{Server: cluster.Server, ServerName: cluster.TLSServerName, Bundle: cacert.Encode(certs...)}
	if err := CheckURL("its server", c.Server); err != nil {
		return Config{}, fmt.Errorf("%s%w", unusable, err)
	}
	if !host.Valid(c.ServerName) {
		return Config{}, errors.New(unusable + "its tls-server-name is not a DNS name")
	}
	return c, nil
}

// Check returns the error in a Config that did not come from FromData. The names of flags are those of kubectl pat setup.
func (c Config) Check() error {
	if err := CheckURL("--endpoint", c.Server); err != nil {
		return err
	}
	return c.Present.Check()
}

// Check returns the error in the flags for a client certificate.
func (p ClientCertificate) Check() error {
	if (p.CertFile == "") != (p.KeyFile == "") {
		return errors.New("--apiserver-certificate and --apiserver-key go together: set both, or neither")
	}
	for _, f := range []struct{ flag, file string }{{"--apiserver-certificate", p.CertFile}, {"--apiserver-key", p.KeyFile}} {
		if f.file != "" && !strings.HasPrefix(f.file, "/") {
			return fmt.Errorf("%s %q is not an absolute path: kube-apiserver reads it, from a folder of its own", f.flag, f.file)
		}
	}
	return nil
}

// File is one that kube-apiserver reads.
type File struct{ Name, Content string }

// Files are those that kube-apiserver reads to ask about tokens.
func (c Config) Files() ([]File, error) {
	kubeconfig, err := c.Kubeconfig()
	return []File{{CAFile, string(c.Bundle)}, {KubeconfigFile, string(kubeconfig)}}, err
}

// ScopedFiles are those of kube-apiserver 1.minor, which enforces scopes as well, in folder.
func (c Config) ScopedFiles(minor int, folder string) ([]File, error) {
	files, err := c.at(ScopedPath).Files()
	if err != nil {
		return nil, err
	}
	authorizer, err := c.at(AuthorizePath).Kubeconfig()
	return append(files, File{AuthorizerFile, string(authorizer)},
		File{AuthorizationFile, string(AuthorizationConfiguration(minor, folder+"/"+AuthorizerFile))}), err
}

// Write writes files into dir, which it makes if needed, and returns their paths. They hold no secret and are readable by all,
// since kube-apiserver may run as another user. An existing file is replaced as a whole, so this may run under a live
// kube-apiserver.
func Write(dir string, files []File) (paths []string, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("find the folder to write to: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder to write to: %w", err)
	}
	for _, file := range files {
		path := filepath.Join(dir, file.Name)
		if err := ReplaceFile(path, []byte(file.Content), 0o644); err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

var plainPath = regexp.MustCompile(`[A-Za-z0-9._/-]*`)

// CheckURL returns the error in a flag for the URL at which kube-apiserver reaches the verifier.
func CheckURL(flag, server string) error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%s %s, e.g. https://10.96.0.20%s", flag, fmt.Sprintf(format, args...), TokenReviewPath)
	}
	if server == "" {
		return wrong("is empty")
	}
	u, err := url.Parse(server)
	if err != nil {
		// The error of url.Parse quotes the URL, which may hold a password.
		return wrong("is not a URL")
	}
	port, portErr := strconv.Atoi(u.Port())
	switch {
	case u.Scheme != "https":
		return wrong("must begin with https://")
	case u.User != nil:
		return wrong("must not hold a user name or a password")
	case !host.Valid(strings.ToLower(u.Hostname())):
		return wrong("must name a host")
	case strings.HasSuffix(u.Host, ":"), u.Port() != "" && (portErr != nil || port < 1 || port > 65535):
		return wrong("must name a port from 1 to 65535, or none for 443")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(server, "#"):
		return wrong("must not have a query or a fragment: kube-apiserver drops them")
	case plainPath.FindString(u.EscapedPath()) != u.EscapedPath():
		// It is pasted into a shell.
		return wrong("must have a path of letters, digits, '.', '_', '-' and '/'")
	case !strings.HasSuffix(u.Path, TokenReviewPath):
		return wrong("must end with the path %s, without a slash after it", TokenReviewPath)
	}
	return nil
}

// ReplaceFile replaces path so that a reader sees all of the old or all of the new content.
func ReplaceFile(path string, content []byte, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if err = f.Chmod(mode); err != nil {
		return err
	}
	if _, err = f.Write(content); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
