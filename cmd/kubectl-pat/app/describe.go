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
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/token"
)

// describe reads maxEvents events and shows the latest shownEvents of them.
const (
	maxEvents   = 500
	shownEvents = 20
)

type describeOptions struct {
	*session
	output         outputFlags
	ignoreNotFound bool
}

func newDescribeCommand(s *session) *cobra.Command {
	o := &describeOptions{session: s}
	cmd := &cobra.Command{
		Use:        "describe NAME...",
		SuggestFor: []string{"get", "show", "inspect", "view"},
		Short:      "Show everything about a token, except the token itself",
		Long: `Show whose token it is, who made it, whether it works, and if not, why and what to do. Times are absolute and relative to
now. Events are included if you may list them.`,
		Example: `  kubectl pat describe my-script

  # Two tokens of another namespace
  kubectl pat describe ci polite-mail -n team-a

  # As data
  kubectl pat describe my-script -o yaml
  kubectl pat describe my-script -o jsonpath='{.status.expiresAt}{"\n"}'`,
		Args:              noTokens(oneOrMoreNames),
		ValidArgsFunction: s.completeNames,
		RunE:              func(cmd *cobra.Command, names []string) error { return o.run(cmd.Context(), namesOf(names)) },
	}
	o.output.bind(cmd, "text", outputJSON, outputYAML, outputName)
	cmd.Flags().BoolVar(&o.ignoreNotFound, "ignore-not-found", false, "skip names that do not exist")
	return cmd
}

func (o *describeOptions) run(ctx context.Context, names []string) error {
	if err := o.output.validate(false); err != nil {
		return err
	}
	namespace, err := o.namespace()
	if err != nil {
		return err
	}
	c, err := o.client()
	if err != nil {
		return err
	}
	// A missing one does not prevent the output of the others.
	var pats []v1alpha1.PersonalAccessToken
	var errs []error
	for _, name := range names {
		pat := v1alpha1.PersonalAccessToken{}
		if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &pat); o.ignoreNotFound && isMissing(err) {
			continue
		} else if err != nil {
			errs = append(errs, missing(err, namespace))
			continue
		}
		pats = append(pats, pat)
	}
	if len(pats) > 0 {
		errs = append(errs, o.print(ctx, c, pats))
	}
	return oneLine(errs)
}

func (o *describeOptions) print(ctx context.Context, c client.Client, pats []v1alpha1.PersonalAccessToken) error {
	switch list := listOf(pats); {
	case o.output.format == outputName:
		return o.printNames(pats)
	case o.output.format != "" && len(pats) == 1:
		return o.output.print(o.Out, &list.Items[0])
	case o.output.format != "":
		return o.output.print(o.Out, list)
	}
	for i := range pats {
		if i > 0 {
			if _, err := fmt.Fprint(o.Out, "\n\n"); err != nil {
				return err
			}
		}
		text := describe(&pats[i], eventsOf(ctx, c, &pats[i]), deliveryGone(ctx, c, &pats[i]), o.Clock.Now())
		if _, err := fmt.Fprint(o.Out, text); err != nil {
			return err
		}
	}
	o.warnOfLimits(ctx, c, pats...)
	return nil
}

// eventsOf returns the latest events about pat, oldest first, or nil if the user may not list them.
func eventsOf(ctx context.Context, c client.Client, pat *v1alpha1.PersonalAccessToken) []corev1.Event {
	list := &corev1.EventList{}
	if err := c.List(ctx, list, client.InNamespace(pat.Namespace), client.Limit(maxEvents),
		client.MatchingFields{"involvedObject.uid": string(pat.UID)}); err != nil {
		return nil
	}
	slices.SortStableFunc(list.Items, func(a, b corev1.Event) int {
		return cmp.Or(lastSeen(&a).Compare(lastSeen(&b)), cmp.Compare(a.Name, b.Name))
	})
	if list.Items == nil {
		return []corev1.Event{}
	}
	return list.Items[max(0, len(list.Items)-shownEvents):]
}

// deliveryGone reports whether the Secret that status names is known to be gone. It does not read the content.
func deliveryGone(ctx context.Context, c client.Client, pat *v1alpha1.PersonalAccessToken) bool {
	if pat.Status.DeliverySecretName == "" {
		return true
	}
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return apierrors.IsNotFound(c.Get(ctx, client.ObjectKey{Namespace: pat.Namespace, Name: pat.Status.DeliverySecretName}, secret))
}

// lastSeen returns when an event last happened, for events of both APIs.
func lastSeen(event *corev1.Event) time.Time {
	switch {
	case event.Series != nil && !event.Series.LastObservedTime.IsZero():
		return event.Series.LastObservedTime.Time
	case !event.LastTimestamp.IsZero():
		return event.LastTimestamp.Time
	case !event.EventTime.IsZero():
		return event.EventTime.Time
	}
	return event.CreationTimestamp.Time
}

