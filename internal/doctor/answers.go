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

package doctor

import (
	"strings"

	"github.com/pat-operator/pat-operator/internal/authnconfig"
)

// answer is what kube-apiserver says in status.error of a TokenReview. It says it in no other way, so here, and only here, a
// text is looked at. TestEachAnswerOfKubeAPIServer of test/e2e produces each of them by a real kube-apiserver, so that an
// upgrade which changes a text is noticed.
type answer struct {
	// holds is a part of the text.
	holds   string
	result  Result
	message string
	fix     string
}

const (
	// notAsked is the whole text if no webhook said anything of the token. kube-apiserver puts that of a webhook next to it.
	notAsked = "invalid bearer token"

	fixFiles    = "write the two files again, on each control plane node: kubectl pat setup"
	fixVerifier = "see the log of the verifier: kubectl -n NAMESPACE logs -l app.kubernetes.io/name=pat-operator --tail=20"
)

// answers are looked through in order.
var answers = []answer{
	{authnconfig.UnknownError, OK, "asks the verifier, trusts it, and the verifier is up to date", ""},
	{
		"connection refused", Failed, "reaches no verifier: the connection is refused",
		"is the address in the kubeconfig that of the verifier, and does a verifier run? kubectl -n NAMESPACE get pods,services,endpointslices",
	},
	{"certificate signed by unknown authority", Failed, "does not trust the verifier: its copy of the CA is another one, or old", fixFiles},
	{"certificate is valid for ", Failed, "does not trust the verifier: the tls-server-name in the kubeconfig is missing, or another one", fixFiles},
	{
		"TLS handshake timeout", Failed, "gets no answer from the verifier's address",
		"let no firewall or NetworkPolicy be between the control plane and the verifier; if kube-apiserver has a proxy, add the address to NO_PROXY",
	},
	{
		"an error on the server (\"Internal Server Error\")", Failed, "reaches a verifier that is not up to date, or not ready",
		fixVerifier,
	},
	{
		"tls: certificate required", Failed, "presents no client certificate, and the verifier asks for one",
		"name one: kubectl pat setup --apiserver-certificate FILE --apiserver-key FILE",
	},
}

// read returns what a text of status.error means.
func read(text string) answer {
	if text == "" || text == notAsked {
		return answer{notAsked, Failed, "does not ask the verifier: its flag is missing, or another webhook has its place", "set both flags: kubectl pat setup"}
	}
	for _, a := range answers {
		if strings.Contains(text, a.holds) {
			return a
		}
	}
	return answer{text, Failed, "does not get an answer from the verifier: " + text, "see the log of kube-apiserver, and https://github.com/pat-operator/pat-operator/blob/main/docs/troubleshooting.md"}
}
