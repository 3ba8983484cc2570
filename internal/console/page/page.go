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

// Package page renders the console: the table of personal access tokens, its dialogs, and the pages around them.
//
// It takes view models and writes HTML; it knows neither Kubernetes nor sessions. Callers make control characters in texts
// visible, and html/template escapes texts. Every page works without the script, which only turns links and forms marked
// data-dialog into dialogs, filters and sorts in place, and keeps the table up to date.
package page

import (
	"fmt"
	"io"
	"slices"
)

// Shell is the part of a page around its content.
type Shell struct {
	// Title is part of the window's title.
	Title string
	// User is the signed-in user; "": nobody.
	User string
	// SignOut offers to sign out.
	SignOut bool
	// Notice is shown in the status line, such as "Revoked."
	Notice string
	// Problem is shown above the content.
	Problem *Problem
}

// Problem is an error or a refusal, for people.
type Problem struct {
	// Title says what happened; Detail says more. Cause is the API server's message, which the page folds away.
	Title, Detail, Cause string
	// Next says what to do next.
	Next string
	// Link leads to the page of this origin where to do it; LinkText is its text. Optional.
	Link, LinkText string
	// NewTab opens Link in a new tab.
	NewTab bool
}

// SignIn is the page to sign in.
type SignIn struct {
	// OIDC, Token and Proxy are the ways to sign in: at an issuer, by pasting a bearer token, by a proxy in front of the console.
	OIDC, Token, Proxy bool
	// Issuer is the issuer's name for people, such as its host.
	Issuer string
	// Error says why the last attempt failed.
	Error string
	// Next is where the sign-in at the issuer begins.
	Next string
	// Return is the path to go to afterwards.
	Return string
}

// view is the data of a template.
type view struct {
	// Shell is nil in a fragment, which a dialog holds.
	Shell *Shell
	Data  any
	// Home reports the page of the table, whose heading is not a link.
	Home bool
}

// Tokens writes the page of the table.
func Tokens(w io.Writer, s Shell, t Table) error {
	return render(w, "tokens", "shell", view{Shell: &s, Data: t, Home: true})
}

// TableOnly writes only the table, for its live update.
func TableOnly(w io.Writer, t Table) error {
	return render(w, "tokens", "table", t)
}

// Create writes the form for a new token. Without s, this and the functions below write only the content of a dialog.
func Create(w io.Writer, s *Shell, f Form) error { return content(w, "create", s, f) }

// ShowToken writes the page that shows a token, once.
func ShowToken(w io.Writer, s *Shell, t Token) error { return content(w, "token", s, t) }

// ShowDetails writes the details of a token.
func ShowDetails(w io.Writer, s *Shell, d Details) error { return content(w, "details", s, d) }

// AskConfirm writes the question before a token is revoked, rotated, suspended or resumed.
func AskConfirm(w io.Writer, s *Shell, c Confirm) error {
	if !slices.Contains([]string{"revoke", "rotate", "suspend", "resume"}, c.Kind) {
		return fmt.Errorf("no page asks for %q", c.Kind)
	}
	return content(w, "confirm", s, c)
}

// ShowSignIn writes the page to sign in.
func ShowSignIn(w io.Writer, s Shell, v SignIn) error { return content(w, "signin", &s, v) }

// ShowProblem writes a page for what went wrong.
func ShowProblem(w io.Writer, s *Shell, p Problem) error { return content(w, "problem", s, p) }

// SignedIn writes the page that leads to next after the issuer sent the visitor back. Browsers do not send Strict cookies with a
// redirect that began at another site, so a page of our own must load next. The caller checks that next is a path of this origin.
func SignedIn(w io.Writer, next string) error {
	return render(w, "signedin", "signedin", next)
}

func content(w io.Writer, page string, s *Shell, data any) error {
	if s == nil {
		return render(w, page, "content", view{Data: data})
	}
	return render(w, page, "shell", view{Shell: s, Data: data})
}
