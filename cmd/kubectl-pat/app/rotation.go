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
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/pat-operator/pat-operator/internal/holder"
)

// rotationFlags are the flags for a rotation's options.
type rotationFlags struct {
	overlap   overlap
	retire    bool
	expiresIn period
	given     *pflag.FlagSet
}

func (f *rotationFlags) bind(flags *pflag.FlagSet) {
	f.given = flags
	flags.Var(&f.overlap, "overlap", "how long the current token keeps working, at most until its own end: 24h, 7d, 0 (default: what spec says, else 0)")
	flags.BoolVar(&f.retire, "retire-on-first-use", false, "end the current token when the new one is first used; needs an overlap (default: what spec says)")
	flags.Var(&f.expiresIn, "expires-in", "the lifetime of the new token: 90d, 3w, 1y, 12h (default: that of the current token, or what spec says)")
}

// overlap is a period in seconds, or 0.
type overlap int32

// Set implements pflag.Value.
func (o *overlap) Set(s string) error {
	if s == "0" || s == "0s" {
		*o = 0
		return nil
	}
	if onlyDays.MatchString(s) { // it could mean days or hours
		return errors.New("an overlap needs a unit, such as 24h or 7d")
	}
	d, err := parsePeriod(s)
	switch {
	case err != nil:
		return err
	case d > holder.MaxOverlap:
		return fmt.Errorf("an overlap is at most %dd", holder.MaxOverlap/day)
	}
	*o = overlap(d / time.Second) // #nosec G115 -- at most holder.MaxOverlap
	return nil
}

// String implements pflag.Value.
func (o *overlap) String() string {
	p := period(*o) * period(time.Second)
	return p.String()
}

// Type implements pflag.Value.
func (*overlap) Type() string { return "PERIOD" }

// options returns the options of the flags that were given. Spec has the others.
func (f *rotationFlags) options() holder.RotateOptions {
	options := holder.RotateOptions{ExpiresIn: time.Duration(f.expiresIn)}
	if f.given.Changed("overlap") {
		options.Overlap = (*int32)(&f.overlap)
	}
	if f.given.Changed("retire-on-first-use") {
		options.RetireOnFirstUse = &f.retire
	}
	return options
}

// inFlags adds the flag that helps to the error of a refused rotation.
func (f *rotationFlags) inFlags(err error) error {
	if _, ends := errors.AsType[*holder.EndError](err); ends {
		return fmt.Errorf("%w with --expires-in 90d", err)
	}
	switch {
	case errors.Is(err, holder.ErrRotated):
		return fmt.Errorf("%w, then run this again", err)
	case errors.Is(err, holder.ErrNoOverlap) && f.given.Changed("overlap"):
		return usagef("without an overlap the old token ends at once, so spec.rotation.retireOnFirstUse has no effect: add --retire-on-first-use=false, or a longer --overlap")
	case errors.Is(err, holder.ErrNoOverlap):
		return usagef("--retire-on-first-use needs an overlap, in which both tokens work: add --overlap 24h")
	}
	return err
}
