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

// Package setup writes instructions that connect a kube-apiserver to the verifier: two files and two flags, four and three with
// scopes, where to put them, how to make them last, and how to get back. Where nobody can set flags they lead to the proxy.
//
// What it prints is pasted into shells of root. What comes from the cluster is checked and encoded anew, or left out.
package setup

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/holder"
)

const (
	// end is the last line of each heredoc.
	end = "PAT-OPERATOR"
	// kubeadmFile has kubeadm's configuration with the flags.
	kubeadmFile = "pat-operator-kubeadm.yaml"
	// proxyPage says how to install the proxy.
	proxyPage = "https://github.com/pat-operator/pat-operator/blob/main/docs/install/proxy.md"
	// nodeAndRBAC are the authorizers of most clusters.
	nodeAndRBAC = "Node,RBAC"
)

var cacheTTL = authnconfig.CacheTTL.String()

// plainFolder matches a folder that needs no quotes in a shell and in YAML.
var plainFolder = regexp.MustCompile(`^(/[A-Za-z0-9._-]+)+$`)

// CheckFolder returns the error in a flag for a folder on the nodes.
func CheckFolder(flag, folder string) error {
	if !plainFolder.MatchString(folder) || path.Clean(folder) != folder {
		return fmt.Errorf("%s %q is not an absolute path of letters, digits, '.', '_' and '-', such as /etc/kubernetes/pki/pat-operator", flag, folder)
	}
	return nil
}

// Flag is one of kube-apiserver.
type Flag struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Plan is what one cluster needs.
type Plan struct {
	Cluster
	// Config is how kube-apiserver reaches the verifier.
	Config authnconfig.Config
	// Folder has the files on the nodes.
	Folder string
	// Scopes lets kube-apiserver enforce the scopes of tokens as well.
	Scopes bool
	// Proxy is the URL of the proxy; empty without one.
	Proxy string
}

// NewPlan returns the plan for a cluster. folder is empty for that of the distribution.
func NewPlan(cluster Cluster, config authnconfig.Config, folder string, scopes bool) Plan {
	if folder == "" {
		folder = cluster.folder()
	}
	return Plan{Cluster: cluster, Config: config, Folder: folder, Scopes: scopes && cluster.takesAuthorizers()}
}

// takesAuthorizers reports whether there are instructions for an AuthorizationConfiguration.
func (c Cluster) takesAuthorizers() bool { return c.Distribution != Talos && c.Distribution != KOps }

// folder is one that kube-apiserver sees without a further mount, where there is such a folder.
func (c Cluster) folder() string {
	switch c.Distribution {
	case Kubeadm, Kind:
		return certificatesDir(c.Kubeadm) + "/pat-operator"
	case Kubespray:
		return "/etc/kubernetes/ssl/pat-operator"
	case K3s:
		return "/etc/rancher/k3s/pat-operator"
	case RKE2:
		return "/etc/rancher/rke2/pat-operator"
	case Talos:
		return "/var/lib/pat-operator"
	case KOps:
		return "/srv/kubernetes/kube-apiserver/pat-operator"
	}
	return "/etc/kubernetes/pat-operator"
}

// Files are those in Folder.
func (p Plan) Files() ([]authnconfig.File, error) {
	if p.Scopes {
		return p.Config.ScopedFiles(p.Minor, p.Folder)
	}
	return p.Config.Files()
}

// Flags are those that kube-apiserver gets.
func (p Plan) Flags() []Flag {
	flags := []Flag{{authnconfig.FlagConfigFile, p.Folder + "/" + authnconfig.KubeconfigFile}, {authnconfig.FlagCacheTTL, cacheTTL}}
	if p.Scopes && authorizersOf(p.Kubeadm) == "" {
		flags = append(flags, Flag{authnconfig.FlagAuthorizationConfig, p.Folder + "/" + authnconfig.AuthorizationFile})
	}
	return flags
}

