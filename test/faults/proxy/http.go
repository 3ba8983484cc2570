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

package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// requests tells, as kube-apiserver does, what a request asks for.
var requests = request.RequestInfoFactory{
	APIPrefixes: map[string]sets.Empty{"api": {}, "apis": {}}, GrouplessAPIPrefixes: map[string]sets.Empty{"api": {}},
}

func (p *Proxy) handler(upstream *httputil.ReverseProxy) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.enter() {
			panic(http.ErrAbortHandler)
		}
		defer p.running.Done()
		p.counts.requests.Add(1)
		info, err := requests.NewRequestInfo(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if p.opts.Seen != nil {
			p.opts.Seen(info, r)
		}
		switch info.Verb {
		case "list":
			p.counts.lists.Add(1)
		case "watch":
			p.counts.watches.Add(1)
		}
		if mode, _ := p.gate.now(); mode.kind == refuse && slices.Contains(mode.verbs, info.Verb) {
			p.counts.refused.Add(1)
			answer(w, refusal(mode.status, info))
			return
		}
		if p.opts.Answer != nil && p.opts.Answer(info, w, r) {
			return
		}
		upstream.ServeHTTP(w, r.WithContext(request.WithRequestInfo(r.Context(), info)))
	})
}

// modify delays and changes answers, and gets between a watch and its reader.
func (p *Proxy) modify(resp *http.Response) error {
	ctx := resp.Request.Context()
	if err := p.delay(ctx); err != nil {
		return err
	}
	info, _ := request.RequestInfoFrom(ctx)
	if p.opts.Change != nil {
		if err := p.opts.Change(info, resp); err != nil {
			return err
		}
	}
	if info.Verb == "watch" {
		resp.Body = &stream{ReadCloser: resp.Body, ctx: ctx, proxy: p}
	}
	return nil
}

func (p *Proxy) delay(ctx context.Context) error {
	mode, _ := p.gate.now()
	if mode.kind != slow {
		return nil
	}
	p.counts.delayed.Add(1)
	timer := time.NewTimer(mode.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.closed:
		return http.ErrAbortHandler
	}
}

// stream is the body of a watch, which hangs or is slow as the mode says.
type stream struct {
	io.ReadCloser
	ctx   context.Context
	proxy *Proxy
}

func (s *stream) Read(b []byte) (int, error) {
	n, err := s.ReadCloser.Read(b)
	// That the replica has gone ends the wait; what is read of the API server's answer then goes nowhere.
	if !s.proxy.gate.pass(s.ctx.Done(), Mode.hangs, &s.proxy.counts.held) {
		return 0, s.ctx.Err()
	}
	if err := s.proxy.delay(s.ctx); err != nil {
		return 0, err
	}
	return n, err
}

// refusal is what kube-apiserver says with a status.
func refusal(status int, info *request.RequestInfo) metav1.Status {
	resource := schema.GroupResource{Group: info.APIGroup, Resource: info.Resource}
	switch status {
	case http.StatusForbidden:
		return apierrors.NewForbidden(resource, "", errors.New("refused by the fault proxy")).Status()
	case http.StatusNotFound:
		return apierrors.NewNotFound(resource, "").Status()
	case http.StatusGone:
		return apierrors.NewResourceExpired("The provided continue parameter is too old (the fault proxy says)").Status()
	case http.StatusTooManyRequests:
		return apierrors.NewTooManyRequests("too many requests, please try again later (the fault proxy says)", 1).Status()
	}
	return apierrors.NewGenericServerResponse(status, info.Verb, resource, info.Name, "the fault proxy says", 0, true).Status()
}

func answer(w http.ResponseWriter, status metav1.Status) {
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	body, err := json.Marshal(status)
	if err != nil {
		panic(err)
	}
	if status.Details != nil && status.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(status.Details.RetryAfterSeconds)))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(status.Code))
	_, _ = w.Write(body)
}
