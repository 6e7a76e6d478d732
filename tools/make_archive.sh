#!/bin/sh
# SPDX-License-Identifier: MIT
# libhakmem.a from the static libraries of the tiers: make_archive.sh LD OBJCOPY AR OUT TMPDIR
# LIB...
set -eu
ld=$1 objcopy=$2 ar=$3 out=$4 tmp=$5
shift 5
mkdir -p "$tmp"
"$ld" -r -o "$tmp/hakmem.o" --whole-archive "$@"
"$objcopy" --localize-hidden "$tmp/hakmem.o"
rm -f "$out"
"$ar" rcsD "$out" "$tmp/hakmem.o"
