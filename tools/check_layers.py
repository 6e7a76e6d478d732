#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_layers.py [src]: fail where an include points up, or into what another module keeps."""
import pathlib
import re
import sys

RANK = {"base": 0, "os": 1, "superslab": 2, "tiny": 3, "mid": 3, "large": 3, "policy": 4,
        "api": 5}
# The headers other modules may include; whatever else lies in a folder is private to it.
PUBLIC = {"base": {"hak_base.h", "hak_log.h", "hak_opt.h", "hak_list.h"}, "os": {"os.h"},
          "superslab": {"ss.h"}, "tiny": {"tiny.h"}, "mid": {"mid.h"}, "large": {"large.h"},
          "policy": {"policy.h", "limit.h"}, "api": set()}
INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]+)"')


def fault(module, target):
    """Why a file of `module` may not include "target"; None if it may."""
    if target == "hakmem.h":
        return None if module == "api" else "only api knows the public header"
    to, _, name = target.partition("/")
    if to not in RANK or not name:
        return 'write it as "module/header.h"'
    if to == module:
        return None
    if RANK[to] >= RANK[module]:
        return f"{module} may not include {to}, which is not below it"
    if name not in PUBLIC[to]:
        return f"{name} is private to {to}/"
    return None


src = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "src")
faults = []
count = 0
for path in sorted(p for p in src.rglob("*") if p.suffix in (".c", ".h")):
    module = path.relative_to(src).parts[0]
    count += 1
    for number, line in enumerate(path.read_text().splitlines(), 1):
        m = INCLUDE.match(line)
        if m and (why := fault(module, m[1])):
            faults.append(f'{path}:{number}: #include "{m[1]}": {why}')
if count == 0:
    faults.append(f"{src}: no C files in it")
print("\n".join(faults) or f"{count} files, every include points down")
sys.exit(bool(faults))
