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

	"github.com/spf13/cobra"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/token"
)

// extraName is the extra key in which the verifier names the token's resource, as <namespace>/<name>.
const extraName = "pat-operator.io/name"

type whoamiOptions struct {
	*session
	tokenFile string
	output    string
}

// whoamiResult is the output of whoami with -o json and -o yaml.
type whoamiResult struct {
	// User is the user of the credential, as the API server says.
	User authenticationv1.UserInfo `json:"user"`
	// PersonalAccessToken is absent for another kind of credential.
	PersonalAccessToken *whoamiToken `json:"personalAccessToken,omitempty"`
}

// whoamiToken is the token of the caller.
type whoamiToken struct {
	ID        string `json:"id"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	// Active is the status of the condition Active; "" if the token may not read its resource.
	Active metav1.ConditionStatus `json:"active,omitempty"`
	// Message is the condition's message.
	Message string `json:"message,omitempty"`
	// Replaced reports that the token has a successor and still works.
	Replaced bool `json:"replaced,omitempty"`
	// ExpiresAt is when the token ends, if known.
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`
}

func newWhoamiCommand(s *session) *cobra.Command {
	o := &whoamiOptions{session: s}
	cmd := &cobra.Command{
		Use:        "whoami",
		SuggestFor: []string{"verify", "check"},
		Short:      "Show which user a token belongs to",
		Long: `Ask the API server which user you are, with the credential of the kubeconfig or with a token: that in --token-file, or
that of kubectl's --token, which others on this machine can see. A given token is the only credential that is sent. If the API
server refuses it, the credential of the kubeconfig is used to look up why. For a personal access token, the output includes its
ID and, if the token may read its own resource, when it expires.`,
		Example: `  # A token in a file; - is standard input, and on a terminal you are asked
  kubectl pat whoami --token-file ci.token
  kubectl pat whoami --token-file -

  # The credential of the kubeconfig
  kubectl pat whoami`,
		Args:              noTokens(noArguments),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.tokenFile, "token-file", "", "read the token from this `FILE`; - is standard input")
	flags.StringVarP(&o.output, "output", "o", "", "the `FORMAT`: json or yaml (default: text)")
	completeValues(cmd, "output", outputJSON, outputYAML)
	return cmd
}

func (o *whoamiOptions) run(ctx context.Context) error {
	if o.output != "" {
		if err := oneOf("output", o.output, outputJSON, outputYAML); err != nil {
			return err
		}
	}
	if o.tokenFile != "" && *o.flags.BearerToken != "" {
		return usagef("give either --token or --token-file, not both")
	}
	c, given, err := o.connect(ctx)
	if err != nil {
		return err
	}
	review := &authenticationv1.SelfSubjectReview{}
	if err := o.ask(ctx, c, review, given); err != nil {
		return o.rejected(ctx, err, given)
	}
	result := &whoamiResult{User: review.Status.UserInfo}
	unread := identify(ctx, c, result)
	if o.output != "" {
		return write(o.Out, o.output, result)
	}
	_, err = fmt.Fprint(o.Out, result.text(o.session, unread))
	return err
}

// connect returns a client with the given token, if any, and its ID, if it is a personal access token.
func (o *whoamiOptions) connect(ctx context.Context) (c client.Client, id string, err error) {
	plaintext := *o.flags.BearerToken
	if o.tokenFile != "" {
		if plaintext, err = o.readBearer(ctx, o.tokenFile); err != nil {
			return nil, "", err
		}
	}
	if plaintext == "" {
		c, err := o.client()
		return c, "", err
	}
	id, err = token.Parse(plaintext)
	if errors.Is(err, token.ErrMalformed) {
		return nil, "", fmt.Errorf("this begins like a personal access token, but does not have %d characters: was all of it copied?", token.Length)
	}
	c, err = o.Connect(asBearer{o.flags, plaintext}, o.ErrOut)
	return c, id, err
}

// newFor is how long a token counts as new after it was issued. Verifiers learn of it a moment after create has printed it.
const newFor = 10 * time.Second

// ask creates the review with a token. A new token that the API server refuses is tried until it is not new any more.
func (o *whoamiOptions) ask(ctx context.Context, c client.Client, review *authenticationv1.SelfSubjectReview, id string) error {
	err := c.Create(ctx, review)
	if !apierrors.IsUnauthorized(err) || id == "" {
		return err
	}
	pat := o.lookUp(ctx, id)
	if pat == nil || len(pat.Spec.Audiences) > 0 || pat.Status.IssuedAt == nil {
		return err
	}
	left := min(newFor, newFor-o.Clock.Since(pat.Status.IssuedAt.Time)) // the cluster's clock may be ahead
	for tries := left / whoamiPause; tries > 0 && apierrors.IsUnauthorized(err); tries-- {
		select {
		case <-ctx.Done():
			return err
		case <-time.After(whoamiPause):
			err = c.Create(ctx, review)
		}
	}
	return err
}

