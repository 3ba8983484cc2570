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
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// maxEvents is how many events are read, and shownEvents how many of those are shown, the latest.
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
		Short:      "Tell everything about a token, but for the token itself",
		Long: `Tell whose a token is, where it came from, whether it is honoured, and if it is not, why and what helps. Times are given
exactly and as people say them. Events are among it where you may list them.`,
		Example: `  kubectl pat describe my-script

  # Two of another namespace
  kubectl pat describe ci polite-mail -n team-a

  # Data
  kubectl pat describe my-script -o yaml
  kubectl pat describe my-script -o jsonpath='{.status.expiresAt}{"\n"}'`,
		Args:              noTokens(oneOrMoreNames),
		ValidArgsFunction: s.completeNames,
		RunE:              func(cmd *cobra.Command, names []string) error { return o.run(cmd.Context(), namesOf(names)) },
	}
	o.output.bind(cmd, "text", outputJSON, outputYAML, outputName)
	cmd.Flags().BoolVar(&o.ignoreNotFound, "ignore-not-found", false, "leave out what is not there, without an error")
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
	// One that is not there does not keep the others from being told of.
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
	return nil
}

// eventsOf returns the latest events about pat, the last one last, or nil where they may not be read.
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

// deliveryGone reports whether the Secret that status names is known to be gone. Its content is not read.
func deliveryGone(ctx context.Context, c client.Client, pat *v1alpha1.PersonalAccessToken) bool {
	if pat.Status.DeliverySecretName == "" {
		return true
	}
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return apierrors.IsNotFound(c.Get(ctx, client.ObjectKey{Namespace: pat.Namespace, Name: pat.Status.DeliverySecretName}, secret))
}

// lastSeen is when an event last happened, whichever API recorded it.
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

// missing says where it was looked for, which is the usual mistake.
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

// oneLine joins errors in one line, as all errors are printed in.
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
