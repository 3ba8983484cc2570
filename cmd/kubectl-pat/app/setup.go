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
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/cacert"
	"github.com/pat-operator/pat-operator/internal/proxyconfig"
	"github.com/pat-operator/pat-operator/internal/setup"
)

// outputFiles is the value of --output that writes the files of setup.
const outputFiles = "files"

// caSecretFile is what --new-ca writes in addition.
const caSecretFile = authnconfig.CASecretName + ".yaml"

// operatorFlags name the installation.
type operatorFlags struct {
	namespace string
	// guessed reports that nothing shows that the operator is in namespace. Another user may have created that.
	guessed bool
}

func (f *operatorFlags) bind(flags *pflag.FlagSet) {
	flags.StringVar(&f.namespace, "operator-namespace", "", "the `NAMESPACE` of the operator (default: that of the webhooks, or "+authnconfig.Namespace+")")
}

func (f *operatorFlags) validate() error {
	if f.namespace != "" && len(validation.IsDNS1123Label(f.namespace)) > 0 {
		return usagef("--operator-namespace %q is not a valid namespace: use at most 63 of a-z, 0-9 and '-'", f.namespace)
	}
	return nil
}

// find sets the namespace to that of the webhooks, if the user may read them.
func (f *operatorFlags) find(ctx context.Context, c client.Client) {
	if f.namespace != "" {
		return
	}
	f.namespace, f.guessed = authnconfig.Namespace, true
	config := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	if err := c.Get(ctx, client.ObjectKey{Name: "pat-operator"}, config); err != nil {
		return
	}
	for _, webhook := range config.Webhooks {
		if service := webhook.ClientConfig.Service; service != nil && len(validation.IsDNS1123Label(service.Namespace)) == 0 {
			f.namespace, f.guessed = service.Namespace, false
		}
	}
}

// configMap is that of the proxy.
func (f *operatorFlags) configMap() client.ObjectKey {
	return client.ObjectKey{Namespace: f.namespace, Name: proxyconfig.ConfigMapName}
}

// proxy reads where the proxy is; nil without one that the caller may know of.
func (f *operatorFlags) proxy(ctx context.Context, c client.Client) (*proxyconfig.Config, error) {
	key := f.configMap()
	published := &corev1.ConfigMap{}
	// A user who may not read it is refused also where it does not exist.
	if err := c.Get(ctx, key, published); apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("cannot read whether there is a proxy (ConfigMap %s): %w", key, err)
	}
	proxy, err := proxyconfig.FromData(published.Data)
	if err != nil {
		return nil, unusableProxyError{err}
	}
	return &proxy, nil
}

// unusableProxyError reports that what a proxy publishes is wrong.
type unusableProxyError struct{ error }

type setupOptions struct {
	*session
	operator     operatorFlags
	distribution string
	endpoint     string
	nodeDir      string
	present      authnconfig.ClientCertificate
	newCA        bool
	scopes       bool
	output       string
	dir          string
}

// setupResult is the output of setup with -o json.
type setupResult struct {
	Distribution setup.Distribution `json:"distribution"`
	// Because says what shows the distribution; absent if it was given.
	Because      string   `json:"because,omitempty"`
	ControlPlane []string `json:"controlPlaneNodes,omitempty"`
	// Folder is that of the files on the nodes.
	Folder string            `json:"folder"`
	Files  map[string]string `json:"files"`
	Flags  []setup.Flag      `json:"flags"`
	// RemovedFlags are those that kube-apiserver does not start with any more.
	RemovedFlags []string `json:"removedFlags,omitempty"`
}

