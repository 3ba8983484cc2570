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
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/pat-operator/pat-operator/internal/recipients"
)

// nameKeys says what public keys these are, as people tell them apart.
func nameKeys(keys []string) []string {
	names := make([]string, 0, len(keys))
	for _, key := range keys {
		names = append(names, nameKey(recipients.Trim(key)))
	}
	return names
}

// maxKey is how much of a key is shown; those of post-quantum age have 1,959 characters.
const maxKey = 64

func nameKey(key string) string {
	if public, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(key)); err == nil {
		return strings.TrimSpace(public.Type() + " " + ssh.FingerprintSHA256(public) + " " + comment)
	}
	if len(key) > maxKey {
		return key[:maxKey-1] + "…"
	}
	return key
}
