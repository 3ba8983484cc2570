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

package guards

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/utils/ptr"

	"github.com/pat-operator/pat-operator/internal/admission"
)

var service = Service{Namespace: "pat-operator-system", Name: "pat-operator-admission", Path: admission.ValidatePath}

// shipped are the three guards as config has them.
type shipped struct {
	webhook *admissionregistrationv1.ValidatingWebhookConfiguration
	policy  *admissionregistrationv1.ValidatingAdmissionPolicy
	binding *admissionregistrationv1.ValidatingAdmissionPolicyBinding
}

func (s *shipped) objects() objects { return objects{s.webhook, s.policy, s.binding} }

func manifests(t *testing.T, files ...string) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join("..", "..", "config", file))
		if err != nil {
			t.Fatal(err)
		}
		for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
			o := &unstructured.Unstructured{}
			if err := decoder.Decode(o); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			all = append(all, o)
		}
	}
	return all
}

func load(t *testing.T) *shipped {
	t.Helper()
	s := &shipped{&admissionregistrationv1.ValidatingWebhookConfiguration{}, &admissionregistrationv1.ValidatingAdmissionPolicy{}, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}}
	for _, m := range manifests(t, "policy/users.yaml", "webhook/manifests.yaml") {
		for i, g := range guards {
			if m.GetKind() != g.kind || m.GetName() != g.name {
				continue
			}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(m.Object, s.objects()[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	return s
}

func TestShippedGuardsAreInForce(t *testing.T) {
	if _, missing := load(t).objects().examine(service); missing != nil {
		t.Error(missing)
	}
}

// The policy and the condition of the webhook are those that maxRules stands for, and the manifests carry that number.
func TestRulesAreNumbered(t *testing.T) {
	s := load(t)
	got := content{
		matchConditions:  digest(s.policy.Spec.MatchConditions),
		variables:        digest(s.policy.Spec.Variables),
		validations:      digest(s.policy.Spec.Validations),
		webhookCondition: digest(s.webhook.Webhooks[0].MatchConditions[0].Expression),
	}
	if got != *contents[maxRules] {
		t.Errorf("config/policy/users.yaml or config/webhook changed. In rules.go, replace the digests of number %d if no release ships it; "+
			"else raise maxRules, add these, and set the annotations:\n\t\tmatchConditions: %q,\n\t\tvariables: %q,\n\t\tvalidations: %q,\n\t\twebhookCondition: %q,",
			maxRules, got.matchConditions, got.variables, got.validations, got.webhookCondition)
	}
	for _, o := range s.objects() {
		if got, want := o.GetAnnotations()[rulesAnnotation], fmt.Sprint(maxRules); got != want {
			t.Errorf("%T has the number %q; want %s", o, got, want)
		}
	}
	var want []int
	for n := minRules; n <= maxRules; n++ {
		want = append(want, n)
	}
	if got := slices.Sorted(maps.Keys(contents)); !slices.Equal(got, want) {
		t.Errorf("rules.go knows the numbers %v; want %v", got, want)
	}
}

// Each way in which a guard is not in force, and what is said of it.
func TestCase51_GuardsThatAreNotInForce(t *testing.T) {
	selector := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: "kubernetes.azure.com/managedby", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"aks"}}}}
	condition := func(name string) admissionregistrationv1.MatchCondition {
		return admissionregistrationv1.MatchCondition{Name: name, Expression: "request.userInfo.username != 'eve'"}
	}
	url := "https://example.com"
	onlyCreate := []admissionregistrationv1.OperationType{admissionregistrationv1.Create}
	const (
		theWebhook = "ValidatingWebhookConfiguration pat-operator: "
		thePolicy  = "ValidatingAdmissionPolicy pat-operator-users: "
		theBinding = "ValidatingAdmissionPolicyBinding pat-operator-users: "
		annotation = `metadata.annotations["pat-operator.io/rules"] `
		again      = "; apply the manifests of this release again"
		notOnAKS   = "; remove it (on AKS, first annotate the object with admissions.enforcer/disabled=true)"
		toService  = "; set clientConfig.service to namespace pat-operator-system, name pat-operator-admission, path " + admission.ValidatePath
	)
	ignore := admissionregistrationv1.Ignore
	for name, tc := range map[string]struct {
		weaken func(s *shipped)
		want   string
	}{
		"webhook ignored": {func(s *shipped) { s.webhook.Webhooks[0].FailurePolicy = &ignore },
			theWebhook + "webhooks[0].failurePolicy is Ignore; set it to Fail"},
		"no webhooks": {func(s *shipped) { s.webhook.Webhooks = nil },
			theWebhook + "webhooks has no entry validate.personalaccesstokens.pat-operator.io" + again},
		"another webhook alone": {func(s *shipped) {
			s.webhook.Webhooks[0].Name, s.webhook.Webhooks[0].Rules = "other.example.com", nil
		}, theWebhook + "webhooks has no entry validate.personalaccesstokens.pat-operator.io" + again},
		"webhook not asked about updates": {func(s *shipped) { s.webhook.Webhooks[0].Rules[0].Operations = onlyCreate },
			theWebhook + "webhooks[0].rules does not cover UPDATE of personalaccesstokens.pat-operator.io" + again},
		"webhook not asked about creates": {func(s *shipped) {
			s.webhook.Webhooks[0].Rules[0].Operations = []admissionregistrationv1.OperationType{"UPDATE"}
		},
			theWebhook + "webhooks[0].rules does not cover CREATE of personalaccesstokens.pat-operator.io" + again},
		"webhook of status": {func(s *shipped) { s.webhook.Webhooks[0].Rules[0].Resources = []string{"personalaccesstokens/status"} },
			theWebhook + "webhooks[0].rules does not cover CREATE of personalaccesstokens.pat-operator.io" + again},
		"webhook of cluster-scoped objects": {func(s *shipped) {
			s.webhook.Webhooks[0].Rules[0].Scope = ptr.To(admissionregistrationv1.ClusterScope)
		}, theWebhook + "webhooks[0].rules does not cover CREATE of personalaccesstokens.pat-operator.io" + again},
		"webhook of another version": {func(s *shipped) { s.webhook.Webhooks[0].Rules[0].APIVersions = []string{"v1"} },
			theWebhook + "webhooks[0].rules does not cover CREATE of personalaccesstokens.pat-operator.io" + again},
		"webhook at a URL": {func(s *shipped) {
			s.webhook.Webhooks[0].ClientConfig = admissionregistrationv1.WebhookClientConfig{URL: &url}
		}, theWebhook + "webhooks[0].clientConfig does not name a service" + toService},
		"webhook at another service": {func(s *shipped) { s.webhook.Webhooks[0].ClientConfig.Service.Name = "other" },
			theWebhook + "webhooks[0].clientConfig.service leads elsewhere" + toService},
		"webhook in another namespace": {func(s *shipped) { s.webhook.Webhooks[0].ClientConfig.Service.Namespace = "other" },
			theWebhook + "webhooks[0].clientConfig.service leads elsewhere" + toService},
		"webhook at another path": {func(s *shipped) { s.webhook.Webhooks[0].ClientConfig.Service.Path = ptr.To(admission.MutatePath) },
			theWebhook + "webhooks[0].clientConfig.service leads elsewhere" + toService},
		"webhook without a path": {func(s *shipped) { s.webhook.Webhooks[0].ClientConfig.Service.Path = nil },
			theWebhook + "webhooks[0].clientConfig.service leads elsewhere" + toService},
		"webhook with a selector of AKS": {func(s *shipped) { s.webhook.Webhooks[0].NamespaceSelector = selector },
			theWebhook + `webhooks[0].namespaceSelector is "kubernetes.azure.com/managedby notin (aks)"` + notOnAKS},
		"webhook with a selector of objects": {func(s *shipped) {
			s.webhook.Webhooks[0].ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
		}, theWebhook + `webhooks[0].objectSelector is "a=b"` + notOnAKS},
		"webhook with a condition": {func(s *shipped) {
			s.webhook.Webhooks[0].MatchConditions = append(s.webhook.Webhooks[0].MatchConditions, condition("not-eve"))
		}, theWebhook + "webhooks[0].matchConditions[1] is not a condition of pat-operator; remove it"},
		"webhook with a condition under our name": {func(s *shipped) {
			s.webhook.Webhooks[0].MatchConditions[0] = condition(s.webhook.Webhooks[0].MatchConditions[0].Name)
		}, theWebhook + "webhooks[0].matchConditions[0] is not a condition of pat-operator; remove it"},
		"webhook without a number": {func(s *shipped) { s.webhook.Annotations = nil }, theWebhook + annotation + "is absent" + again},
		"webhook with newer rules, ignored": {func(s *shipped) {
			s.webhook.Annotations[rulesAnnotation], s.webhook.Webhooks[0].FailurePolicy = "7", &ignore
		}, theWebhook + "webhooks[0].failurePolicy is Ignore; set it to Fail"},

		"policy ignored": {func(s *shipped) { s.policy.Spec.FailurePolicy = &ignore }, thePolicy + "spec.failurePolicy is Ignore; set it to Fail"},
		"policy with a parameter": {func(s *shipped) { s.policy.Spec.ParamKind = &admissionregistrationv1.ParamKind{Kind: "ConfigMap"} },
			thePolicy + "spec.paramKind is set; remove it"},
		"policy without constraints": {func(s *shipped) { s.policy.Spec.MatchConstraints = nil },
			thePolicy + "spec.matchConstraints is absent" + again},
		"policy with a selector": {func(s *shipped) { s.policy.Spec.MatchConstraints.NamespaceSelector = selector },
			thePolicy + `spec.matchConstraints.namespaceSelector is "kubernetes.azure.com/managedby notin (aks)"` + notOnAKS},
		"policy with an exclusion": {func(s *shipped) {
			s.policy.Spec.MatchConstraints.ExcludeResourceRules = s.policy.Spec.MatchConstraints.ResourceRules
		}, thePolicy + "spec.matchConstraints.excludeResourceRules is set; remove it"},
		"policy not asked about updates": {func(s *shipped) { s.policy.Spec.MatchConstraints.ResourceRules[0].Operations = onlyCreate },
			thePolicy + "spec.matchConstraints.resourceRules does not cover UPDATE of personalaccesstokens.pat-operator.io" + again},
		"policy of one name": {func(s *shipped) { s.policy.Spec.MatchConstraints.ResourceRules[0].ResourceNames = []string{"ci"} },
			thePolicy + "spec.matchConstraints.resourceRules does not cover CREATE of personalaccesstokens.pat-operator.io" + again},
		"policy with a condition": {func(s *shipped) {
			s.policy.Spec.MatchConditions = append(s.policy.Spec.MatchConditions, condition("not-eve"))
		}, thePolicy + "spec.matchConditions differs from what pat-operator.io/rules 1 stands for" + again},
		"policy with another variable": {func(s *shipped) { s.policy.Spec.Variables[0].Expression = "'eve'" },
			thePolicy + "spec.variables differs from what pat-operator.io/rules 1 stands for" + again},
		"policy without a validation": {func(s *shipped) { s.policy.Spec.Validations = s.policy.Spec.Validations[1:] },
			thePolicy + "spec.validations differs from what pat-operator.io/rules 1 stands for" + again},
		"policy without a number": {func(s *shipped) { delete(s.policy.Annotations, rulesAnnotation) }, thePolicy + annotation + "is absent" + again},
		"policy with a word":      {func(s *shipped) { s.policy.Annotations[rulesAnnotation] = "one" }, thePolicy + annotation + `is "one", which is not a number` + again},
		"policy with old rules": {func(s *shipped) { s.policy.Annotations[rulesAnnotation] = "0" },
			thePolicy + annotation + "is 0, and this version of pat-operator needs 1 or more" + again},
		"policy with newer rules and a selector": {func(s *shipped) {
			s.policy.Annotations[rulesAnnotation], s.policy.Spec.MatchConstraints.NamespaceSelector = "7", selector
		}, thePolicy + `spec.matchConstraints.namespaceSelector is "kubernetes.azure.com/managedby notin (aks)"` + notOnAKS},
		"policy with newer rules and a parameter": {func(s *shipped) {
			s.policy.Annotations[rulesAnnotation], s.policy.Spec.ParamKind = "7", &admissionregistrationv1.ParamKind{Kind: "ConfigMap"}
		}, thePolicy + "spec.paramKind is set; remove it"},

		"binding on Audit": {func(s *shipped) {
			s.binding.Spec.ValidationActions = []admissionregistrationv1.ValidationAction{admissionregistrationv1.Audit, admissionregistrationv1.Warn}
		}, theBinding + "spec.validationActions is [Audit Warn]; set it to [Deny]"},
		"binding of another policy": {func(s *shipped) { s.binding.Spec.PolicyName = "other" },
			theBinding + `spec.policyName is "other"; set it to pat-operator-users`},
		"binding with a parameter": {func(s *shipped) { s.binding.Spec.ParamRef = &admissionregistrationv1.ParamRef{Name: "a"} },
			theBinding + "spec.paramRef is set; remove it"},
		"binding with a selector": {func(s *shipped) {
			s.binding.Spec.MatchResources = &admissionregistrationv1.MatchResources{ObjectSelector: selector}
		}, theBinding + `spec.matchResources.objectSelector is "kubernetes.azure.com/managedby notin (aks)"` + notOnAKS},
		"binding with rules": {func(s *shipped) {
			s.binding.Spec.MatchResources = &admissionregistrationv1.MatchResources{ResourceRules: s.policy.Spec.MatchConstraints.ResourceRules}
		}, theBinding + "spec.matchResources restricts what the policy judges; remove it"},
		"binding with an exclusion": {func(s *shipped) {
			s.binding.Spec.MatchResources = &admissionregistrationv1.MatchResources{ExcludeResourceRules: s.policy.Spec.MatchConstraints.ResourceRules}
		}, theBinding + "spec.matchResources restricts what the policy judges; remove it"},
		"binding without a number": {func(s *shipped) { s.binding.Annotations = nil }, theBinding + annotation + "is absent" + again},
	} {
		t.Run(name, func(t *testing.T) {
			s := load(t)
			tc.weaken(s)
			_, missing := s.objects().examine(service)
			if missing == nil {
				t.Fatal("in force; want it missing")
			}
			if missing.Error() != tc.want {
				t.Errorf("got  %s\nwant %s", missing, tc.want)
			}
			if missing.Object+": "+missing.Field+" "+missing.Detail != tc.want {
				t.Errorf("the fields do not make up the message: %+v", missing)
			}
		})
	}
}

