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
	"io"
	"mime"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// explainCutWatch has a watch in JSON that the proxy ends say why, as kube-apiserver says it: by an event of type ERROR. The
// connection is aborted after it all the same.
func explainCutWatch(resp *http.Response) {
	mediaType, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err == nil && mediaType == mediaJSON && resp.Header.Get("Content-Encoding") == "" && resp.StatusCode == http.StatusOK && resp.ContentLength < 0 {
		resp.Body = &events{ReadCloser: resp.Body, ctx: resp.Request.Context()}
	}
}

// events reads the events of a watch. Each is one line, so that where a line ends another event may be put.
type events struct {
	io.ReadCloser
	ctx context.Context
	// inside reports that an event has not ended yet.
	inside bool
	// last is what is still to be said after the cut, err how the body ends then.
	last []byte
	err  error
}

// Read implements io.Reader.
func (e *events) Read(p []byte) (int, error) {
	if e.err != nil {
		n := copy(p, e.last)
		if e.last = e.last[n:]; n > 0 {
			return n, nil
		}
		return 0, e.err
	}
	n, err := e.ReadCloser.Read(p)
	if n > 0 {
		e.inside = p[n-1] != '\n'
	}
	if c, isCut := cutOf(e.ctx); isCut && err != nil && !e.inside {
		e.last, e.err = lastEvent(c), err
		if n > 0 {
			return n, nil
		}
		return e.Read(p)
	}
	return n, err
}

// lastEvent is the event that says why a watch ends.
func lastEvent(c *cut) []byte {
	refused := refuseEnded(c)
	event, err := json.Marshal(&metav1.WatchEvent{Type: string(watch.Error), Object: runtime.RawExtension{Object: refused.status()}})
	if err != nil {
		panic(err)
	}
	return append(event, '\n')
}
