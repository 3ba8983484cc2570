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

package lifecycle

import (
	"fmt"
	"strings"
	"time"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
)

// waitForGuards is how soon to look again whether the guards of admission are accepted.
const waitForGuards = 5 * time.Second

// Wishes are the fields by which spec asks for more than the record has granted; everything, where nothing was granted.
func Wishes(in Input) []string {
	in = own(in)
	if in.Record == nil || in.Record.Granted == nil {
		return []string{"spec"}
	}
	_, wishes := compare(in.Record.Granted, in.Resource)
	return wishes
}

// Refuse is the record that grants nothing more until spec asks for no more than was granted.
func Refuse(in Input, why record.Refusal) *record.Record {
	in.grants = false
	next := Base(in, in.Now)
	next.Refused = why
	return next
}

// compare returns the grant after spec has narrowed it, and the fields in which spec asks for more.
func compare(granted *spec, pat *v1alpha1.PersonalAccessToken) (narrowed *spec, wishes []string) {
	asked := pat.Spec
	asked.User, asked.DisplayName = nil, ""
	next := *granted
	for i := range fieldRules {
		f := &fieldRules[i]
		switch f.judge(granted, &asked, pat.CreationTimestamp.Time) {
		case Same:
		case Widens:
			wishes = append(wishes, "spec."+f.name(&asked))
		case Narrows, Neutral:
			f.take(&next, &asked)
			narrowed = &next
		}
	}
	return narrowed, wishes
}

// persistNarrowing records the fields that spec narrows, so that no later spec widens them again, and withdraws a refusal
// that no longer applies.
func persistNarrowing(in Input) *record.Record {
	if in.Record.Granted == nil {
		return nil
	}
	narrowed, wishes := compare(in.Record.Granted, in.Resource)
	next := in.Record.DeepCopy()
	if narrowed != nil {
		next.Granted = narrowed.DeepCopy()
	}
	if len(wishes) == 0 {
		next.Refused = ""
	}
	if narrowed == nil && next.Refused == in.Record.Refused {
		return nil
	}
	return next
}

// judged replaces spec by what is granted of it, where its wishes were not judged or are refused. What the rules see is
// carried out.
func judged(in Input) Input {
	if in.RecordErr != nil {
		return in
	}
	if in.wishes = Wishes(in); len(in.wishes) == 0 {
		return in
	}
	if in.Guards == nil && (in.Record == nil || in.Record.Refused == "") {
		in.grants = true
		return in
	}
	if in.Record == nil || in.Record.Granted == nil {
		in.ungranted = true
		return in
	}
	as := *in.Resource
	as.Spec = *in.Record.Granted
	as.Spec.User, as.Spec.DisplayName = in.Resource.Spec.User, in.Resource.Spec.DisplayName
	in.Resource = &as
	return in
}

// unjudged issues nothing to a resource of which nothing was granted.
func unjudged(in Input) *Decision {
	if !in.ungranted {
		return nil
	}
	if in.Record == nil || in.Record.Refused == "" {
		waits := issuing("The token waits to be issued until it is certain that admission is checked.")
		waits.Ready = ungranted(in)
		return &Decision{Action: Nothing, After: waitForGuards, State: waits}
	}
	c := ungranted(in)
	return stalled(c.Reason, c.Message)
}

// ungranted says why the wishes of a resource are not granted.
func ungranted(in Input) Condition {
	why := record.Refusal("")
	if in.Record != nil {
		why = in.Record.Refused
	}
	wayOut := "delete this resource and apply it again"
	if in.Record != nil && in.Record.Granted != nil {
		wayOut = "put back " + strings.Join(in.wishes, ", ") + ", then make the change again, or delete this resource and apply it again"
	}
	switch why {
	case record.RefusedNotJudged:
		return Condition{Reason: v1alpha1.ReasonNotAuthorized, Message: fmt.Sprintf(
			"%s changed while the operator's admission checks were not in force, so nobody checked who may ask for it; %s.", strings.Join(in.wishes, ", "), wayOut)}
	case record.RefusedNoRoom:
		return Condition{Reason: v1alpha1.ReasonEndedTokensFull, Message: fmt.Sprintf(
			"The limit of ended tokens that are remembered was reached (%d under this name, %d in this namespace), so this token was not taken; use a token that the operator makes, or another name or namespace.",
			record.MaxEnded-roomForEnds, in.Config.MaxRemembered)}
	case record.RefusedRecordLost:
		return Condition{Reason: v1alpha1.ReasonRecordLost, Message: fmt.Sprintf(
			"The record of token %s was lost, so the token does not work and is not reissued automatically; %s.", in.Resource.Status.TokenID, wayOut)}
	}
	return Condition{Reason: v1alpha1.ReasonGuardsMissing, Message: fmt.Sprintf(
		"%s is not carried out yet: %v. The operator tries again automatically.", strings.Join(in.wishes, ", "), in.Guards)}
}

// answer completes a decision to do nothing where spec has a wish: it is granted, or status says why not.
func answer(in Input, d *Decision) *Decision {
	if len(in.wishes) == 0 || in.ungranted || d.State == nil || d.State.Stalled != nil {
		return d
	}
	if !in.grants {
		d.State.Ready = ungranted(in)
		if in.Record.Refused == "" {
			d.After = Sooner(d.After, waitForGuards)
			return d
		}
		stalled := d.State.Ready
		stalled.Status = true
		d.State.Stalled = &stalled
		return d
	}
	if in.Record == nil || in.Record.Granted == nil || !in.ClockProven {
		return d // It is granted in the write that issues a token.
	}
	return &Decision{Action: Write, Reason: writeGranted, Next: Base(in, in.Now)}
}