// missing adds the namespace to a not-found error: the wrong namespace is the usual cause.
func missing(err error, namespace string) error {
	if isMissing(err) {
		return fmt.Errorf("%w in namespace %s", err, namespace)
	}
	return err
}

// isMissing reports whether the API server knows the kind and has no resource of that name.
func isMissing(err error) bool {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	return ok && apierrors.IsNotFound(err) && status.ErrStatus.Details != nil && status.ErrStatus.Details.Name != ""
}

// oneLine joins errors into one line.
func oneLine(errs []error) error {
	switch errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil }); len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	texts := make([]string, 0, len(errs))
	for _, err := range errs {
		texts = append(texts, explain(err))
	}
	return errors.New(strings.Join(texts, "; "))
}

// describe returns pat as a text. events is nil if they are unknown; deliveryGone reports that the delivery Secret is gone.
func describe(pat *v1alpha1.PersonalAccessToken, events []corev1.Event, deliveryGone bool, now time.Time) string {
	s := newDescribeWriter()
	s.say("Name", pat.Name)
	s.say("Namespace", pat.Namespace)
	s.sayIf("Display Name", pat.Spec.DisplayName)
	describeUser(s, pat.Spec.User)
	describeToken(s, pat, deliveryGone, now)
	describeStatus(s, pat, now)
	s.say("Suspended", yesNo(pat.Spec.Suspend))
	s.say("Created", when(&pat.CreationTimestamp, now, "unknown"))
	s.say("Issued", when(pat.Status.IssuedAt, now, "not yet"))
	s.say("Modified", when(pat.Status.ModifiedAt, now, "unknown"))
	s.say("Expires", when(pat.Status.ExpiresAt, now, asked(&pat.Spec, now)))
	s.say("First Used", when(pat.Status.FirstUsedAt, now, "never"))
	s.say("Last Used", when(pat.Status.LastUsedAt, now, "never"))
	if len(pat.Spec.Audiences) == 0 {
		s.say("Audiences", "the API server")
	} else {
		s.say("Audiences", pat.Spec.Audiences...)
	}
	describeScopes(s, pat.Spec.Scopes)
	if len(pat.Spec.From) == 0 {
		s.say("From", everywhere)
	} else {
		s.say("From", pat.Spec.From...)
	}
	describeRotation(s, pat.Spec.Rotation)
	describeRevoked(s, pat.Status.Revoked, now)
	describeConditions(s, pat, now)
	describeEvents(s, events, now)
	return s.String()
}

func describeUser(s *describeWriter, user *v1alpha1.UserInfo) {
	if user == nil {
		s.say("User", "nobody yet")
		return
	}
	s.say("User", user.Username)
	s.sayIf("  UID", user.UID)
	if len(user.Groups) > 0 {
		s.say("  Groups", user.Groups...)
	}
	if len(user.Extra) > 0 {
		s.say("  Extra", extraLines(user.Extra)...)
	}
}

// extraLines formats a user's extra fields, one per line.
func extraLines[V ~[]string](extra map[string]V) []string {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(extra)) {
		lines = append(lines, key+"="+strings.Join(extra[key], ","))
	}
	return lines
}

// describeToken writes which token it is, who made it, and how its holder gets it.
func describeToken(s *describeWriter, pat *v1alpha1.PersonalAccessToken, deliveryGone bool, now time.Time) {
	status := &pat.Status
	id := status.TokenID
	if id == "" {
		id = "none yet"
	}
	s.say("Token ID", id)
	if status.PreviousTokenID != "" {
		s.say("Predecessor", status.PreviousTokenID)
		s.sayIf("  Ends", when(pat.Status.PreviousTokenExpiresAt, now, ""))
	}
	delivery := pat.Spec.Delivery
	switch {
	case pat.Spec.Token != nil:
		s.say("Made By", "its holder; the cluster has only a digest")
		if pat.Spec.Token.ID != id {
			s.say("  Asked For", pat.Spec.Token.ID)
		}
	case delivery != nil && len(delivery.Recipients) > 0:
		s.say("Made By", "the operator, which encrypts it")
		s.say("  To", nameKeys(delivery.Recipients)...)
		if status.EncryptedToken != "" {
			s.say("  Open It With", fmt.Sprintf("kubectl pat decrypt %s -n %s -i KEYFILE", pat.Name, pat.Namespace))
		}
	default:
		s.say("Made By", "the operator, which delivers it in a Secret")
		switch {
		case status.TokenID == "":
		case deliveryGone:
			s.say("  Secret", "gone: the token was taken, or its time ran out")
		default:
			s.say("  Secret", status.DeliverySecretName)
			s.sayIf("  Take It With", takeCommand(pat))
		}
	}
}

