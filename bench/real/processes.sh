# SPDX-License-Identifier: MIT
# Many short processes, as build systems and service scripts start them: what a malloc costs at
# the start and the end of a process. The peak is that of the largest. One argument: how many.
set -euo pipefail
sum=0
for ((n = 0; n < $1; n++)); do
    # shellcheck disable=SC2003 # a process is the point
    sum=$((sum + $(expr "$n" + 1)))
    word=$(printf 'line %d\nother\n' "$n" | sed -n 's/line/word/p' | cut -d ' ' -f 2)
    ((word == n)) || exit 1
done
echo "$sum"
