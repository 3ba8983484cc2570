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
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/token"
)

// holderMade is an active resource with a token that its holder made.
func holderMade(t *testing.T, b byte) (pat *v1alpha1.PersonalAccessToken, plaintext string) {
	t.Helper()
	id, plaintext := tokenOf(t, b)
	pat = withConditions(1, isReady, isActive)
	pat.Spec.User = &v1alpha1.UserInfo{Username: "alice"}
	pat.Spec.Token = &v1alpha1.HolderToken{ID: id, SHA256: token.NewDigest(pat.Namespace, pat.Name, plaintext).Hex()}
	pat.Status.TokenID, pat.Status.ExpiresAt = id, after(30*day)
	return pat, plaintext
}

// putBack is a resource whose old token Git restored, as the operator reports it.
func putBack(pat *v1alpha1.PersonalAccessToken, id string) {
	pat.Spec.Token, pat.Spec.ExpiresAt = &v1alpha1.HolderToken{ID: id}, after(time.Hour)
	pat.Status.TokenID = "bbbbbbbbbbbbbbbb"
	pat.Status.Conditions = append(pat.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonTokenRevoked, ObservedGeneration: pat.Generation,
	})
}

func TestStateOf(t *testing.T) {
	const id = "aaaaaaaaaaaaaaaa"
	of := func(modify func(*v1alpha1.PersonalAccessToken)) *v1alpha1.PersonalAccessToken {
		pat := withConditions(1, isReady, isActive)
		pat.Status.TokenID, pat.Status.ExpiresAt = id, after(day)
		modify(pat)
		return pat
	}
	for name, tc := range map[string]struct {
		pat   *v1alpha1.PersonalAccessToken
		state string
		end   *metav1.Time
	}{
		"current": {of(func(*v1alpha1.PersonalAccessToken) {}), "Active", after(day)},
		"expired": {of(func(pat *v1alpha1.PersonalAccessToken) {
			pat.Status.Conditions[1].Status, pat.Status.Conditions[1].Reason = metav1.ConditionFalse, v1alpha1.ReasonExpired
		}), "Expired", after(day)},
		"revoked": {of(func(pat *v1alpha1.PersonalAccessToken) {
			pat.Status.Revoked = []v1alpha1.RevokedToken{{TokenID: id}}
		}), "Revoked", nil},
		"the predecessor": {of(func(pat *v1alpha1.PersonalAccessToken) {
			pat.Status.TokenID, pat.Status.PreviousTokenID = "bbbbbbbbbbbbbbbb", id
			pat.Status.PreviousTokenExpiresAt = after(time.Hour)
		}), "Predecessor", after(time.Hour)},
		"a predecessor with an unknown end": {of(func(pat *v1alpha1.PersonalAccessToken) {
			pat.Status.TokenID, pat.Status.PreviousTokenID = "bbbbbbbbbbbbbbbb", id
		}), "Predecessor", nil},
		"asked for, not issued": {of(func(pat *v1alpha1.PersonalAccessToken) {
			pat.Status.TokenID = ""
			pat.Spec.Token, pat.Spec.ExpiresAt = &v1alpha1.HolderToken{ID: id}, after(time.Hour)
		}), "NotIssued", after(time.Hour)},
		"a successor that is asked for": {of(func(pat *v1alpha1.PersonalAccessToken) {
			pat.Status.TokenID = "bbbbbbbbbbbbbbbb"
			pat.Spec.Token, pat.Spec.ExpiresAt = &v1alpha1.HolderToken{ID: id}, after(time.Hour)
		}), "NotIssued", after(time.Hour)},
		"a successor where the one before it was refused": {of(func(pat *v1alpha1.PersonalAccessToken) {
			putBack(pat, id)
			pat.Generation++
		}), "NotIssued", after(time.Hour)},
		"rotated out, and back in spec": {of(func(pat *v1alpha1.PersonalAccessToken) { putBack(pat, id) }), "Replaced", nil},
		"revoked with a resource of the same name": {of(func(pat *v1alpha1.PersonalAccessToken) {
			putBack(pat, id)
			pat.Status.TokenID = ""
		}), "Revoked", nil},
		"not looked at": {of(func(pat *v1alpha1.PersonalAccessToken) { pat.Status.Conditions = nil }), "Unknown", after(day)},
	} {
		t.Run(name, func(t *testing.T) {
			state, end := stateOf(tc.pat, id)
			if state != tc.state || !end.Equal(tc.end) {
				t.Errorf("got %s until %v; want %s until %v", state, end, tc.state, tc.end)
			}
		})
	}
}

