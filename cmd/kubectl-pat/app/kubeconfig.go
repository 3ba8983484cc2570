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
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
)

type kubeconfigOptions struct {
	*session
	keys        identityFlags
	operator    operatorFlags
	decrypt     bool
	tokenFile   string
	tokenPath   string
	embed       bool
	output      string
	clusterName string
	server      string
	serverCA    string
	noProxy     bool
	check       bool
	// format and file are --output, file is - for standard output.
	format, file string
}

func newKubeconfigCommand(s *session) *cobra.Command {
	o := &kubeconfigOptions{session: s}
	cmd := &cobra.Command{
		Use:   "kubeconfig NAME",
		Short: "Write a kubeconfig for the holder of a token",
		Long: `Write a kubeconfig for the holder of a token: a cluster, the token, and the namespace of the PersonalAccessToken. It contains
none of your own credentials. Where the cluster has a proxy (its address and CA are in the ConfigMap pat-operator-proxy), it leads
to that; else, and with --no-proxy, to the API server of the current context. With --server it leads elsewhere, with the CA of the
current context or of --server-ca. This command itself always uses the current context.

The token comes from standard input (a terminal asks for it) or from --token-file. With --decrypt it is the one that was encrypted
to your key. It must be the token of NAME. Of --token-file the kubeconfig contains only the path, unless --embed-token is given or it is
not a regular file, such as <(command): kubectl reads the file again each minute, so such a kubeconfig survives rotations.
--token-path is for a file that only the holder has, relative to the kubeconfig.

A token that the operator has not processed yet is accepted, with a warning, if NAME has its digest.

-o argocd prints the Secret by which Argo CD knows a cluster, -o terraform the variables host, token and cluster_ca_certificate of
the kubernetes provider as JSON. Both contain the token; -o argocd=FILE writes it into a new file that only you can read.

--check then asks, with the new kubeconfig, which user it is, and compares five permissions with yours. It waits up to a minute
until the proxy may act for the user of a new token.`,
		Example: `  # For yourself, from the token that create wrote into a file
  kubectl pat kubeconfig my-laptop --token-file my-laptop.token -o my-laptop.kubeconfig --check

  # For another person, with the token in it
  kubectl pat kubeconfig polite-mail --token-file polite-mail.token --embed-token -o polite-mail.kubeconfig

  # In one step
  kubectl pat create polite-mail | kubectl pat kubeconfig polite-mail > polite-mail.kubeconfig

  # With your own key, to which the token was encrypted
  kubectl pat kubeconfig polite-mail --decrypt -i ~/.ssh/id_ed25519 -o ~/.kube/polite-mail

  # Without the token, which will be mounted at this path
  kubectl pat kubeconfig polite-mail --token-path /var/run/secrets/polite-mail/token

  # For Argo CD and for Terraform
  kubectl pat kubeconfig deployer --token-file deployer.token -o argocd | kubectl apply -n argocd -f -
  kubectl pat kubeconfig deployer --token-file deployer.token -o terraform=cluster.auto.tfvars.json`,
		Args:              noTokens(oneName),
		ValidArgsFunction: s.completeOneName,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), nameOf(args[0])) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.tokenFile, "token-file", stdin, "read the token from this `FILE`; - is standard input")
	flags.StringVar(&o.tokenPath, "token-path", "", "write the `PATH` of a file with the token instead of the token")
	flags.BoolVar(&o.decrypt, "decrypt", false, "decrypt the token with the key of -i")
	o.keys.bind(flags)
	flags.BoolVar(&o.embed, "embed-token", false, "write the token of --token-file instead of the file's path")
	flags.StringVarP(&o.output, "output", "o", stdin, "write the kubeconfig into this `FILE`, a new one that only you can read; - is standard output. Or argocd, terraform, argocd=FILE, terraform=FILE")
	flags.StringVar(&o.clusterName, "cluster-name", "", "the `NAME` of the cluster in the kubeconfig (default: that in yours)")
	flags.StringVar(&o.server, "server", "", "the `URL` of the API server or the proxy for the holder (default: that of the proxy where there is one, else yours)")
	flags.StringVar(&o.serverCA, "server-ca", "", "the `FILE` with the CA of --server; public is for a certificate that every system trusts (default: the CA in yours)")
	flags.BoolVar(&o.noProxy, "no-proxy", false, "lead to the API server also where there is a proxy")
	flags.BoolVar(&o.check, "check", false, "use the new kubeconfig, and compare what it may do with what you may")
	o.operator.bind(flags)
	return cmd
}

