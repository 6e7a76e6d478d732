#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tool.py HAKMEM: `hakmem numa` on this machine, whatever nodes it has: a process that runs, a command
that ends, and what is wrong in one line."""
import re
import subprocess
import sys

hakmem = sys.argv[1]


def run(*args):
    return subprocess.run([hakmem, *args], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60)


def require(good, what, r):
    if not good:
        sys.exit(f"{what}: status {r.returncode}\n{r.stdout}{r.stderr}")


def nodes(text):
    """{node: (live MiB, cached MiB, pages, share)}"""
    rows = re.findall(r"^(\S+) +([\d.]+) +([\d.]+) +(\d+) +([\d.]+) +\d+ .*$", text, re.M)
    return {node: tuple(map(float, numbers)) for node, *numbers in rows}


SPEND = "import sys; a = [bytes(2000) for i in range(20000)]; print('up', flush=True); sys.stdin.read()"
with subprocess.Popen([hakmem, "run", sys.executable, "-c", SPEND], text=True,
                      stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
    process.stdout.readline()
    r = run("numa", str(process.pid))
    if "may not be looked into" in r.stderr or "cannot be seen" in r.stderr:
        print(f"skipped: this system forbids it: {r.stderr}")
        process.stdin.close()
        sys.exit(77)
    require(r.returncode == 0 and re.search(r": (1 node|(?!1 )\d+ nodes)\n", r.stderr), "a process", r)
    seen = nodes(r.stderr)
    live, pages = (sum(n[i] for n in seen.values()) for i in (0, 2))
    require(38 < live < 80 and pages > 9000, "its 40 MB", r)
    process.stdin.close()

# Its blocks are there still when it ends; what it prints is untouched, and so is its status.
r = run("numa", "--", sys.executable, "-c", "import os; a = [bytes(2000)] * 9; b = bytes(30 << 20); "
        "print('out', flush=True); os._exit(7)")
require(r.returncode == 7 and r.stdout == "out\n", "a command", r)
require(sum(n[0] for n in nodes(r.stderr).values()) >= 30, "its 30 MiB", r)
r = run("numa", "--tiny-cache=32K", "sh", "-c", "kill -9 $$")
require(r.returncode == 128 + 9, "a command that is killed", r)
r = run("numa", "--", "true")
require(r.returncode == 0 and r.stderr == "true: has asked hakmem for nothing yet\n", "no malloc", r)

for args, want, text in ((["numa", "1"], 2, "numa 1: "), (["numa", "999999999"], 2, "expected a process"),
                         (["numa", "--", "/no/such"], 127, "not found"), (["numa"], 2, "expected one"),
                         (["numa", "--numa-nodes=x", "--", "true"], 2, "expected all, or numbers")):
    r = run(*args)
    require(r.returncode == want and text in r.stderr and r.stderr.count("\n") == 1, args, r)
print("as expected")