func TestFindComparesTokensWithTheSameID(t *testing.T) {
	pat, plaintext := holderMade(t, 7)
	id := pat.Spec.Token.ID
	moved := pat.DeepCopy()
	moved.Name = "moved"
	made := pat.DeepCopy()
	made.Spec.Token = nil
	for name, tc := range map[string]struct {
		pat  *v1alpha1.PersonalAccessToken
		s    tokenMatch
		want string
	}{
		"the token":                       {pat, tokenMatch{id: id, plaintexts: []string{plaintext}}, digestMatches},
		"another and the token":           {pat, tokenMatch{id: id, plaintexts: []string{"x", plaintext}}, digestMatches},
		"another":                         {pat, tokenMatch{id: id, plaintexts: []string{"x"}}, digestDiffers},
		"its ID":                          {pat, tokenMatch{id: id}, ""},
		"a digest that was for elsewhere": {moved, tokenMatch{id: id, plaintexts: []string{plaintext}}, digestDiffers},
		"a token that the operator made":  {made, tokenMatch{id: id, plaintexts: []string{plaintext}}, ""},
		"a predecessor of the holder's":   {pat, tokenMatch{id: "bbbbbbbbbbbbbbbb", plaintexts: []string{plaintext}}, ""},
		"an invalid digest, in status":    {func() *v1alpha1.PersonalAccessToken { p := pat.DeepCopy(); p.Spec.Token.SHA256 = "x"; return p }(), tokenMatch{id: id, plaintexts: []string{plaintext}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := compare(tc.pat, tc.s); got != tc.want {
				t.Errorf("got %q; want %q", got, tc.want)
			}
		})
	}
}

func TestFindPrintsNoSecret(t *testing.T) {
	pat, plaintext := holderMade(t, 7)
	for _, output := range []string{"", "json", "yaml", "name"} {
		for _, text := range []string{plaintext, "x" + plaintext + "y", plaintext + "\n" + plaintext[:50], strings.ToUpper(plaintext)} {
			tr := newTrial(t, interceptor.Funcs{}, pat)
			tr.In = strings.NewReader(text)
			code := exitOK
			if text == strings.ToUpper(plaintext) {
				code = exitError
			}
			tr.run(t.Context(), t, code, "find", "-o", output, "-n", pat.Namespace)
			for _, printed := range []string{tr.out.String(), tr.errOut.String()} {
				if secret := plaintext[25:50]; strings.Contains(strings.ToLower(printed), strings.ToLower(secret)) {
					t.Errorf("-o %q prints the secret:\n%s", output, printed)
				}
			}
		}
	}
}

func TestFindTable(t *testing.T) {
	pat, plaintext := holderMade(t, 7)
	tr := newTrial(t, interceptor.Funcs{}, pat)
	tr.In = strings.NewReader(plaintext)
	tr.run(t.Context(), t, exitOK, "find")
	want := `NAMESPACE   NAME   USER    STATE    EXPIRES   DIGEST    TOKEN ID
team-a      ci     alice   Active   in 30d    matches   ` + pat.Status.TokenID + "\n"
	if diff := cmp.Diff(want, tr.out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	tr.errs(t, "To end it: kubectl pat revoke ci -n team-a")
}

// mayListOnly allows lists of one namespace.
func mayListOnly(namespace string) interceptor.Funcs {
	return interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
		var o client.ListOptions
		o.ApplyOptions(opts)
		if o.Namespace != namespace {
			return apierrors.NewForbidden(v1alpha1.GroupVersion.WithResource("personalaccesstokens").GroupResource(), "", nil)
		}
		return c.List(ctx, list, opts...)
	}}
}