// Removed are the flags that kube-apiserver does not start with any more.
func (p Plan) Removed() []string {
	if len(p.Flags()) > 2 {
		return []string{authnconfig.FlagAuthorizationMode}
	}
	return nil
}

// KubeadmConfiguration returns the name and the content of kubeadm's configuration with the flags; "" for other
// distributions, and where kubeadm's is not known.
func (p Plan) KubeadmConfiguration() (name, content string, err error) {
	if p.Distribution != Kubeadm || p.Kubeadm == "" {
		return "", "", nil
	}
	content, err = withFlags(p.Kubeadm, p.Flags())
	return kubeadmFile, content, err
}

// Text returns the instructions.
func (p Plan) Text() (string, error) {
	w := &writer{}
	w.linef("Connect kube-apiserver to pat-operator: %s%s.", p.Distribution.title(), p.because())
	switch p.Distribution {
	case EKS, GKE, AKS:
		p.managed(w)
		return w.String(), nil
	}
	if other := webhookOf(p.Kubeadm); other != "" {
		w.linef("")
		w.linef("STOP: kube-apiserver has a token webhook already, %s. It takes one. The flags below would take that one's place. To keep it behind ours, see %s", holder.Visible(other), authnconfig.AnotherWebhook)
	}
	files, err := p.Files()
	if err != nil {
		return "", err
	}
	switch p.Distribution {
	case KOps:
		p.kops(w, files)
	case Talos:
		err = p.talos(w, files)
	default:
		p.nodes(w, files)
	}
	if err != nil {
		return "", err
	}
	w.linef("")
	w.linef("Then check it: kubectl pat doctor")
	return w.String(), w.err
}

func (p Plan) because() string {
	if p.Because == "" {
		return ""
	}
	return " (" + holder.Visible(p.Because) + ")"
}

func (d Distribution) title() string {
	switch d {
	case K3s:
		return "k3s"
	case RKE2, EKS, GKE, AKS:
		return strings.ToUpper(string(d))
	case Talos:
		return "Talos Linux"
	case KOps:
		return "kOps"
	case Kubespray:
		return "Kubespray"
	case Hosted:
		return "a hosted control plane"
	case Other:
		return "another distribution"
	}
	return string(d)
}

// nodes are the instructions for distributions whose control plane nodes have a shell.
func (p Plan) nodes(w *writer, files []authnconfig.File) {
	switch {
	case p.Distribution == Hosted:
		p.hosted(w)
	case p.Distribution == Kind && len(p.ControlPlane) > 0:
		for _, name := range p.ControlPlane {
			w.step("In the node %s (docker exec -it %[1]s bash), paste", name)
			p.paste(w, files)
			p.manifest(w)
		}
	default:
		w.step("On %s, as root, paste", p.each())
		p.paste(w, files)
		switch p.Distribution {
		case Kubeadm, Kind, Kubespray:
			p.manifest(w)
		case K3s:
			p.rancher(w, "k3s", "k3s", false)
		case RKE2:
			p.rancher(w, "rke2", "rke2-server", true)
		}
	}
	switch p.Distribution {
	case Kubeadm:
		p.upgrades(w)
	case Kubespray:
		w.step("So that upgrade-cluster.yml keeps the flags, in group_vars/k8s_cluster/k8s-cluster.yml:")
		vars := fmt.Sprintf("kube_kubeadm_apiserver_extra_args:\n  %s: %s\n  %s: %s", authnconfig.FlagConfigFile, p.Flags()[0].Value, authnconfig.FlagCacheTTL, cacheTTL)
		if p.Scopes { // since Kubespray 2.28
			vars += "\nkube_apiserver_use_authorization_config_file: true\nkube_apiserver_authorization_config_authorizers:\n" + p.authorizer() + "- type: Node\n  name: node\n- type: RBAC\n  name: rbac"
		}
		w.block("%s", vars)
		w.linef("Leave kube_webhook_token_auth at false: its kubeconfig has no tls-server-name, and it sets no cache-ttl.")
	case Other:
		p.flags(w)
	}
	if p.Scopes {
		p.otherAuthorizers(w)
	}
	w.linef("")
	if p.Scopes {
		w.linef("If kube-apiserver does not start: everything else works with the former flags. %s", p.back())
		return
	}
	w.linef("If kube-apiserver does not start: everything else works without the flags. %s", p.back())
}

