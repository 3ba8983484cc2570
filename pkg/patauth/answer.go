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

package patauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// object is a JSON object whose members are read one by one, since encoding/json takes "Active" for "active", null for false, and
// the last of two members with one name.
type object map[string]json.RawMessage

// newObject reads an object and nothing after it. Its errors do not quote what is read.
func newObject(data []byte) (object, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	o := object{}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, errors.New("not a JSON object")
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, errors.New("not a JSON object")
		}
		if _, twice := o[name.(string)]; twice {
			return nil, errors.New("two members have one name")
		}
		o[name.(string)] = value
	}
	if end, err := decoder.Token(); err != nil || end != json.Delim('}') {
		return nil, errors.New("not a JSON object")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than a JSON object")
	}
	return o, nil
}

// member returns an object that is a member; an absent one is empty.
func (o object) member(name string) (object, error) {
	if _, ok := o[name]; !ok {
		return nil, nil
	}
	inner, err := newObject(o[name])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return inner, nil
}

// value returns a member of one type. An absent member is the zero value, and so is a list that is null.
func value[T string | int64 | bool | []string](o object, name string) (v T, err error) {
	data, ok := o[name]
	if !ok {
		return v, nil
	}
	null := string(data) == "null"
	if list, ok := any(&v).(*[]string); ok {
		null = false
		var elements []*string // nil where an element is null
		err = json.Unmarshal(data, &elements)
		for _, element := range elements {
			if null = null || element == nil; !null {
				*list = append(*list, *element)
			}
		}
	} else {
		err = json.Unmarshal(data, &v)
	}
	if err != nil || null {
		var zero T
		return zero, fmt.Errorf("%s is not a %T", name, zero)
	}
	return v, nil
}