func TestFindFallsBackOnlyByDefault(t *testing.T) {
	pat, plaintext := holderMade(t, 7)
	for args, want := range map[string]struct {
		code int
		last string
	}{
		"":          {exitError, "error: no PersonalAccessToken in namespace default has it: it may be in another namespace and still work; ask a user who may list all namespaces to run kubectl pat find -A"},
		"-n team-c": {exitError, "error: no PersonalAccessToken in namespace team-c has it: it may be in another namespace and still work; ask a user who may list all namespaces to run kubectl pat find -A"},
		"-n team-a": {exitOK, "To end it: kubectl pat revoke ci -n team-a"},
		"-n team-b": {exitError, `error: personalaccesstokens.pat-operator.io is forbidden: <nil>`},
		"-A":        {exitError, `error: personalaccesstokens.pat-operator.io is forbidden: <nil>`},
	} {
		t.Run(args, func(t *testing.T) {
			allowed := "team-a"
			switch args {
			case "":
				allowed = "default"
			case "-n team-c":
				allowed = "team-c"
			}
			tr := newTrial(t, mayListOnly(allowed), pat)
			tr.In = strings.NewReader(plaintext)
			tr.run(t.Context(), t, want.code, append([]string{"find"}, strings.Fields(args)...)...)
			tr.errs(t, want.last)
			if said := strings.Contains(tr.errOut.String(), "You may not list tokens in all namespaces: only namespace default is searched."); said != (args == "") {
				t.Errorf("standard error: %s", tr.errOut)
			}
		})
	}
}

