# SPDX-License-Identifier: MIT
"""One run of a test under a peer: what it took, and the proof that it ran on the peer.

Also the passes that count: system calls and instructions.
"""
import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

FAMILY = ("malloc", "calloc", "realloc", "free", "memalign", "posix_memalign", "aligned_alloc")
# What allocators put before those names. A closed list: libraries have functions of their own
# that are called onig_free and pcre_free.
PREFIXES = ("je_", "__je_", "rje_", "jem_", "_rjem_", "mi_", "tc_", "rp", "sn_", "hak_", "h_",
            "scudo_", "tlsf_", "ned", "dl", "xx")
BINDING = re.compile(r"^ *\d+:\tbinding file ([^\t\n]+?) \[\d+\] to ([^\t\n]+?) \[\d+\]: "
                     r"normal symbol `((?:" + "|".join(PREFIXES) + ")?"
                     r"(?:" + "|".join(FAMILY) + r"))'", re.M)
# What a program holds in itself that brings its own malloc under other names.
INSIDE = {b"<jemalloc>": "jemalloc", b"mimalloc: error": "mimalloc",
          b"tcmalloc: large": "tcmalloc"}
PROOF_SECONDS = 0.6  # a run for proof is cut short after this, once it has proved enough
COUNTING_SLOWER = 60 # so many times longer than a measured run may a counting one take


@dataclasses.dataclass
class Run:
    status: str          # ok, fail or refused
    note: str = ""       # why not ok
    seconds: float = 0   # the time compared, less is better; 0: the test has none
    wall: float = 0
    user: float = 0
    sys: float = 0
    peak_kib: int = 0
    faults: int = 0
    switched: int = 0
    other: float = 0     # processors that others kept busy meanwhile
    before: float = 0    # the fixed loop, before and after
    after: float = 0
    result: str = ""     # hash of the output, where the test wants it equal
    figures: str = ""    # what else the test measures itself: JSON, {name: value}
    curve: str = ""      # text of the file over_time


def environment(test, peer):
    """The environment of the command, {name: value}, and what launch sets for it alone."""
    clean = {k: v for k, v in os.environ.items()
             if not re.match(r"LD_|HAKMEM_|MALLOC_|MIMALLOC_|TCMALLOC_|GLIBC_TUNABLES", k)}
    clean |= {"LC_ALL": "C.UTF-8"} | test.env
    alone = dict(peer.env)
    alone["HAKMEM_BENCH_PRELOAD" if test.driver else "LD_PRELOAD"] = peer.library
    return clean, alone


def launched(launch, folder, alone, stdin):
    """How launch runs the command that follows."""
    argv = [str(launch), "-o", str(folder / "report"), "-i", stdin]
    for name, value in alone.items():
        argv += ["-e", f"{name}={value}"]
    return argv


def outcome(folder, status):
    """(failure or "", report) of what launch ran in the folder, and ended with this status."""
    errors = (folder / "err").read_text(errors="replace")
    if "cannot be preloaded" in errors:
        return next(x for x in errors.splitlines() if "cannot be preloaded" in x), {}
    if status != 0:
        return last_line(errors) or f"launch ended with {status}", {}
    report = {k: float(v) for k, v in (line.split() for line in
                                       (folder / "report").read_text().splitlines())}
    if report["signal"]:
        return f"killed by {signal.Signals(int(report['signal'])).name}", report
    if report["status"]:
        reason = last_line(errors) or last_line((folder / "out").read_text(errors="replace"))
        return f"exit status {report['status']:.0f}" + (reason and f": {reason}"), report
    return "", report


