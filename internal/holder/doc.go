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

// Package holder has the operations that a token's holder performs on a PersonalAccessToken through the Kubernetes API: create,
// change, rotate, wait for the operator, read the delivered token, list and search. It uses the caller's client and has no
// further permissions. kubectl pat and the console are built on it.
//
// A lost response never loses a token that may be active. Errors are written for people. Where the next step differs between
// a terminal and a page, the error has its own type or value, and the caller adds the step.
package holder
