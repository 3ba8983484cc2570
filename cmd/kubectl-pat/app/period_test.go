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
	"testing"
	"time"
)

func TestPeriod(t *testing.T) {
	const syntax = "a period is a number of days such as 90d, of weeks or years such as 3w or 1y, or of hours, minutes and seconds such as 12h or 1h30m"
	for in, tc := range map[string]struct {
		want   time.Duration
		prints string
		err    string
	}{
		"90d":                   {want: 90 * day, prints: "90d"},
		"1d":                    {want: day, prints: "1d"},
		"3660d":                 {want: 3660 * day, prints: "3660d"},
		"12h":                   {want: 12 * time.Hour, prints: "12h0m0s"},
		"48h":                   {want: 2 * day, prints: "2d"},
		"1d12h":                 {want: 36 * time.Hour, prints: "1d12h0m0s"},
		"1h30m":                 {want: 90 * time.Minute, prints: "1h30m0s"},
		"1s":                    {want: time.Second, prints: "1s"},
		"":                      {err: syntax},
		"90":                    {want: 90 * day, prints: "90d"},
		"3w":                    {want: 21 * day, prints: "21d"},
		"1y":                    {want: 365 * day, prints: "365d"},
		"1y2w3d4h":              {want: (365+14+3)*day + 4*time.Hour, prints: "382d4h0m0s"},
		"d":                     {err: syntax},
		"-1d":                   {err: syntax},
		"1.5d":                  {err: syntax},
		"1d-1h":                 {err: syntax},
		"-12h":                  {err: syntax},
		"+12h":                  {err: syntax},
		"w":                     {err: syntax},
		"90 ":                   {err: syntax},
		"٣w":                    {err: syntax},
		"1d2w":                  {err: syntax},
		"1w2":                   {err: syntax},
		"0":                     {err: "a period is a second or longer"},
		"11y":                   {err: "a period is at most 3660d"},
		"99999999999999999999y": {err: "a period is at most 3660d"},
		"10y2000000h":           {err: "a period is at most 3660d"},
		"1d2d":                  {err: syntax},
		"0d":                    {err: "a period is a second or longer"},
		"999ms":                 {err: "a period is a second or longer"},
		"3661d":                 {err: "a period is at most 3660d"},
		"3660d1s":               {err: "a period is at most 3660d"},
		"99999d":                {err: "a period is at most 3660d"},
		"2000000h":              {err: "a period is at most 3660d"},
	} {
		var p period
		err := p.Set(in)
		switch {
		case tc.err != "" && (err == nil || err.Error() != tc.err):
			t.Errorf("%q: got %v, %v; want %s", in, time.Duration(p), err, tc.err)
		case tc.err == "" && (err != nil || time.Duration(p) != tc.want || p.String() != tc.prints):
			t.Errorf("%q: got %v, %s, %v; want %v, %s", in, time.Duration(p), p.String(), err, tc.want, tc.prints)
		}
	}
}