class Machine:
    """Where the launcher is; what runs, so that it can be ended."""

    def __init__(self, launch):
        self.launch = str(launch)
        self.child = None
        self.stranger = ""

    def stop(self):
        """End what is running, with all its children."""
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()
            self.child = None

    def execute(self, command, folder, clean, alone, stdin="/dev/null", around=(), watch=None,
                timeout=300.0):
        """Run the command in folder/work by launch. (failure or "", its report as a dict).

        around: a command that launch itself is run by. watch: called every PROOF_SECONDS; the
        run is ended when it returns true.
        """
        work = folder / "work"
        work.mkdir(exist_ok=True)
        argv = [*around, *launched(self.launch, folder, alone, stdin)]
        with open(folder / "out", "wb") as out, open(folder / "err", "wb") as err:
            self.child = subprocess.Popen(argv + command, cwd=work, env=clean, stdout=out,
                                          stderr=err, stdin=subprocess.DEVNULL,
                                          start_new_session=True)
            end = time.monotonic() + timeout
            try:
                while True:
                    left = end - time.monotonic()
                    try:
                        self.child.wait(min(left, PROOF_SECONDS) if watch else left)
                        break
                    except subprocess.TimeoutExpired:
                        if watch and watch():
                            return "", {}
                        if time.monotonic() >= end:
                            return f"timeout after {timeout:g} s", {}
                status = self.child.returncode
            finally:
                self.stop()
        return outcome(folder, status)

    def run(self, test, peer):
        """One measured run."""
        clean, alone = environment(test, peer)
        with fresh_folder() as folder:
            failure, report = self.execute(test.command, folder, clean, alone, test.stdin,
                                           timeout=test.timeout)
            if failure:
                return Run("fail", failure)
            result = Run("ok", seconds=report["wall"], wall=report["wall"],
                         user=report["user"], sys=report["sys"], peak_kib=int(report["peak"]),
                         faults=int(report["minor"] + report["major"]),
                         switched=int(report["switched"]),
                         other=report["other"] / report["wall"] if report["wall"] > 0 else 0,
                         before=report["before"], after=report["after"])
            out = (folder / "out").read_bytes()
            if test.over_time:
                curve = folder / "work" / test.over_time
                if not curve.is_file():
                    return Run("fail", f"wrote no {test.over_time}")
                result.curve = curve.read_text(errors="replace")
        try:
            figures(test, peer, result, out)
        except ValueError as error:
            return Run("fail", str(error))
        return result

    def prove(self, test, peer):
        """A run for proof: refused unless every process is seen to use the peer's malloc."""
        clean, alone = environment(test, peer)
        with fresh_folder() as folder:
            (folder / "traces").mkdir()
            self.stranger = ""
            # All is bound before there are threads: they would write over each other's records.
            records = {"LD_DEBUG": "bindings,libs", "LD_DEBUG_OUTPUT": f"{folder}/traces/t",
                       "LD_BIND_NOW": "1"}
            if test.driver: # launch does not know which of the processes is the server
                clean |= records
            else:
                alone |= records

            def doubt():
                return doubts(folder / "traces", peer.library, test.driver)
            cut_short = []

            def enough():
                if not doubt() and (test.driver or not self.strangers(peer.library)):
                    cut_short.append(True)
                return cut_short
            failure, _ = self.execute(test.command, folder, clean, alone, test.stdin,
                                      watch=enough, timeout=test.timeout)
            if failure:
                return Run("refused" if "cannot be preloaded" in failure else "fail", failure)
            # Cut short it leaves half a record, after a whole one.
            why = "" if cut_short else doubt() or self.stranger
            return Run("refused" if why else "ok", why)

    def strangers(self, library):
        """Do processes of the run live that have the library not mapped? Remembers one of them:
        what dropped LD_PRELOAD and LD_DEBUG with it leaves no record."""
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError): # it has ended
                name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
                maps = stat.with_name("maps").read_text()
                exe = os.readlink(stat.with_name("exe"))
                if (int(rest.split()[3]) == self.child.pid and runs_without(library, maps)
                        and exe != os.path.realpath(self.launch)):
                    self.stranger = f"{name} has {library} not mapped"
        return self.stranger

    def count_calls(self, test, peer):
        """(system calls, "") or (None, why not). launch's own are left out."""
        if test.driver:
            return None, "client and server together"
        clean, alone = environment(test, peer)
        with fresh_folder() as folder:
            if has_perf():
                counter = perf_counter(folder)
                failure, _ = self.execute(test.command, folder, clean, alone, test.stdin,
                                          around=counter, timeout=test.timeout * 2)
                if failure:
                    return None, failure
                return perf_value(folder) - self.own_calls(), ""
            inner = ["strace", "-f", "-c", "-o", str(folder / "count")]
            for name, value in alone.items():
                inner += ["-E", f"{name}={value}"]
            failure, _ = self.execute(inner + test.command, folder, clean, {}, test.stdin,
                                      timeout=test.timeout * COUNTING_SLOWER)
            if failure:
                return None, failure
            total = (folder / "count").read_text().splitlines()[-1].split()
            if total[-1:] != ["total"]:
                return None, "no total in strace's table"
            return int(total[3]), ""

    @functools.cache
    def own_calls(self):
        """System calls that launch makes: those of `launch true` less those of `true`."""
        with fresh_folder() as folder:
            self.execute(["true"], folder, dict(os.environ), {}, around=perf_counter(folder))
            both = perf_value(folder)
            subprocess.run([*perf_counter(folder), "true"], check=True,
                           stdout=subprocess.DEVNULL)
            return both - perf_value(folder)

    def count_instructions(self, test, peer):
        """(instructions of all its processes, "") or (None, why not)."""
        clean, alone = environment(test, peer)
        with fresh_folder() as folder:
            command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
                       "--trace-children=yes", f"--log-file={folder}/log.%p",
                       *test.instructions]
            failure, _ = self.execute(command, folder, clean, alone, test.stdin,
                                      timeout=test.timeout * COUNTING_SLOWER)
            if failure:
                return None, failure
            logs = "".join(p.read_text(errors="replace") for p in folder.glob("log.*"))
            counts = [int(c) for c in re.findall(r"Collected : (\d+)", logs)]
            return (sum(counts), "") if counts else (None, "callgrind printed no count")


