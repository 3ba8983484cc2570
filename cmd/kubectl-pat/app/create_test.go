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
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/token"
)

func TestCreateSendsNoPlaintextAndPrintsItOnce(t *testing.T) {
	tr := newTrial(t, operator(isReady, isActive))
	tr.run(t.Context(), t, exitOK, "create", "ci", "-n", "team-a", "--display-name", "CI", "--audience", "a,b")
	plaintext := strings.TrimSuffix(tr.out.String(), "\n")
	if !strings.HasPrefix(plaintext, madeToken) {
		t.Errorf("standard output: %q", tr.out)
	}
	want := `personalaccesstoken.pat-operator.io/ci created in namespace team-a, for alice
This is the token. It is shown only once: the cluster has only a digest of it. It works until 2027-02-22T12:00:00Z.
`
	if diff := cmp.Diff(want, tr.errOut.String()); diff != "" {
		t.Errorf("standard error (-want +got):\n%s", diff)
	}
	pat := &v1alpha1.PersonalAccessToken{}
	if err := tr.client.Get(t.Context(), client.ObjectKey{Namespace: "team-a", Name: "ci"}, pat); err != nil {
		t.Fatal(err)
	}
	expiresAt := metav1.NewTime(start.Add(90 * day))
	spec := v1alpha1.PersonalAccessTokenSpec{
		DisplayName: "CI", User: &v1alpha1.UserInfo{Username: "alice"}, Audiences: []string{"a,b"}, ExpiresAt: &expiresAt,
		Token: &v1alpha1.HolderToken{
			ID: "aaaaaaaaaaaaaaaa", SHA256: token.NewDigest("team-a", "ci", plaintext).Hex(), BoundTo: "team-a/ci",
		},
	}
	if diff := cmp.Diff(spec, pat.Spec); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
}

func TestCreateRefusedPrintsNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	tr := newTrial(t, interceptor.Funcs{
		Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
			return apierrors.NewForbidden(v1alpha1.GroupVersion.WithResource("personalaccesstokens").GroupResource(), "ci", errors.New("no\nway"))
		},
	})
	for _, args := range [][]string{{"create", "ci"}, {"create", "ci", "-o", "json"}, {"create", "ci", "--token-file", file}} {
		tr.run(t.Context(), t, exitError, args...)
		if tr.out.Len() > 0 {
			t.Errorf("%v: standard output: %s", args, tr.out)
		}
		if got, want := tr.errOut.String(), "error: personalaccesstokens.pat-operator.io \"ci\" is forbidden: no\\nway\n"; got != want {
			t.Errorf("%v: got %q; want %q", args, got, want)
		}
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}

// A token that may be active is printed, whatever fails after its creation.
func TestCreateLosesNoToken(t *testing.T) {
	const see = "; see kubectl describe pat ci -n default, and revoke it with kubectl delete pat ci -n default"
	lost := &url.Error{Op: "Post", URL: "https://host", Err: io.EOF}
	for name, tc := range map[string]struct {
		hooks func(cancel func()) interceptor.Funcs
		args  []string
		want  string // the error; "": none
	}{
		"stalled": {
			hooks: func(func()) interceptor.Funcs { return operator(isIssuing, isStalled) },
			want:  `the token is not active: Too many\x1b[31m. (EndedTokensFull)` + see,
		},
		"time over": {
			hooks: func(func()) interceptor.Funcs { return operator(isIssuing) },
			args:  []string{"--timeout=100ms"},
			want:  `the token is not active: timed out: Wait. (Issuing)` + see,
		},
		"no operator": {
			hooks: func(func()) interceptor.Funcs { return operator() },
			args:  []string{"--timeout=100ms"},
			want:  `the token is not active: timed out: the operator has not processed it yet; is it running?` + see,
		},
		"interrupted": {
			hooks: func(cancel func()) interceptor.Funcs {
				hooks := operator(isIssuing)
				hooks.Get = func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
					t.Error("it is read again")
					return nil
				}
				next := hooks.Watch
				hooks.Watch = func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
					defer cancel()
					return next(ctx, c, list, opts...)
				}
				return hooks
			},
			want: `the token is not active: interrupted: `,
		},
		"the answer is lost": {
			hooks: func(func()) interceptor.Funcs {
				hooks := operator(isReady, isActive)
				next := hooks.Create
				hooks.Create = func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
					return errors.Join(next(ctx, c, o, opts...), lost)
				}
				return hooks
			},
		},
		"interrupted while it was created": {
			hooks: func(cancel func()) interceptor.Funcs {
				hooks := operator(isIssuing)
				next := hooks.Create
				hooks.Create = func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
					defer cancel()
					return errors.Join(next(ctx, c, o, opts...), lost)
				}
				return hooks
			},
			want: `the token is not active: interrupted: `,
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			tr := newTrial(t, tc.hooks(cancel))
			code := exitError
			if tc.want == "" {
				code = exitOK
			}
			tr.run(ctx, t, code, append([]string{"create", "ci"}, tc.args...)...)
			if !strings.HasPrefix(tr.out.String(), madeToken) {
				t.Errorf("the token is lost: %q", tr.out)
			}
			if tc.want != "" && !strings.Contains(tr.errOut.String(), "\nerror: "+tc.want) {
				t.Errorf("standard error: %s\nwant %s", tr.errOut, tc.want)
			}
			if strings.Contains(tr.errOut.String(), "kubepat_") {
				t.Errorf("standard error: %s", tr.errOut)
			}
		})
	}
}

