#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of bench/real.toml and of what it names.

usage: bench_real.py entries            the file says what the runner can run
       bench_real.py inputs             the inputs are the same bytes every time; bad arguments
       bench_real.py driver FAKE LIB    a server that goes wrong is one clear line
       bench_real.py program NAME LIB   that test, made small, without and with the library
       bench_real.py --list | --packages

Exit status: 0, 1, or 77 where something is not installed.
"""
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

try:
    import tomllib
except ImportError:
    tomllib = None

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT / "bench/real"
MAKE = [sys.executable, str(REAL / "make_input.py")]
SERVE = [sys.executable, str(REAL / "serve.py")]
SECONDS = 100  # for one run, far above what any takes
TOOL = {"c": "gcc", "cxx": "clang++", "git": "git"}  # what the maker of an input calls


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


def expect(truth, why):
    if not truth:
        raise Failed(why)


def entries():
    if tomllib is None:
        raise Skipped("this Python has no tomllib (3.11 has)")
    with open(ROOT / "bench/real.toml", "rb") as f:
        return tomllib.load(f)["test"]


def run(argv, **env):
    """As the runner does it: nothing of the caller's environment that could change a result."""
    base = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TMPDIR": tempfile.gettempdir()}
    return subprocess.run(argv, env=base | env, stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=SECONDS)


# ---- The file. ----

KEYS = {"name": str, "about": str, "threads": int, "command": list, "instructions": list,
        "env": dict, "needs": list, "input": list, "output": str, "driver": bool}


def test_entries():
    names = []
    for entry in entries():
        where = entry.get("name", "a test without a name")
        for key, value in entry.items():
            expect(key in KEYS, f"{where}: {key}: no such key")
            expect(isinstance(value, KEYS[key]), f"{where}: {key}: wrong type")
        for key in ("name", "about", "threads", "command", "needs"):
            expect(entry.get(key), f"{where}: no {key}")
        expect(re.fullmatch("[a-z0-9-]+", where), f"{where}: a name of a-z, 0-9 and -")
        expect(entry["threads"] == 1 or "instructions" not in entry,
               f"{where}: instructions of several threads are not exact")
        expect(entry.get("output") == "same", f"{where}: its result is not compared")
        words = entry["command"] + entry.get("instructions", []) + entry.get("input", [])
        for word in words:
            places = re.findall(r"\{(\w+)\}", word)
            expect(set(places) <= {"source", "data"}, f"{where}: {word}: no such place")
            if word.startswith("{source}/"):
                path = ROOT / word.removeprefix("{source}/")
                expect(path.is_file(), f"{where}: {path} is missing")
        uses_data = any("{data}" in word for word in entry["command"])
        expect(uses_data == ("input" in entry), f"{where}: input does not fit the command")
        if "input" in entry:
            made = entry["input"][-1]
            expect(any(made in word for word in entry["command"]),
                   f"{where}: {made} is not read")
        names.append(where)
    expect(len(names) == len(set(names)), "a name is there twice")
    print(f"{len(names)} tests")


# ---- Inputs. ----


def digest(path):
    total = hashlib.sha256()
    for file in sorted(p for p in [path, *path.rglob("*")] if p.is_file() or p.is_symlink()):
        total.update(str(file.relative_to(path)).encode())
        total.update(os.readlink(file).encode() if file.is_symlink() else file.read_bytes())
    return total.hexdigest()


def one_line(done, status, *words):
    text = done.stderr.decode()
    expect(done.returncode == status, f"status {done.returncode}, expected {status}: {text}")
    expect(text.count("\n") == 1, f"expected one line on stderr: {text!r}")
    for word in words:
        expect(word in text, f"expected {word!r} in {text!r}")


def kinds():
    """Asked of the program itself: what it names when it is given a wrong one."""
    done = run([*MAKE, "nothing", "nowhere"])
    one_line(done, 2, "nothing: expected one of ")
    return done.stderr.decode().split(" one of ")[1].split()


def test_inputs(top):
    for kind in kinds():
        if kind in TOOL and shutil.which(TOOL[kind]) is None:
            print(f"{kind}: not made, {TOOL[kind]} is not installed")
            continue
        digests = []
        for folder in ("one", "two"):
            path = top / folder / kind
            done = run([*MAKE, kind, str(path), "--small"])
            expect(done.returncode == 0, f"{kind}: {done.stderr.decode()}")
            digests.append(digest(path))
            expect(os.listdir(top / folder) == [kind],
                   f"{kind}: left {os.listdir(top / folder)}")
            shutil.rmtree(top / folder)
        expect(digests[0] == digests[1], f"{kind}: not the same bytes twice")
        print(f"{kind}: {digests[0][:16]}")
    for entry in entries() if tomllib else []:
        if "input" in entry:
            expect(entry["input"][1] in kinds(),
                   f"{entry['name']}: {entry['input'][1]}: no kind")
    (top / "file").touch()
    one_line(run([*MAKE, "sql", str(top / "file/x")]), 1, str(top / "file"))
    one_line(run([*MAKE, "c", str(top / "c")], PATH="/nonexistent"), 1, "gcc: expected it")
    expect(os.listdir(top) == ["file"], f"a failed run left {os.listdir(top)}")
    expect(run([*MAKE, "sql"]).returncode == 2, "expected the usage for a missing path")


# ---- The driver, with a server that goes wrong. ----


