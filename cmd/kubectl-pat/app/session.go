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
	"io"
	"strings"

	"github.com/go-logr/logr"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
)

// session is one run of the plugin: its environment, and kubectl's flags, which select the cluster and namespace.
type session struct {
	Environment
	flags *genericclioptions.ConfigFlags
	// progressing is the width of the progress line on the terminal, 0 without one.
	progressing int
}

// fieldOwner owns our changes; see holder.Change.
const fieldOwner = client.FieldOwner("pat-cli")

// kubectlFlags are the global flags of kubectl, except --user, which here is the user of a token, and --cache-dir.
func kubectlFlags() *genericclioptions.ConfigFlags {
	flags := genericclioptions.NewConfigFlags(false)
	flags.AuthInfoName = nil
	flags.CacheDir = nil // nothing needs discovery
	return flags
}

// client connects to the cluster.
func (s *session) client() (client.WithWatch, error) { return s.Connect(s.flags, s.ErrOut) }

// namespace returns that of -n or of the kubeconfig's context, else "default", without a request.
func (s *session) namespace() (string, error) {
	namespace, _, err := s.flags.ToRawKubeConfigLoader().Namespace()
	return namespace, err
}

// get reads a resource in the session's namespace, with a client of its own, and names the namespace if it does not exist.
func (s *session) get(ctx context.Context, name string) (*v1alpha1.PersonalAccessToken, error) {
	c, err := s.client()
	if err != nil {
		return nil, err
	}
	pat, err := s.read(ctx, c, name)
	namespace, _ := s.namespace() // if this fails, read has failed too
	return pat, missing(err, namespace)
}

// read reads the resource with this name in the session's namespace.
func (s *session) read(ctx context.Context, c client.Client, name string) (*v1alpha1.PersonalAccessToken, error) {
	namespace, err := s.namespace()
	if err != nil {
		return nil, err
	}
	pat := &v1alpha1.PersonalAccessToken{}
	return pat, c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, pat)
}

// sayf prints a line for people to standard error. It makes each argument safe for a terminal.
func (s *session) sayf(format string, args ...any) {
	for i, arg := range args {
		args[i] = holder.Visible(fmt.Sprint(arg))
	}
	s.clear()
	fmt.Fprintf(s.ErrOut, format+"\n", args...)
}

// progress shows on a terminal what is going on, in one line that clear removes.
func (s *session) progress(format string, args ...any) {
	columns := s.Width(s.ErrOut)
	if columns == 0 {
		return
	}
	s.clear()
	text := shorten(holder.Visible(fmt.Sprintf(format, args...)), columns-1) // the last column would wrap
	s.progressing = widthOf(text)
	fmt.Fprint(s.ErrOut, text)
}

// clear removes the progress line. Call it before any other output.
func (s *session) clear() {
	if s.progressing > 0 {
		fmt.Fprint(s.ErrOut, "\r"+strings.Repeat(" ", s.progressing)+"\r")
		s.progressing = 0
	}
}

// Connect returns a client of the cluster that flags name. The API server's warnings go to warnings.
func Connect(flags genericclioptions.RESTClientGetter, warnings io.Writer) (client.WithWatch, error) {
	log.SetLogger(logr.Discard()) // without a logger controller-runtime complains on standard error
	config, err := restConfig(flags)
	if err != nil {
		return nil, err
	}
	config.UserAgent = string(fieldOwner) // the API server derives the field manager from it
	config.QPS = -1                       // API Priority and Fairness throttles, not the client
	config.WarningHandler = warningPrinter{warnings}
	return client.NewWithWatch(config, client.Options{Scheme: kinds, Mapper: mapper})
}

// errNoCluster reports that no cluster is configured; client-go would try http://localhost:8080.
var errNoCluster = errors.New("no cluster is configured: give a kubeconfig with --kubeconfig FILE or KUBECONFIG=FILE, or put it into ~/.kube/config")

// restConfig returns the configuration of the cluster that flags select.
func restConfig(flags genericclioptions.RESTClientGetter) (*rest.Config, error) {
	config, err := flags.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	if raw, err := flags.ToRawKubeConfigLoader().RawConfig(); err == nil && clientcmdapi.IsConfigEmpty(&raw) && config.Host == "http://localhost:8080" {
		return nil, errNoCluster
	}
	return config, nil
}

// warningPrinter prints the warnings of the API server and its admission webhooks.
type warningPrinter struct{ out io.Writer }

// HandleWarningHeader implements rest.WarningHandler; the API server uses only code 299.
func (p warningPrinter) HandleWarningHeader(code int, _ string, text string) {
	if code == 299 && text != "" {
		fmt.Fprintf(p.out, "Warning: %s\n", holder.Visible(text))
	}
}
