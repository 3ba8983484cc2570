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

package page

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"time"
)

//go:embed templates/*.html
var templateFiles embed.FS

var pages = parse("tokens", "create", "token", "details", "confirm", "signin", "problem", "signedin")

// parse makes a set of templates for each page. Each page defines "content", which goes into the shell.
func parse(names ...string) map[string]*template.Template {
	base := template.Must(template.New("").Funcs(template.FuncMap{
		"asset":    assetURL,
		"day":      func(t time.Time) string { return t.UTC().Format(time.DateOnly) },
		"minute":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
		"second":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"rfc3339":  func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"noLonger": noLonger,
	}).ParseFS(templateFiles, "templates/shell.html", "templates/parts.html"))
	sets := make(map[string]*template.Template, len(names))
	for _, name := range names {
		set := template.Must(base.Clone())
		sets[name] = template.Must(set.ParseFS(templateFiles, "templates/"+name+".html"))
	}
	return sets
}

// render writes the whole page or, on an error, nothing.
func render(w io.Writer, page, name string, data any) error {
	var out bytes.Buffer
	if err := pages[page].ExecuteTemplate(&out, name, data); err != nil {
		return fmt.Errorf("cannot render %s: %w", page, err)
	}
	_, err := out.WriteTo(w)
	return err
}

// in formats the rough time until t.
func in(now, t time.Time) string {
	switch left := t.Sub(now); {
	case left <= 0:
		return ""
	case left < time.Minute:
		return "in less than a minute"
	case left < 2*time.Minute:
		return "in a minute"
	case left < 2*time.Hour:
		return "in " + strconv.Itoa(int(left/time.Minute)) + " minutes"
	case left < 48*time.Hour:
		return "in " + strconv.Itoa(int(left/time.Hour)) + " hours"
	default:
		return "in " + strconv.Itoa(int(left/(24*time.Hour))) + " days"
	}
}
