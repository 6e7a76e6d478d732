# SPDX-License-Identifier: MIT
# RocksDB's own benchmark: two threads write, read, write over, and iterate, while the
# background threads flush and compact. The files are in memory where the system has /dev/shm.
# What was found depends on the keys alone. One argument: how many keys a thread.
set -euo pipefail
place=$(mktemp -d -p "$([[ -w /dev/shm ]] && echo /dev/shm || echo "${TMPDIR:-/tmp}")")
trap 'rm -rf "$place"' EXIT
db_bench --db="$place/db" --seed=1 --threads=2 --num="$1" --value_size=120 --key_size=24 \
    --write_buffer_size=4194304 --cache_size=4194304 --compression_type=lz4 \
    --max_background_jobs=2 --progress_reports=0 \
    --benchmarks=fillrandom,readrandom,overwrite,seekrandom |
    sed -n 's/^\([a-z]*\) .*\( [0-9]* operations\).*\((.*found)\).*/\1\2 \3/p'
