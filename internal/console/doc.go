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

// Package console serves the web page on which people create, rotate, suspend and revoke their tokens.
//
// It has no permissions of its own: it sends every request with the visitor's credential, so RBAC and admission decide as they do
// for kubectl. Its only state is in the visitor's cookies, sealed with a key that the replicas share (Keys). A token that it makes
// is in the one response that shows it, and nowhere else.
package console
