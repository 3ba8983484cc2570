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
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
)

// stateGone is the state in list --watch of a resource that was deleted or that --selector no longer selects.
const stateGone holder.State = "Gone"

// follow prints tokens, and each changed token again, until ctx is done.
func (o *listOptions) follow(ctx context.Context, c client.WithWatch, selected []client.ListOption, revision string, pats []v1alpha1.PersonalAccessToken, words []string) error {
	show := o.shower()
	if len(pats) == 0 && (o.output.format == "" || o.output.format == outputWide) {
		if err := o.sayNone(); err != nil {
			return err
		}
	}
	if err := show(false, pats...); err != nil {
		return err
	}
	quiet := klog.NewContext(ctx, logr.Discard()) // the watcher reports permanent errors in an event
	changes, err := watchtools.NewRetryWatcherWithContext(quiet, revision, watcher{c, selected})
	if err != nil {
		return err
	}
	defer changes.Stop()
	for event := range changes.ResultChan() {
		if event.Type == watch.Error {
			return fmt.Errorf("%w; to keep watching, run it again", apierrors.FromObject(event.Object))
		}
		pat, ok := event.Object.(*v1alpha1.PersonalAccessToken)
		if !ok || !o.wants(pat, words, o.Clock.Now()) {
			continue
		}
		if err := show(event.Type == watch.Deleted, *pat); err != nil {
			return err
		}
	}
	if ctx.Err() == nil {
		return errors.New("the API server ended the watch; to keep watching, run it again")
	}
	return nil // Ctrl-C
}

// shower returns a function that prints resources, each time below the ones before.
func (o *listOptions) shower() func(deleted bool, pats ...v1alpha1.PersonalAccessToken) error {
	t, printed := o.table(), false
	return func(deleted bool, pats ...v1alpha1.PersonalAccessToken) error {
		switch o.output.format {
		case outputName:
			return o.printNames(pats)
		case "", outputWide:
			now := o.Clock.Now()
			var rows [][]string
			for i := range pats {
				state := holder.StateOf(&pats[i], now)
				if deleted {
					state = stateGone
				}
				rows = append(rows, o.row(&pats[i], state, now))
			}
			if len(rows) == 0 { // no header without a row
				return nil
			}
			return t.print(o.Out, rows)
		}
		for i := range pats {
			if printed && o.output.format == outputYAML {
				if _, err := fmt.Fprintln(o.Out, "---"); err != nil {
					return err
				}
			}
			printed = true
			if err := o.output.print(o.Out, &listOf(pats[i : i+1]).Items[0]); err != nil {
				return err
			}
		}
		return nil
	}
}

// watcher watches the resources that the list selected.
type watcher struct {
	client   client.WithWatch
	selected []client.ListOption
}

// WatchWithContext implements cache.WatcherWithContext.
func (w watcher) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	return w.client.Watch(ctx, &v1alpha1.PersonalAccessTokenList{}, append(slices.Clone(w.selected), &client.ListOptions{Raw: &options})...)
}
