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

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/client-go/dynamic"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/controllers"
	"github.com/pat-operator/pat-operator/internal/admission"
	"github.com/pat-operator/pat-operator/internal/certs"
	"github.com/pat-operator/pat-operator/internal/guards"
	"github.com/pat-operator/pat-operator/internal/identity"
	"github.com/pat-operator/pat-operator/internal/impersonation"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/policy"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

const (
	// webhookConfiguration is the name of both webhook configurations, whose caBundle is kept.
	webhookConfiguration = "pat-operator"
	admissionService     = "pat-operator-admission"
	// maxRemembered is how many ended tokens of a namespace are remembered, those of its holder-made tokens included.
	maxRemembered = 5000
)

// admissionLimits fit the changes that one kube-apiserver has under way, 200 by default. A review holds two objects, and etcd
// takes 1.5 MiB of each.
var admissionLimits = serving.Limits{Slots: 1024, Body: 4 << 20}

// +kubebuilder:rbac:groups="",namespace=pat-operator-system,resources=secrets,verbs=create
// +kubebuilder:rbac:groups="",namespace=pat-operator-system,resources=secrets,resourceNames=pat-operator-ca,verbs=get;update
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=mutatingwebhookconfigurations;validatingwebhookconfigurations,resourceNames=pat-operator,verbs=get;patch
// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

// operatorOptions are the flags of what writes.
type operatorOptions struct {
	admissionAddress     string
	clientCAFile         string
	leaderElect          bool
	secretDelivery       bool
	requireScopes        bool
	managedImpersonation bool
	expiryWarnings       []time.Duration
	restrictingExtraKeys []string
	bindingGroups        []string
}

func operatorCommand() *cobra.Command {
	common, o := &commonOptions{}, &operatorOptions{}
	cmd := &cobra.Command{
		Use:   "operator",
		Short: "Run the operator: what issues and ends tokens, and the admission webhooks",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(common.validate(), o.validate(), o.goesWith(common)); err != nil {
				return err
			}
			return common.serve(cmd.Context(), o.leaderElect, o.component(common))
		},
	}
	common.bind(cmd.Flags())
	o.bind(cmd.Flags())
	return cmd
}

func (o *operatorOptions) bind(fs *pflag.FlagSet) {
	fs.StringVar(&o.admissionAddress, "admission-bind-address", ":9443", "where the admission webhooks are served (https)")
	fs.StringVar(&o.clientCAFile, "admission-client-ca-file", "", "file with the CAs of client certificates: only holders of one connect; followed when it changes")
	fs.BoolVar(&o.leaderElect, "leader-elect", true, "reconcile only while holding the lease")
	fs.BoolVar(&o.secretDelivery, "secret-delivery", true, "allow delivery in Secrets, which needs create and delete of Secrets in every namespace (config/rbac/operator/secret_delivery.yaml)")
	fs.BoolVar(&o.requireScopes, "require-scopes", false, "refuse tokens without spec.scopes, which may do all that their user may")
	fs.BoolVar(&o.managedImpersonation, "managed-impersonation", false, "keep the ClusterRole pat-operator-impersonator-users to the users and groups of active tokens, for the proxy (config/proxy/managed)")
	fs.DurationSliceVar(&o.expiryWarnings, "expiry-warnings", []time.Duration{7 * v1alpha1.Day, v1alpha1.Day},
		"how long before its end a token is warned of, by the condition ExpiringSoon and an event each; empty warns of none")
	warnings := fs.Lookup("expiry-warnings")
	warnings.Value = durations{warnings.Value, &o.expiryWarnings}
	fs.StringSliceVar(&o.restrictingExtraKeys, "restricting-extra-keys", []string{"scopes.authorization.openshift.io"},
		"keys of a user's extra that restrict what the user may do; a token could not keep the restriction, so users with such a key cannot make tokens")
	fs.StringArrayVar(&o.bindingGroups, "binding-groups", nil,
		"groups that a token of one's own must not leave out, besides those that TokenPolicies name; * stands for any characters; repeat it for more, as in --binding-groups=contractors --binding-groups=vendor-*")
}

// watchPolicies has a reconciler, and admission, go by TokenPolicies.
func (p *componentHost) watchPolicies(r *controllers.Reconciler) error {
	log := p.GetLogger().WithName("policies")
	c, err := dynamic.NewForConfigAndClient(p.GetConfig(), p.GetHTTPClient())
	if err != nil {
		return err
	}
	if r.Policies, err = controllers.NewPolicies(c, log); err != nil {
		return err
	}
	p.ready["policies"] = r.Policies.Ready
	own, err := verifier.OwnToken(p.GetConfig())
	if err != nil { // Only a list of audiences in a TokenPolicy needs them, and then refuses tokens without audiences.
		log.Info("The API server's own audiences are not known", "reason", err.Error())
	} else if err := p.Add(verifier.NewDiscovery(r.SetAPIAudiences, p.GetClient(), own, log)); err != nil {
		return err
	}
	return errors.Join(p.Add(r.Policies), p.Add(&controllers.PolicyStatus{Reconciler: r, Log: log}))
}

