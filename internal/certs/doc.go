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

// Package certs gives pat-operator its serving certificates, with nothing else
// installed: a CA of its own in a Secret for each of our two processes, and short-lived leaves that every
// replica signs for itself and keeps in memory only.
//
// The Secret Options.SecretName holds
//
//	tls.crt, tls.key    the CA that signs leaves now
//	next.crt, next.key  during a rotation, the CA that will sign after the overlap
//	ca.crt              the bundle clients trust: signer, next, and former signers until they expire
//
// The first replica to start creates it; its siblings lose the race and read
// it. Every later write is under the resourceVersion that was read, so that
// replicas agree without electing a leader.
//
// # Rotation
//
// Near its end the CA gets a successor, which joins the bundle at once and
// signs only when it has been there for the overlap and the bundle stands in
// the webhook configurations. In that time everybody who holds a copy of the
// bundle has to follow. kube-apiserver rereads the file that its webhook
// kubeconfig names within five minutes, but an admin has to replace that file
// (kubectl pat setup); hence an overlap of weeks. A CA that has expired
// is replaced at once, as nobody trusts it anyway.
//
// # Starting over
//
// A Secret that cannot be used is never replaced: replicas report it and keep
// serving the leaf they have. Deleting the Secret makes a new CA at the next
// poll. Webhook configurations follow by themselves; kube-apiserver refuses our
// certificates, and so every token, until its CA file is replaced too.
package certs
