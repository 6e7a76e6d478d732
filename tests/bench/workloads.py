#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The workloads of bench/: that they run, that they see faults, that suite.toml or
rest.toml names them.

usage: workloads.py FOLDER run [LIBRARY]    each runs, with little work; preloaded with hakmem
       workloads.py FOLDER broken LIBRARY   each sees the faults of tests/bench/broken.c
       workloads.py FOLDER options          each takes its options and refuses others
       workloads.py FOLDER suite FILE...    suite.toml and rest.toml are right, and name every
                                            workload

FOLDER is where the workloads were built. Exit status 1 with a line for each fault found.
"""
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

# Little work, but more than a thread's cache holds; each line one way to run it.
SMALL = {
    "aligned": ["--steps 20000"],
    "batch": ["--rounds 20 --order same", "--rounds 20 --order reverse",
              "--rounds 20 --order ends", "--rounds 20 --order random",
              "--rounds 40 --order ends --swap --threads 4", "--rounds 20 --swap --batch 5"],
    "births": ["--births 200", "--births 100 --threads 8", "--births 3 --threads 8"],
    "blocks": ["--blocks 100000 --order lifo", "--blocks 100000 --order fifo",
               "--blocks 100000 --order both --size 8"],
    "cross": ["--rounds 400", "--rounds 400 --threads 1", "--rounds 800 --threads 8 --every 1"],
    "drain": ["--mib 4", "--mib 4 --threads 6 --idle-ms 10"],
    "graph": ["--generations 3 --steps 2000", "--generations 3 --steps 4000 --threads 8"],
    "grow": ["--what vectors --steps 20000", "--what strings --steps 50000"],
    "large": ["--steps 5", "--steps 5 --fill --min 1 --max 2"],
    "larson": ["--threads-born 50 --detached", "--threads-born 50 --threads 4",
               "--threads-born 6 --rounds 10 --min 8 --max 1000 --blocks 500",
               "1 8 128 1024 1 12345 2 --detached"],
    "policy": [f"--steps 4 --threads 4 --load {load}" for load in (
        "images", "vectors", "slabs", "idle", "hot", "phases", "sparse", "bursts")],
    "producer": ["--batches 20", "--batches 50 --batch 100 --size 64 --threads 8 --in-flight 2"],
    "serverday": ["--connections 500", "--connections 500 --threads 5 --tick-us 10"],
    "sharing": ["--blocks 20000 --which active", "--blocks 20000 --which passive --threads 4"],
    "sleepers": ["--threads 100 --kib 64", "--threads 1 --kib 2000 --idle-ms 10",
                 "--threads 30 --at-once 30 --kib 64"],
    "spike": ["--mib 8", "--mib 8 --survivors 50", "--mib 8 --threads 4 --survivors 1"],
    "table": ["--slots 5000 --steps 50000", "--slots 256 --steps 1000 --threads 256"],
    "workset": ["--steps 20000"],
    "zeroed": ["--steps 20000", "--steps 50 --doublings 20 --slots 10"],
}
# Enough calls in one thread, which is where broken.c breaks.
BROKEN = {name: lines[0] + " --threads 1" for name, lines in SMALL.items()} | {
    "births": "--births 20 --blocks 300",
    "large": "--steps 300 --min 1 --max 2 --threads 1",
    "larson": "--threads-born 50 --threads 1",
    "drain": "--mib 4",
    "policy": "--load hot --steps 4",
    "producer": "--batches 20",
    "serverday": "--connections 2000 --threads 1",
}
REFUSED = {
    "aligned": "--steps many", "batch": "--order sideways", "births": "--births -1",
    "blocks": "--size 7", "cross": "--min 20 --max 10", "drain": "--threads 3",
    "graph": "--steps 0x10",
    "grow": "--what trees", "large": "--min 30", "larson": "2 8 128",
    "policy": "--load nothing",
    "producer": "--threads 3", "serverday": "--report /nowhere/at/all", "sharing": "--size 1",
    "sleepers": "--board /nowhere/at/all", "spike": "--mib 0",
    "table": "--slots 10", "workset": "--steps 99999999999999999999", "zeroed": "--slots 1k",
}
# Of rest.toml: what the runner fills in.
PLACES = {"{mib}": "8", "{half_mib}": "4", "{kib}": "4", "{connections}": "256",
          "{tick_us}": "9"}
folder = Path(sys.argv[1])
faults = []


def expect(good, text):
    if not good:
        faults.append(text)


def execute(name, line, **environment):
    """status, stdout, stderr of the workload"""
    # Larson joins no thread; of all else the thread sanitizer may speak.
    environment = os.environ | {"TSAN_OPTIONS": "report_thread_leaks=0"} | environment
    done = subprocess.run([folder / name, *line.split()], capture_output=True, text=True,
                          timeout=100, env=environment)
    return done.returncode, done.stdout, done.stderr


def run(library=None):
    for name, lines in SMALL.items():
        for line in lines:
            environment = {"LD_PRELOAD": library, "HAKMEM_STATS": "1"} if library else {}
            status, _, err = execute(name, line, **environment)
            expect(status == 0, f"{name} {line}: status {status}: {err}")
            if library:
                expect("hakmem" in err, f"{name} {line}: did not run on hakmem")
            else:
                expect(err == "", f"{name} {line}: said on stderr: {err}")
    with tempfile.TemporaryDirectory() as scratch:  # this test runs beside itself
        csv = Path(scratch, "serverday.csv")
        status, out, _ = execute("serverday", f"--connections 500 --report {csv}",
                                 **({"LD_PRELOAD": library} if library else {}))
        lines = csv.read_text().splitlines()
    expect(status == 0 and lines[0] == "time,live,rss" and len(lines) == 241,
           f"serverday --report wrote {len(lines)} lines, the first {lines[0]}")
    held = [int(rss) / int(live) for _, live, rss in (s.split(",") for s in lines[1:])]
    wanted = f"mean rss/live {sum(held) / len(held):.3f}\nend rss/live  {held[-1]:.3f}\n"
    expect(wanted in out, f"serverday printed {out} and reported {wanted}")


def broken(library):
    for name, line in BROKEN.items():
        status, _, err = execute(name, line, LD_PRELOAD=library)
        expect(status == 1 and re.fullmatch(f"{name}: [^\n]+\n", err),
               f"{name} {line}, on a broken malloc: status {status}: {err}")


def options():
    for name, line in REFUSED.items():
        for bad in (line, "--no-such-option 1", "--threads", "--threads 0", "-x", "stray"):
            status, out, err = execute(name, bad)
            expect(status == 2 and out == "" and re.fullmatch(f"{name}: [^\n]+\n", err),
                   f"{name} {bad}: status {status}: {err}")
        status, out, err = execute(name, "--help")
        expect(status == 0 and "--threads N" in out and err == "",
               f"{name} --help: status {status}: {out}{err}")


def check_test(test):
    """One [[test]]; the programs that it runs."""
    needed = {"name", "about", "threads", "command"}
    known = needed | {"instructions", "over_time", "time", "figures"}
    name, used = test.get("name", "a test without a name"), set()
    expect(re.fullmatch("[a-z0-9-]+", name), f"{name}: not a name")
    expect(known >= set(test) >= needed, f"{name}: has {', '.join(test)}")
    for key in ("command", "instructions"):
        command = [PLACES.get(word, word) for word in test.get(key, test["command"])]
        program = command[0].removeprefix("{bench}/")
        used.add(program)
        if not os.access(folder / program, os.X_OK):
            faults.append(f"{name}: {key}: no program {folder / program}")
            continue
        at = command.index("--threads") if "--threads" in command else None
        expect(at and command[at + 1] == str(test["threads"]),
               f"{name}: threads = {test['threads']}, but {' '.join(command)}")
        # A bad option after them is refused only where those before it are good.
        status, _, err = execute(program, " ".join(command[1:]) + " --no-such-option")
        expect(status == 2 and "--no-such-option: " in err, f"{name}: {key}: {err}")
    expect("instructions" not in test or test["threads"] == 1,
           f"{name}: instructions of a program with threads")
    return used


def suite(*files):
    used, seen = {"policy"}, set()  # which bench/runner/policy.py runs
    for file in files:
        for test in tomllib.loads(Path(file).read_text())["test"]:
            used |= check_test(test)
            expect(test.get("name") not in seen, f"{test.get('name')}: twice")
            seen.add(test.get("name"))
    written = {p.stem for p in Path(files[0]).parent.glob("*.c")
               if re.search('"(bench|rest).h"', p.read_text())}
    for name in written | used | set(SMALL):
        for place, names in (("bench/*.c", written), ("a .toml", used), ("SMALL here", SMALL)):
            expect(name in names, f"{name}: not in {place}")


globals()[sys.argv[2]](*sys.argv[3:])
print("\n".join(faults) or "as expected")
sys.exit(bool(faults))
