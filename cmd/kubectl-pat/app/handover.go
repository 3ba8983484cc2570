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
	"errors"
	"fmt"
	"strings"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
)

// handover prints a new token and the resource, or puts the token where its flags say.
type handover struct {
	*session
	to     destinationFlags
	output string
}

// createResult is the output of create and rotate with -o json and -o yaml.
type createResult struct {
	PersonalAccessToken *v1alpha1.PersonalAccessToken `json:"personalAccessToken"`
	// Token is the plaintext. It is absent if the token went elsewhere (--token-file, --copy), if it is encrypted (it is in the
	// resource's status.encryptedToken), and in a dry run.
	Token string `json:"token,omitempty"`
}

var errNowhere = usagef("-o name does not print the token, which cannot be shown later: add --token-file FILE or --copy")

func (o *handover) checkOutput() error {
	return oneOf("output", o.output, outputToken, outputJSON, outputYAML, outputName)
}

// announce describes the token before it is printed.
func (o *handover) announce(pat *v1alpha1.PersonalAccessToken, to *destination, active bool) {
	state := "It is not active."
	if active {
		state = "It works until " + endOf(pat) + "."
	}
	switch {
	case holder.Sealed(pat):
		o.sayf("This is the token, encrypted: only the recipients can open it (age --decrypt -i KEYFILE). %s", state)
	case to.place != "":
		o.sayf("The token is %s, and nowhere else: the cluster has only a digest of it. %s", to.place, state)
	default:
		o.sayf("This is the token. It is shown only once: the cluster has only a digest of it. %s", state)
	}
}

// print writes the output, and hands the token over if it is not part of that.
func (o *handover) print(pat *v1alpha1.PersonalAccessToken, plaintext string, to *destination) (err error) {
	defer func() {
		if err != nil && plaintext != "" && !errors.Is(err, errPrinted) {
			err = fmt.Errorf("%w; the token of %s is lost; for a new one run: %s", err, holder.ResourceName(pat.Name), rotateCommand(pat))
		}
	}()
	if plaintext != "" && (o.output == outputToken || o.to.elsewhere()) {
		if err := to.putOrPrint(plaintext); err != nil {
			return err
		}
		plaintext = ""
	}
	switch o.output {
	case outputName:
		_, err := fmt.Fprintln(o.Out, holder.ResourceName(pat.Name))
		return err
	case outputJSON, outputYAML:
		withKind(pat)
		pat.ManagedFields = nil
		if holder.Sealed(pat) {
			plaintext = "" // status has it
		}
		return write(o.Out, o.output, createResult{pat, plaintext})
	}
	return nil
}

// sayNext prints below the token, on a terminal, when it expires and how to use it.
func (o *handover) sayNext(pat *v1alpha1.PersonalAccessToken, to *destination) {
	if o.Width(o.ErrOut) == 0 || o.output != outputToken {
		return
	}
	name := pat.Name + " -n " + pat.Namespace
	variable, next := "$TOKEN", "for kubectl: kubectl pat kubeconfig "+name+" -o "+pat.Name+".kubeconfig, which asks for it; for curl: -H \"Authorization: Bearer $TOKEN\""
	if to.file != nil {
		variable = "$(cat FILE)"
	}
	switch {
	case holder.Sealed(pat):
		next = "send it to its recipients, who open it with: kubectl pat decrypt " + name + " -i KEYFILE"
	case len(pat.Spec.Audiences) > 0:
		next = "use it with " + strings.Join(pat.Spec.Audiences, ", ") + ", and nothing else takes it: curl -H \"Authorization: Bearer " + variable + "\" https://YOUR-API"
	case to.file != nil:
		next = "for kubectl: kubectl pat kubeconfig " + name + " --token-file FILE -o " + pat.Name + ".kubeconfig; for curl: -H \"Authorization: Bearer $(cat FILE)\""
	}
	o.sayf("\nIt works until %s (%s). Before that, replace it: %s", endOf(pat), untilOrAgo(end(pat), o.Clock.Now()), rotateCommand(pat))
	o.sayf("Next, %s", next)
}
