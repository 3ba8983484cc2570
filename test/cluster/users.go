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

package cluster

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// User returns the configuration and the kubeconfig of a user who authenticates by a client certificate.
func (c *Cluster) User(name string, groups ...string) (config *rest.Config, kubeconfig string, err error) {
	crt, key, err := c.ca.issue(pkix.Name{CommonName: name, Organization: groups}, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, "", err
	}
	config = c.Anonymous()
	config.CertData, config.KeyData = crt, key
	kubeconfig, err = c.Kubeconfig(name, config)
	return config, kubeconfig, err
}

// Anonymous returns a configuration without credentials; set its BearerToken.
func (c *Cluster) Anonymous() *rest.Config {
	config := &rest.Config{
		Host:            c.Server,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.ca.pem()},
		QPS:             -1, // API Priority and Fairness throttles, not the client
	}
	config.Wrap(askAgain)
	return config
}

// Kubectl runs kubectl with a kubeconfig and, where stdin is not empty, that as its input. The error of one that
// fails ends with what it printed on stderr.
func (c *Cluster) Kubectl(
	ctx context.Context, kubeconfig, stdin string, args ...string,
) (stdout, stderr string, err error) {
	for try := 0; ; try++ {
		cmd := c.Command(ctx, kubeconfig, filepath.Join(c.Assets, "kubectl"), args...)
		if stdin != "" {
			cmd.Stdin = strings.NewReader(stdin)
		}
		var out, errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errOut
		if err = cmd.Run(); err != nil {
			if try < askedAgain && noTime(errOut.String()) {
				continue
			}
			// Not the arguments: a token may be among them.
			err = fmt.Errorf("kubectl: %w: %s", err, strings.TrimSpace(errOut.String()))
		}
		return out.String(), errOut.String(), err
	}
}

// Command prepares a program that is to talk to this cluster: it has Env(kubeconfig), and is ended with all that
// it has started when ctx is done.
func (c *Cluster) Command(ctx context.Context, kubeconfig, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = c.Env(kubeconfig)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Env returns our environment for a program that is to talk to this cluster: Assets first in PATH, KUBECONFIG
// where it is not empty, and nothing of another cluster. What kubectl caches goes to Dir.
func (c *Cluster) Env(kubeconfig string) []string {
	var env []string
	for _, entry := range os.Environ() {
		switch name, _, _ := strings.Cut(entry, "="); name {
		case "PATH", "HOME", "KUBECONFIG", "KUBECACHEDIR", "KUBERC", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT":
		default:
			env = append(env, entry)
		}
	}
	env = append(env, "HOME="+c.Dir, "PATH="+c.Assets+string(os.PathListSeparator)+os.Getenv("PATH"))
	if kubeconfig != "" {
		env = append(env, "KUBECONFIG="+kubeconfig)
	}
	return env
}

// Kubeconfig writes what config holds: server, CA, and a client certificate or a token.
func (c *Cluster) Kubeconfig(user string, config *rest.Config) (string, error) {
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters["pat"] = &clientcmdapi.Cluster{
		Server:                   config.Host,
		CertificateAuthorityData: config.CAData,
	}
	kubeconfig.AuthInfos[user] = &clientcmdapi.AuthInfo{
		ClientCertificateData: config.CertData,
		ClientKeyData:         config.KeyData,
		Token:                 config.BearerToken,
	}
	kubeconfig.Contexts["pat"] = &clientcmdapi.Context{Cluster: "pat", AuthInfo: user}
	kubeconfig.CurrentContext = "pat"
	file, err := os.CreateTemp(c.Dir, "user-*.kubeconfig") // a user's name may have a slash
	if err != nil {
		return "", err
	}
	if err := file.Close(); err != nil {
		return "", err
	}
	return file.Name(), clientcmd.WriteToFile(*kubeconfig, file.Name())
}

func loadKubeconfig(path string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	config.Wrap(askAgain)
	return config, nil
}
