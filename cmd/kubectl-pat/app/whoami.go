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
	"maps"
	"slices"
	"strings"

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

// extraName is the extra key by which the verifier names the resource of a token, as <namespace>/<name>.
const extraName = "pat-operator.io/name"

type whoamiOptions struct {
	*session
	tokenFile string
	output    string
}

// Identity is what whoami prints with -o json and -o yaml.
type Identity struct {
	// User is who the API server takes the credential's holder for.
	User authenticationv1.UserInfo `json:"user"`
	// PersonalAccessToken is absent where the credential is something else.
	PersonalAccessToken *IdentifiedToken `json:"personalAccessToken,omitempty"`
}

// IdentifiedToken is the token that somebody is logged in by.
type IdentifiedToken struct {
	ID        string `json:"id"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	// Active is what the condition of that name says; "" where the token may not read its resource.
	Active metav1.ConditionStatus `json:"active,omitempty"`
	// Message says more about that.
	Message string `json:"message,omitempty"`
	// Replaced tells that the token has a successor, and is still honoured beside it.
	Replaced bool `json:"replaced,omitempty"`
	// ExpiresAt is when the token ends, where that is known.
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`
}

func newWhoamiCommand(s *session) *cobra.Command {
	o := &whoamiOptions{session: s}
	cmd := &cobra.Command{
		Use:        "whoami",
		SuggestFor: []string{"verify", "check"},
		Short:      "Tell who a token makes you, as the API server says",
		Long: `Ask the API server whom it takes you for, by the credential of the kubeconfig or by a token: that in --token-file, or
that of kubectl's --token, which others on this machine can see. A token that is given is the only credential that is sent;
where the API server refuses it, the credential of the kubeconfig is used to look up why. Of a personal access token it is told which one it is and, if it may read its own resource, until when it works.`,
		Example: `  # A token in a file; - is standard input, and on a terminal you are asked
  kubectl pat whoami --token-file ci.token
  kubectl pat whoami --token-file -

  # What the kubeconfig logs in with
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
	switch {
	case !slices.Contains([]string{"", outputJSON, outputYAML}, o.output):
		return usagef("--output %q is neither json nor yaml", o.output)
	case o.tokenFile != "" && *o.flags.BearerToken != "":
		return usagef("--token and --token-file are two tokens: give one of them")
	}
	c, given, err := o.connect(ctx)
	if err != nil {
		return err
	}
	review := &authenticationv1.SelfSubjectReview{}
	if err := c.Create(ctx, review); err != nil {
		return o.rejected(ctx, err, given)
	}
	identity := &Identity{User: review.Status.UserInfo}
	unread := identify(ctx, c, identity)
	if o.output != "" {
		return write(o.Out, o.output, identity)
	}
	_, err = fmt.Fprint(o.Out, identity.text(o.session, unread))
	return err
}

// connect returns a client that logs in by the token that was given, if one was, and its ID, if it is one of ours.
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
		return nil, "", fmt.Errorf("this begins like a personal access token and is none, which has %d characters: was all of it copied?", token.Length)
	}
	c, err = o.Connect(asBearer{o.flags, plaintext}, o.ErrOut)
	return c, id, err
}

// rejected says more where the API server does not take a token.
func (o *whoamiOptions) rejected(ctx context.Context, err error, id string) error {
	switch {
	case !apierrors.IsUnauthorized(err):
		return err
	case id == "":
		return fmt.Errorf("the API server does not take this credential: it has ended, or is of another cluster (%v)", err) //nolint:errorlint // all is said
	}
	pat := o.lookUp(ctx, id)
	if pat == nil {
		return fmt.Errorf("the API server does not take token %s: it has ended, is suspended, is for other audiences, or is of another cluster, or no verifier answers the API server; kubectl pat find, by a user who may list tokens, tells which (%v)", id, err) //nolint:errorlint // all is said
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
	return fmt.Errorf("%s works, but the API server does not take it: no verifier answers it, or it does not ask one; an administrator looks whether the verifier runs, and at --authentication-token-webhook-config-file of kube-apiserver", which)
}

// lookUp finds the resource of a token in the namespace, by the credential of the kubeconfig; nil where it is not found.
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

// identify tells which personal access token the user is logged in by. unread is why it could not be looked up.
func identify(ctx context.Context, c client.Client, identity *Identity) (unread error) {
	var found IdentifiedToken
	for _, credential := range identity.User.Extra[user.CredentialIDKey] {
		if id, ok := strings.CutPrefix(credential, token.CredentialPrefix); ok && token.ValidID(id) {
			found.ID = id
		}
	}
	if found.ID == "" {
		return nil
	}
	identity.PersonalAccessToken = &found
	names := identity.User.Extra[extraName]
	if len(names) != 1 {
		return errors.New("the API server does not say which resource it belongs to")
	}
	found.Namespace, found.Name, _ = strings.Cut(names[0], "/")
	pat := &v1alpha1.PersonalAccessToken{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: found.Namespace, Name: found.Name}, pat); err != nil {
		return err
	}
	switch active := holder.Active(pat); {
	case holder.Deleting(pat): // kube-apiserver honors what it has remembered for 10 seconds more
		found.Active, found.Message = active.Status, active.Message
	case found.ID == pat.Status.TokenID:
		found.ExpiresAt = pat.Status.ExpiresAt
		if active != nil {
			found.Active, found.Message = active.Status, active.Message
		}
	case found.ID == pat.Status.PreviousTokenID:
		found.Active, found.Replaced, found.ExpiresAt = metav1.ConditionTrue, true, pat.Status.PreviousTokenExpiresAt
		found.Message = fmt.Sprintf("Token %s has taken its place; it is honoured beside it for a while.", pat.Status.TokenID)
	default:
		return errors.New("the resource does not name it: the operator has not got round to it, or the token has just ended")
	}
	return nil
}

func (i *Identity) text(s *session, unread error) string {
	sheet := newSheet()
	sheet.say("Username", i.User.Username)
	sheet.sayIf("UID", i.User.UID)
	if len(i.User.Groups) > 0 {
		sheet.say("Groups", i.User.Groups...)
	}
	if len(i.User.Extra) > 0 {
		var lines []string
		for _, key := range slices.Sorted(maps.Keys(i.User.Extra)) {
			lines = append(lines, key+"="+strings.Join(i.User.Extra[key], ","))
		}
		sheet.say("Extra", lines...)
	}
	pat := i.PersonalAccessToken
	if pat == nil {
		sheet.say("Personal Access Token", "no, this is another kind of credential")
		return sheet.String()
	}
	sheet.say("Personal Access Token", pat.ID)
	if pat.Name != "" {
		sheet.say("  Resource", fmt.Sprintf("%s in namespace %s", holder.ResourceName(pat.Name), pat.Namespace))
	}
	if unread != nil {
		why := unread.Error()
		if apierrors.IsForbidden(unread) {
			why = "it may not read its own resource"
		}
		sheet.say("  State", "it works; more is not known: "+why)
		return sheet.String()
	}
	if pat.Active != "" {
		sheet.say("  Active", string(pat.Active), pat.Message)
	}
	sheet.say("  Expires", when(pat.ExpiresAt, s.Clock.Now(), "unknown"))
	return sheet.String()
}
