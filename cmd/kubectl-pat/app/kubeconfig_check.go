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
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/scope"
	"github.com/pat-operator/pat-operator/internal/token"
)

const (
	// whoamiWithin bounds the wait until the proxy may act for the user of a new token: the operator writes the list of users, with
	// a pause between two writes, and kube-apiserver has to see it.
	whoamiWithin = time.Minute
	whoamiPause  = time.Second

	onlyRBAC = "only Kubernetes RBAC counts for an impersonated user, and not what a cloud's authorization allows (EKS access policies, Google IAM, Azure RBAC): bind %s, or a group of the token, in RBAC"
)

// questions are the permissions that --check compares. One without a namespace is about the whole cluster.
func questions(namespace string) []scope.Request {
	return []scope.Request{
		{Verb: "list", Resource: "pods", Namespace: namespace},
		{Verb: "get", Resource: "secrets", Namespace: namespace},
		{Verb: "create", Group: "apps", Resource: "deployments", Namespace: namespace},
		{Verb: "create", Resource: "pods", Subresource: "exec", Namespace: namespace},
		{Verb: "list", Resource: "nodes"},
	}
}

// only connects to a server as a kubeconfig that was just written does.
type only struct {
	*genericclioptions.ConfigFlags
	config *rest.Config
}

// ToRESTConfig implements genericclioptions.RESTClientGetter.
func (o only) ToRESTConfig() (*rest.Config, error) { return rest.CopyConfig(o.config), nil }

// compare uses the new kubeconfig, and compares what it may do with what the caller may.
func (o *kubeconfigOptions) compare(ctx context.Context, w written) error {
	cluster := w.cluster
	if w.proxied && o.operator.guessed {
		return fmt.Errorf("--check: the token was not sent to %s, which the ConfigMap %s names: you may not read in which namespace the operator is, so that may be another user's. Ask a cluster administrator, and add --operator-namespace NAMESPACE", cluster.Server, o.operator.configMap())
	}
	config := &rest.Config{Host: cluster.Server, BearerToken: w.holder.Token, BearerTokenFile: w.holder.TokenFile, TLSClientConfig: rest.TLSClientConfig{
		CAData: cluster.CertificateAuthorityData, ServerName: cluster.TLSServerName, Insecure: cluster.InsecureSkipTLSVerify,
	}}
	if cluster.ProxyURL != "" {
		given, err := restConfig(o.flags)
		if err != nil {
			return err
		}
		config.Proxy = given.Proxy
	}
	theirs, err := o.Connect(only{o.flags, config}, o.ErrOut)
	if err != nil {
		return err
	}
	who, err := o.whoami(ctx, theirs)
	if err != nil {
		return unusable(err, w)
	}
	if !slices.Contains(who.Extra[user.CredentialIDKey], token.CredentialPrefix+w.id) {
		return fmt.Errorf("--check: %s says that you are %s, and not by this token: another server answers, or a client certificate was used", cluster.Server, who.Username)
	}
	o.sayf("It works: at %s the token is %s.", cluster.Server, who.Username)
	return o.comparePermissions(ctx, theirs, w)
}

// whoami asks who the token is. It waits until the proxy may act for its user.
func (o *kubeconfigOptions) whoami(ctx context.Context, c client.Client) (authenticationv1.UserInfo, error) {
	review, answer, said := &authenticationv1.SelfSubjectReview{}, error(nil), false
	err := wait.PollUntilContextTimeout(ctx, whoamiPause, whoamiWithin, true, func(ctx context.Context) (bool, error) {
		if err := c.Create(ctx, review); err == nil || answer == nil || ctx.Err() == nil { // a wait that ended says nothing new
			answer = err
		}
		if !ofImpersonation(answer) {
			return true, nil
		}
		if !said {
			o.sayf("Waiting up to %v until the proxy may act for the user of this token.", whoamiWithin)
			said = true
		}
		return false, nil
	})
	if answer == nil {
		answer = err
	}
	return review.Status.UserInfo, answer
}

