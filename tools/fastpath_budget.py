#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""fastpath_budget.py SOURCE-ROOT golden.txt [--update]: hold malloc and free to a budget.

Compiles src/api/hak_malloc.c as the release build does, with each compiler the table has rows
for, and compares what the machine code holds with tests/fastpath/golden.txt, one row each:

    gcc-12 hak_malloc insn=13 call=0 push=0 jcc=2 lock=0 whole=15

All counts but the last are of the hit path: from the entry, straight on at every conditional
jump (the compiler lays the likely way out so), to the first return. Where straight on leads out
of the function, into a slow path, the jump is the hit. insn: instructions, without padding.
call, push: 0, for it has no stack frame. jcc: conditional jumps on the way. lock: locked
instructions. whole: all instructions of the function, its way out to the slow one with them.

A row that differs fails, a better one too: --update writes the table, and the review sees it.
Exit 77 where none of the compilers is here, or the machine is no x86-64.
"""
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile

COMPILERS = {"gcc-12": ("gcc-12", "gcc"), "clang-14": ("clang-14", "clang")}
FUNCTIONS = ("hak_malloc", "hak_free")
FLAGS = ("-std=gnu11 -O3 -fPIC -D_GNU_SOURCE -DHAK_CFG_DEBUG=0 -fvisibility=hidden "
         "-fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc -fno-builtin-free -w "
         "-Iinclude -Isrc").split()
PADDING = re.compile(r"nop|data16|cs nop|endbr64|xchg\s+%ax,%ax")


def output(*command):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def find_compiler(tag):
    """The path of the compiler of exactly this version, or None."""
    for name in COMPILERS[tag]:
        path = shutil.which(name)
        if path and output(path, "-dumpversion").strip().split(".")[0] == tag.split("-")[1]:
            return path
    return None


def disassemble(compiler, root):
    """{function: [(address, instruction)]} of hak_malloc.c"""
    with tempfile.TemporaryDirectory() as folder:
        thing = os.path.join(folder, "hak_malloc.o")
        source = "src/api/hak_malloc.c"
        subprocess.run([compiler, *FLAGS, "-c", source, "-o", thing], check=True, cwd=root)
        text = output("objdump", "-d", "--no-show-raw-insn", thing)
    functions = {}
    for name, body in re.findall(r"<([\w.]+)>:\n((?:.+\n)*)", text):
        lines = re.findall(r"^ +([0-9a-f]+):\t(.*)", body, re.M)
        functions[name] = [(int(at, 16), " ".join(what.split())) for at, what in lines]
    return functions


def hit_path(body, start=0, seen=()):
    """The instructions from body[start] to the first return, as the head says; None: no way."""
    index = {at: i for i, (at, _) in enumerate(body)}
    path = []
    i = start
    while i < len(body) and i not in seen:
        seen += (i,)
        what = body[i][1]
        if not PADDING.match(what):
            path.append(what)
        if what.startswith("ret"):
            return path
        if what.startswith("j"):
            ways = [] if what.startswith("jmp") else [i + 1]
            if m := re.match(r"\w+ ([0-9a-f]+)\b", what):
                ways += [index[int(m[1], 16)]] if int(m[1], 16) in index else []
            for way in ways:
                if (rest := hit_path(body, way, seen)) is not None:
                    return path + rest
            return None
        i += 1
    return None


def row(tag, name, body):
    path = hit_path(body)
    if path is None:
        sys.exit(f"{tag} {name}: no way from the entry to a return")
    def count(pattern):
        return sum(bool(re.match(pattern, what)) for what in path)
    whole = sum(not PADDING.match(what) for _, what in body)
    return (f"{tag} {name} insn={len(path)} call={count('call')} push={count('push')} "
            f"jcc={count('j(?!mp)')} lock={count(r'lock|xchg.*[(]')} whole={whole}")


def main():
    root, table = sys.argv[1:3]
    if platform.machine() != "x86_64":
        print(f"skipped: the table is for x86-64, this is {platform.machine()}")
        return 77
    golden = open(table, encoding="utf-8").read().splitlines() if os.path.exists(table) else []
    rows, missing = [], []
    for tag in COMPILERS:
        compiler = find_compiler(tag)
        if compiler is None:
            missing.append(tag)
            continue
        functions = disassemble(compiler, root)
        rows += [row(tag, name, functions[name]) for name in FUNCTIONS]
    for tag in missing:
        print(f"{tag} is not on this machine: its rows are not checked")
    kept = [line for line in golden if line.split(" ")[0] in missing]
    if "--update" in sys.argv:
        with open(table, "w", encoding="utf-8") as out:
            out.write("\n".join(rows + kept) + "\n")
        return 0
    if not rows:
        return 77
    want = [line for line in golden if line not in kept]
    for line in want:
        if line not in rows:
            print("-", line)
    for line in rows:
        print(" " if line in want else "+", line)
    return int(want != rows)


sys.exit(main())
