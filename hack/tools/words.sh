#!/usr/bin/env bash
# Prints path:line:hit for each pattern of words.txt in the files given, or in those of git below the folders given, and fails
# where there is one. words-allowed.txt has the exceptions.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=hack/tools

[ $# -gt 0 ] || { echo "usage: words.sh PATH...   for example: words.sh README.md docs" >&2; exit 2; }
allowed=$(grep -v '^#' $here/words-allowed.txt || true)
if [ -n "$allowed" ]; then
  [ "$(wc -l <<<"$allowed")" -le 40 ] || { echo "words: more than 40 exceptions in $here/words-allowed.txt" >&2; exit 1; }
  if bad=$(grep -vE '^[^:]+:[^:]+:.+' <<<"$allowed"); then echo "words: no path:word:reason: $bad" >&2; exit 1; fi
fi
for path; do
  [ -e "$path" ] || { echo "words: $path does not exist" >&2; exit 2; }
done

# The lists themselves say these words.
mapfile -d '' -t files < <(git ls-files -z --cached --others --exclude-standard -- "$@" ":(exclude)$here/words*")
[ ${#files[@]} -gt 0 ] || { echo "words: no files in $*" >&2; exit 2; }

hits=0
while IFS= read -r hit; do
  path=${hit%%:*} word=${hit##*:}
  if ! grep -qiF -- "$path:$word:" <<<"$allowed"; then
    printf '%s\n' "$hit"
    hits=$((hits + 1))
  fi
done < <(grep -v '^#' $here/words.txt | grep -IHnioE -f - -- "${files[@]}" || [ $? -eq 1 ])
[ $hits -eq 0 ] || { echo "words: $hits hits; see $here/words.txt and STYLE" >&2; exit 1; }