func newSetupCommand(s *session) *cobra.Command {
	o := &setupOptions{session: s}
	cmd := &cobra.Command{
		Use:        "setup",
		SuggestFor: []string{"install", "init", "configure"},
		Short:      "Show how to connect kube-apiserver to the verifier",
		Long: `Show how to connect kube-apiserver to the verifier: two files and two flags, what to paste on each control plane node, how to
make it last, and how to get back. It detects the distribution and changes nothing in the cluster. The files are public: the
verifier publishes them in the ConfigMap pat-operator-authn. Where nobody can set flags (EKS, GKE, AKS) it leads to the proxy.

With --scopes kube-apiserver enforces the scopes of tokens as well: two more files, and an AuthorizationConfiguration with an
authorizer before those that kube-apiserver has. Without it tokens with scopes are refused, and all others work. Where
kube-apiserver enforces scopes already, --scopes is the default.

With --new-ca it makes a CA and both files before there is a cluster, for kind, Cluster API or Terraform, and a Secret with the
CA, which you create before you install pat-operator. Keep the Secret's file secret.`,
		Example: `  # What to do on this cluster
  kubectl pat setup

  # Let tokens have scopes, too
  kubectl pat setup --scopes

  # The files, to copy them yourself
  kubectl pat setup -o files --dir pat-operator

  # Before the cluster exists, with a ClusterIP that you choose for the verifier's Service
  kubectl pat setup --new-ca --endpoint https://10.96.0.20 --distribution kubeadm --dir pat-operator`,
		Args:              noTokens(noArguments),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), !cmd.Flags().Changed("scopes"))
		},
	}
	flags := cmd.Flags()
	o.operator.bind(flags)
	flags.BoolVar(&o.scopes, "scopes", false, "let kube-apiserver enforce the scopes of tokens (default: as it does now)")
	flags.StringVar(&o.distribution, "distribution", "", "the `NAME` of the distribution: "+distributions()+" (default: detected)")
	flags.StringVar(&o.endpoint, "endpoint", "", "the `URL` at which kube-apiserver reaches the verifier, https://HOST[:PORT] (default: as published)")
	flags.StringVar(&o.nodeDir, "node-dir", "", "the `FOLDER` of the files on the nodes (default: one that kube-apiserver sees)")
	flags.StringVar(&o.present.CertFile, "apiserver-certificate", "", "the `FILE`, on the nodes, of a client certificate that kube-apiserver presents to the verifier")
	flags.StringVar(&o.present.KeyFile, "apiserver-key", "", "the `FILE`, on the nodes, of that certificate's key")
	flags.BoolVar(&o.newCA, "new-ca", false, "make a CA, for a cluster that does not exist yet; needs --endpoint and --dir")
	flags.StringVarP(&o.output, "output", "o", "", "the `FORMAT`: files or json (default: instructions)")
	flags.StringVar(&o.dir, "dir", "", "write the files into this `FOLDER`")
	completeValues(cmd, "output", outputFiles, outputJSON)
	completeValues(cmd, "distribution", strings.Split(distributions(), ", ")...)
	return cmd
}

func distributions() string {
	names := make([]string, len(setup.Distributions))
	for i, d := range setup.Distributions {
		names[i] = string(d)
	}
	return strings.Join(names, ", ")
}

func (o *setupOptions) validate() error {
	if o.output != "" {
		if err := oneOf("output", o.output, outputFiles, outputJSON); err != nil {
			return err
		}
	}
	if o.distribution != "" {
		if err := oneOf("distribution", o.distribution, strings.Split(distributions(), ", ")...); err != nil {
			return err
		}
	}
	if o.endpoint != "" {
		if u, err := url.Parse(o.endpoint); err == nil && u.Path == "" && u.RawQuery == "" && !strings.ContainsAny(o.endpoint, "?#") {
			o.endpoint += authnconfig.TokenReviewPath
		}
		if err := authnconfig.CheckURL("--endpoint", o.endpoint); err != nil {
			return usageError{err}
		}
	}
	if o.nodeDir != "" {
		if err := setup.CheckFolder("--node-dir", o.nodeDir); err != nil {
			return usageError{err}
		}
	}
	if err := o.present.Check(); err != nil {
		return usageError{err}
	}
	switch {
	case o.newCA && o.endpoint == "":
		return usagef("--new-ca needs --endpoint: nothing is published before the cluster exists; give the address that the verifier will have, as in --endpoint https://10.96.0.20")
	case o.newCA && o.dir == "":
		return usagef("--new-ca needs --dir: add --dir FOLDER for the files")
	case o.newCA && o.output == outputJSON:
		return usagef("--new-ca writes files: leave --output out, or give --output files")
	case o.output == outputFiles && o.dir == "":
		return usagef("--output files needs a folder: add --dir FOLDER")
	case o.dir != "" && o.output != outputFiles && !o.newCA:
		return usagef("--dir works only with --output files or --new-ca")
	}
	return o.operator.validate()
}

