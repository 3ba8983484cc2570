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

package patauth

import (
	"context"
	"errors"
	"fmt"
)

// Source answers whether tokens are valid. TokenReview and Introspection are sources; a test may have one of its own. It must be
// safe for concurrent use.
type Source interface {
	// Verify returns the identity of a well-formed token that is valid for an audience. A refusal is an error that wraps
	// ErrInvalidToken. Any other error means that nothing is known about the token: requests are answered with 503. No error
	// may quote the token.
	Verify(ctx context.Context, token, audience string) (*Identity, error)
}

// ErrInvalidToken reports a token that is not valid for this API.
var ErrInvalidToken = errors.New("the personal access token is not valid")

var errMalformed = refuse("it does not have the form of a token")

// refuse is a refusal with its reason, for logs.
func refuse(reason string) error {
	return fmt.Errorf("%w: %s", ErrInvalidToken, reason)
}