// rejected adds the likely cause to an error of the API server for a token.
func (o *whoamiOptions) rejected(ctx context.Context, err error, id string) error {
	switch {
	case !apierrors.IsUnauthorized(err):
		return err
	case id == "":
		return fmt.Errorf("the API server does not accept this credential: it has ended, or belongs to another cluster (%v)", err) //nolint:errorlint // all is said
	}
	pat := o.lookUp(ctx, id)
	if pat == nil {
		return fmt.Errorf("the API server does not accept token %s: it has ended, is suspended, is for other audiences, or belongs to another cluster, or no verifier answers the API server; a user who may list tokens can run kubectl pat find to see which (%v)", id, err) //nolint:errorlint // all is said
	}
	which := fmt.Sprintf("token %s of %s in namespace %s", id, holder.ResourceName(pat.Name), pat.Namespace)
	switch state := holder.StateOf(pat, o.Clock.Now()); {
	case state == holder.StateExpired:
		return fmt.Errorf("%s has expired; for a new one run: %s", which, rotateCommand(pat))
	case state != holder.StateActive && state != holder.StateExpiring:
		return fmt.Errorf("%s does not work (%s); see kubectl pat describe %s -n %s", which, state, pat.Name, pat.Namespace)
	case len(pat.Spec.Audiences) > 0:
		return fmt.Errorf("%s is for %s, and not for the API server", which, strings.Join(pat.Spec.Audiences, ", "))
	}
	return fmt.Errorf("%s works, but the API server does not accept it: no verifier answers, or none is configured; ask an administrator to check the verifier and kube-apiserver's --authentication-token-webhook-config-file", which)
}

// lookUp finds the token's resource in the namespace, with the kubeconfig's credential; nil if not found.
func (o *whoamiOptions) lookUp(ctx context.Context, id string) *v1alpha1.PersonalAccessToken {
	namespace, err := o.namespace()
	if err != nil || *o.flags.BearerToken != "" { // that is the token itself
		return nil
	}
	c, err := o.client()
	if err != nil {
		return nil
	}
	pats, err := holder.ReadAll(ctx, c, client.InNamespace(namespace))
	i := slices.IndexFunc(pats, func(pat v1alpha1.PersonalAccessToken) bool { return pat.Status.TokenID == id })
	if err != nil || i < 0 {
		return nil
	}
	return &pats[i]
}

// identify fills in the personal access token of the caller. unread is why its resource could not be read.
func identify(ctx context.Context, c client.Client, result *whoamiResult) (unread error) {
	var found whoamiToken
	for _, credential := range result.User.Extra[user.CredentialIDKey] {
		if id, ok := strings.CutPrefix(credential, token.CredentialPrefix); ok && token.ValidID(id) {
			found.ID = id
		}
	}
	if found.ID == "" {
		return nil
	}
	result.PersonalAccessToken = &found
	names := result.User.Extra[extraName]
	if len(names) != 1 {
		return errors.New("the API server does not say which resource it belongs to")
	}
	found.Namespace, found.Name, _ = strings.Cut(names[0], "/")
	pat := &v1alpha1.PersonalAccessToken{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: found.Namespace, Name: found.Name}, pat); err != nil {
		return err
	}
	switch active := holder.Active(pat); {
	case holder.Deleting(pat): // kube-apiserver caches a token for 10 seconds
		found.Active, found.Message = active.Status, active.Message
	case found.ID == pat.Status.TokenID:
		found.ExpiresAt = pat.Status.ExpiresAt
		if active != nil {
			found.Active, found.Message = active.Status, active.Message
		}
	case found.ID == pat.Status.PreviousTokenID:
		found.Active, found.Replaced, found.ExpiresAt = metav1.ConditionTrue, true, pat.Status.PreviousTokenExpiresAt
		found.Message = fmt.Sprintf("Token %s has replaced it; both work for a while.", pat.Status.TokenID)
	default:
		return errors.New("the resource does not name it: the operator has not processed it yet, or the token has just ended")
	}
	return nil
}

func (i *whoamiResult) text(s *session, unread error) string {
	w := newDescribeWriter()
	w.say("Username", i.User.Username)
	w.sayIf("UID", i.User.UID)
	if len(i.User.Groups) > 0 {
		w.say("Groups", i.User.Groups...)
	}
	if len(i.User.Extra) > 0 {
		w.say("Extra", extraLines(i.User.Extra)...)
	}
	pat := i.PersonalAccessToken
	if pat == nil {
		w.say("Personal Access Token", "no, this is another kind of credential")
		return w.String()
	}
	w.say("Personal Access Token", pat.ID)
	if pat.Name != "" {
		w.say("  Resource", fmt.Sprintf("%s in namespace %s", holder.ResourceName(pat.Name), pat.Namespace))
	}
	if unread != nil {
		why := unread.Error()
		if apierrors.IsForbidden(unread) {
			why = "it may not read its own resource"
		}
		w.say("  State", "it works; no details: "+why)
		return w.String()
	}
	if pat.Active != "" {
		w.say("  Active", string(pat.Active), pat.Message)
	}
	w.say("  Expires", when(pat.ExpiresAt, s.Clock.Now(), "unknown"))
	return w.String()
}
