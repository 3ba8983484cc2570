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

// Package commands reads the commands of a page. Every block is run by TestTheCommandsOfThePages in test/e2e, unless a comment
// before it says why not:
//
//	<!-- not run: REASON -->
//
// A comment "# prints TEXT" at the end of a line says what standard output holds.
package commands

import (
	"regexp"
	"strings"
)

// Pages have their commands run.
var Pages = []string{"README.md", "docs/install.md", "docs/use-your-token.md", "docs/people.md"}

// Block is one block of commands.
type Block struct {
	Language string // sh or python
	Text     string
	NotRun   string // the reason
	Line     int
}

// Prints is what a block says that it prints.
func (b Block) Prints() (texts []string) {
	for _, m := range regexp.MustCompile(`(?m)# prints (.+)$`).FindAllStringSubmatch(b.Text, -1) {
		texts = append(texts, m[1])
	}
	return texts
}

var block = regexp.MustCompile("(?ms)^(?:<!-- not run: ([^\n]+) -->\n)?```(sh|python)\n(.*?)^```$")

// Of returns the blocks of a page.
func Of(page string) []Block {
	var blocks []Block
	for _, m := range block.FindAllStringSubmatchIndex(page, -1) {
		b := Block{Language: page[m[4]:m[5]], Text: page[m[6]:m[7]], Line: strings.Count(page[:m[6]], "\n") + 1}
		if m[2] >= 0 {
			b.NotRun = page[m[2]:m[3]]
		}
		blocks = append(blocks, b)
	}
	return blocks
}
