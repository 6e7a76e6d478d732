#!/bin/bash
# SPDX-License-Identifier: MIT
# tar, and compressors with threads: the archive is the same bytes each time, and comes back
# whole.
set -eu
mkdir tree
for i in {1..60}; do
    seq $((i * 1000)) $((i * 1000 + 20000)) > tree/$i
done
tar --sort=name --mtime=@0 --owner=0 --group=0 -cf all.tar tree
xz -k -T2 -3 --block-size=2MiB all.tar
gzip -nk all.tar
bzip2 -k all.tar
if command -v zstd > /dev/null; then
    zstd -q -T2 -9 all.tar -o all.tar.zst
    zstd -dqc all.tar.zst | cmp - all.tar
fi
sha256sum all.tar*
for packed in all.tar.xz all.tar.gz all.tar.bz2; do
    mkdir out
    tar -xf $packed -C out
    diff -r tree out/tree
    rm -r out
done
xz -T2 -dc all.tar.xz | cmp - all.tar