// run shows the instructions. With keep, kube-apiserver enforces scopes afterwards if it does now.
func (o *setupOptions) run(ctx context.Context, keep bool) error {
	if err := o.validate(); err != nil {
		return err
	}
	if o.newCA {
		return o.runNewCA()
	}
	c, err := o.client()
	if err != nil {
		return err
	}
	o.operator.find(ctx, c)
	config, err := o.published(ctx, c)
	if err != nil {
		return err
	}
	if o.endpoint != "" {
		config.Server = o.endpoint
	}
	config.Present = o.present
	cluster, err := o.detect(ctx, c)
	if err != nil {
		return err
	}
	if keep {
		o.scopes = o.enforcesScopes(ctx, c)
	}
	plan := setup.NewPlan(cluster, config, o.nodeDir, o.scopes)
	if proxy, err := o.operator.proxy(ctx, c); err != nil {
		o.sayf("Warning: %v", err)
	} else if proxy != nil {
		plan.Proxy = proxy.URL
	}
	if o.scopes && !plan.Scopes {
		o.sayf("There are no instructions for an AuthorizationConfiguration on this distribution (%s): tokens with scopes stay refused.", cluster.Distribution)
	}
	switch o.output {
	case outputFiles:
		return o.writeFiles(plan)
	case outputJSON:
		return o.writeJSON(plan)
	}
	return o.printText(plan)
}

// published reads what the verifier has published.
func (o *setupOptions) published(ctx context.Context, c client.Client) (authnconfig.Config, error) {
	key := client.ObjectKey{Namespace: o.operator.namespace, Name: authnconfig.ConfigMapName}
	configMap := &corev1.ConfigMap{}
	if err := c.Get(ctx, key, configMap); apierrors.IsNotFound(err) {
		return authnconfig.Config{}, fmt.Errorf("the ConfigMap %s does not exist: install pat-operator first, or name its namespace with --operator-namespace", key)
	} else if err != nil {
		return authnconfig.Config{}, err
	}
	return authnconfig.FromData(configMap.Data)
}

// enforcesScopes reports whether kube-apiserver has an authorizer of pat-operator, well or not.
func (o *setupOptions) enforcesScopes(ctx context.Context, c client.Client) bool {
	found, _, err := authnconfig.Probe(ctx, "", func(ctx context.Context, review *authorizationv1.SubjectAccessReview) (authorizationv1.SubjectAccessReviewStatus, error) {
		err := c.Create(ctx, review)
		return review.Status, err
	})
	if err != nil {
		o.sayf("You may not ask whether kube-apiserver enforces the scopes of tokens: %v. If it does, add --scopes.", err)
	}
	return err == nil && found != authnconfig.NotAsked
}

// detect tells the distribution, unless the user did. It says what it was not allowed to read.
func (o *setupOptions) detect(ctx context.Context, c client.Client) (setup.Cluster, error) {
	facts := setup.Facts{}
	nodes := &corev1.NodeList{}
	kubeadm := &corev1.ConfigMap{}
	if err := c.List(ctx, nodes); err == nil {
		facts.Nodes = nodes.Items
	} else if o.distribution == "" {
		o.sayf("You may not list the nodes, so the distribution is a guess: %v. Name it with --distribution (%s).", err, distributions())
	}
	err := c.Get(ctx, client.ObjectKey{Namespace: metav1.NamespaceSystem, Name: "kubeadm-config"}, kubeadm)
	if facts.Kubeadm = kubeadm.Data["ClusterConfiguration"]; err != nil && !apierrors.IsNotFound(err) && o.distribution == "" {
		o.sayf("You may not read the ConfigMap kube-system/kubeadm-config: %v.", err)
	}
	if err := o.discover(&facts); err != nil {
		return setup.Cluster{}, err
	}
	cluster := setup.Detect(facts)
	if o.distribution != "" {
		cluster.Distribution, cluster.Because = setup.Distribution(o.distribution), ""
	}
	return cluster, nil
}

