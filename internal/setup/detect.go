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
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"
)

// Distribution is who starts kube-apiserver.
type Distribution string

// The distributions that there are instructions for.
const (
	Kubeadm   Distribution = "kubeadm"
	Kind      Distribution = "kind"
	K3s       Distribution = "k3s"
	RKE2      Distribution = "rke2"
	Talos     Distribution = "talos"
	KOps      Distribution = "kops"
	Kubespray Distribution = "kubespray"
	// Hosted is a control plane that runs outside of the cluster's nodes.
	Hosted Distribution = "hosted"
	EKS    Distribution = "eks"
	GKE    Distribution = "gke"
	AKS    Distribution = "aks"
	// Other is every other one.
	Other Distribution = "other"
)

// Distributions are those that there are instructions for.
var Distributions = []Distribution{Kubeadm, Kind, K3s, RKE2, Talos, KOps, Kubespray, Hosted, EKS, GKE, AKS, Other}

// Facts are what a cluster says about itself.
type Facts struct {
	// Nodes are all nodes; nil if they may not be listed.
	Nodes []corev1.Node
	// ServerVersion is the gitVersion of kube-apiserver, such as v1.37.2+k3s1.
	ServerVersion string
	// Kubeadm is the ClusterConfiguration of the ConfigMap kubeadm-config; empty without one.
	Kubeadm string
	// OpenShift reports that the cluster has the API group config.openshift.io.
	OpenShift bool
}

// Cluster is what Detect found.
type Cluster struct {
	Distribution Distribution
	// Because says what shows it.
	Because string
	// ControlPlane are the names of the control plane nodes.
	ControlPlane []string
	// TalosMinor is 14 of Talos 1.14; 0 if unknown.
	TalosMinor int
	// Minor is 37 of Kubernetes 1.37; 0 if unknown.
	Minor int
	// Kubeadm is as in Facts.
	Kubeadm string
}

const controlPlaneLabel = "node-role.kubernetes.io/control-plane"

var talosImage = regexp.MustCompile(`^Talos \(v1\.(\d+)\.`)

// Detect tells the distribution. A provider's mark on a cluster that has control plane nodes comes from users who run the
// provider's Kubernetes themselves, such as EKS Anywhere.
func Detect(facts Facts) Cluster {
	c := Cluster{Kubeadm: facts.Kubeadm}
	if v, err := version.ParseGeneric(facts.ServerVersion); err == nil {
		c.Minor = int(v.Minor())
	}
	for _, node := range facts.Nodes {
		if _, ok := node.Labels[controlPlaneLabel]; ok {
			c.ControlPlane = append(c.ControlPlane, node.Name)
		}
	}
	slices.Sort(c.ControlPlane)
	is := func(d Distribution, format string, args ...any) Cluster {
		c.Distribution, c.Because = d, fmt.Sprintf(format, args...)
		return c
	}

	versions := []string{facts.ServerVersion}
	for _, node := range facts.Nodes {
		versions = append(versions, node.Status.NodeInfo.KubeletVersion)
	}
	for _, mark := range []struct {
		text string
		Distribution
	}{{"+k3s", K3s}, {"+rke2", RKE2}} {
		if i := slices.IndexFunc(versions, func(v string) bool { return strings.Contains(v, mark.text) }); i >= 0 {
			return is(mark.Distribution, "the version %s", versions[i])
		}
	}
	for _, node := range facts.Nodes {
		image := node.Status.NodeInfo.OSImage
		if m := talosImage.FindStringSubmatch(image); m != nil {
			c.TalosMinor, _ = strconv.Atoi(m[1]) // it is a number
		}
		switch {
		case strings.HasPrefix(image, "Talos "):
			return is(Talos, "node %s runs %s", node.Name, image)
		case strings.HasPrefix(node.Spec.ProviderID, "kind://"):
			return is(Kind, "node %s has the provider ID %s", node.Name, node.Spec.ProviderID)
		}
		for _, label := range []string{"kops.k8s.io/instancegroup", "kops.k8s.io/kops-controller-pki"} {
			if _, ok := node.Labels[label]; ok {
				return is(KOps, "node %s has the label %s", node.Name, label)
			}
		}
	}
	if facts.OpenShift {
		return is(Other, "OpenShift, whose operators start kube-apiserver")
	}
	if len(c.ControlPlane) == 0 {
		for _, mark := range []struct {
			text string
			Distribution
		}{{"-eks-", EKS}, {"-gke.", GKE}} {
			if i := slices.IndexFunc(versions, func(v string) bool { return strings.Contains(v, mark.text) }); i >= 0 {
				return is(mark.Distribution, "the version %s, and no node runs the control plane", versions[i])
			}
		}
		for _, node := range facts.Nodes {
			if _, ok := node.Labels["kubernetes.azure.com/cluster"]; ok {
				return is(AKS, "node %s has the label kubernetes.azure.com/cluster, and no node runs the control plane", node.Name)
			}
		}
		if len(facts.Nodes) > 0 {
			return is(Hosted, "no node has the label %s", controlPlaneLabel)
		}
	}
	if facts.Kubeadm != "" {
		if dir := certificatesDir(facts.Kubeadm); dir == "/etc/kubernetes/ssl" {
			return is(Kubespray, "the ConfigMap kube-system/kubeadm-config has the certificatesDir %s", dir)
		}
		return is(Kubeadm, "the ConfigMap kube-system/kubeadm-config")
	}
	return is(Other, "%s", cmp.Or(facts.ServerVersion, "nothing"))
}
