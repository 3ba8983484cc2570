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

package controllers

import (
	"context"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	ac "github.com/pat-operator/pat-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/test/long"
)

// mutation is a mistake that the operator's code could make: it asks for its writes in another order, or for others.
type mutation struct {
	name string
	// in is the scenario, or the race, in which it is to be found.
	in     string
	client func(client.WithWatch) client.WithWatch
	// live changes what reads the API server itself.
	live func(*world) func(client.WithWatch) client.WithWatch
}

func (m mutation) is() bool { return m.client != nil || m.live != nil }

var mutations = []mutation{
	{"the token is current before its Secret is there", "issuing", currentBeforeSecret, nil},
	{"the Secret is there before the record says pending", "issuing", secretBeforePending, nil},
	{"the Secret goes before the record says that its token is not current", "issuing", secretGoesFirst, nil},
	{"a lost update is written over whatever is there", "issuing", withoutVersion, nil},
	{"what is to be removed is not written down", "pending found", edited(func(r *record.Record) { r.Removals = nil }), nil},
	{"what is to be removed is removed once", "issuing", edited(removedOnce), nil},
	{"a create without an answer is tried again", "issuing", createdAgain, nil},
	{"a name that is taken is taken for ours", "name taken", takenForOurs, nil},
	{"delivery Secrets are deleted by name", "delivery over, its Secret another's", deletedByName, nil},
	{"the record goes before its Secrets", "deletion", recordGoesFirst, nil},
	{"a token makes way before its successor is there", "rotation", edited(func(r *record.Record) {
		if r.Pending != nil {
			r.Current = nil
		}
	}), nil},
	{"no tombstone is kept", "made again, a holder's", noTombstone, nil},
	{"a record is created over another's", "issuing", createdOver, nil},
	{"what ended is forgotten when the next resource takes over", "made again, another holder's", edited(func(r *record.Record) {
		if !r.Tombstone() {
			r.Ended = slices.DeleteFunc(r.Ended, func(e record.Ended) bool { return e.Reason == record.EndedDeleted })
		}
	}), nil},
	{"a record is taken over whatever is there", "made again and again", withoutVersion, nil},
	{"a record is deleted by name", "made again while its end is swept", recordDeletedByName, nil},
	{"a late status finds the next resource", "made again while it is issued", statusWithoutVersion, nil},
	{"the resource is read before its record", "made again while it is issued", nil, resourceReadFirst},
}

// The tests above have teeth: each of these mistakes, which are the operator's own steps swapped, dropped or changed, is
// found by them.
func TestCase30_SwappedStepsAreFound(t *testing.T) {
	long.Only(t)
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			tries := 0
			found := func(at string, broken []string) bool {
				if tries++; len(broken) > 0 {
					t.Logf("found at try %d: %s: %s", tries, at, broken[0])
				}
				return len(broken) > 0
			}
			if i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == m.in }); i >= 0 && explore(t, &scenarios[i], m, found) {
				return
			}
			for i := range races {
				if r := &races[i]; r.name == m.in && exploreRace(t, r, m, found) {
					return
				}
			}
			t.Errorf("not found in %d tries", tries)
		})
	}
}

func isRecord(o client.Object) bool { return isSecret(o, record.SecretType) }

func isDelivery(o client.Object) bool { return isSecret(o, v1alpha1.SecretTypeToken) }

func isSecret(o client.Object, kind corev1.SecretType) bool {
	s, ok := o.(*corev1.Secret)
	return ok && s.Type == kind
}

// promotes reports whether a write makes a token current.
func promotes(o client.Object) bool {
	if !isRecord(o) {
		return false
	}
	r, err := record.FromSecret(o.(*corev1.Secret))
	return err == nil && r.Current != nil && r.Current.Digest != "" && r.Current.Source == record.SourceOperator
}

// unanswered reports whether it is unknown if a write took effect.
func unanswered(err error) bool { return err != nil && apierrors.ReasonForError(err) == "" }

func currentBeforeSecret(c client.WithWatch) client.WithWatch {
	var held *corev1.Secret
	return interceptor.NewClient(c, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if !isDelivery(o) {
				return c.Create(ctx, o, opts...)
			}
			held = o.DeepCopyObject().(*corev1.Secret)
			o.SetUID(uuid.NewUUID())
			return nil
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			if err := c.Update(ctx, o, opts...); err != nil || held == nil {
				return err
			}
			secret := held
			held = nil
			return c.Create(ctx, secret)
		},
	})
}

func secretBeforePending(c client.WithWatch) client.WithWatch {
	var held client.Object
	return interceptor.NewClient(c, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if isRecord(o) {
				held = o
				return nil
			}
			if err := c.Create(ctx, o, opts...); err != nil || held == nil {
				return err
			}
			pending := held
			held = nil
			return c.Create(ctx, pending)
		},
	})
}

