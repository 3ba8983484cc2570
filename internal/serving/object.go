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

package serving

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// Object is a JSON object that is written field by field, for answers that are given thousands of times a second: the bytes are
// those of encoding/json, which takes several times as long.
type Object []byte

// NewObject returns an object without fields, and with room for an answer.
func NewObject() Object { return append(make(Object, 0, 768), '{') }

// Begin begins an object that is a field, and End ends it, or the whole one.
func (o *Object) Begin(name string) {
	o.name(name)
	*o = append(*o, '{')
}

// End ends the object that was begun last.
func (o *Object) End() { *o = append(*o, '}') }

// Bool writes a field.
func (o *Object) Bool(name string, value bool) {
	o.name(name)
	*o = strconv.AppendBool(*o, value)
}

// Int writes a field.
func (o *Object) Int(name string, value int64) {
	o.name(name)
	*o = strconv.AppendInt(*o, value, 10)
}

// String writes a field.
func (o *Object) String(name, value string) {
	o.name(name)
	o.text(value)
}

// Strings writes a field.
func (o *Object) Strings(name string, values []string) {
	o.name(name)
	if values == nil {
		*o = append(*o, "null"...)
		return
	}
	*o = append(*o, '[')
	for i, value := range values {
		if i > 0 {
			*o = append(*o, ',')
		}
		o.text(value)
	}
	*o = append(*o, ']')
}

func (o *Object) name(name string) {
	if last := (*o)[len(*o)-1]; last != '{' {
		*o = append(*o, ',')
	}
	o.text(name)
	*o = append(*o, ':')
}

// plain are the bytes that encoding/json writes as they are.
var plain = func() (plain [256]bool) {
	for c := ' '; c <= '~'; c++ {
		plain[c] = !strings.ContainsRune(`"\<>&`, c)
	}
	return plain
}()

// text leaves to encoding/json what is not plain.
func (o *Object) text(s string) {
	for i := range len(s) {
		if !plain[s[i]] {
			quoted, _ := json.Marshal(s) // cannot fail for a string
			*o = append(*o, quoted...)
			return
		}
	}
	*o = append(append(append(*o, '"'), s...), '"')
}

// The values of headers that every answer of JSON has.
var contentJSON, noStore = []string{"application/json"}, []string{"no-store"}

// WriteJSON answers with JSON that nobody on the way keeps.
func WriteJSON(w http.ResponseWriter, status int, body []byte) {
	header := w.Header()
	header["Content-Type"], header["Cache-Control"] = contentJSON, noStore
	header["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
