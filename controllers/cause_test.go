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

package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/test/env"
)

// issuingFailed has the operator try, and expects Ready and one Warning event to say want, and so again after another attempt
// and a restart. It returns what they say.
func (w *world) issuingFailed(active, want string) string {
	w.t.Helper()
	for range 3 {
		if _, err := w.reconcile(thePAT); err != nil {
			w.t.Fatal(err)
		}
		w.advance(time.Hour)
	}
	w.restart()
	if _, err := w.reconcile(thePAT); err != nil {
		w.t.Fatal(err)
	}
	w.expect(thePAT, active, "False/IssuingFailed", "")
	ready := meta.FindStatusCondition(w.get(thePAT).Status.Conditions, v1alpha1.ConditionReady).Message
	if !strings.Contains(ready, want) {
		w.t.Errorf("says %q; want %q in it", ready, want)
	}
	if got := w.events.text(); strings.Count(got, " IssuingFailed ") != 1 || !strings.Contains(got, "Warning IssuingFailed Issue: "+ready) {
		w.t.Errorf("want one event that says %q; events:\n%s", ready, got)
	}
	return ready
}

func TestCase62_AQuotaIsNamed(t *testing.T) {
	w := newWorld(t)
	quota(w)
	w.create(thePAT)
	w.issuingFailed("False/Issuing", `is forbidden: exceeded quota: none, requested: secrets=1, used: secrets=0, limited: secrets=0`)
	if err := admin.Delete(w.ctx, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "none"}}); err != nil {
		t.Fatal(err)
	}
	env.Eventually(t, env.Patience, func() bool {
		w.advance(time.Hour)
		if _, err := w.reconcile(thePAT); err != nil {
			t.Fatal(err)
		}
		return w.condition(thePAT, "Ready") == "True/Reconciled"
	}, func() string { return "Ready is " + w.condition(thePAT, "Ready") })
	w.expect(thePAT, "True/Active", "True/Reconciled", "")
}

func TestCase62_AQuotaIsNamedWhileATokenIsRotated(t *testing.T) {
	w := newWorld(t)
	w.forget()
	settled(issued, quota, rotate)(w)
	w.issuingFailed("True/Active", "exceeded quota: none")
}

// policy creates a foreign ValidatingAdmissionPolicy that denies delivery Secrets in the namespace, with this message.
func (w *world) policy(messageExpression string) {
	w.t.Helper()
	name := "deny-" + w.namespace
	inNamespace := &admissionregistrationv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{
		MatchLabels: map[string]string{corev1.LabelMetadataName: w.namespace},
	}}
	p := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}},
				},
			}}},
			Validations: []admissionregistrationv1.Validation{{Expression: "false", Message: "denied", MessageExpression: messageExpression}},
		},
	}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name, MatchResources: inNamespace, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}
	for _, o := range []client.Object{p, binding} {
		if err := admin.Create(w.ctx, o); err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { _ = admin.Delete(context.WithoutCancel(w.ctx), o) })
	}
	var err error
	env.Eventually(w.t, env.Patience, func() bool {
		probe := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "probe"}, StringData: map[string]string{v1alpha1.SecretKeyToken: "x"}}
		err = admin.Create(w.ctx, probe, client.DryRunAll)
		return apierrors.IsForbidden(err) || apierrors.IsInvalid(err)
	}, func() string { return fmt.Sprintf("the policy does not hold: %v", err) })
}

func TestCase62_APolicyIsNamed(t *testing.T) {
	w := newWorld(t)
	w.policy("'Secrets are made by the vault, not here'")
	w.create(thePAT)
	w.issuingFailed("False/Issuing", fmt.Sprintf("ValidatingAdmissionPolicy 'deny-%s' with binding 'deny-%[1]s' denied request: Secrets are made by the vault, not here", w.namespace))
}

// A policy that quotes the Secret tells nobody the token: not in status, not in an event, not in an error.
func TestCase62_APolicyThatQuotesTheTokenIsNotQuoted(t *testing.T) {
	for name, expression := range map[string]string{
		"the token":        "'no: ' + string(object.data.token)",
		"in capitals":      "'no: ' + string(object.data.token).upperAscii()",
		"letter by letter": "'no: ' + string(object.data.token).split('').join(' ')",
		"a part of it":     "'no: ' + string(object.data.token).substring(30, 50)",
		"far behind":       "'no, and that is said at length: " + strings.Repeat("no ", 60) + "' + string(object.data.token)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var made []string
			w.Client = interceptor.NewClient(w.Client.(client.WithWatch), interceptor.Funcs{
				Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
					if secret, ok := o.(*corev1.Secret); ok && secret.Namespace == w.namespace {
						made = append(made, secret.StringData[v1alpha1.SecretKeyToken])
					}
					return c.Create(ctx, o, opts...)
				},
			})
			w.policy(expression)
			w.create(thePAT)
			if _, err := w.reconcile(thePAT); err != nil {
				t.Errorf("an error: %v", err)
			}
			w.expect(thePAT, "False/Issuing", "False/IssuingFailed", "")
			if len(made) != 1 {
				t.Fatalf("%d Secrets were asked for", len(made))
			}
			status := fmt.Sprint(w.get(thePAT).Status)
			for where, text := range map[string]string{"status": status, "events": w.events.text()} {
				if tells(text, made[0]) {
					t.Errorf("%s tells the token: %s", where, text)
				}
				if leftOut := strings.Contains(text, "Its message is left out"); leftOut == (name == "far behind") {
					t.Errorf("%s: %s", where, text)
				}
			}
		})
	}
}