// ofImpersonation reports whether kube-apiserver does not let the proxy act for the user. The proxy's own refusals name no resource.
func ofImpersonation(err error) bool {
	refused, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok || !apierrors.IsForbidden(err) || refused.ErrStatus.Details == nil {
		return false
	}
	return slices.Contains([]string{"users", "groups", "serviceaccounts", "nodes", "uids", "userextras"}, refused.ErrStatus.Details.Kind)
}

// unusable adds the likely cause to the error of a kubeconfig that was just written.
func unusable(err error, w written) error {
	server := w.cluster.Server
	switch {
	case apierrors.IsForbidden(err) && w.proxied:
		return fmt.Errorf("--check: the proxy %s may not act for the user of this token, or the token may not be used from this address: %w", server, err)
	case apierrors.IsUnauthorized(err) && w.proxied:
		return fmt.Errorf("--check: %s does not accept the token: it has ended, is suspended, or is for other audiences; see kubectl pat describe %s -n %s (%v)", server, w.pat.Name, w.pat.Namespace, err) //nolint:errorlint // all is said
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("--check: %s does not accept the token: it has ended, or kube-apiserver does not ask the verifier (kubectl pat doctor), or tokens work only at a proxy that you may not look up: give its address with --server and --server-ca (%v)", server, err) //nolint:errorlint // all is said
	}
	return fmt.Errorf("--check: the kubeconfig does not work at %s: %w", server, err)
}

// comparePermissions prints the differences and their causes.
func (o *kubeconfigOptions) comparePermissions(ctx context.Context, theirs client.Client, w written) error {
	mine, err := o.client()
	if err != nil {
		return err
	}
	me := &authenticationv1.SelfSubjectReview{}
	if err := mine.Create(ctx, me); err != nil {
		return fmt.Errorf("--check: cannot ask who you are without the token: %w", err)
	}
	asked, same := questions(w.pat.Namespace), true
	for i := range asked {
		q := &asked[i]
		my, err := mayI(ctx, mine, q)
		if err != nil {
			return fmt.Errorf("--check: cannot ask what you may do: %w", err)
		}
		its, err := mayI(ctx, theirs, q)
		if err != nil {
			return fmt.Errorf("--check: cannot ask what the token may do: %w", err)
		}
		if my == its {
			continue
		}
		same = false
		who := "the token may %s, and you may not"
		if my {
			who = "you may %s, and the token may not"
		}
		o.sayf("Different: "+who+": %s", phrase(q), cause(w, &me.Status.UserInfo, q, my))
	}
	if same {
		o.sayf("Of %v permissions that were compared, the token has those that you have.", len(asked))
	}
	return nil
}

// mayI asks what the credential of a client may do.
func mayI(ctx context.Context, c client.Client, q *scope.Request) (bool, error) {
	review := &authorizationv1.SelfSubjectAccessReview{}
	review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes = attributes(q)
	err := c.Create(ctx, review)
	return review.Status.Allowed, err
}

// cause says why a token may not do what the caller may, or the other way round.
func cause(w written, me *authenticationv1.UserInfo, q *scope.Request, my bool) string {
	var causes []string
	pat := w.pat
	if set, err := scope.Compile(pat.Spec.Scopes, pat.Namespace); my && len(pat.Spec.Scopes) > 0 && (err != nil || !set.Allows(q)) {
		return "it is outside of the scopes " + permissions(pat.Spec.Scopes)
	}
	if pat.Spec.User != nil {
		if why := anotherUser(me, pat.Spec.User); why != "" {
			causes = append(causes, why)
		}
		if my && w.proxied {
			causes = append(causes, fmt.Sprintf(onlyRBAC, pat.Spec.User.Username))
		}
	}
	if len(causes) == 0 {
		return "kube-apiserver does not say why"
	}
	return strings.Join(causes, "; or ")
}
