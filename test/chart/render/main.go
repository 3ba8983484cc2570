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

// Command render prints what the chart renders, without helm: `make chart-render`.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	chart "github.com/pat-operator/pat-operator/test/chart"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "render:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	var release chart.Release
	var files list
	flags := flag.NewFlagSet("render", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dir := flags.String("chart", "charts/pat-operator", "folder or archive of the chart")
	flags.StringVar(&release.Name, "release", "pat-operator", "name of the release")
	flags.StringVar(&release.Namespace, "namespace", "pat-operator-system", "namespace of the release")
	flags.Var(&files, "values", "file with values; may be repeated, the last wins")
	plain := flags.Bool("plain", false, "leave out what only Helm reads, for manifests that kubectl applies")
	notes := flags.Bool("notes", false, "print the notes instead of the manifests")
	if err := flags.Parse(args); err != nil {
		return err
	}
	for _, file := range files {
		values, err := chart.ReadValues(file)
		if err != nil {
			return err
		}
		release.Values = append(release.Values, values)
	}
	r, err := chart.Render(*dir, release)
	if err != nil {
		return err
	}
	if *notes {
		_, err := io.WriteString(stdout, r.Notes)
		return err
	}
	for _, o := range r.Objects {
		if *plain {
			for _, name := range []string{"app.kubernetes.io/managed-by", "helm.sh/chart"} {
				unstructured.RemoveNestedField(o.Object, "metadata", "labels", name)
			}
			unstructured.RemoveNestedField(o.Object, "metadata", "annotations", "helm.sh/resource-policy")
			if len(o.GetAnnotations()) == 0 {
				o.SetAnnotations(nil)
			}
		}
		data, err := yaml.Marshal(o.Object)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(stdout, "---\n%s", data); err != nil {
			return err
		}
	}
	return nil
}

// list is a flag that may be repeated.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

// Set implements flag.Value.
func (l *list) Set(text string) error {
	*l = append(*l, text)
	return nil
}
