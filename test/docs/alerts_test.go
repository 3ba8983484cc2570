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

package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const rulesFile = "charts/pat-operator/rules/pat-operator.yaml"

// alert is a rule as Prometheus reads it.
type alert struct {
	Alert       string
	Expr        string
	Labels      map[string]string
	Annotations map[string]string
}

func alerts(t *testing.T) []alert {
	t.Helper()
	var file struct{ Groups []struct{ Rules []alert } }
	if err := yaml.Unmarshal([]byte(read(t, rulesFile)), &file); err != nil {
		t.Fatal(err)
	}
	var all []alert
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	if len(all) < 7 {
		t.Fatalf("%s has %d alerts", rulesFile, len(all))
	}
	return all
}

// Each alert says what is wrong and leads to the section that says what to do, and has a row in the table.
func TestAlertsLeadToARunbook(t *testing.T) {
	const page = "https://github.com/pat-operator/pat-operator/blob/main/" + operations + "#"
	var documented, defined []string
	for _, cells := range table(t, operations, "alert") {
		documented = append(documented, strings.Trim(cells[0], "`"))
	}
	sections := anchors(read(t, operations))
	for _, a := range alerts(t) {
		defined = append(defined, a.Alert)
		for _, name := range []string{"summary", "description"} {
			if a.Annotations[name] == "" {
				t.Errorf("%s has no %s", a.Alert, name)
			}
		}
		if anchor, ok := strings.CutPrefix(a.Annotations["runbook_url"], page); !ok || !slices.Contains(sections, anchor) {
			t.Errorf("%s: the runbook %q does not lead to a section of %s", a.Alert, a.Annotations["runbook_url"], operations)
		}
		if !slices.Contains([]string{"critical", "warning", "info"}, a.Labels["severity"]) {
			t.Errorf("%s has the severity %q", a.Alert, a.Labels["severity"])
		}
	}
	if diff := cmp.Diff(defined, documented); diff != "" {
		t.Errorf("alerts (-%s +%s):\n%s", rulesFile, operations, diff)
	}
}

// Each alert fires on the series that it is for, and not on others that are near.
func TestAlertsFire(t *testing.T) {
	const file = "testdata/rules.yaml"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var tests struct {
		Tests []struct {
			AlertRuleTest []struct {
				Alertname string
				ExpAlerts []any `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal(data, &tests); err != nil {
		t.Fatal(err)
	}
	fires, rests := map[string]bool{}, map[string]bool{}
	for _, test := range tests.Tests {
		for _, a := range test.AlertRuleTest {
			fires[a.Alertname] = fires[a.Alertname] || len(a.ExpAlerts) > 0
			rests[a.Alertname] = rests[a.Alertname] || len(a.ExpAlerts) == 0
		}
	}
	for _, a := range alerts(t) {
		if !fires[a.Alert] || !rests[a.Alert] {
			t.Errorf("%s: %s fires %t, rests %t; want a test of each", file, a.Alert, fires[a.Alert], rests[a.Alert])
		}
	}
	promtool := os.Getenv("PAT_PROMTOOL")
	if promtool == "" {
		if promtool, err = exec.LookPath("promtool"); err != nil {
			if os.Getenv("PAT_REQUIRE_PROMTOOL") != "" {
				t.Fatal("promtool is missing: hack/tools/promtool.sh says why")
			}
			t.Skip("SKIPPED: promtool is missing; make test gets it from hack/tools/promtool.sh")
		}
	}
	for _, args := range [][]string{{"check", "rules", filepath.Join(root, rulesFile)}, {"test", "rules", file}} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
