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

package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"

	yamlv3 "go.yaml.in/yaml/v3"

	"github.com/pat-operator/pat-operator/internal/holder"
)

// Values of --output.
const (
	outputToken = "token"
	outputJSON  = "json"
	outputYAML  = "yaml"
	outputName  = "name"
	outputWide  = "wide"
)

// write encodes v as JSON or YAML. Both are data, so no value is changed; but what may not go to a terminal is written as
// the escape that these languages have for it.
func write(w io.Writer, format string, v any) error {
	var out []byte
	var err error
	switch format {
	case outputJSON:
		out, err = encodeJSON(v)
	case outputYAML:
		out, err = encodeYAML(v)
	default:
		return fmt.Errorf("no way to write %q", format)
	}
	if err != nil {
		return err
	}
	_, err = w.Write(out)
	return err
}

func encodeJSON(v any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "    ")
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	// The encoder escapes ESC and the like, but no bidirectional overrides and no C1 controls. All that is hostile and left
	// is inside a string: outside are ASCII and line feeds.
	return escapeQuoted(buffer.Bytes(), escapeJSON), nil
}

func encodeYAML(v any) ([]byte, error) {
	// By way of JSON, as Kubernetes' types want it, and of a map, which sorts: apiVersion, kind, metadata, spec.
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var tree any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&tree); err != nil {
		return nil, err
	}
	if data, err = json.Marshal(tree); err != nil {
		return nil, err
	}
	var document yamlv3.Node
	if err := yamlv3.Unmarshal(escapeQuoted(data, escapeYAML), &document); err != nil { // JSON is YAML
		return nil, err
	}
	restyle(&document)
	var buffer bytes.Buffer
	encoder := yamlv3.NewEncoder(&buffer)
	encoder.SetIndent(2)
	encoder.CompactSeqIndent()
	if err := encoder.Encode(&document); err != nil {
		return nil, err
	}
	return escapeQuoted(buffer.Bytes(), escapeYAML), nil
}

// restyle turns JSON's style into that of YAML, but where a string needs escapes: only double quotes have them.
func restyle(node *yamlv3.Node) {
	node.Style = 0
	if node.Kind == yamlv3.ScalarNode && strings.ContainsFunc(node.Value, escaped) {
		node.Style = yamlv3.DoubleQuotedStyle
	}
	for _, child := range node.Content {
		restyle(child)
	}
}

// escaped tells of what is in no output as it is. A line feed is what lines end with.
func escaped(r rune) bool { return r != '\n' && holder.Hostile(r) }

func escapeQuoted(text []byte, escape func(*bytes.Buffer, rune)) []byte {
	if !bytes.ContainsFunc(text, escaped) {
		return text
	}
	var b bytes.Buffer
	for _, r := range string(text) {
		if escaped(r) {
			escape(&b, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.Bytes()
}

func escapeJSON(b *bytes.Buffer, r rune) {
	for _, unit := range utf16.Encode([]rune{r}) {
		fmt.Fprintf(b, `\u%04x`, unit)
	}
}

func escapeYAML(b *bytes.Buffer, r rune) {
	if r > 0xffff {
		fmt.Fprintf(b, `\U%08x`, r)
		return
	}
	fmt.Fprintf(b, `\u%04x`, r)
}
