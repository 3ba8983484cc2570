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
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// Of an account that is deleted, each request finds its token refused. That costs the API server little.
func TestARefusedTokenIsReplacedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		c := interceptor.NewClient(nil, interceptor.Funcs{
			SubResourceCreate: func(_ context.Context, _ client.Client, _ string, _, o client.Object, _ ...client.SubResourceCreateOption) error {
				if asked++; asked > 1 {
					return errors.New("not found")
				}
				o.(*authenticationv1.TokenRequest).Status = authenticationv1.TokenRequestStatus{
					Token: "first", ExpirationTimestamp: metav1.NewTime(time.Now().Add(tokenLife)),
				}
				return nil
			},
		})
		i := NewImpersonator(c, client.ObjectKey{Namespace: "system", Name: "impersonator"}, logr.Discard())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- i.Start(ctx) }()
		synctest.Wait()
		const requests, pause = 1000, 100 * time.Millisecond
		for range requests {
			i.Refused("first")
			i.Refused("another")
			<-time.After(pause)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		// Each ten seconds, and while the first pauses of the backoff are shorter.
		if least, most := 4, int(requests*pause/refusedWait)+10; asked < least || asked > most {
			t.Errorf("%d tokens are asked for in %v; want %d to %d", asked, requests*pause, least, most)
		}
	})
}
