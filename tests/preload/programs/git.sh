#!/bin/bash
# SPDX-License-Identifier: MIT
# A repository of its own: commits, branches, merges, threads in pack and grep, clone, gc, fsck.
set -eu
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_PAGER=cat
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_AUTHOR_DATE='1700000000 +0000'
export GIT_COMMITTER_NAME=c GIT_COMMITTER_EMAIL=c@example.org
export GIT_COMMITTER_DATE='1700000000 +0000'
git init -q -b main one
cd one
git config pack.threads 2
git config grep.threads 2
git config gc.auto 0
for commit in 1 2 3 4 5 6; do
    for dir in a b c; do
        mkdir -p $dir
        for ((i = 0; i < 40; i++)); do
            for ((line = 0; line < 60; line++)); do
                echo "line $((line * commit % 50)) of $i in $dir, $((i * line * 7919 % 1000))"
            done > $dir/file$i
        done
    done
    git add .
    git commit -qm "commit $commit"
done
git checkout -qb side HEAD~3
echo other > other
git add other
git commit -qm side
git merge -q -X ours -m merged main
git log --stat --graph --date=iso
git diff HEAD~2 --stat --patience
git blame a/file3
git grep -c 'line 7 ' | sort
git repack -adfq --depth=20 --window=20
git gc -q --prune=now
git fsck --full --strict
cd ..
git clone -q --no-local one two
git -C two log --oneline --all
git -C two rev-parse HEAD^{tree}
git -C one archive --format=tar HEAD | sha256sum