// A token that cannot be active is not printed, and the error names a resource that may exist.
func TestCreateWithoutAnAnswer(t *testing.T) {
	dial := &url.Error{Op: "Post", URL: "https://host", Err: &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}}
	lost := &url.Error{Op: "Post", URL: "https://host", Err: io.EOF}
	for name, tc := range map[string]struct {
		create, get error
		want        string
	}{
		"not sent":            {dial, nil, `no cluster answers at https://host: dial tcp: connection refused; is this the right cluster (--context, --kubeconfig)?`},
		"lost on its way":     {lost, apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource("x").GroupResource(), "ci"), `Post "https://host": EOF; is this the right cluster (--context, --kubeconfig)?`},
		"not to be found out": {lost, lost, `Post "https://host": EOF; it is unknown whether personalaccesstoken.pat-operator.io/ci was created in namespace default: if it was, its token is lost: delete it; is this the right cluster (--context, --kubeconfig)?`},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, interceptor.Funcs{
				Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error { return tc.create },
				Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
					return tc.get
				},
			})
			tr.run(t.Context(), t, exitError, "create", "ci")
			tr.errs(t, "error: "+tc.want)
			if tr.out.Len() > 0 {
				t.Errorf("standard output: %s", tr.out)
			}
		})
	}
}

// The error for a taken name says what to do next. A user who may create and not read is not told to delete the other token.
func TestCreateAnExistingName(t *testing.T) {
	const exists = `error: personalaccesstokens.pat-operator.io "ci" already exists in namespace team-a`
	forbidden := apierrors.NewForbidden(v1alpha1.GroupVersion.WithResource("personalaccesstokens").GroupResource(), "ci", errors.New("no"))
	for name, tc := range map[string]struct {
		change func(*v1alpha1.PersonalAccessToken)
		get    error
		want   string
	}{
		"active":         {nil, nil, exists + "; to replace its token run: kubectl pat rotate ci -n team-a; or choose another name"},
		"expired":        {func(p *v1alpha1.PersonalAccessToken) { p.Status.ExpiresAt = after(-time.Hour) }, nil, exists + ", and its token has expired; for a new one run: kubectl pat rotate ci -n team-a"},
		"not to be read": {nil, forbidden, exists + ", and you may not read it; choose another name"},
	} {
		pat, _ := holderMade(t, 7)
		if tc.change != nil {
			tc.change(pat)
		}
		tr := newTrial(t, interceptor.Funcs{Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if tc.get != nil {
				return tc.get
			}
			return c.Get(ctx, key, o, opts...)
		}}, pat)
		tr.run(t.Context(), t, exitError, "create", "ci", "-n", "team-a")
		if got := tr.errOut.String(); got != tc.want+"\n" || tr.out.Len() > 0 {
			t.Errorf("%s: got %s\nwant %s", name, got, tc.want)
		}
	}
}