// authorizer is our item of an AuthorizationConfiguration.
func (p Plan) authorizer() string {
	return authnconfig.Authorizer(p.Minor, p.Folder+"/"+authnconfig.AuthorizerFile)
}

// otherAuthorizers are the instructions for a kube-apiserver that has other authorizers than Node and RBAC: they stay, after ours.
func (p Plan) otherAuthorizers(w *writer) {
	if authorizers := authorizersOf(p.Kubeadm); authorizers != "" {
		w.step("kube-apiserver has other authorizers, which stay: %s. Put this item before them:", holder.Visible(authorizers))
	} else {
		w.step("Only where kube-apiserver has other authorizers than %s: these stay. Put this item before them:", nodeAndRBAC)
	}
	w.block("%s", strings.TrimSuffix(p.authorizer(), "\n"))
	w.linef("If it has an --%s, that is its file, which it follows. If it has --%s, that is a", authnconfig.FlagAuthorizationConfig, authnconfig.FlagAuthorizationMode)
	w.linef("file of your own, like %s/%s, with each of", p.Folder, authnconfig.AuthorizationFile)
	w.linef("those authorizers after this item: set --%s to it, instead of --%s.", authnconfig.FlagAuthorizationConfig, authnconfig.FlagAuthorizationMode)
	if p.Distribution == K3s || p.Distribution == RKE2 {
		w.linef("Name it in the paste, too.")
	}
}

// managed are the instructions for a provider that lets nobody set flags.
func (p Plan) managed(w *writer) {
	w.linef("")
	w.linef("%s does not let you set the flags of kube-apiserver. Tokens work here by the proxy, which needs none.", p.Distribution.title())
	if p.Proxy != "" {
		w.linef("It is installed, at %s.", holder.Visible(p.Proxy))
	} else {
		w.step("Choose an address that people reach, and whom the proxy may act for: %s#%s", proxyPage, p.Distribution)
		w.step("Add to the values of the chart, and upgrade it with them:")
		w.block("proxy:\n  enabled: true\n  externalURL: https://pat.example.com\n  impersonation:\n    form: managed\n  service:\n    type: LoadBalancer\n    loadBalancerSourceRanges: [203.0.113.0/24]   # the networks from which people reach it")
		w.step("Lead the address to the Service pat-operator-proxy.")
	}
	w.step("Bind users, or their groups, in RBAC: what %s allows does not count at the proxy.", cloudAuthorization[p.Distribution])
	w.step("Check it, as an administrator and as the holder of a token:")
	w.block("kubectl pat doctor\nkubectl pat kubeconfig NAME --token-file FILE -o pat.kubeconfig --check")
}

// cloudAuthorization is what a provider has in addition to RBAC.
var cloudAuthorization = map[Distribution]string{EKS: "an access policy of EKS", GKE: "Google IAM", AKS: "Azure RBAC"}

// hosted are the instructions for a kube-apiserver that runs elsewhere, and that reaches no ClusterIP.
func (p Plan) hosted(w *writer) {
	w.linef("")
	w.linef("If a provider runs it and lets you set no flags, install the proxy instead, which needs none: %s", proxyPage)
	w.step("Expose the Service %s by a load balancer or a node port, and install with", authnconfig.Service)
	w.block("verifier:\n  endpoint: https://HOST:PORT   # where kube-apiserver reaches it; %s in the files now", p.Config.Server)
	scopes, number := "", "two"
	if p.Scopes {
		scopes, number = " --scopes", "four"
	}
	w.step("Write the %s files, and mount them into kube-apiserver as %s:", number, p.Folder)
	w.block("kubectl pat setup%s -o files --dir pat-operator", scopes)
	w.linef("Where only one file can be mounted, take the key %s of the ConfigMap %s.", authnconfig.KeyEmbedded, authnconfig.ConfigMapName)
	p.flags(w)
}

