#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_system.py src: only src/os makes system calls or asks which system it is on."""
import pathlib
import re
import sys

CALLS = ("mmap munmap mremap madvise process_madvise mprotect mincore mbind set_mempolicy "
         "getcpu futex syscall brk sbrk open openat close read write pread readlink prctl getrlimit "
         "setrlimit sysconf getpagesize getauxval sched_yield sched_getaffinity sched_getcpu "
         "nanosleep usleep clock_gettime gettimeofday raise kill getpid gettid fork")
FORBIDDEN = re.compile(r"__linux__|__linux\b|__x86_64__|__aarch64__|__GLIBC__|\bSYS_\w+|"
                       r"<sys/(?:mman|syscall|resource)\.h>|<linux/|"
                       r"<(?:immintrin|emmintrin|x86intrin)\.h>|\basm\b|"
                       r"(?<![\w.>])(?:" + "|".join(CALLS.split()) + r")\s*\(")
NOISE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.S)


def without_noise(text):
    """Comments and strings blanked, lines kept."""
    return NOISE.sub(lambda m: "\n" * m[0].count("\n"), text)


src = pathlib.Path(sys.argv[1])
faults = []
for path in sorted(p for p in src.rglob("*") if p.suffix in (".c", ".h")):
    if path.relative_to(src).parts[0] == "os":
        continue
    for number, line in enumerate(without_noise(path.read_text()).splitlines(), 1):
        if m := FORBIDDEN.search(line):
            faults.append(f"{path}:{number}: '{m[0].strip()}' belongs in src/os")
print("\n".join(faults) or "no system call and no system test outside src/os")
sys.exit(bool(faults))