func (o *kubeconfigOptions) validate(tokenFileGiven bool) error {
	var sources []string
	for flag, given := range map[string]bool{"--token-file": tokenFileGiven, "--token-path": o.tokenPath != "", "--decrypt": o.decrypt} {
		if given {
			sources = append(sources, flag)
		}
	}
	slices.Sort(sources)
	switch {
	case len(sources) > 1:
		return usagef("give either %s or %s, not both", sources[0], sources[1])
	case !o.decrypt && len(o.keys.files) > 0:
		return usagef("-i works only with --decrypt: add --decrypt")
	case o.embed && o.tokenPath != "":
		return usagef("--embed-token needs the token, which --token-path does not give: use --token-file FILE")
	case o.check && o.tokenPath != "":
		return usagef("--check needs the token, which --token-path does not give: use --token-file FILE")
	case o.serverCA != "" && o.server == "":
		return usagef("--server-ca works only with --server: add --server URL")
	case o.noProxy && o.server != "":
		return usagef("give either --no-proxy or --server, not both")
	case tokenLike.MatchString(o.tokenPath), tokenLike.MatchString(o.tokenFile):
		return errTokenGiven
	}
	if err := o.operator.validate(); err != nil {
		return err
	}
	return o.parseOutput()
}

func (o *kubeconfigOptions) run(ctx context.Context, name string) error {
	if err := o.validate(o.tokenFile != stdin); err != nil {
		return err
	}
	w, err := o.hand(ctx, name)
	if err != nil || !o.check {
		return err
	}
	return o.compare(ctx, w)
}

// written is what a kubeconfig that was written has.
type written struct {
	pat           *v1alpha1.PersonalAccessToken
	cluster       *clientcmdv1.Cluster
	proxied       bool
	plaintext, id string
	// holder is what it has of the token.
	holder clientcmdv1.AuthInfo
}

// hand writes the output and warns of what is wrong with it.
func (o *kubeconfigOptions) hand(ctx context.Context, name string) (w written, err error) {
	if w.cluster, w.proxied, err = o.cluster(ctx); err != nil {
		return w, err
	}
	// Create the file before reading the token: the pipe may be the only place that has it.
	out := o.Out
	keep := func() error { return nil }
	if o.file != stdin {
		file, err := createNew("--output", o.file, 0o600)
		if err != nil {
			return w, err
		}
		defer file.discard()
		out, keep = file, file.keep
	}
	// Read the pipe before looking NAME up: the command at its other end may be about to create NAME.
	if !o.decrypt && o.tokenPath == "" {
		if w.plaintext, w.id, err = o.readToken(ctx, o.tokenFile); err != nil {
			return w, err
		}
		defer func() { err = o.tokenGone(err, name) }()
	}
	if w.pat, err = o.get(ctx, name); err != nil {
		return w, err
	}
	if o.decrypt {
		if w.plaintext, w.id, err = o.open(ctx, w.pat); err != nil {
			return w, err
		}
	}
	if o.tokenPath == "" {
		if err := belongs(w.pat, w.plaintext, w.id); err != nil {
			return w, err
		}
	}
	if w.holder, err = o.credential(w.plaintext); err != nil {
		return w, err
	}
	if err := o.write(out, w); err != nil {
		return w, err
	}
	if err := keep(); err != nil {
		return w, err
	}
	o.warn(w)
	return w, nil
}

