#!/bin/bash
# SPDX-License-Identifier: MIT
# install_test.sh PART SOURCE BUILD CC CXX...: installs into an empty folder and uses hakmem from
# there as PART says. Exit 77: a tool the part needs is not on this machine.
set -euo pipefail
part=$1 source=$2 build=$3 prefix=$4 libdir=$5 cc=$6
here=$source/tests/install
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
cd "$root"

say() { printf '%s\n' "$*"; }
need() {
    command -v "$1" >/dev/null || { say "skipped: there is no $1 on this machine"; exit 77; }
}

# expect TEXT COMMAND...: its output, both streams, holds TEXT, and it succeeds.
expect() {
    local text=$1 output
    shift
    output=$("$@" 2>&1 </etc/passwd) || { say "$*: exit $?: $output"; exit 1; }
    [[ $output == *"$text"* ]] || { say "$*: expected '$text' in: $output"; exit 1; }
    say "ok: $*"
}
is_dynamic() { readelf -d "$1" | grep -q 'NEEDED.*libhakmem\.so\.1'; }
on_hakmem() { expect HAKMEM_STATS env HAKMEM_SHOW=1 "$@"; } # quiet.c: the library lists its options

install_here() {
    DESTDIR=$root meson install -C "$build" --no-rebuild --quiet
    lib=$root$prefix/$libdir
    export LD_LIBRARY_PATH=$lib
    export PKG_CONFIG_LIBDIR=$lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root
}

# build_with STATIC-FLAG NAME COMPILER SOURCE...: NAME by way of pkg-config
build_with() {
    local static=$1 name=$2 compiler=$3
    shift 3
    # shellcheck disable=SC2046,SC2086 # both are lists
    $compiler ${static:+-static} -O2 -o "$name" "$@" $(pkg-config ${static:+--static} --cflags --libs hakmem)
}

part_dynamic() {
    need pkg-config
    build_with "" app "$cc -Wl,--as-needed" "$here/app.c"
    build_with "" quiet "$cc -Wl,--as-needed" "$here/quiet.c"
    for name in app quiet; do
        is_dynamic $name || { say "$name is not linked with libhakmem.so.1"; exit 1; }
    done
    expect "hakmem 0." ./app
    on_hakmem ./quiet
}

part_static() {
    need pkg-config
    build_with static app "$cc" "$here/app.c"
    build_with static quiet "$cc" "$here/quiet.c"
    if readelf -d app | grep -q NEEDED; then say "not a static program"; exit 1; fi
    if nm app | grep -qw _int_malloc; then say "libc's malloc was linked too"; exit 1; fi
    expect "hakmem 0." ./app
    on_hakmem ./quiet
}

part_cxx() {
    need pkg-config
    need "${cxx%% *}"
    build_with "" app "$cxx -Wl,--as-needed" "$here/app.cpp"
    expect "hakmem 0." ./app
    build_with static app-static "$cxx" "$here/app.cpp"
    expect "hakmem 0." ./app-static
}

part_cmake() {
    need cmake
    CC=$cc cmake -S "$here/cmake" -B cmake-build -DCMAKE_PREFIX_PATH="$root$prefix" \
        -DCMAKE_EXE_LINKER_FLAGS=-Wl,--as-needed >cmake.log 2>&1 || { cat cmake.log; exit 1; }
    cmake --build cmake-build >cmake.log 2>&1 || { cat cmake.log; exit 1; }
    for kind in hakmem hakmem-static; do
        expect "hakmem 0." "cmake-build/app-$kind"
        on_hakmem "cmake-build/quiet-$kind"
    done
    is_dynamic cmake-build/quiet-hakmem || { say "not linked with libhakmem.so.1"; exit 1; }
}

part_subproject() {
    mkdir -p parent/subprojects
    cp "$here/parent/meson.build" "$here/app.c" "$here/quiet.c" parent/
    ln -s "$source" parent/subprojects/hakmem
    unset LD_LIBRARY_PATH
    CC=$cc meson setup parent parent-build >meson.log 2>&1 || { cat meson.log; exit 1; }
    meson compile -C parent-build >meson.log 2>&1 || { cat meson.log; exit 1; }
    for kind in shared static; do
        expect "hakmem 0." "parent-build/app-$kind"
        on_hakmem "parent-build/quiet-$kind"
    done
}

# refused TEXT COMMAND...: exit status 2 and one line that holds TEXT
refused() {
    local text=$1 status=0 output
    shift
    output=$("$@" 2>&1) || status=$?
    [[ $status == 2 && $output == *"$text"* && $output != *$'\n'* ]] ||
        { say "$*: expected exit 2 and one line with '$text', got $status: $output"; exit 1; }
    say "ok: $*"
}

part_command() {
    local hakmem
    for hakmem in "$root$prefix/bin/hakmem" "$build/hakmem"; do
        expect libhakmem.so.1 "$hakmem" grep -m1 -o 'libhakmem.so.1[.0-9]*$' /proc/self/maps
        expect "HAKMEM_TINY_CACHE=128K (environment)" "$hakmem" run --show --tiny-cache=128K -- true
        expect "HAKMEM_LOG=info (environment)" "$hakmem" --show --log=info true
        expect "hakmem 0." "$hakmem" version
        expect --superslab-keep "$hakmem" options
        expect "usage: hakmem" "$hakmem" --help
        refused "--tiny-cahce" "$hakmem" --tiny-cahce=1M true
        refused "'17M': expected a whole number from 0 to 16M" "$hakmem" --tiny-cache=17M true
        refused "'x': expected a whole number from 0 to 65536" "$hakmem" --superslab-keep=x true
        refused "'3': expected a whole number from 0 to 1" "$hakmem" --stats=3 true
        refused "'512': expected auto, 0 or a whole number from 8M" "$hakmem" --limit-soft=512 true
        refused "'Auto': expected auto" "$hakmem" --limit-hard=Auto true
        refused "'2-1': expected all, or numbers" "$hakmem" --numa-nodes=2-1 true
        refused "'0,1024': expected all, or numbers" "$hakmem" --numa-nodes=0,1024 true
        expect "HAKMEM_NUMA_NODES=0-1,0 (environment)" "$hakmem" --show --numa-nodes=0-1,0 true
        refused "'quick': expected one of: fast balanced lean" "$hakmem" --mode=quick true
        refused "expected a value" "$hakmem" --mode true
        refused "command: expected one" "$hakmem" --stats
        expect "status 127" bash -c "'$hakmem' no-such-command 2>/dev/null; echo status \$?"
        expect "status 7" bash -c "'$hakmem' sh -c 'exit 7'; echo status \$?"
    done
    for page in man1/hakmem.1 man3/hakmem.3 man7/hakmem.7 man3/hak_purge.3; do
        grep -q HAKMEM "$root$prefix/share/man/$page" || { say "$page is missing"; exit 1; }
    done
}

cxx=${7:-c++}
[[ $part == subproject ]] || install_here
"part_$part"