// goesWith refuses flags that do nothing because of those of every process.
func (o *operatorOptions) goesWith(common *commonOptions) error {
	if len(o.bindingGroups) > 0 && !common.policies {
		return errors.New("--binding-groups does nothing with --policies=false: leave one of them out, or set it as --policies=true")
	}
	return nil
}

// durations is a list that may be empty, which pflag's own may not.
type durations struct {
	pflag.Value
	list *[]time.Duration
}

// Set implements pflag.Value.
func (d durations) Set(text string) error {
	if text == "" {
		*d.list = nil
		return nil
	}
	return d.Value.Set(text)
}

func (o *operatorOptions) validate() error {
	errs := []error{validateAddress("--admission-bind-address", o.admissionAddress)}
	for _, w := range o.expiryWarnings {
		if w <= 0 {
			errs = append(errs, fmt.Errorf("--expiry-warnings %v is not a time before an end; set hours, as --expiry-warnings=168h,24h", w))
		}
	}
	for _, key := range o.restrictingExtraKeys {
		if !identity.IsExtraKey(strings.ToLower(key)) {
			errs = append(errs, fmt.Errorf("--restricting-extra-keys %q cannot be the key of a user's extra; set it as --restricting-extra-keys=scopes.authorization.openshift.io", key))
		}
	}
	for _, group := range o.bindingGroups {
		switch {
		case group == "":
			errs = append(errs, errors.New("--binding-groups has an empty one; set it once for each, as --binding-groups=contractors --binding-groups=vendor-*"))
		case isList(group):
			errs = append(errs, fmt.Errorf("--binding-groups %q seems to be a list, and would match no group; write * for a comma in a name, "+
				"and set it once for each, as --binding-groups=contractors --binding-groups=vendor-*", group))
		}
	}
	return errors.Join(errs...)
}

// isList reports whether a pattern of groups has commas that are not those of a distinguished name, such as CN=a,OU=*,DC=b. Other
// flags take such a list.
func isList(pattern string) bool {
	parts := strings.Split(pattern, ",")
	return len(parts) > 1 && slices.ContainsFunc(parts, func(part string) bool { return part != "*" && !strings.Contains(part, "=") })
}

func (o *operatorOptions) component(common *commonOptions) component {
	return component{
		name: "admission",
		certificates: certs.Options{
			SecretName:               certs.OperatorSecretName,
			DNSNames:                 []string{serviceHost(admissionService, common.operatorNamespace)},
			WebhookConfigurationName: webhookConfiguration,
		},
		setup: o.setup,
	}
}

// setup wires what writes: the controller and the admission webhooks.
func (o *operatorOptions) setup(ctx context.Context, p *componentHost) error {
	config := lifecycle.Config{
		MaxLifetime: p.maxLifetime, SecretDelivery: o.secretDelivery, ExpiryWarnings: o.expiryWarnings, MaxRemembered: maxRemembered,
	}
	census, err := controllers.NewCensus(ctx, p.GetCache(), config, clock.RealClock{})
	if err != nil {
		return err
	}
	reconciler := &controllers.Reconciler{
		Client:           p.GetClient(),
		Live:             p.GetAPIReader(),
		Recorder:         p.GetEventRecorder("pat-operator"),
		Clock:            clock.RealClock{},
		ClockCheck:       p.skew.Check,
		Random:           rand.Reader,
		RecordsNamespace: p.recordsNamespace,
		Census:           census,
		Config:           config,
		Audit:            p.audit,
	}
	if p.policies {
		if err := p.watchPolicies(reconciler); err != nil {
			return err
		}
	}
	if err := errors.Join(metrics.Registry.Register(census), metrics.Registry.Register(reconciler)); err != nil {
		return err
	}
	accepted, err := p.acceptedGuards(reconciler.RefuseUncovered)
	if err != nil {
		return err
	}
	reconciler.Guards = accepted
	if err := reconciler.SetupWithManager(ctx, p); err != nil {
		return err
	}
	if o.managedImpersonation {
		if err := p.keepImpersonation(); err != nil {
			return err
		}
	}
	if err := (&controllers.Labeler{Client: p.GetClient()}).SetupWithManager(p); err != nil {
		return err
	}
	var bindingGroups *regexp.Regexp
	if len(o.bindingGroups) > 0 {
		if bindingGroups, err = policy.Wildcards(o.bindingGroups); err != nil {
			return fmt.Errorf("--binding-groups: %w", err)
		}
	}
	admitting := admission.Config{
		Config:               reconciler.Config,
		RestrictingExtraKeys: o.restrictingExtraKeys,
		RequireScopes:        o.requireScopes,
		OwnNamespaces:        []string{p.operatorNamespace, p.recordsNamespace},
		Client:               p.GetClient(),
		ServiceAccounts:      p.GetAPIReader(),
		Record:               recordOf(p.GetAPIReader(), p.recordsNamespace),
		HistoryFull:          reconciler.HistoryFull,
		TokensOf:             reconciler.TokensOf,
		BindingGroups:        bindingGroups,
		Guards:               accepted.Accepted,
		Audit:                p.audit,
		Now:                  time.Now,
	}
	if p.policies {
		admitting.Policies, admitting.APIAudiences = reconciler.Policies, reconciler.APIAudiences
	}
	handlers, err := admission.Handlers(admitting, p.GetScheme())
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	for path, handler := range handlers {
		mux.Handle("POST "+path, handler)
	}
	tlsConfig, err := p.requireClients("admission", o.clientCAFile)
	if err != nil {
		return err
	}
	return p.serveTLS("admission", o.admissionAddress, mux, tlsConfig, admissionLimits, nil)
}