def figures(test, peer, run, out):
    """Replace what the test measures itself. ValueError where its output does not say it."""
    text = out.decode(errors="replace")
    if test.driver:
        said = dict(re.findall(r"^(\w+): (.*)$", text, re.M))
        missing = {"seconds", "cpu", "peak_kb", "faults", "loaded"} - set(said)
        if missing:
            raise ValueError(f"the driver printed no {' '.join(sorted(missing))}")
        if os.path.realpath(said["loaded"]) != peer.library and not (
                peer.system and said["loaded"] == "none"):
            raise ValueError(f"the server has {said['loaded']}, not {peer.library}")
        run.seconds = run.wall = float(said["seconds"])
        run.user, run.sys = float(said["cpu"]), 0.0
        run.peak_kib, run.faults = int(said["peak_kb"]), int(said["faults"])
        run.result = said.get("result", "")
    elif test.output == "same":
        run.result = hashlib.sha256(out).hexdigest()[:16]
    if test.metric:
        value = figure(test.metric, text)
        run.seconds = test.work / value if test.better == "more" else value
    if not test.time:
        run.seconds = 0
    if test.figures:
        run.figures = json.dumps({name: figure(p, text) for name, p in test.figures.items()})


def figure(pattern, text):
    """The number that the pattern's group finds."""
    found = re.search(pattern, text, re.M)
    if not found:
        raise ValueError(f"nothing in the output matches {pattern}")
    if float(found[1]) <= 0:
        raise ValueError(f"{found[0]!r}: not above 0")
    return float(found[1])


def runs_without(library, maps):
    """Is this a process without the library? One whose program is still being loaded tells nothing yet:
    the kernel maps the vdso last, the dynamic linker what is preloaded before the C library."""
    loaded = (re.search(r"/libc[-.][^/]*so", maps) if re.search(r"/ld-[^/]*\.so", maps)
              else "[vdso]" in maps)
    return bool(loaded) and library not in maps


def doubts(traces, library, driver):
    """Why the linker's records do not prove that all processes use the library's malloc, or "".

    Each process must bind malloc and its kin to the library, wherever it is called from: the
    program, its libraries, the C library itself. Of a driver's processes only those count that
    have the library.
    """
    processes = 0
    for trace in traces.iterdir():
        text = trace.read_text(errors="replace")
        names = re.findall(r"transferring control: (.*)", text)
        if not names:
            continue # it has not got to its program yet
        name = names[-1]
        found = set(BINDING.findall(text))
        ours = {(source, symbol) for source, target, symbol in found
                if os.path.realpath(target) == library}
        if driver and library not in text:
            continue
        for source, target, symbol in sorted(found):
            # A program at a fixed address lends libraries its own stub for a function whose
            # address it takes; where that leads is what the program is bound to.
            if ((source, symbol) in ours or (target, symbol) in ours
                    or symbol not in FAMILY and source == target):
                continue
            return f"{name}: {symbol} of {os.path.basename(source)} is that of {target}"
        if not ours:
            return f"{name}: no call of malloc is bound to {library}"
        if inside := shutil.which(name):
            held = pathlib.Path(inside).read_bytes()
            for mark, allocator in INSIDE.items():
                if mark in held and os.path.realpath(inside) != library:
                    return f"{name} holds a {allocator} of its own"
        processes += 1
    return "" if processes else ("the dynamic linker recorded no process: linked statically, "
                                 "or it drops LD_PRELOAD")


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


@contextlib.contextmanager
def fresh_folder():
    """A folder of its own for a run: it finds nothing there and leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix="hakmem-bench-",
                                     ignore_cleanup_errors=True) as name:
        yield pathlib.Path(name)


def perf_counter(folder):
    return ["perf", "stat", "-x,", "-o", str(folder / "count"), "-e", "raw_syscalls:sys_enter"]


def perf_value(folder):
    found = re.search(r"^(\d+),,raw_syscalls", (folder / "count").read_text(), re.M)
    return int(found[1]) if found else 0


@functools.cache
def has_perf():
    """Can perf count system calls here? It hardly slows the command; strace does."""
    if shutil.which("perf") is None:
        return False
    with fresh_folder() as folder:
        status = subprocess.run([*perf_counter(folder), "true"], check=False,
                                capture_output=True).returncode
        return status == 0 and perf_value(folder) > 0
