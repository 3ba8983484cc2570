#!/bin/sh
# Builds a program as we ship it: static, and the same in every folder and on every machine with the same Go. VERSION is what
# the program says of itself; GOOS and GOARCH choose a platform. The only place that names these flags.
set -eu
[ $# -eq 2 ] || { echo "usage: VERSION=v0.1.0 ${0##*/} FILE PACKAGE" >&2; exit 2; }
CGO_ENABLED=0 exec go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION:?}" -o "$1" "$2"
