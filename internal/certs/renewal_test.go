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

package certs

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// From the day on which a new CA joins the bundle until it signs, a metric and a daily reminder name the deadline.
func TestAdministratorsAreRemindedOfTheRenewal(t *testing.T) {
	c, options, clock := operator(t)
	a := NewAuthority(c, options)
	var reminders []time.Time
	a.OnRenewal(func(deadline time.Time) { reminders = append(reminders, deadline) })
	at := func(now time.Time) {
		t.Helper()
		clock.SetTime(now)
		if err := a.sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(deadline time.Time, count int) {
		t.Helper()
		want := 0.0
		if !deadline.IsZero() {
			want = float64(deadline.Unix())
		}
		if got := testutil.ToFloat64(renewalDeadline); got != want {
			t.Errorf("the metric is %f; want %f", got, want)
		}
		if len(reminders) != count || count > 0 && !reminders[count-1].Equal(deadline) {
			t.Errorf("reminders of %v; want %d of %s", reminders, count, deadline)
		}
	}
	at(epoch)
	expect(time.Time{}, 0)
	announced := epoch.Add(options.CAValidity - options.CARotateBefore)
	deadline := announced.Add(options.Overlap)
	at(announced)
	expect(deadline, 1)
	at(announced.Add(time.Hour))
	expect(deadline, 1)
	at(announced.Add(remindEvery))
	expect(deadline, 2)
	at(deadline.Add(-time.Minute))
	expect(deadline, 3)
	at(deadline)
	if diff := cmp.Diff(0.0, testutil.ToFloat64(renewalDeadline)); diff != "" || len(reminders) != 3 {
		t.Errorf("once the new CA signs: %d reminders, the metric %s", len(reminders), diff)
	}
}

// What trusts the operator's CA is kept up to date without an administrator.
func TestWebhookCAsNeedNoRenewal(t *testing.T) {
	_, options, clock := operator(t)
	options.WebhookConfigurationName = "some"
	a := NewAuthority(nil, options)
	a.OnRenewal(func(time.Time) { t.Error("a reminder") })
	held := must[*contents](t)(newContents(clock.Now(), options))
	held.next = must[*authority](t)(newAuthority("ca", clock.Now(), day))
	a.renewal(held)
}
