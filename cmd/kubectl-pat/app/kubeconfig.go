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
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/host"
)

type kubeconfigOptions struct {
	*session
	keys        identityFlags
	decrypt     bool
	tokenFile   string
	tokenPath   string
	output      string
	clusterName string
	server      string
}

func newKubeconfigCommand(s *session) *cobra.Command {
	o := &kubeconfigOptions{session: s}
	cmd := &cobra.Command{
		Use:   "kubeconfig NAME",
		Short: "Write a kubeconfig for the holder of a token",
		Long: `Write a kubeconfig for the holder of a token, with the cluster of the current context and its CA, the namespace of the
PersonalAccessToken, and the token. It contains none of your own credentials.

The token comes from standard input (a terminal asks for it) or from --token-file. With --decrypt it is the one that was encrypted
to your key. It must be the token of NAME. With --token-path the kubeconfig contains, instead of the token, the path of a file that
the holder will have, relative to the kubeconfig. kubectl reads that file again each minute, so such a kubeconfig survives
rotations.

A token that the operator has not processed yet is accepted, with a warning, if NAME has its digest.

--server is the address of the API server for the holder. This command itself uses the one of the current context.`,
		Example: `  # From the token that create wrote into a file
  kubectl pat kubeconfig polite-mail --token-file polite-mail.token -o polite-mail.kubeconfig

  # In one step
  kubectl pat create polite-mail | kubectl pat kubeconfig polite-mail > polite-mail.kubeconfig

  # With your own key, to which the token was encrypted
  kubectl pat kubeconfig polite-mail --decrypt -i ~/.ssh/id_ed25519 -o ~/.kube/polite-mail

  # Without the token, which will be mounted at this path
  kubectl pat kubeconfig polite-mail --token-path /var/run/secrets/polite-mail/token`,
		Args:              noTokens(oneName),
		ValidArgsFunction: s.completeOneName,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), nameOf(args[0])) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.tokenFile, "token-file", stdin, "read the token from this `FILE`; - is standard input")
	flags.StringVar(&o.tokenPath, "token-path", "", "write the `PATH` of a file with the token instead of the token")
	flags.BoolVar(&o.decrypt, "decrypt", false, "decrypt the token with the key of -i")
	o.keys.bind(flags)
	flags.StringVarP(&o.output, "output", "o", stdin, "write the kubeconfig into this `FILE`, a new one that only you can read; - is standard output")
	flags.StringVar(&o.clusterName, "cluster-name", "", "the `NAME` of the cluster in the kubeconfig (default: that in yours)")
	flags.StringVar(&o.server, "server", "", "the `URL` of the API server for the holder (default: yours)")
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
	case o.output == "":
		return usagef("--output is empty: give a file, as in -o ci.kubeconfig, or leave it out")
	case slices.Contains([]string{outputJSON, outputYAML, outputName}, o.output):
		return usagef("-o is the file to write, and a kubeconfig is always YAML; for a file of this name use -o ./%s", o.output)
	case tokenLike.MatchString(o.tokenPath), tokenLike.MatchString(o.tokenFile):
		return errTokenGiven
	}
	return nil
}