func TestCase51_AGuardThatIsAbsentIsNamed(t *testing.T) {
	for i, g := range guards {
		os := load(t).objects()
		os[i] = nil
		f, missing := os.examine(service)
		want := g.kind + " " + g.name + " does not exist; apply the manifests of this release again"
		if missing == nil || missing.Error() != want || f != (fingerprint{}) {
			t.Errorf("got %v, %v; want %s", f, missing, want)
		}
	}
}

// What judges nothing may change, and so may what a later release writes.
func TestCase51_GuardsThatAreInForceAllTheSame(t *testing.T) {
	ignore := admissionregistrationv1.Ignore
	for name, change := range map[string]func(s *shipped){
		"timeout, side effects, bundle, port": func(s *shipped) {
			w := &s.webhook.Webhooks[0]
			w.TimeoutSeconds, w.SideEffects = ptr.To[int32](30), ptr.To(admissionregistrationv1.SideEffectClassNoneOnDryRun)
			w.ClientConfig.CABundle, w.ClientConfig.Service.Port = []byte("bundle"), nil
		},
		"labels and annotations": func(s *shipped) {
			for _, o := range s.objects() {
				o.SetLabels(map[string]string{"a": "b"})
				annotations := o.GetAnnotations()
				annotations["kubectl.kubernetes.io/last-applied-configuration"] = "{}"
				o.SetAnnotations(annotations)
			}
		},
		"another webhook, ignored": func(s *shipped) {
			other := *s.webhook.Webhooks[0].DeepCopy()
			other.Name, other.FailurePolicy = "other.example.com", &ignore
			s.webhook.Webhooks = []admissionregistrationv1.ValidatingWebhook{other, s.webhook.Webhooks[0]}
		},
		"webhook without a condition":  func(s *shipped) { s.webhook.Webhooks[0].MatchConditions = nil },
		"webhook under another name":   func(s *shipped) { s.webhook.Webhooks[0].Name = "other.example.com" },
		"webhook for all resources":    func(s *shipped) { s.webhook.Webhooks[0].Rules[0].Rule = everything() },
		"webhook with two rules":       func(s *shipped) { s.webhook.Webhooks[0].Rules = eachOperation(s.webhook.Webhooks[0].Rules[0]) },
		"webhook with empty selectors": func(s *shipped) { s.webhook.Webhooks[0].NamespaceSelector = &metav1.LabelSelector{} },
		"policy folded in another way": func(s *shipped) {
			for i := range s.policy.Spec.Variables {
				e := &s.policy.Spec.Variables[i].Expression
				*e = strings.ReplaceAll(*e, "&& ", "&&\n\n ") + "\n"
			}
		},
		"policy for all resources": func(s *shipped) { s.policy.Spec.MatchConstraints.ResourceRules[0].Rule = everything() },
		"binding on Deny and Audit": func(s *shipped) {
			s.binding.Spec.ValidationActions = []admissionregistrationv1.ValidationAction{admissionregistrationv1.Audit, admissionregistrationv1.Deny}
		},
		"binding with empty resources": func(s *shipped) {
			s.binding.Spec.MatchResources = &admissionregistrationv1.MatchResources{
				NamespaceSelector: &metav1.LabelSelector{}, ObjectSelector: &metav1.LabelSelector{}, MatchPolicy: ptr.To(admissionregistrationv1.Equivalent)}
		},
		"newer rules": func(s *shipped) {
			for _, o := range s.objects() {
				o.GetAnnotations()[rulesAnnotation] = "2"
			}
			s.policy.Spec.Variables, s.policy.Spec.MatchConditions = nil, nil
			s.webhook.Webhooks[0].MatchConditions[0].Expression = "true"
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := load(t)
			change(s)
			if _, missing := s.objects().examine(service); missing != nil {
				t.Error(missing)
			}
		})
	}
}