func (p Plan) each() string {
	if len(p.ControlPlane) == 0 {
		return "each control plane node"
	}
	names := make([]string, len(p.ControlPlane))
	for i, name := range p.ControlPlane {
		names[i] = holder.Visible(name)
	}
	return "each control plane node, one after the other (" + strings.Join(names, ", ") + ")"
}

// back says how to get rid of the flags, for a node whose kube-apiserver does not answer.
func (p Plan) back() string {
	switch p.Distribution {
	case Kubeadm, Kind, Kubespray:
		return "On the node:\n\nmv " + p.before() + " " + manifestFile
	case K3s:
		return "On the node:\n\nrm " + dropIn("k3s") + " && systemctl restart k3s"
	case RKE2:
		return "On the node:\n\nrm " + dropIn("rke2") + " && systemctl restart rke2-server"
	}
	if p.Scopes {
		return "Set those again, in the same way."
	}
	return "Take them out again, in the same way."
}

// paste writes the files.
func (p Plan) paste(w *writer, files []authnconfig.File) {
	w.linef("")
	w.linef("(umask 022 && mkdir -p %s)", p.Folder)
	for _, file := range files {
		w.heredoc(p.Folder+"/"+file.Name, file.Content)
	}
	w.linef("chmod 0644 %s/*", p.Folder)
}

const (
	manifestFile = "/etc/kubernetes/manifests/kube-apiserver.yaml"
	// after and before are outside of the folder that kubelet watches.
	after        = "/etc/kubernetes/kube-apiserver.with-pat-operator.yaml"
	before       = "/etc/kubernetes/kube-apiserver.without-pat-operator.yaml"
	beforeScopes = "/etc/kubernetes/kube-apiserver.without-scopes.yaml"
)

func (p Plan) before() string {
	if p.Scopes {
		return beforeScopes
	}
	return before
}

// manifest puts the flags into the manifest of the static pod, in one step. kubelet starts kube-apiserver again.
func (p Plan) manifest(w *writer) {
	flags := p.Flags()
	insert := fmt.Sprintf(`'s|^\( *\)- kube-apiserver$|&\n\1- --%s=%s\n\1- --%s=%s|'`, flags[0].Name, flags[0].Value, flags[1].Name, flags[1].Value)
	w.linef("m=%s new=%s", manifestFile, after)
	if p.Scopes {
		p.scopedManifest(w, insert)
	} else {
		w.linef("grep -q %s $m || {", authnconfig.FlagConfigFile)
		w.linef("  cp -p $m %s && cp -p $m $new &&", before)
		w.linef("  sed %s $m > $new &&", insert)
		w.linef("  grep -q %s $new && mv $new $m || echo 'FAILED: nothing was changed'", authnconfig.FlagConfigFile)
		w.linef("}")
	}
	w.linef("")
	w.linef("kubelet starts kube-apiserver again within a minute. Wait for it before the next node: kubectl get --raw /readyz")
}

// scopedManifest adds what the manifest lacks, and leaves other authorizers than Node and RBAC.
func (p Plan) scopedManifest(w *writer, insert string) {
	file := p.Folder + "/" + authnconfig.AuthorizationFile
	w.linef("cp -p $m $new")
	w.linef("grep -q %s $new || sed -i %s $new", authnconfig.FlagConfigFile, insert)
	w.linef(`sed -i 's|^\( *- --\)%s=%s$|\1%s=%s|' $new`, authnconfig.FlagAuthorizationMode, nodeAndRBAC, authnconfig.FlagAuthorizationConfig, file)
	w.linef("if cmp -s $m $new; then echo 'nothing to change'")
	w.linef("elif grep -q %s $new; then cp -p $m %s && mv $new $m", authnconfig.FlagConfigFile, beforeScopes)
	w.linef("else echo 'FAILED: nothing was changed'; fi")
	w.linef("grep -q %s=%s $m || echo 'kube-apiserver has other authorizers, which stay: see below'", authnconfig.FlagAuthorizationConfig, file)
}

