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

// Package holder is what the side of a token's holder does with a PersonalAccessToken through the Kubernetes API: make a token
// and have its digest taken in, change, rotate, wait for the operator, take what was delivered, list and search. Whoever is
// signed in does it: there is no power here that the client does not have. kubectl pat and the console are built on it.
//
// A lost answer never loses a token that may be in force. Errors are for people; where the way out depends on where they are,
// in a terminal or on a page, the error is of a kind of its own, and the caller adds that.
package holder