// The author of a text must not choose which tokens a piped command revokes.
func TestFindNamesOnlyWhatLeaked(t *testing.T) {
	pat, plaintext := holderMade(t, 7)
	forged := forge(t, plaintext)
	rotated := pat.DeepCopy()
	rotated.Spec.Token, rotated.Status.TokenID, rotated.Status.PreviousTokenID = nil, "bbbbbbbbbbbbbbbb", pat.Status.TokenID
	revoked := pat.DeepCopy()
	revoked.Status.Revoked = []v1alpha1.RevokedToken{{TokenID: pat.Status.TokenID}}
	expired := pat.DeepCopy()
	expired.Status.Conditions[1].Reason = v1alpha1.ReasonExpired
	replaced := pat.DeepCopy()
	putBack(replaced, pat.Status.TokenID)
	replaced.Spec.Token.SHA256 = pat.Spec.Token.SHA256
	asked := pat.DeepCopy()
	asked.Status.TokenID = "bbbbbbbbbbbbbbbb"
	const name, none = "personalaccesstoken.pat-operator.io/ci\n", "error: every match was left out; run this without -o name to see them"
	left := func(why string) string {
		return "Left out: personalaccesstoken.pat-operator.io/ci, because the token " + why + "\n" + none
	}
	for title, tc := range map[string]struct {
		pat       *v1alpha1.PersonalAccessToken
		in        string
		code      int
		out, errs string
	}{
		"the token":                 {pat, plaintext, exitOK, name, ""},
		"its ID":                    {pat, pat.Status.TokenID, exitOK, name, ""},
		"another token with its ID": {pat, forged, exitError, "", left("with the ID " + pat.Status.TokenID + " that was found is not its own")},
		"a predecessor":             {rotated, plaintext, exitError, "", left(pat.Status.TokenID + " that was found is the predecessor of its current one")},
		"a predecessor and it":      {rotated, plaintext + " PAT=bbbbbbbbbbbbbbbb", exitOK, name, strings.TrimSuffix(left(pat.Status.TokenID+" that was found is the predecessor of its current one"), "\n"+none)},
		"a revoked one":             {revoked, plaintext, exitError, "", left(pat.Status.TokenID + " that was found is revoked")},
		"an expired one":            {expired, plaintext, exitError, "", left(pat.Status.TokenID + " that was found has expired")},
		"one that Git put back":     {replaced, plaintext, exitError, "", left(pat.Status.TokenID + " that was found was replaced by its current one")},
		"one that is to replace it": {asked, plaintext, exitError, "", left(pat.Status.TokenID + " that was found is not its current one")},
	} {
		t.Run(title, func(t *testing.T) {
			tr := newTrial(t, interceptor.Funcs{}, tc.pat)
			tr.In = strings.NewReader(tc.in)
			tr.run(t.Context(), t, tc.code, "find", "-n", "team-a", "-o", "name")
			if got, want := tr.out.String()+"|"+strings.TrimSuffix(tr.errOut.String(), "\n"), tc.out+"|"+tc.errs; got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// The printed command revokes exactly the token that was found, and keeps the trace of one that has ended.
func TestFindPrintsTheCommandThatRevokes(t *testing.T) {
	pat, plaintext := holderMade(t, 7)
	id := pat.Status.TokenID
	for name, tc := range map[string]struct {
		modify func(*v1alpha1.PersonalAccessToken)
		in     string
		want   string
	}{
		"the present one": {want: "To end it: kubectl pat revoke ci -n team-a\n"},
		"suspended": {
			modify: func(pat *v1alpha1.PersonalAccessToken) { pat.Status.Conditions[1].Reason = v1alpha1.ReasonSuspended },
			want:   "To end it: kubectl pat revoke ci -n team-a\n",
		},
		"not issued": {
			modify: func(pat *v1alpha1.PersonalAccessToken) { pat.Status.TokenID = "" },
			want:   "To end it: kubectl pat revoke ci -n team-a\n",
		},
		"a predecessor": {
			modify: func(pat *v1alpha1.PersonalAccessToken) {
				pat.Spec.Token, pat.Status.TokenID, pat.Status.PreviousTokenID = nil, "bbbbbbbbbbbbbbbb", id
			},
			want: "To end it: kubectl pat revoke ci -n team-a --keep --token-id " + id + "\n",
		},
		"a predecessor that Git put back": {
			modify: func(pat *v1alpha1.PersonalAccessToken) { putBack(pat, id); pat.Status.PreviousTokenID = id },
			in:     id,
			want:   "To end it: kubectl pat revoke ci -n team-a --keep --token-id " + id + "\n",
		},
		"one that is to replace it": {
			modify: func(pat *v1alpha1.PersonalAccessToken) { pat.Status.TokenID = "bbbbbbbbbbbbbbbb" },
			want:   "To end it: kubectl pat revoke ci -n team-a --keep --token-id " + id + "\n",
		},
		"replaced": {
			modify: func(pat *v1alpha1.PersonalAccessToken) { putBack(pat, id) },
			in:     id,
			want:   "Nothing to end at team-a/ci: the token " + id + " that was found was replaced by its current one.\n",
		},
		"revoked": {
			modify: func(pat *v1alpha1.PersonalAccessToken) {
				pat.Status.Revoked = []v1alpha1.RevokedToken{{TokenID: id}}
			},
			want: "Nothing to end at team-a/ci: the token " + id + " that was found is revoked.\n",
		},
		"expired": {
			modify: func(pat *v1alpha1.PersonalAccessToken) { pat.Status.Conditions[1].Reason = v1alpha1.ReasonExpired },
			want:   "Nothing to end at team-a/ci: the token " + id + " that was found has expired.\n",
		},
		"another with its ID": {
			in:   forge(t, plaintext),
			want: "The token that was found is not that of team-a/ci, but has its ID.\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			found, in := pat.DeepCopy(), plaintext
			if tc.modify != nil {
				tc.modify(found)
			}
			if tc.in != "" {
				in = tc.in
			}
			tr := newTrial(t, interceptor.Funcs{}, found)
			tr.In = strings.NewReader(in)
			tr.run(t.Context(), t, exitOK, "find")
			if got := tr.errOut.String(); got != tc.want {
				t.Errorf("got\n%swant\n%s", got, tc.want)
			}
		})
	}
}

// forge makes another token with the ID of this one.
func forge(t *testing.T, plaintext string) string {
	t.Helper()
	other := bytes.Repeat([]byte{9}, 64)
	copy(other, bytes.Repeat([]byte{7}, 10)) // the ID's part of the randomness
	id, forged, err := token.New(bytes.NewReader(other))
	if err != nil || !strings.HasPrefix(plaintext, token.Prefix+id+"_") || forged == plaintext {
		t.Fatalf("no forgery: %v", err)
	}
	return forged
}

func TestFindReadsEveryPage(t *testing.T) {
	tr := newTrial(t, interceptor.Funcs{
		List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			var o client.ListOptions
			o.ApplyOptions(opts)
			page := list.(*v1alpha1.PersonalAccessTokenList)
			if o.Continue == "" {
				page.Continue = "2"
				return nil
			}
			pat := withConditions(1, isReady, isActive)
			pat.Status.TokenID = "aaaaaaaaaaaaaaaa"
			page.Items = []v1alpha1.PersonalAccessToken{*pat}
			return nil
		},
	})
	tr.In = strings.NewReader("PAT=aaaaaaaaaaaaaaaa")
	tr.run(t.Context(), t, exitOK, "find")
	tr.errs(t, "To end it: kubectl pat revoke ci -n team-a")
}
