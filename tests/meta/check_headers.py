#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_headers.py SOURCE-ROOT COMPILER...: each header compiles as the only include."""
import os
import pathlib
import subprocess
import sys

root = pathlib.Path(sys.argv[1])
compiler = sys.argv[2:]
FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wundef", "-Wno-unused-parameter",
         "-Wno-unused-function", "-Werror", "-fsyntax-only", "-Iinclude", "-Isrc", "-x", "c",
         "-"]

headers = sorted(p.relative_to(root) for top in ("src", "include")
                 for p in (root / top).rglob("*.h"))
failed = []
for header in headers:
    name = os.path.join(*header.parts[1:])
    run = subprocess.run(compiler + FLAGS, input=f'#include "{name}"\n', text=True, cwd=root,
                         stderr=subprocess.PIPE, check=False)
    if run.returncode:
        failed.append(name)
        print(f"{header} does not compile alone:\n{run.stderr}")
print(f"{len(headers) - len(failed)} of {len(headers)} headers compile alone")
sys.exit(bool(failed) or not headers)
