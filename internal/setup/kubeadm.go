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

package setup

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/holder"
)

// certificatesDir returns the folder that kubeadm mounts into kube-apiserver.
func certificatesDir(configuration string) string {
	var c struct {
		CertificatesDir string `json:"certificatesDir"`
	}
	if err := yaml.Unmarshal([]byte(configuration), &c); err != nil || !plainFolder.MatchString(c.CertificatesDir) {
		return "/etc/kubernetes/pki" // kubeadm's default
	}
	return path.Clean(c.CertificatesDir)
}

// withFlags returns kubeadm's ClusterConfiguration with flags of kube-apiserver in the place of their former values. kubeadm sets
// no --authorization-mode where there is an --authorization-config.
func withFlags(configuration string, flags []Flag) (string, error) {
	var c map[string]any
	if err := yaml.Unmarshal([]byte(configuration), &c); err != nil {
		return "", errors.New("the ConfigMap kube-system/kubeadm-config is not YAML")
	}
	if strings.ContainsFunc(configuration, func(r rune) bool { return r != '\n' && holder.Hostile(r) }) {
		return "", errors.New("the ConfigMap kube-system/kubeadm-config has invisible characters")
	}
	server, _ := c["apiServer"].(map[string]any)
	if server == nil {
		server = map[string]any{}
	}
	switch version, _ := c["apiVersion"].(string); version {
	case "kubeadm.k8s.io/v1beta4":
		args, _ := server["extraArgs"].([]any)
		for _, flag := range flags {
			args = slices.DeleteFunc(args, func(arg any) bool {
				named, _ := arg.(map[string]any)
				return named["name"] == flag.Name || flag.Name == authnconfig.FlagAuthorizationConfig && named["name"] == authnconfig.FlagAuthorizationMode
			})
			args = append(args, map[string]any{"name": flag.Name, "value": flag.Value})
		}
		server["extraArgs"] = args
	case "kubeadm.k8s.io/v1beta3":
		args, _ := server["extraArgs"].(map[string]any)
		if args == nil {
			args = map[string]any{}
		}
		for _, flag := range flags {
			args[flag.Name] = flag.Value
			if flag.Name == authnconfig.FlagAuthorizationConfig {
				delete(args, authnconfig.FlagAuthorizationMode)
			}
		}
		server["extraArgs"] = args
	default:
		return "", fmt.Errorf("the ConfigMap kube-system/kubeadm-config has the version %s, which is unknown", holder.Visible(version))
	}
	c["apiServer"] = server
	out, err := yaml.Marshal(c)
	return string(out), err
}

// webhookOf returns the file that the ClusterConfiguration names for another webhook; "" without one.
func webhookOf(configuration string) string {
	if file := argOf(configuration, authnconfig.FlagConfigFile); !strings.Contains(file, "pat-operator") {
		return file
	}
	return ""
}

// authorizersOf returns the flag of the ClusterConfiguration that names other authorizers than Node, RBAC and ours; "" without one.
func authorizersOf(configuration string) string {
	if file := argOf(configuration, authnconfig.FlagAuthorizationConfig); file != "" && !strings.Contains(file, "pat-operator") {
		return "--" + authnconfig.FlagAuthorizationConfig + "=" + file
	}
	if modes := argOf(configuration, authnconfig.FlagAuthorizationMode); modes != "" && modes != nodeAndRBAC {
		return "--" + authnconfig.FlagAuthorizationMode + "=" + modes
	}
	return ""
}

// argOf returns the value of a flag of kube-apiserver in the ClusterConfiguration.
func argOf(configuration, flag string) string {
	var c struct {
		APIServer struct {
			ExtraArgs any `json:"extraArgs"`
		} `json:"apiServer"`
	}
	if err := yaml.Unmarshal([]byte(configuration), &c); err != nil {
		return ""
	}
	value := ""
	switch args := c.APIServer.ExtraArgs.(type) {
	case map[string]any:
		value, _ = args[flag].(string)
	case []any:
		for _, arg := range args {
			if named, ok := arg.(map[string]any); ok && named["name"] == flag {
				value, _ = named["value"].(string)
			}
		}
	}
	return value
}
