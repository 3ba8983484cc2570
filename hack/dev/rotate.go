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

package main

import (
	"context"
	"errors"
	"time"
)

// rotateIt asks for a successor and waits for it.
const rotateIt = `kubectl patch pat comparison-list-api --type merge -p '{"spec":{"rotation":{"trigger":"2026-11","overlapSeconds":10}}}'`

const waitForSuccessor = `kubectl wait pat comparison-list-api --for=jsonpath='{.status.previousTokenID}' --timeout=30s`

// rotate gives alice's token a successor, and shows when the predecessor ends.
func (d *demo) rotate(ctx context.Context) error {
	first := d.token
	if err := d.all(ctx, d.alice, rotateIt, waitForSuccessor); err != nil {
		return err
	}
	rotated := time.Now()
	second, err := d.takeToken(ctx, "comparison-list-api")
	if err != nil {
		return err
	}
	if second == first {
		return errors.New("expected another token")
	}
	for _, plaintext := range []string{first, second} {
		if _, err := d.verifier.until(ctx, plaintext, true, refusalLimit); err != nil {
			return err
		}
	}
	if err := d.all(ctx, d.anyone, `kubectl --token "$TOKEN" get pods -n team-a`); err != nil {
		return err
	}
	d.say("the new one works, and for the overlap of 10 s the old one does, too")
	refused, err := d.verifier.until(ctx, first, false, refusalLimit)
	if err != nil {
		return err
	}
	d.say("the verifier refuses the old one %.1f s after the rotation was seen", refused.Sub(rotated).Seconds())
	if _, err := d.apiServer.until(ctx, first, false, refusalLimit); err != nil {
		return err
	}
	d.token = second
	return d.all(ctx, d.anyone, `kubectl --token "$TOKEN" get pods -n team-a`)
}