func everything() admissionregistrationv1.Rule {
	return admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}}
}

func eachOperation(rule admissionregistrationv1.RuleWithOperations) []admissionregistrationv1.RuleWithOperations {
	create, update := rule.DeepCopy(), rule.DeepCopy()
	create.Operations = []admissionregistrationv1.OperationType{admissionregistrationv1.Create}
	update.Operations = []admissionregistrationv1.OperationType{admissionregistrationv1.Update}
	return []admissionregistrationv1.RuleWithOperations{*create, *update}
}

// A rule set that this program knows and no longer ships is held to what its number stands for.
func TestCase51_RulesOfTheLastReleaseAreKnown(t *testing.T) {
	s := load(t)
	s.policy.Spec.Validations = s.policy.Spec.Validations[1:]
	last := *contents[maxRules]
	last.validations = digest(s.policy.Spec.Validations)
	contents[0] = &last
	defer delete(contents, 0)
	s.policy.Annotations[rulesAnnotation] = "0"
	if _, missing := s.objects().examine(service); missing != nil {
		t.Error(missing)
	}
	s.policy.Spec.Validations = s.policy.Spec.Validations[1:]
	if _, missing := s.objects().examine(service); missing == nil || missing.Field != "spec.validations" {
		t.Errorf("got %v; want spec.validations missing", missing)
	}
}

// The objects whose absence is reported are those that config ships, guards aside.
func TestOthersAreWhatIsShipped(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "config", "policy", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"MutatingWebhookConfiguration pat-operator"}
	for _, file := range files {
		name := filepath.Base(file)
		if name == "kustomization.yaml" || name == "users.yaml" {
			continue
		}
		for _, m := range manifests(t, filepath.Join("policy", name)) {
			want = append(want, m.GetKind()+" "+m.GetName())
		}
	}
	var got []string
	for _, o := range others() {
		got = append(got, o.Kind+" "+o.Name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("- config, + others:\n%s", diff)
	}
}