// discover asks for what every user may read.
func (o *setupOptions) discover(facts *setup.Facts) error {
	config, err := restConfig(o.flags)
	if err != nil {
		return err
	}
	api, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	version, err := api.ServerVersion()
	if err != nil {
		return err
	}
	groups, err := api.ServerGroups()
	if err != nil {
		return err
	}
	facts.ServerVersion = version.GitVersion
	facts.OpenShift = slices.ContainsFunc(groups.Groups, func(group metav1.APIGroup) bool { return group.Name == "config.openshift.io" })
	return nil
}

func (o *setupOptions) printText(plan setup.Plan) error {
	text, err := plan.Text()
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(o.Out, text)
	return err
}

// files are those for kube-apiserver, and kubeadm's configuration where it is known.
func files(plan setup.Plan) ([]authnconfig.File, error) {
	files, err := plan.Files()
	if err != nil {
		return nil, err
	}
	if name, content, err := plan.KubeadmConfiguration(); err == nil && content != "" {
		files = append(files, authnconfig.File{Name: name, Content: content})
	}
	return files, nil
}

func (o *setupOptions) writeJSON(plan setup.Plan) error {
	files, err := files(plan)
	if err != nil {
		return err
	}
	contents := map[string]string{}
	for _, file := range files {
		contents[file.Name] = file.Content
	}
	return write(o.Out, outputJSON, setupResult{
		Distribution: plan.Distribution, Because: plan.Because, ControlPlane: plan.ControlPlane,
		Folder: plan.Folder, Files: contents, Flags: plan.Flags(), RemovedFlags: plan.Removed(),
	})
}

func (o *setupOptions) writeFiles(plan setup.Plan) error {
	files, err := files(plan)
	if err != nil {
		return err
	}
	paths, err := authnconfig.Write(o.dir, files)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(o.Out, strings.Join(paths, "\n"))
	return err
}

// runNewCA makes a CA, its Secret and the files without a cluster.
func (o *setupOptions) runNewCA() (err error) {
	if o.operator.namespace == "" {
		o.operator.namespace = authnconfig.Namespace
	}
	cluster := setup.Cluster{Distribution: setup.Distribution(o.distribution)}
	if o.distribution == "" {
		cluster.Distribution = setup.Other
	}
	cert, _, key, err := cacert.New(authnconfig.CASecretName, o.Clock.Now(), authnconfig.CAValidity)
	if err != nil {
		return err
	}
	bundle := cacert.Encode(cert)
	plan := setup.NewPlan(cluster, authnconfig.Config{
		Server: o.endpoint, ServerName: authnconfig.ServerName(o.operator.namespace), Bundle: bundle, Present: o.present,
	}, o.nodeDir, o.scopes)

	// A key that is in use is never overwritten, and files of another CA are not left next to it.
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(o.dir, caSecretFile)
	file, err := createNew("--dir", path, 0o600)
	if err != nil {
		return err
	}
	defer file.discard()
	secret := &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: o.operator.namespace, Name: authnconfig.CASecretName, Labels: map[string]string{"app.kubernetes.io/managed-by": "pat-operator"}},
		Type:       corev1.SecretTypeTLS,
		Data:       map[string][]byte{corev1.TLSCertKey: bundle, corev1.TLSPrivateKeyKey: key, authnconfig.KeyCA: bundle},
	}
	if err := errors.Join(write(file, outputYAML, secret), file.keep()); err != nil {
		return err
	}
	if o.output == outputFiles {
		err = o.writeFiles(plan)
	} else if files, filesErr := plan.Files(); filesErr != nil {
		err = filesErr
	} else if _, err = authnconfig.Write(o.dir, files); err == nil {
		err = o.printText(plan)
	}
	if err != nil {
		return err
	}
	host, _, _ := strings.Cut(strings.TrimPrefix(o.endpoint, "https://"), "/")
	o.sayf("%s has the key of the CA: keep it secret. When the cluster runs, and before you install pat-operator:", path)
	o.sayf("  kubectl create namespace %s && kubectl apply -f %s", o.operator.namespace, path)
	o.sayf("Install with verifier.endpoint=%s, or, if that is the ClusterIP of the verifier's Service, with verifier.service.clusterIP=%s.", "https://"+host, host)
	return nil
}
