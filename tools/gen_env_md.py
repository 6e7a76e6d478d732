#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""gen_env_md.py options.def: doc/env.md on stdout. A test compares it with that committed."""
import sys

import options

print("""# Options

Made from `src/base/options.def` by `tools/gen_env_md.py`; change that file, not this one.

Each is an environment variable, read once when the process starts and ignored where the
process runs with raised rights (setuid). Sizes take K, M, G and T for 2^10, 2^20, 2^30 and
2^40 bytes. A default in brackets is the one that `HAKMEM_MODE=fast` or `lean` gives. A bad
value is one line on stderr and the default; `HAKMEM_STRICT=1` makes it an abort.
""")
print("| variable | default | accepted | meaning |\n|---|---|---|---|")
for o in options.read(sys.argv[1]):
    print(f"| `{options.variable(o)}` | {options.default(o)} | {options.accepted(o)} "
          f"| {o.help} |")