// credential is what the kubeconfig has of the token.
func (o *kubeconfigOptions) credential(plaintext string) (clientcmdv1.AuthInfo, error) {
	switch {
	case o.tokenPath != "":
		return clientcmdv1.AuthInfo{TokenFile: o.tokenPath}, nil
	case o.decrypt, o.embed, o.tokenFile == stdin, o.format != "":
		return clientcmdv1.AuthInfo{Token: plaintext}, nil
	}
	path, err := filepath.Abs(expandHome(o.tokenFile)) // a relative one would be relative to the kubeconfig
	if err != nil {
		return clientcmdv1.AuthInfo{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return clientcmdv1.AuthInfo{}, fmt.Errorf("--token-file: %w", err)
	}
	if !info.Mode().IsRegular() || ofThisProcess.MatchString(path) {
		return clientcmdv1.AuthInfo{Token: plaintext}, nil
	}
	return clientcmdv1.AuthInfo{TokenFile: path}, nil
}

// ofThisProcess matches files that are others, or none, to the process that uses the kubeconfig.
var ofThisProcess = regexp.MustCompile(`^/(dev/(fd/|stdin$)|proc/)`)

// tokenGone adds to an error that the token from the pipe may be lost.
func (o *kubeconfigOptions) tokenGone(err error, name string) error {
	if err == nil || o.tokenFile != stdin {
		return err
	}
	namespace, unknown := o.namespace()
	if unknown != nil {
		return err
	}
	return fmt.Errorf("%w. The token from standard input is not printed; if it is lost, run: kubectl pat rotate %s -n %s", err, name, namespace)
}

// open decrypts the token with the caller's key.
func (o *kubeconfigOptions) open(ctx context.Context, pat *v1alpha1.PersonalAccessToken) (plaintext, id string, err error) {
	keys, err := o.keyring(ctx, o.keys.files)
	if err != nil {
		return "", "", err
	}
	return openDelivered(pat, keys)
}

// belongs returns an error if the token is not pat's. A token that its holder made belongs to pat before status names it.
func belongs(pat *v1alpha1.PersonalAccessToken, plaintext, id string) error {
	where := pat.Namespace + "/" + pat.Name
	switch digest := compare(pat, tokenMatch{id: id, plaintexts: []string{plaintext}}); {
	case digest == digestMatches, digest == "" && (id == pat.Status.TokenID || id == pat.Status.PreviousTokenID):
		return nil
	case digest == digestDiffers:
		return fmt.Errorf("this token has the ID of the token of %s, but differs from it", where)
	}
	return fmt.Errorf("this is token %s, but %s has %s: kubectl pat find shows where it belongs", id, where, orNone(pat.Status.TokenID))
}

func orNone(id string) string {
	if id == "" {
		return "no token yet"
	}
	return id
}

func (o *kubeconfigOptions) document(pat *v1alpha1.PersonalAccessToken, cluster *clientcmdv1.Cluster, holder clientcmdv1.AuthInfo) *clientcmdv1.Config {
	name := o.nameOfCluster()
	context := pat.Name + "@" + name
	return &clientcmdv1.Config{
		APIVersion:     "v1",
		Kind:           "Config",
		Clusters:       []clientcmdv1.NamedCluster{{Name: name, Cluster: *cluster}},
		AuthInfos:      []clientcmdv1.NamedAuthInfo{{Name: pat.Name, AuthInfo: holder}},
		Contexts:       []clientcmdv1.NamedContext{{Name: context, Context: clientcmdv1.Context{Cluster: name, AuthInfo: pat.Name, Namespace: pat.Namespace}}},
		CurrentContext: context,
	}
}

// nameOfCluster returns that of --cluster-name, or else the one in the caller's kubeconfig.
func (o *kubeconfigOptions) nameOfCluster() string {
	const otherwise = "kubernetes"
	if o.clusterName != "" {
		return o.clusterName
	}
	raw, err := o.flags.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return otherwise
	}
	name := raw.CurrentContext
	if *o.flags.Context != "" {
		name = *o.flags.Context
	}
	switch context := raw.Contexts[name]; {
	case *o.flags.ClusterName != "":
		return *o.flags.ClusterName
	case context != nil && context.Cluster != "":
		return context.Cluster
	}
	return otherwise
}

// warn warns of what prevents the holder from using the kubeconfig, or from using it safely.
func (o *kubeconfigOptions) warn(w written) {
	pat, cluster, id := w.pat, w.cluster, w.id
	if w.proxied && o.operator.guessed {
		o.sayf("Warning: the kubeconfig leads to %s, because the ConfigMap %s says so. Anybody may have created that, as you may not read in which namespace the operator is: ask a cluster administrator, and add --operator-namespace NAMESPACE", cluster.Server, o.operator.configMap())
	}
	if len(pat.Spec.From) > 0 && !w.proxied {
		o.sayf("Warning: the token works only through the proxy, and only from %s. If %s is not the proxy, give the proxy's address with --server and --server-ca", strings.Join(pat.Spec.From, ", "), cluster.Server)
	}
	if server, err := url.Parse(cluster.Server); err == nil && !reachable(server.Hostname()) {
		o.sayf("Warning: %s is an address of this machine or network, which a holder elsewhere cannot reach: give another one with --server URL", cluster.Server)
	}
	if proxy, err := url.Parse(cluster.ProxyURL); err == nil && cluster.ProxyURL != "" {
		if !reachable(proxy.Hostname()) {
			o.sayf("Warning: the proxy %s is an address of this machine or network, which a holder elsewhere cannot reach", proxy.Redacted())
		}
	}
	if cluster.InsecureSkipTLSVerify {
		o.sayf("Warning: insecure-skip-tls-verify is set, as in your kubeconfig: the holder sends the token to any server that answers at %s", cluster.Server)
	}
	if len(pat.Spec.Audiences) > 0 {
		o.sayf("Warning: the token is for %s: the API server accepts it only if it is one of these", strings.Join(pat.Spec.Audiences, ", "))
	}
	switch active := holder.Active(pat); {
	case holder.StateOf(pat, o.Clock.Now()) == holder.StateExpired:
		o.sayf("Warning: the token has expired; for a new one run: %s", rotateCommand(pat))
	case active != nil && active.Status != "True":
		o.sayf("Warning: the token is not active: %s", holder.Says(active))
	case id != "" && id != pat.Status.TokenID && id != pat.Status.PreviousTokenID:
		o.sayf("Warning: the token is not active yet: the operator has not processed it yet; is it running?")
	}
}
