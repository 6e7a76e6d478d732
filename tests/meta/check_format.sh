#!/bin/sh
# SPDX-License-Identifier: MIT
# check_format.sh SOURCE-ROOT: every C file is as clang-format 14 writes it. Another version
# writes other lines, so without that one the test is skipped (77).
set -eu
cd "$1"
format=$(command -v clang-format-14 || command -v clang-format) || format=
case $([ -n "$format" ] && "$format" --version) in
*"version 14."*) ;;
*)
    echo "skipped: there is no clang-format 14 here (apt-get install clang-format-14)"
    exit 77
    ;;
esac
find src include tests bench tools -name '*.[ch]' -exec "$format" --dry-run -Werror {} +
echo "every C file is as clang-format 14 writes it"