func (o *kubeconfigOptions) run(ctx context.Context, name string) (err error) {
	if err := o.validate(o.tokenFile != stdin); err != nil {
		return err
	}
	config, err := restConfig(o.flags)
	if err != nil {
		return err
	}
	cluster, err := o.cluster(config)
	if err != nil {
		return err
	}
	// Create the file before reading the token: the pipe may be the only place that has it.
	out := o.Out
	keep := func() error { return nil }
	if o.output != stdin {
		file, err := createNew("--output", o.output, 0o600)
		if err != nil {
			return err
		}
		defer file.discard()
		out, keep = file, file.keep
	}
	// Read the pipe before looking NAME up: the command at its other end may be about to create NAME.
	var plaintext, id string
	if !o.decrypt && o.tokenPath == "" {
		if plaintext, id, err = o.readToken(ctx, o.tokenFile); err != nil {
			return err
		}
		defer func() { err = o.tokenGone(err, name) }()
	}
	pat, err := o.get(ctx, name)
	if err != nil {
		return err
	}
	if o.decrypt {
		if plaintext, id, err = o.open(ctx, pat); err != nil {
			return err
		}
	}
	holder := clientcmdv1.AuthInfo{Token: plaintext, TokenFile: o.tokenPath}
	if o.tokenPath == "" {
		if err := belongs(pat, plaintext, id); err != nil {
			return err
		}
	}
	if err := write(out, outputYAML, o.document(pat, cluster, holder)); err != nil {
		return err
	}
	if err := keep(); err != nil {
		return err
	}
	o.warn(pat, cluster, id)
	return nil
}

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

// cluster returns the cluster of the current context, without anything secret.
func (o *kubeconfigOptions) cluster(config *rest.Config) (*clientcmdv1.Cluster, error) {
	if o.server != "" {
		config = rest.CopyConfig(config)
		config.Host = o.server
	}
	server, err := serverOf(config)
	if err != nil {
		return nil, err
	}
	if server.Scheme != "https" {
		return nil, errNoTLS
	}
	if o.server != "" && !host.Valid(strings.ToLower(server.Hostname())) {
		return nil, usagef("--server %q has no valid host: give a URL such as --server https://api.example.com:6443", o.server)
	}
	if server.User != nil {
		return nil, usagef("the API server's address contains a user name, which would be in the kubeconfig: give another address with --server URL")
	}
	cluster := &clientcmdv1.Cluster{
		Server:                   server.String(),
		TLSServerName:            config.ServerName,
		CertificateAuthorityData: config.CAData,
		InsecureSkipTLSVerify:    config.Insecure,
		DisableCompression:       config.DisableCompression,
	}
	if config.CAFile != "" && len(config.CAData) == 0 {
		if cluster.CertificateAuthorityData, err = os.ReadFile(config.CAFile); err != nil {
			return nil, err
		}
	}
	if config.Proxy != nil {
		proxy, err := config.Proxy(&http.Request{URL: server})
		if err != nil {
			return nil, err
		}
		switch {
		case proxy == nil:
		case proxy.User != nil: // the holder could not connect without it
			return nil, usagef("the proxy-url of your kubeconfig contains a user name or password, which would be in the holder's: give a kubeconfig with --kubeconfig whose proxy-url has neither and works for the holder")
		default:
			cluster.ProxyURL = proxy.String()
		}
	}
	return cluster, nil
}

func (o *kubeconfigOptions) document(pat *v1alpha1.PersonalAccessToken, cluster *clientcmdv1.Cluster, holder clientcmdv1.AuthInfo) *clientcmdv1.Config {
	name := o.clusterName
	if name == "" {
		name = o.currentCluster()
	}
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

// currentCluster returns the cluster's name in the caller's kubeconfig.
func (o *kubeconfigOptions) currentCluster() string {
	const otherwise = "kubernetes"
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
func (o *kubeconfigOptions) warn(pat *v1alpha1.PersonalAccessToken, cluster *clientcmdv1.Cluster, id string) {
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

// reachable reports whether people elsewhere may reach a host, as far as its name shows.
func reachable(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsGlobalUnicast() && !ip.IsPrivate() && !sharedAddresses.Contains(ip)
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if !strings.Contains(host, ".") {
		return false
	}
	for _, local := range []string{".localhost", ".local", ".internal", ".svc", ".cluster.local"} {
		if strings.HasSuffix(host, local) {
			return false
		}
	}
	return true
}

// sharedAddresses are those of RFC 6598, between a provider and its customers.
var sharedAddresses = &net.IPNet{IP: net.IPv4(100, 64, 0, 0).To4(), Mask: net.CIDRMask(10, 32)}
