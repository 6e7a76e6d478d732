#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""compare.py libhakmem.so.1 COMMAND...: the command on the system malloc and on hakmem.

Prints times and peak memory of both, and the statistics hakmem gives when the command ends. The
command runs with an empty standard input; its output is compared between the two and not shown.
"""
import collections
import hashlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 5
ENOUGH = 60  # seconds: no further round after this much
STATISTICS = "statistics\n  in use"  # how hakmem's text begins
Run = collections.namedtuple("Run", "wall cpu peak status output errors loaded")


def is_loaded(pid, library):
    """Does the process map the library? Looks until it does or has ended."""
    name = os.path.realpath(library)
    while True:
        try:
            with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
                text = maps.read()
        except OSError:
            return False
        if name in text:
            return True
        if not text:  # ended, not waited for yet
            return False
        time.sleep(0.001)


def run(command, library):
    """One run; library None: on the system malloc."""
    env = dict(os.environ)
    if library:
        env["LD_PRELOAD"] = ":".join(filter(None, [library, env.get("LD_PRELOAD")]))
        env["HAKMEM_STATS"] = "1"
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        child = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out,
                                 stderr=err)
        loaded = bool(library) and is_loaded(child.pid, library)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, child.returncode,
                   hashlib.sha256(out.read()).digest(), err.read().decode(errors="replace"),
                   loaded)


def statistics_of(runs):
    """What hakmem wrote to standard error, the command's own lines left out."""
    own = set(runs["system"][-1].errors.splitlines())
    return [line for line in runs["hakmem"][-1].errors.splitlines() if line not in own]


def seconds(value):
    return f"{value:.2f} s"


def mebibytes(kib):
    """wait4 counts the memory of this program too, from before the command took its place."""
    floor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{kib / 1024:.1f} MiB" if kib > floor else f"< {floor / 1024:.0f} MiB"


def print_table(runs):
    rows = [("time, median", "wall", statistics.median, seconds),
            ("time, fastest", "wall", min, seconds),
            ("CPU time, median", "cpu", statistics.median, seconds),
            ("peak memory, median", "peak", statistics.median, mebibytes)]
    print(f"\n{'':22}{'system malloc':>15}{'hakmem':>15}{'hakmem/system':>15}")
    for label, field, fold, show in rows:
        system, ours = (fold([getattr(r, field) for r in both]) for both in runs.values())
        ratio = f"{ours / system:.2f}" if system else "-"
        print(f"{label:22}{show(system):>15}{show(ours):>15}{ratio:>15}")


def main():
    library, command = os.path.abspath(sys.argv[1]), sys.argv[2:]
    runs = {"system": [], "hakmem": []}
    print("running:", " ".join(command))
    begun = time.perf_counter()
    for number in range(1, ROUNDS + 1):
        # Which goes first alternates, so that neither always finds the warmer machine.
        for kind in sorted(runs, reverse=bool(number % 2)):
            try:
                result = run(command, library if kind == "hakmem" else None)
            except OSError as error:
                sys.exit(f"{command[0]}: {error.strerror}")
            runs[kind].append(result)
            print(f"round {number} of {ROUNDS}: {kind:6} {result.wall:7.2f} s", flush=True)
        if time.perf_counter() - begun > ENOUGH:
            break
    if len({r.status for both in runs.values() for r in both}) > 1:
        for kind, both in runs.items():
            print(f"{kind}: exit status {[r.status for r in both]}\n{both[-1].errors}")
        sys.exit("the exit status is not the same")
    lines = statistics_of(runs)
    loaded = sum(r.loaded or STATISTICS in r.errors for r in runs["hakmem"])
    if loaded == 0:
        sys.exit("hakmem was not seen loaded: is the command linked statically, setuid, or "
                 "over at once?")
    print_table(runs)
    status = runs["hakmem"][0].status
    if status != 0:
        print("\nthe command fails on both:\n" + runs["system"][-1].errors.strip())
    same = len({r.output for both in runs.values() for r in both}) == 1
    print(f"\nexit status {status} in all runs; output " +
          ("the same in all runs" if same else "differs between runs (times in it?)"))
    print(f"hakmem loaded in {loaded} of {len(runs['hakmem'])} runs, by /proc/PID/maps or its "
          f"own word: {os.path.realpath(library)}\n")
    print("hakmem's own statistics (HAKMEM_STATS=1), last run:")
    print("\n".join("  " + line for line in lines) or
          "  none: the command ends by _exit, or closes its standard error before its end")


main()
