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
	"fmt"
	"slices"
	"strconv"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/rules"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// entryName names our webhook in the ValidatingWebhookConfiguration.
const entryName = "validate.personalaccesstokens.pat-operator.io"

// checkWebhooks is satisfied by one webhook that judges every wish; further webhooks do not matter.
func checkWebhooks(o client.Object, service Service) (field, detail string) {
	config := o.(*admissionregistrationv1.ValidatingWebhookConfiguration)
	known, field, detail := knownContent(config)
	if field != "" {
		return field, detail
	}
	field, detail = "webhooks", "has no entry "+entryName+"; "+applyAgain
	for i := range config.Webhooks {
		entry := &config.Webhooks[i]
		entryField, entryDetail := checkEntry(entry, service, known)
		if entryField == "" {
			return "", ""
		}
		if entry.Name == entryName {
			field, detail = fmt.Sprintf("webhooks[%d].%s", i, entryField), entryDetail
		}
	}
	return field, detail
}

func checkEntry(entry *admissionregistrationv1.ValidatingWebhook, service Service, known *content) (field, detail string) {
	covered := make([]admissionregistrationv1.NamedRuleWithOperations, len(entry.Rules))
	for i, rule := range entry.Rules {
		covered[i].RuleWithOperations = rule
	}
	if detail := checkRules(covered); detail != "" {
		return "rules", detail
	}
	if detail := checkFailurePolicy(entry.FailurePolicy); detail != "" {
		return "failurePolicy", detail
	}
	want := fmt.Sprintf("set clientConfig.service to namespace %s, name %s, path %s", service.Namespace, service.Name, service.Path)
	switch to := entry.ClientConfig.Service; {
	case entry.ClientConfig.URL != nil, to == nil:
		return "clientConfig", "does not name a service; " + want
	case to.Path == nil, Service{to.Namespace, to.Name, *to.Path} != service:
		return "clientConfig.service", "leads elsewhere; " + want
	}
	if field, detail := checkSelectors(entry.NamespaceSelector, entry.ObjectSelector); field != "" {
		return field, detail
	}
	for i, condition := range entry.MatchConditions {
		if known != nil && digest(condition.Expression) != known.webhookCondition {
			return fmt.Sprintf("matchConditions[%d]", i), "is not a condition of pat-operator; remove it"
		}
	}
	return "", ""
}

func checkPolicy(o client.Object, _ Service) (field, detail string) {
	policy := o.(*admissionregistrationv1.ValidatingAdmissionPolicy)
	known, field, detail := knownContent(policy)
	if field != "" {
		return field, detail
	}
	spec := &policy.Spec
	if detail := checkFailurePolicy(spec.FailurePolicy); detail != "" {
		return "spec.failurePolicy", detail
	}
	if spec.ParamKind != nil {
		return "spec.paramKind", "is set; remove it"
	}
	match := spec.MatchConstraints
	if match == nil {
		return "spec.matchConstraints", "is absent; " + applyAgain
	}
	if field, detail := checkSelectors(match.NamespaceSelector, match.ObjectSelector); field != "" {
		return "spec.matchConstraints." + field, detail
	}
	if len(match.ExcludeResourceRules) > 0 {
		return "spec.matchConstraints.excludeResourceRules", "is set; remove it"
	}
	if detail := checkRules(match.ResourceRules); detail != "" {
		return "spec.matchConstraints.resourceRules", detail
	}
	if known == nil {
		return "", ""
	}
	differs := "differs from what " + rulesAnnotation + " " + policy.Annotations[rulesAnnotation] + " stands for; " + applyAgain
	switch {
	case digest(spec.MatchConditions) != known.matchConditions:
		return "spec.matchConditions", differs
	case digest(spec.Variables) != known.variables:
		return "spec.variables", differs
	case digest(spec.Validations) != known.validations:
		return "spec.validations", differs
	}
	return "", ""
}

func checkBinding(o client.Object, _ Service) (field, detail string) {
	binding := o.(*admissionregistrationv1.ValidatingAdmissionPolicyBinding)
	if _, field, detail := knownContent(binding); field != "" {
		return field, detail
	}
	spec := &binding.Spec
	if spec.PolicyName != policyName {
		return "spec.policyName", fmt.Sprintf("is %q; set it to %s", spec.PolicyName, policyName)
	}
	if !slices.Contains(spec.ValidationActions, admissionregistrationv1.Deny) {
		return "spec.validationActions", fmt.Sprintf("is %v; set it to [Deny]", spec.ValidationActions)
	}
	if spec.ParamRef != nil {
		return "spec.paramRef", "is set; remove it"
	}
	match := spec.MatchResources
	if match == nil {
		return "", ""
	}
	if field, detail := checkSelectors(match.NamespaceSelector, match.ObjectSelector); field != "" {
		return "spec.matchResources." + field, detail
	}
	if len(match.ResourceRules) > 0 || len(match.ExcludeResourceRules) > 0 {
		return "spec.matchResources", "restricts what the policy judges; remove it"
	}
	return "", ""
}

// knownContent returns what the annotation of a guard stands for, nil if the number is newer than this program.
func knownContent(o client.Object) (known *content, field, detail string) {
	field = fmt.Sprintf("metadata.annotations[%q]", rulesAnnotation)
	value, ok := o.GetAnnotations()[rulesAnnotation]
	if !ok {
		return nil, field, "is absent; " + applyAgain
	}
	number, err := strconv.Atoi(value)
	if err != nil {
		return nil, field, fmt.Sprintf("is %q, which is not a number; %s", value, applyAgain)
	}
	if number > maxRules {
		return nil, "", ""
	}
	known = contents[number]
	if known == nil {
		return nil, field, fmt.Sprintf("is %d, and this version of pat-operator needs %d or more; %s", number, minRules, applyAgain)
	}
	return known, "", ""
}

func checkFailurePolicy(policy *admissionregistrationv1.FailurePolicyType) string {
	if policy != nil && *policy != admissionregistrationv1.Fail {
		return fmt.Sprintf("is %s; set it to Fail", *policy)
	}
	return "" // Fail is the default
}

func checkSelectors(namespaces, objects *metav1.LabelSelector) (field, detail string) {
	for _, selector := range []struct {
		field string
		*metav1.LabelSelector
	}{{"namespaceSelector", namespaces}, {"objectSelector", objects}} {
		if s := selector.LabelSelector; s != nil && len(s.MatchLabels)+len(s.MatchExpressions) > 0 {
			return selector.field, fmt.Sprintf("is %q; remove it (on AKS, first annotate the object with admissions.enforcer/disabled=true)",
				metav1.FormatLabelSelector(s))
		}
	}
	return "", ""
}

// checkRules asks the API server's own matcher about the creation and the update of a PersonalAccessToken.
func checkRules(covered []admissionregistrationv1.NamedRuleWithOperations) string {
	for _, operation := range []admission.Operation{admission.Create, admission.Update} {
		request := admission.NewAttributesRecord(nil, nil, v1alpha1.GroupVersion.WithKind("PersonalAccessToken"), "namespace", "name",
			v1alpha1.GroupVersion.WithResource("personalaccesstokens"), "", operation, nil, false, nil)
		if !slices.ContainsFunc(covered, func(rule admissionregistrationv1.NamedRuleWithOperations) bool {
			matcher := rules.Matcher{Rule: rule.RuleWithOperations, Attr: request}
			return len(rule.ResourceNames) == 0 && matcher.Matches()
		}) {
			return fmt.Sprintf("does not cover %s of personalaccesstokens.%s; %s", operation, v1alpha1.GroupVersion.Group, applyAgain)
		}
	}
	return ""
}