// tells reports whether a text of any length quotes a part of the token.
func tells(text, plaintext string) bool {
	for start := 0; start < len(text); start += token.MaxQuote / 2 {
		if token.Quote(text[start:min(start+token.MaxQuote, len(text))], plaintext) == "" {
			return true
		}
	}
	return false
}

func TestCase62_ANamespaceThatTerminatesIsNamed(t *testing.T) {
	w := newWorld(t)
	w.create(thePAT)
	if err := admin.Delete(w.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}); err != nil {
		t.Fatal(err)
	}
	w.issuingFailed("False/Issuing", "because it is being terminated")
}

// The operator's records may be refused, too: by a quota or a policy of the whole cluster, or for want of a right.
func TestCase62_ARefusedRecordIsSaid(t *testing.T) {
	for name, create := range map[string]func(*world){"in a Secret": create, "for recipients": createForRecipients, "a holder's": createHolders} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.forget()
			refusing := true
			refused := func(o client.Object) error {
				if !refusing || o.GetNamespace() != recordsNamespace {
					return nil
				}
				return apierrors.NewForbidden(corev1.Resource("secrets"), o.GetName(), errors.New("exceeded quota: "+string(o.(*corev1.Secret).Data["record"])))
			}
			w.Client = interceptor.NewClient(w.Client.(client.WithWatch), interceptor.Funcs{
				Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
					if err := refused(o); err != nil {
						return err
					}
					return c.Create(ctx, o, opts...)
				},
			})
			create(w)
			for range 3 {
				if _, err := w.reconcile(thePAT); err == nil {
					t.Error("no error for the log")
				}
			}
			w.expect(thePAT, "False/Issuing", "False/IssuingFailed", "")
			if got := w.events.text(); strings.Count(got, "\n") != 0 || !strings.HasPrefix(got, "Warning IssuingFailed Issue: The token was not issued, because the API server refused the operator's record of it (Forbidden).") || strings.Contains(got, "quota") {
				t.Errorf("events:\n%s", got)
			}
			refusing = false
			w.settle(thePAT)
			w.expect(thePAT, "True/Active", "True/Reconciled", "")
		})
	}
}

func TestCauseOf(t *testing.T) {
	_, plaintext, err := token.New(strings.NewReader(strings.Repeat("a", 64)))
	if err != nil {
		t.Fatal(err)
	}
	secrets := corev1.Resource("secrets")
	for name, tc := range map[string]struct {
		err          error
		reason, want string
	}{
		"quota":                {apierrors.NewForbidden(secrets, "pat-x", errors.New("exceeded quota: q")), v1alpha1.ReasonIssuingFailed, `The API server says: secrets "pat-x" is forbidden: exceeded quota: q`},
		"quoting":              {apierrors.NewForbidden(secrets, "pat-x", errors.New(plaintext)), v1alpha1.ReasonIssuingFailed, "The API server says: Forbidden. Its message is left out, because it quotes the token."},
		"a webhook down":       {apierrors.NewInternalError(errors.New(`failed calling webhook "a.example.com"`)), v1alpha1.ReasonIssuingFailed, `The API server says: Internal error occurred: failed calling webhook "a.example.com"`},
		"no reason":            {&apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusTeapot}}, v1alpha1.ReasonIssuingFailed, "The API server says: HTTP 418."},
		"no reason, and words": {&apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusTeapot, Message: "no"}}, v1alpha1.ReasonIssuingFailed, "The API server says: no"},
		"no answer":            {fmt.Errorf("dial tcp 10.0.0.1:443: %w", context.DeadlineExceeded), v1alpha1.ReasonIssuing, "The API server has not confirmed the delivery Secret; the operator tries again with a new token."},
	} {
		t.Run(name, func(t *testing.T) {
			got := unconfirmed(tc.err, plaintext)
			if got.Reason != tc.reason || !strings.HasSuffix(got.Message, tc.want) || len(got.Message) > 1024 {
				t.Errorf("got %s: %q", got.Reason, got.Message)
			}
		})
	}
}
