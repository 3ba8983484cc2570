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

// Command comparisonlist is an example of an API that is protected by patauth: it keeps comparison lists in memory. GET /lists takes
// a token whose spec.audiences has list-api. POST /lists takes one that also has the scope lists:write, or no scopes.
//
// In a cluster it needs no flags. Elsewhere it asks the kube-apiserver at --kubernetes, or, with --introspection, pat-operator's API
// face.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pat-operator/pat-operator/pkg/patauth"
)

const (
	audience = "list-api"
	write    = "lists:write"

	maxBody  = 4 << 10
	maxLists = 1000
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("comparisonlist", flag.ContinueOnError)
	address := flags.String("listen", "127.0.0.1:8080", "`address` to serve at; port 0 takes a free one")
	certificate := flags.String("tls-cert", "", "`file` with the certificate to serve with; without it, plain HTTP")
	key := flags.String("tls-key", "", "`file` with its key")
	kubernetes := flags.String("kubernetes", "", "`URL` of kube-apiserver; default: that of the cluster that this runs in")
	introspection := flags.String("introspection", "", "`URL` of the introspection endpoint of pat-operator, to ask instead of kube-apiserver")
	ca := flags.String("ca", "", "`file` with the CA certificates of what is asked")
	token := flags.String("token", "", "`file` with this service's own token")
	cacheFor := flags.Duration("cache-for", patauth.DefaultCacheFor, "how long an accepted token is remembered; negative: not at all")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var source patauth.Source = &patauth.TokenReview{URL: *kubernetes, CAFile: *ca, TokenFile: *token}
	if *introspection != "" {
		source = &patauth.Introspection{URL: *introspection, CAFile: *ca, TokenFile: *token}
	}
	auth, err := patauth.New(patauth.Options{Audience: audience, Source: source, CacheFor: *cacheFor})
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:     auth.Middleware(newAPI()),
		ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "serving at %s\n", listener.Addr())
	stopped := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(stopped)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(last)
	})
	if *certificate != "" {
		err = server.ServeTLS(listener, *certificate, *key)
	} else {
		err = server.Serve(listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		<-stopped
		return nil
	}
	return err
}

// list is what is compared, and who asked for it.
type list struct {
	Name  string   `json:"name"`
	Items []string `json:"items"`
	Owner string   `json:"owner"`
}

type api struct {
	mu    sync.Mutex
	lists []list
}

func newAPI() http.Handler {
	a := &api{lists: []list{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /lists", a.get)
	mux.Handle("POST /lists", patauth.RequireScope(write)(http.HandlerFunc(a.add)))
	return mux
}

// get answers with all lists.
func (a *api) get(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	lists := a.lists
	a.mu.Unlock()
	reply(w, http.StatusOK, lists)
}

// add makes a list, whose owner is the user of the token.
func (a *api) add(w http.ResponseWriter, r *http.Request) {
	var l list
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&l); err != nil || strings.TrimSpace(l.Name) == "" {
		http.Error(w, `want {"name": "...", "items": ["..."]}, of 4 KiB at most`, http.StatusBadRequest)
		return
	}
	identity, ok := patauth.FromContext(r.Context())
	if !ok {
		http.Error(w, "no identity", http.StatusInternalServerError)
		return
	}
	l.Owner = identity.Username
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.lists) >= maxLists {
		http.Error(w, "there are 1,000 lists already", http.StatusInsufficientStorage)
		return
	}
	a.lists = append(a.lists, l)
	reply(w, http.StatusCreated, l)
}

func reply(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}