// keepImpersonation wires what keeps the proxy's role to the users and groups of active tokens.
func (p *componentHost) keepImpersonation() error {
	keeper, err := impersonation.New(impersonation.Options{
		Client:           p.GetClient(),
		Cache:            p.GetCache(),
		RecordsNamespace: p.recordsNamespace,
		Clock:            clock.RealClock{},
		Recorder:         p.GetEventRecorder("pat-operator"),
		Log:              p.GetLogger().WithName("impersonation"),
	})
	if err != nil {
		return err
	}
	return errors.Join(metrics.Registry.Register(keeper), p.Add(keeper))
}

// acceptedGuards wires what proves that the guards of admission are in force, and accepts them.
func (p *componentHost) acceptedGuards(refuseUncovered func(context.Context) error) (*guards.Guards, error) {
	g, err := guards.New(guards.Options{
		Client:           p.GetClient(),
		Live:             p.GetAPIReader(),
		Cache:            p.GetCache(),
		RecordsNamespace: p.recordsNamespace,
		Service:          guards.Service{Namespace: p.operatorNamespace, Name: admissionService, Path: admission.ValidatePath},
		Clock:            clock.RealClock{},
		RefuseUncovered:  refuseUncovered,
		Recorder:         p.GetEventRecorder("pat-operator"),
		Log:              p.GetLogger().WithName("guards"),
		Audit:            p.audit,
	})
	if err != nil {
		return nil, err
	}
	p.authority.OnPatched(g.Carry)
	return g, errors.Join(metrics.Registry.Register(g), p.Add(g), p.wakeAuthority())
}

// wakeAuthority has the CA bundle injected at once into a validating webhook that is applied while the operator runs. The
// mutating one is applied with it.
func (p *componentHost) wakeAuthority() error {
	informer, err := p.GetCache().GetInformer(context.Background(), &admissionregistrationv1.ValidatingWebhookConfiguration{}, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(_ any, isInInitialList bool) {
			if !isInInitialList { // The authority reads that one as it starts.
				p.authority.Wake()
			}
		},
		UpdateFunc: func(_, _ any) { p.authority.Wake() },
	})
	return err
}

// recordOf reads the record of a resource live. One that cannot be read counts as that of a token as old as its resource, and
// just as spec asks for it, so that nothing is gained by spoiling it.
func recordOf(live client.Reader, recordsNamespace string) func(context.Context, *v1alpha1.PersonalAccessToken) (*record.Record, error) {
	return func(ctx context.Context, pat *v1alpha1.PersonalAccessToken) (*record.Record, error) {
		rec, _, invalid, err := record.Get(ctx, live, recordsNamespace, client.ObjectKeyFromObject(pat))
		switch {
		case err != nil:
			return nil, err
		case invalid != nil:
			t := &record.Token{IssuedAt: pat.CreationTimestamp.Time, Source: record.SourceOperator, Trigger: lifecycle.TriggerOf(&pat.Spec, nil)}
			if pat.Spec.Token != nil {
				t.ID, t.Digest, t.Source = pat.Spec.Token.ID, pat.Spec.Token.SHA256, record.SourceHolder
			}
			return &record.Record{Current: t}, nil
		case rec == nil, !rec.Of(pat): // none, or a former resource's
			return nil, nil
		}
		return rec, nil
	}
}