// rancher puts the flags into a file of their own, which is read after the others.
func (p Plan) rancher(w *writer, name, service string, mount bool) {
	flags := p.Flags()
	config := "kube-apiserver-arg+:\n"
	for _, flag := range flags {
		config += fmt.Sprintf("  - %s=%s\n", flag.Name, flag.Value)
	}
	if mount {
		config += fmt.Sprintf("kube-apiserver-extra-mount+:\n  - %s:%[1]s:ro\n", p.Folder)
	}
	w.linef("(umask 077 && mkdir -p %s)", path.Dir(dropIn(name)))
	w.heredoc(dropIn(name), config)
	w.linef("systemctl restart %s", service)
	w.linef("")
	w.linef("The file lasts. It adds to the lists of /etc/rancher/%s/config.yaml. If the unit of %s has --kube-apiserver-arg on its", name, service)
	w.linef("command line, that list wins: move it into config.yaml.")
	if p.Scopes {
		w.linef("With --%s it starts kube-apiserver without its own --%s; take out one that you have set yourself.", authnconfig.FlagAuthorizationConfig, authnconfig.FlagAuthorizationMode)
	}
}

func dropIn(name string) string {
	return "/etc/rancher/" + name + "/config.yaml.d/99-pat-operator.yaml"
}

// upgrades puts the flags where kubeadm upgrade finds them.
func (p Plan) upgrades(w *writer) {
	w.step("Once, on one of these nodes, so that kubeadm upgrade keeps the flags:")
	file, content, err := p.KubeadmConfiguration()
	if err != nil || content == "" {
		if err != nil {
			w.linef("(The next commands let you edit it yourself: %s.)", err)
		}
		args := make([]string, 0, len(p.Flags()))
		for _, flag := range p.Flags() {
			args = append(args, fmt.Sprintf("{name: %s, value: %s}", flag.Name, flag.Value))
		}
		w.linef("")
		w.linef("kubectl -n kube-system get configmap kubeadm-config -o jsonpath='{.data.ClusterConfiguration}' > %s", kubeadmFile)
		w.linef("# add to it: apiServer: {extraArgs: [%s]}", strings.Join(args, ", "))
	} else {
		w.linef("")
		w.heredoc(file, content)
	}
	w.linef("kubeadm config validate --config %s && kubeadm init phase upload-config kubeadm --config %[1]s", kubeadmFile)
}

func (p Plan) flags(w *writer) {
	w.step("Start each kube-apiserver with")
	w.linef("")
	for _, flag := range p.Flags() {
		w.linef("--%s=%s", flag.Name, flag.Value)
	}
	w.linef("")
	for _, name := range p.Removed() {
		w.linef("and without --%s=%s.", name, nodeAndRBAC)
	}
	w.linef("It must see the folder %s: mount it, if it runs in a container.", p.Folder)
}

