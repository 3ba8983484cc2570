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
	"regexp"
	"strconv"
	"time"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
)

const day = v1alpha1.Day

// period is a flag's value: days (90 or 90d), weeks (3w), years of 365 days (1y), a Go duration (12h, 1h30m), or a sequence of these
// from the longest unit to the shortest (1d12h). It is at least a second, the unit of the API.
type period time.Duration

// Set implements pflag.Value.
func (p *period) Set(s string) error {
	d, err := parsePeriod(s)
	if err != nil {
		return err
	}
	*p = period(d)
	return nil
}

// String implements pflag.Value.
func (p *period) String() string {
	d := time.Duration(*p)
	switch days := d.Truncate(day); {
	case d == 0:
		return "" // not set
	case days == d:
		return fmt.Sprintf("%dd", d/day)
	case days > 0:
		return fmt.Sprintf("%dd%s", days/day, d-days)
	}
	return d.String()
}

// Type implements pflag.Value.
func (p *period) Type() string { return "PERIOD" }

var errPeriod = errors.New("a period is a number of days such as 90d, of weeks or years such as 3w or 1y, or of hours, minutes and seconds such as 12h or 1h30m")

var (
	onlyDays = regexp.MustCompile(`^[0-9]+$`)
	inDays   = regexp.MustCompile(`^(?:([0-9]+)y)?(?:([0-9]+)w)?(?:([0-9]+)d)?`)
)

func parsePeriod(s string) (time.Duration, error) {
	if onlyDays.MatchString(s) {
		s += "d"
	}
	parts := inDays.FindStringSubmatch(s)
	var total time.Duration
	for i, unit := range []time.Duration{365 * day, 7 * day, day} {
		if parts[i+1] == "" {
			continue
		}
		n, err := strconv.ParseUint(parts[i+1], 10, 16)
		if err != nil {
			return 0, errTooLong
		}
		total += time.Duration(n) * unit
		if total > holder.MaxLife {
			return 0, errTooLong
		}
	}
	var rest time.Duration
	if clock := s[len(parts[0]):]; clock != "" || parts[0] == "" {
		var err error
		if rest, err = time.ParseDuration(clock); err != nil || rest < 0 || clock[0] == '+' {
			return 0, errPeriod
		}
	}
	switch {
	case rest > holder.MaxLife-total:
		return 0, errTooLong
	case total+rest < time.Second:
		return 0, errors.New("a period is a second or longer")
	}
	return total + rest, nil
}

var errTooLong = fmt.Errorf("a period is at most %dd", holder.MaxLife/day)
