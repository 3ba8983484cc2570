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

package env

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
)

// KASRemembers bounds how long kube-apiserver may go on accepting a token that the verifier refuses: its own 10 s and a
// moment.
const KASRemembers = 12 * time.Second

// ErrNotReady is the answer of a verifier that cannot tell: another is to be asked.
var ErrNotReady = errors.New("the verifier is not ready")

// Options of Start.
type Options struct {
	cluster.Options
	// Verifier and Operator are further flags of theirs.
	Verifier, Operator []string
	// Console lets the verifier serve the console.
	Console bool
}

// Product is a cluster and what tests do in it.
type Product struct {
	*cluster.Cluster
	// Binary is the manager.
	Binary string
	// Verifier and Operator are those that Start has started.
	Verifier, Operator *cluster.Manager
	// Admin is in system:masters.
	Admin client.WithWatch
}

// New gives tests a cluster that is running.
func New(c *cluster.Cluster) (*Product, error) {
	admin, err := client.NewWithWatch(c.Admin(), client.Options{Scheme: Scheme})
	return &Product{Cluster: c, Admin: admin}, err
}

// Start builds the manager in a folder and starts a cluster with a verifier and an operator. Where it fails, nothing is left.
func Start(ctx context.Context, dir string, o Options) (p *Product, err error) {
	if o.ManagerBinary, err = cluster.BuildManager(ctx, dir); err != nil {
		return nil, err
	}
	c, err := cluster.Start(ctx, o.Options)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	if p, err = New(c); err != nil {
		return nil, err
	}
	p.Binary = o.ManagerBinary
	// In this order: for the first verifier kube-apiserver restarts, which on a busy machine takes longer than a lease.
	if p.Verifier, err = c.StartManager(ctx, cluster.ManagerOptions{Command: "verifier", Args: o.Verifier, Console: o.Console}); err != nil {
		return nil, err
	}
	p.Operator, err = c.StartOperator(ctx, o.Operator...)
	return p, err
}

// User is a person with a client certificate.
type User struct {
	Name       string
	Groups     []string
	Kubeconfig string
	client.WithWatch
}

// User returns a person in these groups.
func (p *Product) User(name string, groups ...string) (User, error) {
	config, kubeconfig, err := p.Cluster.User(name, groups...)
	if err != nil {
		return User{}, err
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: Scheme})
	return User{name, groups, kubeconfig, c}, err
}

// Group is the members of a group, for Team.
func Group(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: name}
}

// Team makes a namespace where its members may do anything with PersonalAccessTokens and read the named resources of the
// core API. It returns the name once they may.
func (p *Product) Team(ctx context.Context, members rbacv1.Subject, reads ...string) (string, error) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "team-"}}
	if err := p.Admin.Create(ctx, ns); err != nil {
		return "", err
	}
	ours := []string{v1alpha1.GroupVersion.Group}
	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "dev"},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: ours, Resources: []string{"personalaccesstokens"}, Verbs: []string{"*"}},
			{APIGroups: ours, Resources: []string{"personalaccesstokens/status"}, Verbs: []string{"get", "patch", "update"}},
		},
	}
	if len(reads) > 0 {
		role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: reads, Verbs: []string{"get", "list", "watch"}})
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "dev"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "dev"},
		Subjects:   []rbacv1.Subject{members},
	}
	for _, o := range []client.Object{role, binding} {
		if err := p.Admin.Create(ctx, o); err != nil {
			return "", err
		}
	}
	may := authorizationv1.SubjectAccessReviewSpec{User: members.Name, ResourceAttributes: &authorizationv1.ResourceAttributes{
		Namespace: ns.Name, Group: v1alpha1.GroupVersion.Group, Resource: "personalaccesstokens", Verb: "create",
	}}
	if members.Kind == rbacv1.GroupKind {
		may.User, may.Groups = "a-member", []string{members.Name}
	}
	return ns.Name, Poll(ctx, Patience, func() error {
		review := &authorizationv1.SubjectAccessReview{Spec: may}
		if err := p.Admin.Create(ctx, review); err != nil || review.Status.Allowed {
			return err
		}
		return errors.New("the new role does not take effect")
	})
}

// Condition is "<status>/<reason>" of a condition that is about this generation, or "" without one.
func Condition(p *v1alpha1.PersonalAccessToken, kind string) string {
	for _, c := range p.Status.Conditions {
		if c.Type == kind && c.ObservedGeneration == p.Generation {
			return string(c.Status) + "/" + c.Reason
		}
	}
	return ""
}

// expect returns a token, with an error where a Condition is not what is wanted.
func (p *Product) expect(ctx context.Context, namespace, name, condition, want string) (*v1alpha1.PersonalAccessToken, error) {
	pat := &v1alpha1.PersonalAccessToken{}
	if err := p.Admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, pat); err != nil {
		return nil, err
	}
	if got := Condition(pat, condition); got != want {
		return nil, fmt.Errorf("%s of %s/%s is %q; want %q", condition, namespace, name, got, want)
	}
	return pat, nil
}

// WaitFor waits until a Condition of a token is what is wanted.
func (p *Product) WaitFor(ctx context.Context, namespace, name, condition, want string) error {
	return Poll(ctx, Patience, func() error {
		_, err := p.expect(ctx, namespace, name, condition, want)
		return err
	})
}

