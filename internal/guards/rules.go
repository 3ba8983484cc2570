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

package guards

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
)

// rulesAnnotation numbers the rules that a guard holds.
const rulesAnnotation = "pat-operator.io/rules"

const (
	// maxRules numbers the rules that this program ships. Greater numbers are of later releases and are trusted.
	maxRules = 1
	// minRules numbers the oldest rules that this program accepts.
	minRules = 1
)

// contents are the rules that this program knows, as digests of the manifests in config. A test fails if the manifests
// change: raise maxRules, set their annotations to it and add an entry here. Rules that no release ships yet may change
// without a new number.
var contents = map[int]*content{
	1: {
		matchConditions:  "1c1e45d09278eb42931525dd00a699824b151b348da7d5de9a326e33ddc537b0",
		variables:        "dd41811e0cfe89f40dbe55e33746aa4f2b18386de281c4534fdd60a855345f75",
		validations:      "60c4bbcd147bbe603ab1e45a7733e41ac664aec099fd18267fe441bd7faf0de1",
		webhookCondition: "19719361f0d4bce3d00edba6431e054133ac0ac5c5bdd79156fda72596289d4f",
	},
}

// content are digests of what one number stands for: three fields of the policy and the one condition of the webhook.
type content struct {
	matchConditions, variables, validations string
	webhookCondition                        string
}

// unfolded takes spaces and line ends out of JSON.
var unfolded = strings.NewReplacer(" ", "", `\n`, "")

// digest leaves out fields that this program does not know, which a newer API server may fill in, and white space: kustomize
// folds long lines in its own way.
func digest(of any) string {
	data, err := json.Marshal(of)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256([]byte(unfolded.Replace(string(data))))
	return hex.EncodeToString(sum[:])
}
