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
	"regexp"
	"strings"

	"github.com/pat-operator/pat-operator/internal/token"
)

// sighting is a token or its ID that was found in a text.
type sighting struct {
	id string
	// plaintexts are the whole tokens of this ID that were there: one, unless somebody has made others up.
	plaintexts []string
	// certain tells that it was written as a token or a credential ID is, so that it is no word of 16 letters.
	certain bool
}

var (
	// marked is a token, whole or cut off, or the ID of a credential, wherever it is: "%20kubepat_" and "\nkubepat_" too.
	marked = regexp.MustCompile(`(?:` + token.Prefix + `|PAT=|PAT%3D)([a-z2-7]{16})(?:_[0-9A-Za-z]{0,49}|\b)`)
	// bare is what could be an ID.
	bare = regexp.MustCompile(`\b[a-z2-7]{16}\b`)
)

// hasMark reports whether there may be something marked in a text. It is faster than the expression.
func hasMark(text string) bool {
	return strings.Contains(text, token.Prefix) || strings.Contains(text, "PAT=") || strings.Contains(text, "PAT%3D")
}

// scan finds all tokens and IDs in a text, also in base64, UTF-16 and across line ends: those that are certain first, each in
// the order that they are in it. unread reports that parts could not be decoded, in which there may be more.
func scan(text string) (found []sighting, unread bool) {
	// Logs are long and full of words of 16 letters: nothing that was found is searched for in a list.
	places := map[string]int{}
	at := func(id string) *sighting {
		i, known := places[id]
		if !known {
			i = len(found)
			places[id] = i
			found = append(found, sighting{id: id})
		}
		return &found[i]
	}
	whole := map[string]bool{}
	readings, unread := read(text)
	for _, r := range readings {
		if !hasMark(r.text) {
			continue
		}
		for _, match := range marked.FindAllStringSubmatch(r.text, -1) {
			_, err := token.Parse(match[0])
			if err != nil && r.joined { // it may have been made up of two words
				continue
			}
			s := at(match[1])
			s.certain = true
			if err == nil && !whole[match[0]] {
				whole[match[0]] = true
				s.plaintexts = append(s.plaintexts, match[0])
			}
		}
	}
	for _, r := range readings {
		if r.joined {
			continue
		}
		for _, id := range bare.FindAllString(r.text, -1) {
			at(id)
		}
	}
	return found, unread
}