// takeCommand returns the command that prints the token of the delivery Secret. It is "" for a name that the operator never
// uses: a user who may write status can put any text there, and people paste the command into a shell.
func takeCommand(pat *v1alpha1.PersonalAccessToken) string {
	name := pat.Status.DeliverySecretName
	id, ok := strings.CutPrefix(name, "pat-")
	if !ok || !token.ValidID(id) {
		return ""
	}
	return fmt.Sprintf("kubectl get secret %s -n %s -o jsonpath='{.data.token}' | base64 -d", name, pat.Namespace)
}

// describeStatus writes whether the token works and, if not, what to do.
func describeStatus(s *describeWriter, pat *v1alpha1.PersonalAccessToken, now time.Time) {
	state, conditions, active := holder.StateOf(pat, now), holder.Conditions(pat), holder.Active(pat)
	lines := []string{string(state)}
	works := state == holder.StateActive || state == holder.StateExpiring
	switch {
	case active == nil:
		lines = append(lines, "The operator has not processed it yet; is it running?")
	case works != (active.Status == metav1.ConditionTrue): // by the clock, or by spec
		lines = append(lines, "The operator has not updated the status yet.")
	case active.Message != "":
		lines = append(lines, active.Message)
	}
	for _, kind := range []string{v1alpha1.ConditionStalled, v1alpha1.ConditionReady} {
		c := meta.FindStatusCondition(conditions, kind)
		wrong := c != nil && (c.Status == metav1.ConditionTrue) == (kind == v1alpha1.ConditionStalled)
		if wrong && !slices.Contains(lines, c.Message) {
			lines = append(lines, c.Message)
		}
	}
	if active != nil && active.ObservedGeneration < pat.Generation {
		lines = append(lines, "The operator has not processed the last change yet.")
	}
	if holder.StoppedByPolicy(active) || active != nil && active.Reason == v1alpha1.ReasonTooManyTokens {
		lines = append(lines, "Since "+when(&active.LastTransitionTime, now, "an unknown time")+".")
	}
	if state == holder.StateExpired {
		lines = append(lines, "For a new token run: "+rotateCommand(pat))
	}
	s.say("Status", lines...)
}

func describeScopes(s *describeWriter, scopes []v1alpha1.Scope) {
	if len(scopes) == 0 {
		s.say("Scopes", "all that the user may do")
		return
	}
	s.say("Scopes", formatScopes(scopes)...)
}

func describeRotation(s *describeWriter, rotation *v1alpha1.Rotation) {
	var lines []string
	if rotation != nil {
		if rotation.Trigger != "" {
			lines = append(lines, "requested by trigger "+rotation.Trigger)
		}
		if rotation.EveryDays != nil {
			lines = append(lines, fmt.Sprintf("every %d days", *rotation.EveryDays))
		}
		if rotation.OverlapSeconds > 0 {
			overlap := time.Duration(rotation.OverlapSeconds) * time.Second
			lines = append(lines, fmt.Sprintf("a predecessor keeps working for %s", duration.HumanDuration(overlap)))
		}
		if rotation.RetireOnFirstUse {
			lines = append(lines, "a predecessor ends when its successor is first used")
		}
	}
	s.say("Rotation", lines...)
}

func describeRevoked(s *describeWriter, revoked []v1alpha1.RevokedToken, now time.Time) {
	var lines []string
	for _, entry := range revoked {
		line := entry.TokenID
		if entry.At != nil {
			line += " at " + when(entry.At, now, "")
		}
		if entry.By != "" {
			line += " by " + entry.By
		}
		if entry.Reason != "" {
			line += ": " + entry.Reason
		}
		lines = append(lines, line)
	}
	s.say("Revoked", lines...)
}

func describeConditions(s *describeWriter, pat *v1alpha1.PersonalAccessToken, now time.Time) {
	var rows [][]string
	for _, c := range holder.Conditions(pat) {
		rows = append(rows, []string{c.Type, string(c.Status), c.Reason, since(c.LastTransitionTime.Time, now), c.Message})
	}
	s.table("Conditions", []string{"Type", "Status", "Reason", "Since", "Message"}, rows)
}

func describeEvents(s *describeWriter, events []corev1.Event, now time.Time) {
	if events == nil {
		return
	}
	var rows [][]string
	for i := range events {
		event := &events[i]
		times := event.Count
		if event.Series != nil {
			times = event.Series.Count
		}
		seen := since(lastSeen(event), now)
		if times > 1 {
			seen += fmt.Sprintf(" (x%d)", times)
		}
		rows = append(rows, []string{event.Type, event.Reason, seen, event.Message})
	}
	s.table("Events", []string{"Type", "Reason", "Age", "Message"}, rows)
}
