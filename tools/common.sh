# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# For tools/check and tools/demo, which set $me: packages, Meson, builds in folders of their
# own.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
root=$PWD

# shellcheck disable=SC2154 # me
say() { printf '%s: %s\n' "$me" "$*"; }
die() {
    printf '%s: %s\n' "$me" "$*" >&2
    exit 1
}

as_root() {
    if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi
}

# need_packages PACKAGE...: install those of them that are missing and that this system has.
need_packages() {
    local package missing=() absent=() known
    if ! command -v apt-get >/dev/null; then
        say "no apt-get here: expecting the packages $*"
        return
    fi
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == *" ok installed" ]] ||
            missing+=("$package")
    done
    [[ ${#missing[@]} == 0 ]] && return
    as_root apt-get update -qq || say "apt-get update failed; trying with the lists there are"
    known=()
    for package in "${missing[@]}"; do
        if apt-cache show "$package" >/dev/null 2>&1; then
            known+=("$package")
        else
            absent+=("$package")
        fi
    done
    [[ ${#absent[@]} == 0 ]] || say "this system has no ${absent[*]}: their tests are skipped"
    [[ ${#known[@]} == 0 ]] && return
    say "installing ${known[*]}"
    without_daemons env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
        --no-install-recommends "${known[@]}" >"$log" 2>&1 ||
        { tail -n 20 "$log"; die "apt-get install failed"; }
}

# without_daemons COMMAND...: as root, and no package it installs (redis-server) starts a
# service.
without_daemons() {
    local policy=/usr/sbin/policy-rc.d status=0
    [[ -e $policy ]] && { as_root "$@"; return; }
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    as_root "$@" || status=$?
    as_root rm -f "$policy"
    return $status
}

# need_meson: Meson 1.0 or later, from a Python environment of its own where the package is
# older.
need_meson() {
    local have
    have=$(meson --version 2>/dev/null || echo 0)
    [[ $(printf '%s\n1.0\n' "$have" | sort -V | head -n 1) == 1.0 ]] && return
    if [[ ! -x $root/build-meson/bin/meson ]]; then
        say "Meson here is ${have/#0/missing}; installing a newer one into build-meson"
        need_packages python3-venv
        if ! { python3 -m venv "$root/build-meson" &&
            "$root/build-meson/bin/pip" install -q 'meson>=1.0,<2'; } >"$log" 2>&1; then
            tail -n 20 "$log"
            die "no Meson 1.0 to be had"
        fi
    fi
    PATH=$root/build-meson/bin:$PATH
}

# build FOLDER MESON-OPTION...: configure once, compile. False, and the end of the log, on
# failure.
build() {
    local folder=$1
    shift
    if [[ ! -f $folder/build.ninja ]]; then
        rm -rf "$folder"
        meson setup "$folder" "$@" >"$log" 2>&1 || { tail -n 30 "$log"; return 1; }
    fi
    meson compile -C "$folder" >"$log" 2>&1 ||
        { grep -E -A 3 'error:|^FAILED|undefined reference' "$log" | head -n 40; return 1; }
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
