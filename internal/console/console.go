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
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/klauspost/compress/gzhttp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/pat-operator/pat-operator/internal/console/page"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/serving"
)

const (
	// requestTimeout bounds what one request may wait for, below the server's own limit for writing an answer.
	requestTimeout = 12 * time.Second
	// startWithin is how late a change may begin, and sentWithin bounds it. Where its answer is lost, what has become of it is
	// looked up for five seconds more; the server gives up an answer after 15.
	startWithin, sentWithin = 3 * time.Second, 5 * time.Second
	// fragmentHeader asks for the content of a dialog, without the page around it.
	fragmentHeader = "X-Pat-Fragment"
	// didHeader says what was done, where there is nothing to show.
	didHeader = "X-Pat-Did"
	userAgent = "pat-console"
)

// Limits of a server of the console. What visitors send and are shown is in the memory of what verifies tokens. A form that
// is too long gets an answer of the console's own up to here.
var Limits = serving.Limits{Slots: 512, Body: 2 * maxForm}

// Options of a console.
type Options struct {
	// URL is where browsers reach it: https, a host and perhaps a port, no path.
	URL *url.URL
	// Config is how to reach the API server. What it holds to authenticate with is not used.
	Config *rest.Config
	// Keys seal what cookies carry. They are to be started beside the console.
	Keys *Keys
	// OIDC is how people sign in; nil: not by OpenID Connect.
	OIDC *OIDCOptions
	// ProxyAuthorization: a proxy in front signs people in and sends their credential as "Authorization: Bearer …". With
	// neither, people paste a bearer token.
	ProxyAuthorization bool
	// Namespaces are looked at for those who may not list tokens everywhere, and have chosen none.
	Namespaces []string
	// Cluster is how those who have a token reach the API server; nil: that is not known, and no commands are shown.
	Cluster *Cluster
	// MaxLifetime is the longest life that the operator gives a token.
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
	maxLife    time.Duration
	clock      clock.PassiveClock
	log        logr.Logger
	lists      chan struct{} // takes what there may be at once
	// activeWithin is how long an answer waits until its token works; it is shown all the same.
	activeWithin time.Duration
}

// New returns a console, or says what is wrong with the options.
func New(o Options) (*Console, error) {
	c := &Console{
		origin: o.URL.Scheme + "://" + o.URL.Host, keys: o.Keys,
		byProxy: o.ProxyAuthorization, namespaces: o.Namespaces, cluster: o.Cluster, maxLife: o.MaxLifetime, clock: o.Clock, log: o.Log,
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
	// What answers a POST is not compressed: it may hold a token beside what somebody else chose (BREACH).
	get := func(path string, h http.Handler) { mux.Handle("GET "+path, compress(h)) }
	get("/assets/", page.Assets())
	get("/{$}", c.as(c.showTokens))
	get("/table", c.as(c.showTable))
	mux.Handle("POST /namespaces", c.as(c.chooseNamespaces))
	get("/new", c.as(c.askNew))
	mux.Handle("POST /new", c.as(c.create))
	const resource = "/tokens/{namespace}/{name}"
	get(resource, c.as(c.showDetails))
	get(resource+"/kubeconfig", c.as(c.sendKubeconfig))
	get("/ca.crt", c.as(c.sendCA))
	for _, what := range []string{actRevoke, actRotate, actSuspend, actResume} {
		get(resource+"/"+what, c.as(c.ask(what)))
	}
	mux.Handle("POST "+resource+"/rename", c.as(c.rename))
	mux.Handle("POST "+resource+"/"+actRevoke, c.as(c.revoke))
	mux.Handle("POST "+resource+"/"+actRotate, c.as(c.rotate))
	mux.Handle("POST "+resource+"/"+actSuspend, c.as(c.suspend(true)))
	mux.Handle("POST "+resource+"/"+actResume, c.as(c.suspend(false)))
	get("/sign-in", http.HandlerFunc(c.showSignIn))
	mux.Handle("POST /sign-in", http.HandlerFunc(c.signInByToken))
	mux.Handle("GET /sign-in/oidc", http.HandlerFunc(c.signInByOIDC))
	mux.Handle("GET /callback", http.HandlerFunc(c.callback))
	mux.Handle("POST /sign-out", http.HandlerFunc(c.signOut))
	mux.Handle("/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.problem(w, r, http.StatusNotFound, page.Problem{Title: "There is no such page", Link: "/", LinkText: "To my tokens"})
	}))
	c.Handler = c.guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		mux.ServeHTTP(w, r.WithContext(ctx))
	}))
	return c, nil
}

// as serves those who are signed in. What a handler returns as an error is shown, and nothing may have been written then.
func (c *Console) as(serve func(http.ResponseWriter, *http.Request, *visitor) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := c.visitor(r)
		if err == nil && r.Method == http.MethodPost {
			err = readForm(w, r, maxForm, "Go back, and take fewer or shorter recipients.")
		}
		if err == nil {
			err = serve(w, r, v)
		}
		if err != nil {
			c.fail(w, r, v, err)
		}
	})
}

