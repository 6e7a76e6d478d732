#!/bin/bash
# SPDX-License-Identifier: MIT
# compile.sh COMPILER SOURCE...: objects, and a program of them that is run. They must be the
# same bytes each time.
set -eu
compiler=$1
shift
for source; do
    $compiler -O2 -g -c "$source" -o "$(basename "$source").o"
done
$compiler -o program ./*.o -pthread
sha256sum ./*.o program
./program