func secretGoesFirst(c client.WithWatch) client.WithWatch {
	var delivered types.NamespacedName
	return interceptor.NewClient(c, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if isDelivery(o) {
				delivered = client.ObjectKeyFromObject(o)
			}
			return c.Create(ctx, o, opts...)
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			err := c.Update(ctx, o, opts...)
			if unanswered(err) && promotes(o) {
				secret := &corev1.Secret{}
				secret.Namespace, secret.Name = delivered.Namespace, delivered.Name
				_ = c.Delete(ctx, secret)
			}
			return err
		},
	})
}

func withoutVersion(c client.WithWatch) client.WithWatch {
	return interceptor.NewClient(c, interceptor.Funcs{
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			o.SetResourceVersion("")
			return c.Update(ctx, o, opts...)
		},
	})
}

// edited changes every record before it is written.
func edited(edit func(*record.Record)) func(client.WithWatch) client.WithWatch {
	change := func(o client.Object) error {
		if !isRecord(o) {
			return nil
		}
		r, err := record.FromSecret(o.(*corev1.Secret))
		if err != nil {
			return err
		}
		edit(r)
		changed, err := record.ToSecret(r, o.GetNamespace())
		if err == nil {
			o.(*corev1.Secret).Data = changed.Data
		}
		return err
	}
	return func(c client.WithWatch) client.WithWatch {
		return interceptor.NewClient(c, interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				if err := change(o); err != nil {
					return err
				}
				return c.Create(ctx, o, opts...)
			},
			Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
				if err := change(o); err != nil {
					return err
				}
				return c.Update(ctx, o, opts...)
			},
		})
	}
}

func removedOnce(r *record.Record) {
	for i := range r.Removals {
		r.Removals[i].Until = time.Unix(1, 0)
	}
}

func createdAgain(c client.WithWatch) client.WithWatch {
	return interceptor.NewClient(c, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			again := o.DeepCopyObject().(client.Object)
			err := c.Create(ctx, o, opts...)
			if isDelivery(o) && unanswered(err) {
				return c.Create(ctx, again, opts...)
			}
			return err
		},
	})
}

func takenForOurs(c client.WithWatch) client.WithWatch {
	return interceptor.NewClient(c, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			err := c.Create(ctx, o, opts...)
			if isDelivery(o) && apierrors.IsAlreadyExists(err) {
				o.SetUID(uuid.NewUUID())
				return nil
			}
			return err
		},
	})
}

func deletedByName(c client.WithWatch) client.WithWatch {
	return interceptor.NewClient(c, interceptor.Funcs{
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, _ ...client.DeleteOption) error {
			return c.Delete(ctx, o)
		},
	})
}

func recordDeletedByName(c client.WithWatch) client.WithWatch {
	return interceptor.NewClient(c, interceptor.Funcs{
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			if isRecord(o) {
				opts = nil
			}
			return c.Delete(ctx, o, opts...)
		},
	})
}

// resourceReadFirst reads the resource before its record.
func resourceReadFirst(w *world) func(client.WithWatch) client.WithWatch {
	return func(c client.WithWatch) client.WithWatch {
		var held *v1alpha1.PersonalAccessToken
		var absent error
		return interceptor.NewClient(c, interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
				switch o := o.(type) {
				case *v1alpha1.PersonalAccessToken:
					if held != nil {
						held.DeepCopyInto(o)
						held = nil
						return absent
					}
				case *corev1.Secret:
					held = &v1alpha1.PersonalAccessToken{}
					absent = c.Get(ctx, w.key(thePAT), held)
				}
				return c.Get(ctx, key, o, opts...)
			},
			List: func(ctx context.Context, c client.WithWatch, l client.ObjectList, opts ...client.ListOption) error {
				if _, ok := l.(*v1alpha1.PersonalAccessTokenList); ok && absent != nil {
					return nil
				}
				return c.List(ctx, l, opts...)
			},
		})
	}
}

func recordGoesFirst(c client.WithWatch) client.WithWatch {
	var held []client.Object
	return interceptor.NewClient(c, interceptor.Funcs{
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			if !isRecord(o) {
				held = append(held, o)
				return nil
			}
			err := c.Delete(ctx, o, opts...)
			for _, secret := range held {
				_ = c.Delete(ctx, secret)
			}
			return err
		},
	})
}

func noTombstone(c client.WithWatch) client.WithWatch {
	return interceptor.NewClient(c, interceptor.Funcs{
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			if isRecord(o) {
				if r, err := record.FromSecret(o.(*corev1.Secret)); err == nil && r.Tombstone() {
					return c.Delete(ctx, o)
				}
			}
			return c.Update(ctx, o, opts...)
		},
	})
}

func createdOver(c client.WithWatch) client.WithWatch {
	return interceptor.NewClient(c, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			err := c.Create(ctx, o, opts...)
			if isRecord(o) && apierrors.IsAlreadyExists(err) {
				return c.Update(ctx, o)
			}
			return err
		},
	})
}

func statusWithoutVersion(c client.WithWatch) client.WithWatch {
	return interceptor.NewClient(c, interceptor.Funcs{
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, o runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			o.(*ac.PersonalAccessTokenApplyConfiguration).ResourceVersion = nil
			return c.SubResource(sub).Apply(ctx, o, opts...)
		},
	})
}
