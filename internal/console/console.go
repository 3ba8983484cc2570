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

package console

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/klauspost/compress/gzhttp"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/console/page"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/policy"
	"github.com/pat-operator/pat-operator/internal/serving"
)

const (
	// requestTimeout bounds the work for a request. It is below the server's own limit for writing a response.
	requestTimeout = 12 * time.Second
	// startWithin is the latest start of a change, and sentWithin bounds it. If the response is lost, looking for the change takes
	// up to five seconds more. The server drops a response after 15.
	startWithin, sentWithin = 3 * time.Second, 5 * time.Second
	// fragmentHeader requests the content of a dialog without the page around it.
	fragmentHeader = "X-Pat-Fragment"
	// didHeader says what was done in a response without content.
	didHeader = "X-Pat-Did"
	userAgent = "pat-console"
)

// Limits of the console's server, which shares its memory with the verifier. A form up to Body that is too long gets a response of
// the console's own.
var Limits = serving.Limits{Slots: 512, Body: 2 * maxForm}

// Options of a console.
type Options struct {
	// URL is the console's address for browsers: https, a host and perhaps a port, without a path.
	URL *url.URL
	// Config is how to reach the API server. Its credentials are not used.
	Config *rest.Config
	// Keys seal cookies. The caller must start them.
	Keys *Keys
	// OIDC is the sign-in by OpenID Connect; nil: none.
	OIDC *OIDCOptions
	// ProxyAuthorization: a proxy in front signs people in and sends their credential as "Authorization: Bearer …". Without it
	// and OIDC, people paste a bearer token.
	ProxyAuthorization bool
	// Namespaces are shown to visitors who may not list all namespaces and have chosen none.
	Namespaces []string
	// Cluster is how token holders reach the API server; nil: unknown, so the page shows no commands.
	Cluster *Cluster
	// OperatorNamespace has the ConfigMap of the proxy, which comes before Cluster; empty: it is not looked for.
	OperatorNamespace string
	// ScopesEnforced reports whether tokens with scopes work now; nil: unknown, so the page does not mention it.
	ScopesEnforced func() bool
	// Policies returns the TokenPolicies that limit tokens of a user in a namespace; nil: unknown, so the page does not mention them.
	Policies func(namespace string, user *v1alpha1.UserInfo) policy.Limits
	// MaxLifetime is the operator's limit for the lifetime of a token.
	MaxLifetime time.Duration
	Clock       clock.PassiveClock
	Log         logr.Logger
}

// Console is the page's server.
type Console struct {
	http.Handler

	origin     string
	anonymous  *rest.Config
	keys       *Keys
	oidc       *provider // nil without OIDC
	byProxy    bool
	namespaces []string
	cluster    *Cluster
	// operatorNamespace is as in Options.
	operatorNamespace string
	maxLife           time.Duration
	// scopesEnforced and policies are as in Options.
	scopesEnforced func() bool
	policies       func(namespace string, user *v1alpha1.UserInfo) policy.Limits
	clock          clock.PassiveClock
	log            logr.Logger
	lists          chan struct{} // a semaphore
	// activeWithin is how long a response waits until its token works. It then shows the token anyway.
	activeWithin time.Duration
}