def test_driver(top, fake, library):
    fake, library = os.path.abspath(fake), os.path.abspath(library)
    os.symlink(fake, top / "redis-server")
    path = f"{top}:{os.environ['PATH']}"
    streams = str(top / "redis")
    run([*MAKE, "redis", streams, "--small"])
    mix = [*SERVE, "redis-mix", streams]

    def serve(argv, **env):
        return run(argv, **{"PATH": path, "TMPDIR": str(top / "tmp")} | env)

    (top / "tmp").mkdir()
    for preload in ("", library):
        one_line(serve(mix, HOW="start", HAKMEM_BENCH_PRELOAD=preload), 1,
                 "redis-server ended at its start", "exit status 3", "no room for the socket")
        one_line(serve(mix, HOW="crash", HAKMEM_BENCH_PRELOAD=preload), 1,
                 "redis-server ended during the load", "signal 9")
    one_line(serve(mix, HOW="leave"), 1, "redis-server ended during the load", "exit status 0")
    one_line(serve(mix, HOW="start", HAKMEM_BENCH_PRELOAD="/no/such.so"), 1,
             "HAKMEM_BENCH_PRELOAD=/no/such.so", "expected")
    one_line(serve(mix, HOW="start", PATH="/nonexistent"), 1, "redis-server", "installed")
    one_line(serve([*SERVE, "redis-mix", str(top / "none")]), 1, str(top / "none"), "expected")
    one_line(serve([*SERVE, "redis", "many"]), 1, "many: expected a number")
    expect(serve([*SERVE, "postgres"]).returncode == 2, "expected the usage")
    not_malloc = top / "not-malloc.so"
    shutil.copy(fake, not_malloc)  # a file that is there, and no library
    one_line(serve(mix, HOW="start", HAKMEM_BENCH_PRELOAD=str(not_malloc)), 1,
             "malloc is in ", f"expected {not_malloc}")
    expect(os.listdir(top / "tmp") == [], f"left behind: {os.listdir(top / 'tmp')}")
    dies_with_the_driver(top, mix, path)


def dies_with_the_driver(top, mix, path):
    """Where the runner kills the driver, no server goes on."""
    pid_file = top / "pid"
    driver = subprocess.Popen(mix, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={
        "PATH": path, "TMPDIR": str(top), "HOW": "hang", "PID_FILE": str(pid_file)})
    try:
        until = time.monotonic() + SECONDS
        while not (pid_file.exists() and pid_file.read_text().endswith("\n")):
            expect(driver.poll() is None, "the driver ended")
            expect(time.monotonic() < until, "the server never got a command")
            time.sleep(0.01)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    server = Path("/proc") / pid_file.read_text().strip()
    while server.exists() and " Z " not in (server / "stat").read_text():
        expect(time.monotonic() < until, "the server lives on without its driver")
        time.sleep(0.01)


# ---- The programs. ----


def small(words, data):
    """The command on small inputs, and every number of rounds a twentieth."""
    places = {"source": str(ROOT), "data": str(data)}
    words = [re.sub(r"\{(\w+)\}", lambda m: places[m[1]], word) for word in words]
    return [str(int(word) // 20) if re.fullmatch(r"\d\d+", word) else word for word in words]


def test_program(top, name, library):
    entry = next((e for e in entries() if e["name"] == name), None)
    expect(entry, f"{name}: no such test")
    for package in entry["needs"]:
        state = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", package],
                               capture_output=True, text=True).stdout
        if "ok installed" not in state:
            raise Skipped(f"the package {package} is not installed")
    if "input" in entry:
        done = run([sys.executable, *small(entry["input"], top), "--small"])
        expect(done.returncode == 0, done.stderr.decode())
    command = small(entry["command"], top)
    results = []
    for preload in ("", os.path.realpath(library)):
        variable = "HAKMEM_BENCH_PRELOAD" if entry.get("driver") else "LD_PRELOAD"
        done = run(command, **entry.get("env", {}), **{variable: preload})
        text = done.stdout + done.stderr
        expect(done.returncode == 0, f"status {done.returncode}: {text[-2000:].decode()}")
        expect(b"cannot be preloaded" not in text, text[-2000:].decode())
        if entry.get("driver"):
            said = dict(line.split(": ", 1) for line in done.stdout.decode().splitlines())
            expect(said["loaded"] == (preload or "none"), f"loaded: {said['loaded']}")
            expect(float(said["seconds"]) > 0 and int(said["peak_kb"]) > 0, text.decode())
            results.append(said["result"])
        else:
            results.append(done.stdout)
    expect(results[0], "no result at all")
    expect(results[0] == results[1], f"without: {results[0][:500]}\nwith: {results[1][:500]}")
    print(f"{name}: the same result ({len(results[0])} bytes)")


def main(arguments):
    if arguments == ["--list"]:
        print("\n".join(entry["name"] for entry in entries()) if tomllib else "")
        return 0
    if arguments == ["--packages"]:
        print("\n".join(sorted({p for e in entries() for p in e["needs"]})) if tomllib else "")
        return 0
    tests = {"entries": (test_entries, 0), "inputs": (test_inputs, 0),
             "driver": (test_driver, 2), "program": (test_program, 2)}
    if not arguments or arguments[0] not in tests or \
            len(arguments) != 1 + tests[arguments[0]][1]:
        print(__doc__, file=sys.stderr)
        return 2
    test = tests[arguments[0]][0]
    try:
        with tempfile.TemporaryDirectory(prefix="hakmem-bench-real-") as top:
            test(*([Path(top)] if test is not test_entries else []), *arguments[1:])
    except Skipped as why:
        print(f"skipped: {why}")
        return 77
    except (Failed, subprocess.TimeoutExpired) as why:
        print(f"FAILED: {why}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
