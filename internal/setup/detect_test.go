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
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// node is one as a kubelet of a distribution registers it; change it further.
func node(name, kubelet string, change ...func(*corev1.Node)) corev1.Node {
	n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/hostname": name}}}
	n.Status.NodeInfo.KubeletVersion, n.Status.NodeInfo.OSImage = kubelet, "Ubuntu 24.04.3 LTS"
	for _, f := range change {
		f(&n)
	}
	return n
}

func label(key, value string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Labels[key] = value }
}

func osImage(image string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Status.NodeInfo.OSImage = image }
}

func providerID(id string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Spec.ProviderID = id }
}

var controlPlane = label(controlPlaneLabel, "")

const clusterConfiguration = `apiServer: {}
apiVersion: kubeadm.k8s.io/v1beta4
certificatesDir: /etc/kubernetes/pki
clusterName: kubernetes
kind: ClusterConfiguration
kubernetesVersion: v1.37.2
`

func TestDetect(t *testing.T) {
	kubespray := "apiVersion: kubeadm.k8s.io/v1beta4\ncertificatesDir: /etc/kubernetes/ssl\n"
	for name, tc := range map[string]struct {
		facts Facts
		want  Cluster
	}{
		"kubeadm": {
			Facts{Nodes: []corev1.Node{node("w-1", "v1.37.2"), node("cp-2", "v1.37.2", controlPlane), node("cp-1", "v1.37.2", controlPlane)}, ServerVersion: "v1.37.2", Kubeadm: clusterConfiguration},
			Cluster{Distribution: Kubeadm, Because: "the ConfigMap kube-system/kubeadm-config", ControlPlane: []string{"cp-1", "cp-2"}, Kubeadm: clusterConfiguration},
		},
		"kind": {
			Facts{Nodes: []corev1.Node{node("pat-control-plane", "v1.37.2", controlPlane, osImage("Debian GNU/Linux 13 (trixie)"), providerID("kind://docker/pat/pat-control-plane"))}, Kubeadm: clusterConfiguration},
			Cluster{Distribution: Kind, Because: "node pat-control-plane has the provider ID kind://docker/pat/pat-control-plane", ControlPlane: []string{"pat-control-plane"}, Kubeadm: clusterConfiguration},
		},
		"k3s": {
			Facts{Nodes: []corev1.Node{node("a", "v1.37.2+k3s1", label(controlPlaneLabel, "true"), providerID("k3s://a"))}, ServerVersion: "v1.37.2+k3s1"},
			Cluster{Distribution: K3s, Because: "the version v1.37.2+k3s1", ControlPlane: []string{"a"}},
		},
		"k3s on EKS' machines, whose nodes may not be listed": {
			Facts{ServerVersion: "v1.37.2+k3s1"}, Cluster{Distribution: K3s, Because: "the version v1.37.2+k3s1"},
		},
		"RKE2": {
			Facts{Nodes: []corev1.Node{node("a", "v1.37.2+rke2r1", label(controlPlaneLabel, "true"), providerID("rke2://a"))}, ServerVersion: "v1.37.2+rke2r1"},
			Cluster{Distribution: RKE2, Because: "the version v1.37.2+rke2r1", ControlPlane: []string{"a"}},
		},
		"Talos 1.13": {
			Facts{Nodes: []corev1.Node{node("a", "v1.35.4", controlPlane, osImage("Talos (v1.13.9)"))}},
			Cluster{Distribution: Talos, Because: "node a runs Talos (v1.13.9)", ControlPlane: []string{"a"}, TalosMinor: 13},
		},
		"Talos 1.15": {
			Facts{Nodes: []corev1.Node{node("a", "v1.37.2", controlPlane, osImage("Talos (v1.15.0-alpha.0)"))}},
			Cluster{Distribution: Talos, Because: "node a runs Talos (v1.15.0-alpha.0)", ControlPlane: []string{"a"}, TalosMinor: 15},
		},
		"Talos of a version that is not known": {
			Facts{Nodes: []corev1.Node{node("a", "v1.37.2", controlPlane, osImage("Talos (main)"))}},
			Cluster{Distribution: Talos, Because: "node a runs Talos (main)", ControlPlane: []string{"a"}},
		},
		"kOps on AWS": {
			Facts{Nodes: []corev1.Node{node("i-0a", "v1.35.4", controlPlane, label("kops.k8s.io/instancegroup", "control-plane-eu-west-1a"), label("kops.k8s.io/kops-controller-pki", ""), providerID("aws:///eu-west-1a/i-0a"))}},
			Cluster{Distribution: KOps, Because: "node i-0a has the label kops.k8s.io/instancegroup", ControlPlane: []string{"i-0a"}},
		},
		"Kubespray": {
			Facts{Nodes: []corev1.Node{node("node1", "v1.35.4", controlPlane)}, Kubeadm: kubespray},
			Cluster{Distribution: Kubespray, Because: "the ConfigMap kube-system/kubeadm-config has the certificatesDir /etc/kubernetes/ssl", ControlPlane: []string{"node1"}, Kubeadm: kubespray},
		},
		"EKS": {
			Facts{Nodes: []corev1.Node{node("ip-10-0-0-1", "v1.35.4-eks-3cfe0ce", label("eks.amazonaws.com/nodegroup", "a"), providerID("aws:///eu-west-1a/i-0a"))}, ServerVersion: "v1.35.5-eks-5d4a308"},
			Cluster{Distribution: EKS, Because: "the version v1.35.5-eks-5d4a308, and no node runs the control plane"},
		},
		"EKS, whose nodes may not be listed": {
			Facts{ServerVersion: "v1.35.5-eks-5d4a308"}, Cluster{Distribution: EKS, Because: "the version v1.35.5-eks-5d4a308, and no node runs the control plane"},
		},
		"EKS Anywhere, which is kubeadm's": {
			Facts{Nodes: []corev1.Node{node("cp", "v1.35.4-eks-1-35-9", controlPlane)}, ServerVersion: "v1.35.4-eks-1-35-9", Kubeadm: clusterConfiguration},
			Cluster{Distribution: Kubeadm, Because: "the ConfigMap kube-system/kubeadm-config", ControlPlane: []string{"cp"}, Kubeadm: clusterConfiguration},
		},
		"GKE": {
			Facts{Nodes: []corev1.Node{node("gke-a-1", "v1.35.4-gke.1201000", label("cloud.google.com/gke-nodepool", "a"), providerID("gce://p/europe-west1-b/gke-a-1"))}, ServerVersion: "v1.35.4-gke.1201000"},
			Cluster{Distribution: GKE, Because: "the version v1.35.4-gke.1201000, and no node runs the control plane"},
		},
		"AKS": {
			Facts{Nodes: []corev1.Node{node("aks-nodepool1-0", "v1.35.4", label("kubernetes.azure.com/cluster", "MC_a"), providerID("azure:///subscriptions/x"))}, ServerVersion: "v1.35.4"},
			Cluster{Distribution: AKS, Because: "node aks-nodepool1-0 has the label kubernetes.azure.com/cluster, and no node runs the control plane"},
		},
		"hosted by kubeadm, such as Kamaji": {
			Facts{Nodes: []corev1.Node{node("w-1", "v1.35.4")}, ServerVersion: "v1.35.4", Kubeadm: clusterConfiguration},
			Cluster{Distribution: Hosted, Because: "no node has the label node-role.kubernetes.io/control-plane", Kubeadm: clusterConfiguration},
		},
		"OpenShift": {
			Facts{Nodes: []corev1.Node{node("m", "v1.34.2", controlPlane, osImage("Red Hat Enterprise Linux CoreOS 9.6"))}, ServerVersion: "v1.34.2", OpenShift: true},
			Cluster{Distribution: Other, Because: "OpenShift, whose operators start kube-apiserver", ControlPlane: []string{"m"}},
		},
		"by hand": {
			Facts{Nodes: []corev1.Node{node("m", "v1.37.2", controlPlane)}, ServerVersion: "v1.37.2"},
			Cluster{Distribution: Other, Because: "v1.37.2", ControlPlane: []string{"m"}},
		},
		"nothing": {Facts{}, Cluster{Distribution: Other, Because: "nothing"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _ = fmt.Sscanf(tc.facts.ServerVersion, "v1.%d.", &tc.want.Minor)
			if diff := cmp.Diff(tc.want, Detect(tc.facts)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