// fail shows an error.
func (c *Console) fail(w http.ResponseWriter, r *http.Request, v *visitor, err error) {
	if c.bounced(w, r, err) {
		return
	}
	over := errors.Is(err, errSessionOver) || apierrors.IsUnauthorized(err)
	switch {
	case over && c.byProxy, errors.Is(err, errNoSession) && c.byProxy:
		c.problem(w, r, http.StatusUnauthorized, page.Problem{
			Title: "You are not signed in", Detail: "The proxy in front of this page has sent no credential that the API server takes.",
			Next: "Sign in at the proxy, and load this page again.",
		})
	case over, errors.Is(err, errNoSession):
		to := url.Values{}
		if over {
			to.Set("over", "1")
		}
		if r.Method == http.MethodGet && r.URL.Path != "/" {
			to.Set("return", r.URL.RequestURI())
		}
		target := "/sign-in"
		if len(to) > 0 {
			target += "?" + to.Encode()
		}
		if fragment(r) || r.URL.Path == "/table" {
			http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodPost { // loaded again, a browser sends once more what was typed
			c.problem(w, r, http.StatusUnauthorized, page.Problem{
				Title: "Your session is over", Detail: "Nothing was done.",
				Next: "Sign in, which opens a new tab. Then load this page again: your browser sends what you typed once more.",
				Link: "/sign-in", LinkText: "Sign in", NewTab: true,
			})
			return
		}
		http.Redirect(w, r, target, http.StatusSeeOther)
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil: // the visitor has gone
	default:
		status, p := c.explain(err)
		if _, own := errors.AsType[*refusal](err); !own && status >= 500 && r.Method != http.MethodPost {
			p.Detail, p.Next = "Nothing was changed.", "Load the page again in a moment."
		}
		c.problemTo(w, r, v, status, p)
	}
}

// explain says an error of the API server, of the way there, or of our own to people.
func (c *Console) explain(err error) (status int, p page.Problem) {
	if asked, ok := errors.AsType[*refusal](err); ok {
		return asked.status, asked.Problem
	}
	p = page.Problem{Cause: holder.Visible(err.Error()), Link: "/", LinkText: "To my tokens"}
	if answer := (apierrors.APIStatus)(nil); errors.As(err, &answer) && answer.Status().Code != 0 {
		status, p.Cause = int(answer.Status().Code), holder.Visible(answer.Status().Message)
	}
	switch {
	case errors.Is(err, holder.ErrUnknown): // whatever else it is: the cause says what may be there, and how to end it
		c.log.Error(err, "What became of a request of the console is not known")
		status, p.Title = http.StatusBadGateway, "It is not known whether this was done"
		p.Detail, p.Cause, p.Next = "The answer of the API server was lost.", holder.Visible(err.Error()), "Look at your tokens in a moment, then try again."
	case errors.Is(err, holder.ErrRotated), errors.Is(err, holder.ErrDeleted), apierrors.IsConflict(err):
		status, p.Title, p.Next = http.StatusConflict, "Somebody else was faster", "Look at the token again, then decide."
	case apierrors.IsForbidden(err):
		p.Title, p.Next = "You may not do this", "Ask an administrator for the right that is named below."
	case isMissing(err, "namespaces", true):
		p.Title, p.Next = "There is no such namespace", "Choose another one."
	case isMissing(err, "personalaccesstokens", false):
		p.Title, p.Next = "This cluster has no personal access tokens", "Ask those who run it to install pat-operator."
	case apierrors.IsNotFound(err):
		p.Title, p.Next = "There is no such token any more", "Somebody has revoked it, or it never was."
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		p.Title, p.Next = "This cannot be", "Change what you asked for, or show the cause below to an administrator."
	case apierrors.IsTooManyRequests(err):
		p.Title, p.Next = "The API server is busy", "Try again in a moment."
	case status >= 400 && status < 500:
		p.Title = "The API server refuses"
	case status >= 500:
		status, p.Title, p.Next = http.StatusBadGateway, "The API server could not do it", "Try again in a moment, then ask those who run the cluster."
	default:
		c.log.Error(err, "A request of the console failed")
		status, p.Title = http.StatusBadGateway, "The API server does not answer"
		p.Detail, p.Cause, p.Next = "Whether anything was done is not known.", "", "Look at your tokens in a moment, then try again."
	}
	return status, p
}

// inForm says an error above a form, which keeps what was typed. The cause is folded away.
func (c *Console) inForm(err error) (status int, text, cause string) {
	status, p := c.explain(err)
	return status, strings.Join(strings.Fields(p.Title+". "+p.Detail+" "+p.Next), " "), p.Cause
}

// isMissing tells that an object of a resource is not there, or the resource itself.
func isMissing(err error, resource string, named bool) bool {
	var answer apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &answer) || answer.Status().Details == nil {
		return false
	}
	details := answer.Status().Details
	return details.Kind == resource && (details.Name != "") == named
}

// refusal is an error of our own, in the words that people read.
type refusal struct {
	status int
	page.Problem
}

func (r *refusal) Error() string { return r.Title + ": " + r.Detail }

// sending bounds a change, and refuses to begin one whose answer might come too late to be sent.
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

func (c *Console) problem(w http.ResponseWriter, r *http.Request, status int, p page.Problem) {
	c.problemTo(w, r, nil, status, p)
}

func (c *Console) problemTo(w http.ResponseWriter, r *http.Request, v *visitor, status int, p page.Problem) {
	c.show(w, status, func(w io.Writer) error { return page.ShowProblem(w, c.shell(r, v, p.Title), p) })
}

// show renders a page and sends it. What cannot be rendered is a fault of ours, and nothing of it is sent.
func (c *Console) show(w http.ResponseWriter, status int, render func(io.Writer) error) {
	var body bytes.Buffer
	if err := render(&body); err != nil {
		c.log.Error(err, "A page could not be rendered")
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w) // a visitor who has gone gets none
}

// shell is what is around a content; nil for a fragment.
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

// localPath returns a path of ours, which a link of somebody else's may name, or "/".
func localPath(path string) string {
	u, err := url.Parse(path)
	// The decoded path may not begin with two slashes either: where a part needs an escape, u writes "/%2fx " as "//x%20".
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || !strings.HasPrefix(path, "/") ||
		strings.HasPrefix(u.Path, "//") || strings.ContainsAny(path, "\\\r\n\t") {
		return "/"
	}
	return u.RequestURI()
}
