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
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// channelProtocols are the WebSocket protocols of exec and attach that say at their end, on a channel, how it went.
var channelProtocols = []string{"v4.channel.k8s.io", "v5.channel.k8s.io"}

const errorChannel = 3

// explainCuts has a shell that the proxy ends say why: kubectl takes a connection that just ends for a command that succeeded.
func explainCuts(resp *http.Response) {
	body, ok := resp.Body.(io.ReadWriteCloser)
	if ok && slices.Contains(channelProtocols, resp.Header.Get("Sec-Websocket-Protocol")) {
		resp.Body = &channels{ReadWriteCloser: body, ctx: resp.Request.Context()}
	}
}

// channels reads the WebSocket frames of a server, and knows where they end. At the first end of a frame after the cut it drops
// what the server still says, such as a close in order, and puts a status and a close there.
type channels struct {
	io.ReadWriteCloser
	ctx context.Context
	// head is of a frame whose header has not arrived whole, left how much of its payload is to come.
	head []byte
	left uint64
	// open reports that a message continues in the next frame.
	open bool
	// last is what is still to be said after the cut.
	last []byte
	done bool
}

// Read implements io.Reader.
func (c *channels) Read(p []byte) (int, error) {
	if c.done {
		return c.rest(p)
	}
	n, err := c.ReadWriteCloser.Read(p)
	cut, isCut := cutOf(c.ctx)
	if isCut && c.between() {
		n = 0
	}
	c.take(p[:n])
	if !isCut || !c.between() {
		return n, err
	}
	c.done, c.last = true, lastFrames(cut)
	if n > 0 {
		return n, nil
	}
	return c.rest(p)
}

// Write implements io.Writer. What the client still says after the cut is dropped, so that it does not end the connection before
// the status has arrived.
func (c *channels) Write(p []byte) (int, error) {
	if _, isCut := cutOf(c.ctx); isCut {
		return len(p), nil
	}
	return c.ReadWriteCloser.Write(p)
}

// between reports whether a message has ended and the next has not begun.
func (c *channels) between() bool { return c.left == 0 && len(c.head) == 0 && !c.open }

func (c *channels) rest(p []byte) (int, error) {
	if len(c.last) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.last)
	c.last = c.last[n:]
	return n, nil
}

// take follows the frames in what was read (RFC 6455, section 5.2). A server does not mask.
func (c *channels) take(b []byte) {
	for len(b) > 0 {
		if c.left > 0 {
			n := min(c.left, uint64(len(b)))
			c.left -= n
			b = b[n:]
			continue
		}
		c.head, b = append(c.head, b[0]), b[1:]
		if len(c.head) < 2 {
			continue
		}
		switch length := c.head[1] & 0x7f; {
		case length < 126:
			c.begin(uint64(length))
		case length == 126 && len(c.head) == 4:
			c.begin(uint64(binary.BigEndian.Uint16(c.head[2:])))
		case length == 127 && len(c.head) == 10:
			c.begin(binary.BigEndian.Uint64(c.head[2:]))
		}
	}
}

func (c *channels) begin(length uint64) {
	if opcode := c.head[0] & 0x0f; opcode < 8 { // not a control frame, which may come amid a message
		c.open = c.head[0]&0x80 == 0
	}
	c.head, c.left = nil, length
}

// lastFrames are a status on the error channel and a close.
func lastFrames(c *cut) []byte {
	status, err := json.Marshal(&metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Reason: metav1.StatusReasonUnauthorized, Code: http.StatusUnauthorized, Message: c.text,
	})
	if err != nil {
		panic(err)
	}
	frames := []byte{0x82, 126}                                           // binary, with a length of two bytes: a status is longer than 125
	frames = binary.BigEndian.AppendUint16(frames, uint16(len(status)+1)) //nolint:gosec // the texts are short
	frames = append(frames, errorChannel)
	frames = append(frames, status...)
	return append(frames, 0x88, 2, 0x03, 0xe8) // close, 1000
}
