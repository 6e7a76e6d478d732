#!/bin/bash
# SPDX-License-Identifier: MIT
# The shell and the small programs around it: arrays, subshells, pipes, sort with threads.
set -eu -o pipefail
declare -A words
text=
for ((i = 0; i < 20000; i++)); do
    w=w$((i * 7919 % 1009))
    words[$w]=$((${words[$w]:-0} + i))
    text+="$w "
done
for w in "${!words[@]}"; do echo "$w ${words[$w]}"; done | sort | sha256sum
echo "${#text} ${text//w1/<x>}" | tr ' ' '\n' | sort | uniq -c | sort -rn -k1,1 -k2 | sed -n 1,3p
for i in {1..60}; do (x=$(echo "$i" | sed 's/1/one/'); echo "$x"); done | cat | wc
seq 1 300000 | sort --parallel=2 -S 4M -R --random-source=/dev/zero | sort -n | sha256sum
seq 1 200000 | sed -E 's/(.)(.)$/\2\1/' | grep -E '7.*7' | cut -c1-4 | uniq | wc
seq 1 200000 | xargs -n 2000 echo | wc
