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
	"strconv"
	"strings"
	"time"

	"github.com/pat-operator/pat-operator/internal/holder"
)

const day = 24 * time.Hour

// period is a flag's value: a number of days, 90d, or a duration as Go writes it, 12h or 1h30m, or both, 1d12h. It is at
// least a second, since the API counts in seconds.
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

var errPeriod = errors.New("a period is a number of days such as 90d, or of hours, minutes and seconds such as 12h or 1h30m")

func parsePeriod(s string) (time.Duration, error) {
	var total time.Duration
	if days, rest, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		switch {
		case errors.Is(err, strconv.ErrRange):
			return 0, errTooLong
		case err != nil:
			return 0, errPeriod
		}
		total, s = time.Duration(n)*day, rest
		if rest == "" {
			s = "0s"
		}
	}
	rest, err := time.ParseDuration(s)
	switch {
	case err != nil, rest < 0:
		return 0, errPeriod
	case total > holder.MaxLife || rest > holder.MaxLife-total:
		return 0, errTooLong
	case total+rest < time.Second:
		return 0, errors.New("a period is a second or longer")
	}
	return total + rest, nil
}

var errTooLong = fmt.Errorf("a period is at most %dd", holder.MaxLife/day)