// New returns a console, or an error about the options.
func New(o Options) (*Console, error) {
	c := &Console{
		origin: o.URL.Scheme + "://" + o.URL.Host, keys: o.Keys,
		byProxy: o.ProxyAuthorization, namespaces: o.Namespaces, cluster: o.Cluster, operatorNamespace: o.OperatorNamespace, maxLife: o.MaxLifetime, scopesEnforced: o.ScopesEnforced, policies: o.Policies, clock: o.Clock, log: o.Log,
		activeWithin: 8 * time.Second, lists: make(chan struct{}, maxLists),
	}
	c.anonymous = rest.AnonymousClientConfig(o.Config)
	c.anonymous.UserAgent = userAgent
	c.anonymous.QPS = -1
	c.anonymous.WarningHandler = rest.NoWarnings{}
	c.anonymous.Wrap(bounded)
	if o.OIDC != nil {
		var err error
		if c.oidc, err = newProvider(*o.OIDC, c.origin+"/callback"); err != nil {
			return nil, err
		}
	}
	compress, err := gzhttp.NewWrapper(gzhttp.MinSize(1024), gzhttp.EnableZstd(false),
		gzhttp.ContentTypes([]string{"text/html", "text/css", "text/javascript", "image/svg+xml"}))
	if err != nil {
		return nil, err
	}

	mux := http.NewServeMux()
	// Responses to POST are not compressed: they may hold a token together with text that an attacker chose (BREACH).
	get := func(path string, h http.Handler) { mux.Handle("GET "+path, compress(h)) }
	get("/assets/", page.Assets())
	get("/{$}", c.withVisitor(c.showTokens))
	get("/table", c.withVisitor(c.showTable))
	mux.Handle("POST /namespaces", c.withVisitor(c.chooseNamespaces))
	get("/new", c.withVisitor(c.askNew))
	mux.Handle("POST /new", c.withVisitor(c.create))
	const resource = "/tokens/{namespace}/{name}"
	get(resource, c.withVisitor(c.showDetails))
	get(resource+"/kubeconfig", c.withVisitor(c.sendKubeconfig))
	get("/ca.crt", c.withVisitor(c.sendCA))
	for _, what := range []string{actRevoke, actRotate, actSuspend, actResume} {
		get(resource+"/"+what, c.withVisitor(c.ask(what)))
	}
	mux.Handle("POST "+resource+"/rename", c.withVisitor(c.rename))
	mux.Handle("POST "+resource+"/"+actRevoke, c.withVisitor(c.revoke))
	mux.Handle("POST "+resource+"/"+actRotate, c.withVisitor(c.rotate))
	mux.Handle("POST "+resource+"/"+actSuspend, c.withVisitor(c.suspend(true)))
	mux.Handle("POST "+resource+"/"+actResume, c.withVisitor(c.suspend(false)))
	get("/sign-in", http.HandlerFunc(c.showSignIn))
	mux.Handle("POST /sign-in", http.HandlerFunc(c.signInByToken))
	mux.Handle("GET /sign-in/oidc", http.HandlerFunc(c.signInByOIDC))
	mux.Handle("GET /callback", http.HandlerFunc(c.callback))
	mux.Handle("POST /sign-out", http.HandlerFunc(c.signOut))
	mux.Handle("/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.problem(w, r, http.StatusNotFound, page.Problem{Title: "Page not found", Link: "/", LinkText: "To my tokens"})
	}))
	c.Handler = c.guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		mux.ServeHTTP(w, r.WithContext(ctx))
	}))
	return c, nil
}

// withVisitor serves signed-in visitors. It shows the error of a handler, which must not have written anything then.
func (c *Console) withVisitor(serve func(http.ResponseWriter, *http.Request, *visitor) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := c.visitor(r)
		if err == nil && r.Method == http.MethodPost {
			err = readForm(w, r, maxForm, "Go back, and enter fewer or shorter recipients.")
		}
		if err == nil {
			err = serve(w, r, v)
		}
		if err != nil {
			c.fail(w, r, v, err)
		}
	})
}

// sending bounds a change, and refuses one that begins too late to send its response.
func sending(r *http.Request) (context.Context, context.CancelFunc, error) {
	ctx := r.Context()
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < requestTimeout-startWithin {
		return nil, nil, &refusal{http.StatusServiceUnavailable, page.Problem{
			Title: "That took too long", Detail: "The API server was slow to say what is there. Nothing was done.", Next: "Try again in a moment.",
			Link: "/", LinkText: "To my tokens",
		}}
	}
	ctx, cancel := context.WithTimeout(ctx, sentWithin)
	return ctx, cancel, nil
}

func fragment(r *http.Request) bool { return r.Header.Get(fragmentHeader) != "" }

// show renders a page and sends it, or an error if it cannot render.
func (c *Console) show(w http.ResponseWriter, status int, render func(io.Writer) error) {
	var body bytes.Buffer
	if err := render(&body); err != nil {
		c.log.Error(err, "Cannot render a page")
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w) // fails only if the visitor has left
}

// shell returns the page around a content; nil for a fragment.
func (c *Console) shell(r *http.Request, v *visitor, title string) *page.Shell {
	if fragment(r) {
		return nil
	}
	s := &page.Shell{Title: title}
	if v != nil {
		s.User, s.SignOut = holder.Visible(v.User), !c.byProxy
	}
	return s
}

// localPath returns path if it is one of this site, else "/". It may come from another site's link.
func localPath(path string) string {
	u, err := url.Parse(path)
	// The decoded path may not begin with two slashes either: where a part needs an escape, u writes "/%2fx " as "//x%20".
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || !strings.HasPrefix(path, "/") ||
		strings.HasPrefix(u.Path, "//") || strings.ContainsAny(path, "\\\r\n\t") {
		return "/"
	}
	return u.RequestURI()
}
