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

package certs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/authn"
	"github.com/pat-operator/pat-operator/internal/host"
)

const (
	// kubeconfigFile is what kube-apiserver's --authentication-token-webhook-config-file names.
	kubeconfigFile = "pat-operator-authn.kubeconfig"
	// caFile holds the bundle, as a file of its own because kube-apiserver rereads only that.
	caFile = "pat-operator-ca.crt"
)

// ClientCertificate names the files of a client certificate and its key, which kube-apiserver reads
// and presents to a verifier that asks for one; both or neither.
type ClientCertificate struct{ CertFile, KeyFile string }

// WriteAuthnKubeconfig writes kubeconfigFile and caFile into dir, which it makes if needed, and returns the absolute path of the
// former. server is the URL at which kube-apiserver reaches the verifier, serverName the DNS name in the verifier's certificate,
// bundle the CAs to trust, as PEM. The kubeconfig names the CA file without a folder, so both can be copied anywhere together.
// They hold no secret and are readable by all, since kube-apiserver may run as another user. An existing file is replaced as a
// whole, so this may run under a live kube-apiserver.
func WriteAuthnKubeconfig(dir, server, serverName string, bundle []byte, present ClientCertificate) (kubeconfigPath string, err error) {
	if err := CheckURL("--server", server); err != nil {
		return "", err
	}
	if err := CheckAuthnKubeconfig(server, present); err != nil {
		return "", err
	}
	certs, err := parseCertificates(bundle)
	if err != nil {
		return "", fmt.Errorf("the CA bundle %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", fmt.Errorf("find the folder to write to: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the folder to write to: %w", err)
	}

	kubeconfig, err := authnKubeconfig(server, serverName, nil, present)
	if err != nil {
		return "", err
	}
	if err := replaceFile(filepath.Join(dir, caFile), encodeCertificates(certs...), 0o644); err != nil {
		return "", err
	}
	kubeconfigPath = filepath.Join(dir, kubeconfigFile)
	return kubeconfigPath, replaceFile(kubeconfigPath, kubeconfig, 0o644)
}

// authnKubeconfig returns a kubeconfig with the CAs of bundle embedded, or without a bundle one that names caFile in its folder.
func authnKubeconfig(server, serverName string, bundle []byte, present ClientCertificate) ([]byte, error) {
	const cluster, user = "pat-operator", "kube-apiserver"
	config := clientcmdapi.NewConfig()
	config.Clusters[cluster] = &clientcmdapi.Cluster{Server: server, TLSServerName: serverName, CertificateAuthorityData: bundle}
	if len(bundle) == 0 {
		config.Clusters[cluster].CertificateAuthority = caFile
	}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificate: present.CertFile, ClientKey: present.KeyFile}
	config.Contexts[cluster] = &clientcmdapi.Context{Cluster: cluster, AuthInfo: user}
	config.CurrentContext = cluster
	kubeconfig, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("encode the kubeconfig: %w", err)
	}
	return kubeconfig, nil
}

// ServiceURL returns the URL of the TokenReview face behind a Service, by its ClusterIP: kube-apiserver cannot look up its name.
// Its errors name the flag that sets another URL.
func ServiceURL(ctx context.Context, r client.Reader, key client.ObjectKey, flag string) (string, error) {
	service := &corev1.Service{}
	err := r.Get(ctx, key, service)
	switch {
	case apierrors.IsNotFound(err):
		return "", fmt.Errorf("the Service %s does not exist: install the verifier first, or set %s to the verifier's URL", key, flag)
	case err != nil:
		return "", fmt.Errorf("read Service %s: %w", key, err)
	case net.ParseIP(service.Spec.ClusterIP) == nil || len(service.Spec.Ports) == 0:
		return "", fmt.Errorf("the Service %s has no ClusterIP: set %s to a URL at which kube-apiserver reaches the verifier", key, flag)
	}
	u := url.URL{Scheme: "https", Host: service.Spec.ClusterIP, Path: authn.TokenReviewPath}
	if port := service.Spec.Ports[0].Port; port != 443 {
		u.Host = net.JoinHostPort(service.Spec.ClusterIP, strconv.Itoa(int(port)))
	} else if strings.Contains(u.Host, ":") {
		u.Host = "[" + u.Host + "]"
	}
	return u.String(), nil
}

// CheckAuthnKubeconfig returns the errors in the flags for WriteAuthnKubeconfig. An empty server is not one.
func CheckAuthnKubeconfig(server string, present ClientCertificate) error {
	if server != "" {
		if err := CheckURL("--server", server); err != nil {
			return err
		}
	}
	if (present.CertFile == "") != (present.KeyFile == "") {
		return errors.New("--client-certificate and --client-key go together: set both, or neither")
	}
	for flag, file := range map[string]string{"--client-certificate": present.CertFile, "--client-key": present.KeyFile} {
		if file != "" && !filepath.IsAbs(file) {
			return fmt.Errorf("%s %q is not an absolute path: kube-apiserver reads it, from a folder of its own", flag, file)
		}
	}
	return nil
}

// CheckURL returns the error in a flag for the URL at which kube-apiserver reaches the verifier.
func CheckURL(flag, server string) error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%s %s, e.g. https://10.96.0.20%s", flag, fmt.Sprintf(format, args...), authn.TokenReviewPath)
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
	case !strings.HasSuffix(u.Path, authn.TokenReviewPath):
		return wrong("must end with the path %s, without a slash after it", authn.TokenReviewPath)
	}
	return nil
}

// replaceFile replaces path so that a reader sees all of the old or all of the new content.
func replaceFile(path string, content []byte, mode os.FileMode) (err error) {
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
