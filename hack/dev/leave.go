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
	"time"
)

// leave stops alice's tokens at once, that which bob made for her too, and gives them back.
func (d *demo) leave(ctx context.Context) error {
	hers, err := d.takeToken(ctx, "for-alice")
	if err != nil {
		return err
	}
	if _, err := d.apiServer.until(ctx, hers, true, refusalLimit); err != nil {
		return err
	}
	if err := d.all(ctx, d.anyone, `kubectl --token "$TOKEN" auth whoami`); err != nil {
		return err
	}
	type sight struct {
		at  time.Time
		err error
	}
	verifier := make(chan sight, 1)
	go func() {
		at, err := d.verifier.until(ctx, hers, false, refusalLimit)
		verifier <- sight{at, err}
	}()
	began := time.Now()
	if err := d.all(ctx, d.admin, `kubectl pat offboard alice --reason "Left the company" --yes`); err != nil {
		return err
	}
	seen := <-verifier
	if seen.err != nil {
		return seen.err
	}
	d.say("the verifier refuses it %d ms after kubectl was started", seen.at.Sub(began).Milliseconds())
	if _, err := d.apiServer.until(ctx, hers, false, refusalLimit); err != nil {
		return err
	}
	if err := d.unauthorized(ctx); err != nil {
		return err
	}
	if err := d.all(ctx, d.alice, `kubectl pat describe for-alice`); err != nil {
		return err
	}
	if err := d.all(ctx, d.admin, `kubectl pat policies`, `kubectl pat offboard alice --undo --yes`); err != nil {
		return err
	}
	if _, err := d.apiServer.until(ctx, hers, true, refusalLimit); err != nil {
		return err
	}
	d.say("she has come back, and so has her token: a policy ends nothing for good")
	return nil
}