func TestCreateOnATerminalSaysWhatToDoNext(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	const waiting = "Waiting until the token works, for at most 30s…"
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"printed":               {nil, `Next, for kubectl: kubectl pat kubeconfig ci -n team-a -o ci.kubeconfig, which asks for it; for curl: -H "Authorization: Bearer $TOKEN"`},
		"in a file":             {[]string{"--token-file", file}, `Next, for kubectl: kubectl pat kubeconfig ci -n team-a --token-file FILE -o ci.kubeconfig; for curl: -H "Authorization: Bearer $(cat FILE)"`},
		"for an API":            {[]string{"--audience", "vault"}, `Next, use it with vault, and nothing else takes it: curl -H "Authorization: Bearer $TOKEN" https://YOUR-API`},
		"for an API, in a file": {[]string{"--token-file", file + ".api", "--audience", "vault", "--audience", "x"}, `Next, use it with vault, x, and nothing else takes it: curl -H "Authorization: Bearer $(cat FILE)" https://YOUR-API`},
		"as JSON":               {[]string{"-o", "json"}, ""},
		"a pipe":                {nil, ""},
	} {
		tr := newTrial(t, operator(isReady, isActive))
		if name != "a pipe" {
			tr.Width = func(io.Writer) int { return 80 }
		}
		tr.run(t.Context(), t, exitOK, append([]string{"create", "ci", "-n", "team-a"}, tc.args...)...)
		got := tr.errOut.String()
		if progress := waiting + "\r" + strings.Repeat(" ", len(waiting)-2) + "\r"; strings.Contains(got, progress) != (name != "a pipe") {
			t.Errorf("%s: progress: %q", name, got)
		}
		if tc.want == "" {
			if strings.Contains(got, "Next") {
				t.Errorf("%s: got %s", name, got)
			}
			continue
		}
		if want := "\nIt works until 2027-02-22T12:00:00Z (in 90d). Before that, replace it: kubectl pat rotate ci -n team-a\n" + tc.want + "\n"; !strings.HasSuffix(got, want) {
			t.Errorf("%s: got %s\nwant ...%s", name, got, want)
		}
	}
	tr := newTrial(t, operator(isIssuing))
	tr.Width = func(io.Writer) int { return 20 }
	tr.run(t.Context(), t, exitError, "create", "ci", "--timeout=100ms")
	if got, want := tr.errOut.String(), "Waiting until the …\r"+strings.Repeat(" ", 19)+"\r"; !strings.Contains(got, want) || strings.Contains(got, "Next") {
		t.Errorf("narrow: %q", got)
	}
}

func TestCreateAsJSONHasResourceAndToken(t *testing.T) {
	tr := newTrial(t, operator(isReady, isActive))
	tr.run(t.Context(), t, exitOK, "create", "ci", "-o", "json")
	var got createResult
	if err := json.Unmarshal(tr.out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got.Token, madeToken) || got.PersonalAccessToken.Kind != "PersonalAccessToken" || len(got.PersonalAccessToken.Status.Conditions) == 0 {
		t.Errorf("got %s", tr.out)
	}
}

func TestCreateWithAFailingClipboard(t *testing.T) {
	tr := newTrial(t, operator(isReady, isActive))
	var copied string
	tr.Copy = func(text string) error { copied = text; return nil }
	tr.run(t.Context(), t, exitOK, "create", "ci", "--copy")
	if !strings.HasPrefix(copied, madeToken) || tr.out.Len() > 0 {
		t.Errorf("copied %q, printed %q", copied, tr.out)
	}
	tr = newTrial(t, operator(isReady, isActive))
	tr.Copy = func(string) error { return errors.New("no display") }
	tr.run(t.Context(), t, exitError, "create", "ci", "--copy")
	tr.errs(t, "error: cannot put the token on the clipboard: no display; so it was printed on standard output")
	if !strings.HasPrefix(tr.out.String(), madeToken) {
		t.Errorf("the token is lost: %q", tr.out)
	}
}

func TestCreateForRecipients(t *testing.T) {
	const key = "age17ay4pxwstjx56fm60azwat8sl5gxycv8lqxkzxl564vygd364f4qlgmae5"
	days := int32(90)
	half := metav1.NewTime(start.Add(36 * 60 * 60 * 1e9))
	for life, want := range map[string]v1alpha1.PersonalAccessTokenSpec{
		"90d": {ExpiresInDays: &days},
		"36h": {ExpiresAt: &half},
	} {
		tr := newTrial(t, operator(isReady, isActive))
		tr.run(t.Context(), t, exitError, "create", "ci", "--recipient", key, "--expires-in", life)
		tr.errs(t, "error: default/ci: status.encryptedToken is empty")
		pat := &v1alpha1.PersonalAccessToken{}
		if err := tr.client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "ci"}, pat); err != nil {
			t.Fatal(err)
		}
		want.User = &v1alpha1.UserInfo{Username: "alice"}
		want.Delivery = &v1alpha1.Delivery{Recipients: []string{key}}
		if diff := cmp.Diff(want, pat.Spec); diff != "" {
			t.Errorf("%s (-want +got):\n%s", life, diff)
		}
	}
}