// Take waits for a token and reads its plaintext from the delivery Secret, by a client that may.
func (p *Product) Take(ctx context.Context, by client.Client, namespace, name string) (plaintext string, err error) {
	err = Poll(ctx, Patience, func() error {
		pat, err := p.expect(ctx, namespace, name, v1alpha1.ConditionReady, "True/"+v1alpha1.ReasonReconciled)
		if err != nil {
			return err
		}
		secret := &corev1.Secret{}
		err = by.Get(ctx, client.ObjectKey{Namespace: namespace, Name: pat.Status.DeliverySecretName}, secret)
		plaintext = string(secret.Data[v1alpha1.SecretKeyToken])
		return err
	})
	return plaintext, err
}

// Bearer returns a client that has nothing but a token.
func (p *Product) Bearer(plaintext string) (client.WithWatch, error) {
	config := p.Anonymous()
	config.BearerToken = plaintext
	// With the mapper it asks for nothing but what it is told to ask for.
	return client.NewWithWatch(config, client.Options{Scheme: Scheme, Mapper: p.Admin.RESTMapper()})
}

// WhoIs asks kube-apiserver, once, whom a client authenticates as.
func WhoIs(ctx context.Context, c client.Client) (authenticationv1.UserInfo, error) {
	review := &authenticationv1.SelfSubjectReview{}
	err := c.Create(ctx, review)
	return review.Status.UserInfo, err
}

// Whoami waits until kube-apiserver accepts a token, and returns whom it authenticates as.
func (p *Product) Whoami(ctx context.Context, plaintext string) (user authenticationv1.UserInfo, err error) {
	c, err := p.Bearer(plaintext)
	if err != nil {
		return user, err
	}
	err = Poll(ctx, Patience, func() (err error) {
		user, err = WhoIs(ctx, c)
		return err
	})
	return user, err
}

// Refused waits until the verifier refuses a token, and then until kube-apiserver does. It returns how long both took.
func (p *Product) Refused(ctx context.Context, plaintext string) (time.Duration, error) {
	start := time.Now()
	if err := p.RefusedByVerifier(ctx, plaintext); err != nil {
		return 0, err
	}
	c, err := p.Bearer(plaintext)
	if err != nil {
		return 0, err
	}
	err = Within(ctx, KASRemembers, func() error {
		_, err := WhoIs(ctx, c)
		switch {
		case apierrors.IsUnauthorized(err):
			return nil
		case err == nil:
			err = errors.New("kube-apiserver still accepts the token")
		}
		return err
	})
	return time.Since(start), err
}

// RefusedByVerifier waits until the verifier refuses a token.
func (p *Product) RefusedByVerifier(ctx context.Context, plaintext string) error {
	return Poll(ctx, Patience, func() error {
		status, err := p.Review(ctx, plaintext)
		if err == nil && status.Authenticated {
			err = errors.New("the verifier still accepts the token")
		}
		return err
	})
}

// Review asks the verifier itself about a token, past everything that kube-apiserver remembers.
func (p *Product) Review(ctx context.Context, plaintext string, audiences ...string) (authenticationv1.TokenReviewStatus, error) {
	secret := &corev1.Secret{}
	if err := p.Admin.Get(ctx, client.ObjectKey{Namespace: cluster.OperatorNamespace, Name: "pat-operator-verifier-ca"}, secret); err != nil {
		return authenticationv1.TokenReviewStatus{}, err
	}
	face, err := Face(secret.Data["ca.crt"])
	if err != nil {
		return authenticationv1.TokenReviewStatus{}, err
	}
	return Review(ctx, face, p.TokenReviewURL(), plaintext, audiences...)
}

// Face is a client of a manager's own ports that trusts these CAs. Each request has its own connection, since processes come
// and go at an address.
func Face(bundles ...[]byte) (*http.Client, error) {
	roots := x509.NewCertPool()
	for _, bundle := range bundles {
		if !roots.AppendCertsFromPEM(bundle) {
			return nil, errors.New("no certificate in a bundle")
		}
	}
	return &http.Client{
		Timeout:   Patience,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}, DisableKeepAlives: true},
	}, nil
}

// Review asks a verifier at its URL about a token. The error of one that cannot tell is ErrNotReady.
func Review(ctx context.Context, face *http.Client, url, plaintext string, audiences ...string) (authenticationv1.TokenReviewStatus, error) {
	answer := &authenticationv1.TokenReview{}
	body, err := json.Marshal(&authenticationv1.TokenReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview"},
		Spec:     authenticationv1.TokenReviewSpec{Token: plaintext, Audiences: audiences},
	})
	if err != nil {
		return answer.Status, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return answer.Status, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := face.Do(request)
	if err != nil {
		return answer.Status, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
	case response.StatusCode == http.StatusInternalServerError && response.Header.Get("Retry-After") != "":
		err = ErrNotReady
	case response.StatusCode != http.StatusOK:
		err = fmt.Errorf("HTTP %d: %s", response.StatusCode, text)
	default:
		err = json.Unmarshal(text, answer)
	}
	return answer.Status, err
}