// kops has no shell to paste into: what is on the nodes is lost when they are replaced.
func (p Plan) kops(w *writer, files []authnconfig.File) {
	w.step("kops edit cluster, and add")
	assets := ""
	for _, file := range files {
		assets += fmt.Sprintf("  - name: %s\n    path: %s/%s\n    roles: [ControlPlane, APIServer]\n    mode: \"0644\"\n    content: |\n%s",
			strings.ReplaceAll(file.Name, ".", "-"), p.Folder, file.Name, indent(6, file.Content))
	}
	w.block("spec:\n  fileAssets:\n%s  kubeAPIServer:\n    authenticationTokenWebhookConfigFile: %s\n    authenticationTokenWebhookCacheTtl: %s",
		assets, p.Flags()[0].Value, cacheTTL)
	w.linef("kube-apiserver sees the folder %s without a further mount. kOps 1.26 or later has these roles.", path.Dir(p.Folder))
	w.step("Replace the control plane nodes, which kOps knows to be out of date:")
	w.block("kops update cluster --yes\nkops rolling-update cluster --yes")
	w.linef("kOps replaces one node at a time and stops at one whose kube-apiserver does not start: take the lines out again, and")
	w.linef("replace that node (kops rolling-update cluster --cloudonly --yes).")
}

func (p Plan) talos(w *writer, files []authnconfig.File) error {
	if p.TalosMinor == 0 || p.TalosMinor >= 15 {
		embedded, err := p.Config.Embedded()
		if err != nil {
			return err
		}
		w.step("Talos 1.15 and later: write this to pat-operator.yaml")
		w.block("apiVersion: v1alpha1\nkind: KubeAuthenticationWebhookConfig\ncacheTTL: %s\nkubeconfig: |\n%s", cacheTTL, strings.TrimSuffix(indent(2, string(embedded)), "\n"))
		w.linef("The CA is a part of it, so a new CA needs this step again.")
	}
	if p.TalosMinor < 15 {
		w.step("Talos up to 1.14: write this to pat-operator.yaml")
		written := ""
		for _, file := range files {
			written += fmt.Sprintf("    - path: %s/%s\n      op: create\n      permissions: 0o644\n      content: |\n%s", p.Folder, file.Name, indent(8, file.Content))
		}
		flags := p.Flags()
		w.block("machine:\n  files:\n%scluster:\n  apiServer:\n    extraArgs:\n      %s: %s\n      %s: %s\n    extraVolumes:\n      - hostPath: %s\n        mountPath: %[6]s\n        readonly: true",
			written, flags[0].Name, flags[0].Value, flags[1].Name, flags[1].Value, p.Folder)
		w.linef("Talos 1.14 takes it with a warning, and not together with a KubeAPIServerConfig document, which cannot mount files")
		w.linef("(siderolabs/talos#14394): keep cluster.apiServer there, or upgrade to 1.15.")
	}
	w.step("For %s:", p.each())
	mode := " --mode reboot" // Talos writes files when it starts
	if p.TalosMinor >= 15 {
		mode = ""
	}
	w.block("talosctl -n NODE patch machineconfig --patch @pat-operator.yaml%s", mode)
	w.linef("If kube-apiserver does not start: talosctl answers without it. Edit the machine config and take the lines out:")
	w.linef("")
	w.linef("talosctl -n NODE edit machineconfig%s", mode)
	return nil
}

// writer writes numbered steps.
type writer struct {
	bytes.Buffer
	steps int
	err   error
}

func (w *writer) linef(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

func (w *writer) step(format string, args ...any) {
	w.steps++
	if !bytes.HasSuffix(w.Bytes(), []byte("\n\n")) {
		w.linef("")
	}
	w.linef("%d. %s", w.steps, fmt.Sprintf(format, args...))
}

// block writes YAML or commands, between empty lines.
func (w *writer) block(format string, args ...any) {
	fmt.Fprintf(w, "\n"+format+"\n\n", args...)
}

// heredoc writes a command that writes a file.
func (w *writer) heredoc(file, content string) {
	for line := range strings.SplitSeq(content, "\n") {
		if line == end {
			w.err = errors.Join(w.err, fmt.Errorf("%s has a line %s, which would end it", path.Base(file), end))
		}
	}
	w.linef("cat > %s <<'%s'\n%s\n%[2]s", file, end, strings.TrimSuffix(content, "\n"))
}

func indent(n int, text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.Repeat(" ", n) + line)
	}
	return b.String()
}
