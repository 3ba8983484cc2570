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

package record

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Reasons why an id has ended.
const (
	EndedExpired  = "Expired"
	EndedRevoked  = "Revoked"
	EndedReplaced = "Replaced"
	EndedDeleted  = "Deleted"
)

// Ended is an id that must not come back before until.
type Ended struct {
	ID     string
	Reason string
	Until  time.Time
}

// MarshalText writes "ID REASON UNTIL" with UNTIL in Unix seconds, since a record may hold thousands of them:
// "aaaaaaaaaaaaaaaa Deleted 1795521600".
func (e Ended) MarshalText() ([]byte, error) {
	until := e.Until.Unix()
	if e.Until.Nanosecond() > 0 {
		until++ // Never remembered for less than was asked.
	}
	return fmt.Appendf(nil, "%s %s %d", e.ID, e.Reason, until), nil
}

// UnmarshalText reads what MarshalText wrote. Its error quotes nothing.
func (e *Ended) UnmarshalText(text []byte) error {
	parts := strings.Split(string(text), " ")
	if len(parts) != 3 {
		return errors.New("an end is not an id, a reason and a time")
	}
	until, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || strconv.FormatInt(until, 10) != parts[2] {
		return errors.New("the time of an end is not in Unix seconds")
	}
	*e = Ended{ID: parts[0], Reason: parts[1], Until: time.Unix(until, 0).UTC()}
	return nil
}
