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

package verifier

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

type reviewerFunc func(*authenticationv1.TokenReview) error

func (f reviewerFunc) Create(_ context.Context, obj client.Object, _ ...client.CreateOption) error {
	return f(obj.(*authenticationv1.TokenReview))
}

func TestDiscoveryTriesUntilItWorksAndRefreshes(t *testing.T) {
	g := NewWithT(t)
	const own = "the-operators-own"
	var calls atomic.Int32
	log, logged := capture()
	reviewer := reviewerFunc(func(r *authenticationv1.TokenReview) error {
		if r.Spec.Token != own {
			return errors.New("another token than the operator's own")
		}
		switch n := calls.Add(1); n {
		case 1:
			return errors.New("connection refused")
		case 2:
			r.Status.Error = "denied " + own
		case 3:
			r.Status.Authenticated = true
		case 4:
			r.Status.Authenticated, r.Status.Audiences = true, []string{"b", "a", ""}
		default:
			r.Status.Authenticated, r.Status.Audiences = true, []string{"c"}
		}
		return nil
	})
	x := newIndex(t)
	x.own.Store(nil)
	d := NewDiscovery(x.SetAPIAudiences, reviewer, func() (string, error) { return own, nil }, log)
	d.backoff = wait.Backoff{Duration: time.Millisecond, Factor: 1, Steps: 1 << 30}
	refreshed := make(chan struct{})
	d.refresh = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(refreshed)
		if err := d.Start(ctx); err != nil {
			t.Error(err)
		}
	}()
	g.Eventually(x.apiAudiences).WithTimeout(time.Minute).Should(Equal([]string{"a", "b"}))
	cancel()
	<-refreshed
	if strings.Contains(logged.String(), own) {
		t.Error("the log holds the operator's own token")
	}

	d.refresh = time.Millisecond
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	go func() { _ = d.Start(ctx) }()
	g.Eventually(x.apiAudiences).WithTimeout(time.Minute).Should(Equal([]string{"c"}))
}

func TestOwnToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		config rest.Config
		want   string
	}{
		"file before text": {rest.Config{BearerToken: "stale", BearerTokenFile: file}, "from-file"},
		"text":             {rest.Config{BearerToken: "text"}, "text"},
	} {
		t.Run(name, func(t *testing.T) {
			read, err := OwnToken(&tc.config)
			if err != nil {
				t.Fatal(err)
			}
			got, err := read()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, err := OwnToken(&rest.Config{}); err == nil || !strings.Contains(err.Error(), "--api-audiences") {
		t.Errorf("without a token: %v; want an error that names the way out", err)
	}
	read, err := OwnToken(&rest.Config{BearerTokenFile: file + "x"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read(); err == nil {
		t.Error("a missing file was read")
	}
}
