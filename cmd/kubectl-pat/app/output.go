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
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/kubectl/pkg/cmd/get"
	"sigs.k8s.io/yaml"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
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

// outputFlags is -o of list and describe: the command's own formats and kubectl's templates.
type outputFlags struct {
	format string
	ours   []string
	// printer prints by a template; nil for our own formats.
	printer printers.ResourcePrinter
	columns bool // custom columns, not a template
}

// bind adds -o; text names its default.
func (f *outputFlags) bind(cmd *cobra.Command, text string, ours ...string) {
	f.ours = ours
	cmd.Flags().StringVarP(&f.format, "output", "o", "", fmt.Sprintf("the `FORMAT`: %s (default: %s)", f.formats(), text))
	completeValues(cmd, "output", append(slices.Clone(ours), "custom-columns=", "jsonpath=", "go-template=")...)
}

func (f *outputFlags) formats() string {
	return strings.Join(f.ours, ", ") + ", custom-columns=NAME:.PATH,..., jsonpath='{.PATH}' or go-template='{{.PATH}}', each also of a file, as in jsonpath-file=FILE"
}

func (f *outputFlags) validate(noHeaders bool) (err error) {
	if f.format == "" || slices.Contains(f.ours, f.format) {
		return nil
	}
	columns := get.NewCustomColumnsPrintFlags()
	columns.NoHeaders = noHeaders
	f.columns = true
	if f.printer, err = columns.ToPrinter(f.format); genericclioptions.IsNoCompatiblePrinterError(err) {
		f.columns = false
		f.printer, err = genericclioptions.NewKubeTemplatePrintFlags().ToPrinter(f.format)
	}
	switch {
	case genericclioptions.IsNoCompatiblePrinterError(err):
		return usagef("--output %q is not one of %s", f.format, f.formats())
	case err != nil:
		return usagef("--output: %w", err)
	}
	return nil
}

// print prints a resource or a list of resources in any format that is data.
func (f *outputFlags) print(w io.Writer, object runtime.Object) error {
	if f.printer == nil {
		return write(w, f.format, object)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return err
	}
	if f.columns {
		visibleStrings(content) // a tab or line end would make a column or row
	}
	var data runtime.Object = &unstructured.Unstructured{Object: content}
	if meta.IsListType(object) {
		if data, err = (&unstructured.Unstructured{Object: content}).ToList(); err != nil {
			return err
		}
	}
	var out bytes.Buffer
	if err := f.printer.PrintObj(data, &out); err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	_, err = io.WriteString(w, visibleText(out.String()))
	return err
}

// visibleStrings applies holder.Visible to all strings in v.
func visibleStrings(v any) any {
	switch v := v.(type) {
	case string:
		return holder.Visible(v)
	case []any:
		for i := range v {
			v[i] = visibleStrings(v[i])
		}
	case map[string]any:
		for key, value := range v {
			v[key] = visibleStrings(value)
		}
	}
	return v
}

// visibleText is holder.Visible for a text with lines and tabs.
func visibleText(text string) string {
	var out strings.Builder
	for part := range strings.SplitAfterSeq(text, "\n") {
		line, end := strings.CutSuffix(part, "\n")
		for i, cell := range strings.Split(line, "\t") {
			if i > 0 {
				out.WriteByte('\t')
			}
			out.WriteString(holder.Visible(cell))
		}
		if end {
			out.WriteByte('\n')
		}
	}
	return out.String()
}

// listOf returns a list as the API server does, without managed fields.
func listOf(pats []v1alpha1.PersonalAccessToken) *v1alpha1.PersonalAccessTokenList {
	list := &v1alpha1.PersonalAccessTokenList{Items: pats}
	if pats == nil {
		list.Items = []v1alpha1.PersonalAccessToken{}
	}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PersonalAccessTokenList"))
	for i := range list.Items {
		withKind(&list.Items[i])
		list.Items[i].ManagedFields = nil
	}
	return list
}

// write encodes v as JSON or YAML. It keeps all values, and writes characters that a terminal must not get as escapes of the
// format.
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
	// The encoder escapes ESC and the like, but not bidirectional overrides and C1 controls. These occur only inside strings:
	// outside there are only ASCII and line feeds.
	return escapeQuoted(buffer.Bytes(), escapeJSON), nil
}

// encodeYAML writes YAML for kubectl's parser: it quotes strings that YAML 1.1 reads as booleans, such as NO.
func encodeYAML(v any) ([]byte, error) {
	data, err := json.Marshal(v) // Kubernetes types have only JSON tags
	if err != nil {
		return nil, err
	}
	var tree any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&tree); err != nil {
		return nil, err
	}
	var hostile placeholders
	out, err := yaml.Marshal(hostile.insert(tree))
	if err != nil {
		return nil, err
	}
	return hostile.replace(out)
}

// placeholders stand for the strings that need escapes, because the YAML writer cannot be asked for these. A placeholder contains a
// character that needs an escape, so no other string in the output looks like one.
type placeholders []string

var placeholder = regexp.MustCompile("\u200b([0-9]+)\u200b")

// insert returns a decoded JSON value with placeholders for strings and keys that need escapes.
func (p *placeholders) insert(v any) any {
	switch v := v.(type) {
	case string:
		if strings.ContainsFunc(v, escaped) || v == "<<" { // the writer does not quote a merge key
			*p = append(*p, v)
			return fmt.Sprintf("\u200b%d\u200b", len(*p)-1)
		}
	case []any:
		for i := range v {
			v[i] = p.insert(v[i])
		}
	case map[string]any:
		inserted := make(map[string]any, len(v))
		for key, value := range v {
			inserted[p.insert(key).(string)] = p.insert(value)
		}
		return inserted
	}
	return v
}

// replace replaces the placeholders by their strings in double quotes, with escapes.
func (p *placeholders) replace(out []byte) ([]byte, error) {
	var wrong error
	out = placeholder.ReplaceAllFunc(out, func(found []byte) []byte {
		i, err := strconv.Atoi(string(placeholder.FindSubmatch(found)[1]))
		if err != nil {
			wrong = err
			return nil
		}
		var quoted bytes.Buffer
		encoder := json.NewEncoder(&quoted) // a JSON string is a YAML string, except for escapes of two units
		encoder.SetEscapeHTML(false)
		wrong = errors.Join(wrong, encoder.Encode((*p)[i]))
		return escapeQuoted(bytes.TrimSuffix(quoted.Bytes(), []byte("\n")), escapeYAML)
	})
	return out, wrong
}

// escaped reports whether data needs an escape for r. Line feeds end lines.
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
