#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_abi.py symbols.txt libhakmem.so|libhakmem.a: the library exports what the list says.

A line of the list is a name and its version ("-": none, as interposing on the C library needs),
and "shared" where libhakmem.a leaves it out. For the shared library the dynamic section is
checked too: its name, what it needs, and that it can be preloaded and never unloaded.
"""
import subprocess
import sys


def output(*command):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def listed(path, shared):
    for line in open(path, encoding="utf-8"):
        words = line.split("#")[0].split()
        if words and (shared or "shared" not in words):
            yield (words[0], words[1] if shared else "-")


def exported(library, shared):
    flags = ["-D", "--with-symbol-versions"] if shared else []
    for line in output("nm", *flags, "-g", "--defined-only", library).splitlines():
        words = line.split()
        if len(words) == 3 and words[1] != "A": # A: the version's own name
            name, _, version = words[2].partition("@@")
            yield (name, version or "-")


def dynamic_faults(library):
    text = output("readelf", "-dW", library)
    lines = [line for line in text.splitlines() if "(NEEDED)" in line]
    for name in sorted(line.split("[")[1].rstrip("]") for line in lines):
        if not name.startswith(("libc.so.", "ld-linux")):
            yield f"needs {name}: a malloc may need the C library alone"
    for want in ("soname: [libhakmem.so.1]", "NODELETE", "NOW", "STATIC_TLS"):
        if want not in text:
            yield f"has no '{want}' in its dynamic section"


path, library = sys.argv[1:3]
shared = not library.endswith(".a")
want, have = set(listed(path, shared)), set(exported(library, shared))
faults = [f"- {' '.join(row)}: listed, not exported" for row in sorted(want - have)]
faults += [f"+ {' '.join(row)}: exported, not listed" for row in sorted(have - want)]
if shared:
    faults += dynamic_faults(library)
print("\n".join(faults) or f"{len(have)} names, as listed")
sys.exit(bool(faults))
