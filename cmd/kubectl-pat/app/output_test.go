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
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/yaml"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// JSON and YAML keep the value, without characters that control a terminal.
func TestCase39_DataKeepsItsValueAndIsHarmless(t *testing.T) {
	var all strings.Builder
	for r := range rune(0xf0000) {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point) {
			all.WriteRune(r)
		}
	}
	type data struct {
		Key map[string]string `json:"key"`
	}
	for _, text := range []string{all.String(), "\x1b[2J", "plain", "two\nlines", "\u202e: - #", "\ufffd", "true", "null", "12", ""} {
		key := strings.ToValidUTF8("k"+text[:min(len(text), 40)], "") // as short as keys in Kubernetes are
		want := data{map[string]string{"v": text, key: "v"}}
		for format, decode := range map[string]func([]byte) (data, error){
			outputJSON: func(b []byte) (d data, err error) { return d, json.Unmarshal(b, &d) },
			outputYAML: func(b []byte) (d data, err error) { return d, yaml.Unmarshal(b, &d) },
		} {
			var out bytes.Buffer
			if err := write(&out, format, want); err != nil {
				t.Fatal(err)
			}
			if i := strings.IndexFunc(out.String(), escaped); i >= 0 {
				t.Errorf("%s of %.20q holds %q", format, text, out.String()[i:i+1])
			}
			got, err := decode(out.Bytes())
			if err != nil {
				t.Fatalf("%s of %.20q: %v", format, text, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s of %.20q (-want +got):\n%s", format, text, diff)
			}
		}
	}
}

// notStrings are not strings for YAML 1.1, 1.2 or one of their parsers, unless quoted.
var notStrings = []string{
	"y", "Y", "yes", "Yes", "YES", "n", "N", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF", "true", "True", "TRUE", "false", "False", "FALSE",
	"", "~", "null", "Null", "NULL", "0", "-0", "1", "+1", "007", "08", "0o17", "0x1F", "0b101", "1_000", "12:30:45", "190:20:30", "1.5", ".5", "5.", "1e3", "1E+3", "685.230_15e+03",
	".inf", "-.Inf", "+.INF", ".nan", ".NaN", "NaN", "Infinity", "2026-11-24", "2026-11-24T12:00:00Z", "2026-11-24 12:00:00", "9223372036854775808", "1e400",
	"=", "<<", "-", "- a", "?", "? a", ":", "a: b", "a:", "# a", "a #b", "&a", "*a", "!a", "!!str a", "|", ">", "%a", "@a", "`a", "'", "\"", "'a'", "\"a\"", "{", "{}", "[", "[]", ",",
	"---", "...", " a", "a ", "a\nb", "a\n", "\na", "a\tb", "\\", "\\u200b0\\u200b", "\u200b0\u200b", "\u200b1\u200b", "\u200b", "\ufeff", "\u0085", "\u2028", "\x00", "\u202eNO", "👩\u200d💻", "😀",
	strings.Repeat("a b ", 60),
}

// kubectl reads each string that we write unchanged, wherever it is.
func TestCase56_KubectlReadsWhatWeWrite(t *testing.T) {
	for _, text := range notStrings {
		pat := &v1alpha1.PersonalAccessToken{
			ObjectMeta: metav1.ObjectMeta{Namespace: text, Name: text, Labels: map[string]string{text: text}},
			Spec: v1alpha1.PersonalAccessTokenSpec{
				DisplayName: text, Audiences: []string{text, "NO", text},
				User: &v1alpha1.UserInfo{Username: text, UID: text, Groups: []string{text}},
			},
		}
		withKind(pat)
		config := &clientcmdv1.Config{
			APIVersion: "v1", Kind: "Config", CurrentContext: text,
			Clusters:  []clientcmdv1.NamedCluster{{Name: text, Cluster: clientcmdv1.Cluster{Server: text, CertificateAuthorityData: []byte(text)}}},
			AuthInfos: []clientcmdv1.NamedAuthInfo{{Name: text, AuthInfo: clientcmdv1.AuthInfo{Token: text}}},
			Contexts:  []clientcmdv1.NamedContext{{Name: text, Context: clientcmdv1.Context{Cluster: text, AuthInfo: text, Namespace: text}}},
		}
		readPAT, readConfig := &v1alpha1.PersonalAccessToken{}, &clientcmdv1.Config{}
		for _, document := range []struct{ written, read any }{{pat, readPAT}, {config, readConfig}} {
			var out bytes.Buffer
			if err := write(&out, outputYAML, document.written); err != nil {
				t.Fatal(err)
			}
			if err := yaml.UnmarshalStrict(out.Bytes(), document.read); err != nil {
				t.Errorf("%q: %v in\n%s", text, err, &out)
				continue
			}
			if diff := cmp.Diff(document.written, document.read, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%q (-written +read):\n%s", text, diff)
			}
			if document.written == any(config) {
				loaded, err := clientcmd.Load(out.Bytes())
				if err != nil || loaded.CurrentContext != text || loaded.Contexts[text] == nil || loaded.AuthInfos[text] == nil || loaded.AuthInfos[text].Token != text {
					t.Errorf("%q: kubectl loads another kubeconfig, %v, from\n%s", text, err, &out)
				}
			}
		}
	}
}

func FuzzCase56_YAML(f *testing.F) {
	for _, text := range notStrings {
		f.Add(text, text)
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		if len(key) > 317 { // a prefix and a name, as Kubernetes has them
			return
		}
		want := map[string]any{strings.ToValidUTF8(key, ""): []any{strings.ToValidUTF8(value, "")}}
		var out bytes.Buffer
		if err := write(&out, outputYAML, want); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsFunc(out.String(), escaped) {
			t.Errorf("%q holds characters that control a terminal", &out)
		}
		var got map[string]any
		if err := yaml.UnmarshalStrict(out.Bytes(), &got); err != nil {
			t.Fatalf("%v in\n%s", err, &out)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-written +read):\n%s", diff)
		}
	})
}
