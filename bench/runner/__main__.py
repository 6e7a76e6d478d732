# SPDX-License-Identifier: MIT
"""tools/bench: hakmem and its peers on every test, interleaved, and what came of it."""
import argparse
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import machine
import measure
import peers
import report
import rest
import results as store
import session
import suite
from session import BUILD, SOURCE
from suite import Bad

SUITES = [SOURCE / "bench" / f"{name}.toml" for name in ("suite", "real", "mimalloc-bench")]
EXAMPLES = """
peers are separated by commas, and each is [LABEL[@VERSION]=]NAME-OR-PATH, after VARIABLE=VALUE
for what it wants in its environment (a comma in a value is written \\,). NAME is hakmem,
system, jemalloc, tcmalloc or mimalloc (the last three as Debian packages), or all, which is
those there are. hakmem takes part even if not named.

examples:
  tools/bench --list
  tools/bench --tests 'larson*,real' --reps 3
  tools/bench --peers all,mi@3.4.3=/opt/libmimalloc.so
  tools/bench --peers tcg=GLIBC_TUNABLES=glibc.pthread.rseq=0,/opt/tcmalloc.so,system
  tools/bench --peers hakmem,lean=HAKMEM_MODE=lean,hakmem
  tools/bench --resume build-bench/results/20261123-203000 --markdown doc/perf.md
"""


def arguments(argv):
    p = session.Parser(
        prog="tools/bench",
        description="Times hakmem and its peers on the tests of bench/*.toml.",
        epilog=EXAMPLES, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--peers", metavar="LIST", help="the allocators; default: all")
    p.add_argument("--tests", metavar="LIST",
                   help="tests, groups or patterns, separated by commas; default: all")
    p.add_argument("--reps", metavar="N", default="5", help="runs of each; default: 5")
    p.add_argument("--counts", choices=["yes", "no", "only"], default="yes",
                   help="count system calls and instructions too, once each; default: yes")
    p.add_argument("--mimalloc-bench", metavar="DIR",
                   help="a built mimalloc-bench, or its build directory; its tests join")
    p.add_argument("--library", metavar="PATH", help="what hakmem is, instead of the release "
                   "built in build-bench/")
    p.add_argument("--out", metavar="DIR", help="where the results go; default: "
                   "build-bench/results/DATE-TIME")
    p.add_argument("--resume", metavar="DIR", help="go on with the run whose results are "
                   "there; what else is given replaces what was given then")
    p.add_argument("--report", metavar="DIR",
                   help="measure nothing; report on the results there")
    p.add_argument("--markdown", metavar="FILE",
                   help="write FILE, and plots in img/ beside it, from doc/perf.in.md")
    p.add_argument("--plots", choices=["yes", "no"], default="yes", help="default: yes")
    p.add_argument("--list", action="store_true", help="show tests and peers, and end")
    p.add_argument("--install-peers", action="store_true",
                   help="install jemalloc, tcmalloc and mimalloc of Debian first")
    p.add_argument("--model", action="store_true", help="cost model for larger machines "
                   "instead: bench/model/model.py gets the arguments that follow")
    p.add_argument("--rest", action="store_true", help="memory over time instead, while a "
                   "program rests after its work: tools/bench --rest --help")
    p.add_argument("--suites", metavar="LIST", help=argparse.SUPPRESS)   # for the tests
    p.add_argument("--build", metavar="DIR", help=argparse.SUPPRESS)     # with the workloads
    p.add_argument("--plan", action="store_true", help=argparse.SUPPRESS) # for tools/bench
    given = p.parse_args(argv)
    given.reps = session.whole(given, "reps", 1, 1000)
    return given


def mimalloc_bench(folder):
    """The programs and the sources of a built mimalloc-bench, or None without one."""
    if folder is None:
        return None
    given = pathlib.Path(folder).resolve()
    for programs in (given / "out" / "bench", given):
        try:
            cache = (programs / "CMakeCache.txt").read_text(encoding="utf-8")
        except OSError:
            continue
        source = machine.first(r"^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)", cache)
        if (pathlib.Path(source) / "espresso").is_dir():
            return programs, pathlib.Path(source)
    raise Bad(f"--mimalloc-bench {folder}: not built there; expected a clone of "
              "https://github.com/daanx/mimalloc-bench after ./build-bench-env.sh bench")


def tests_of(given):
    """The chosen tests with their paths, and why others are left out."""
    build = pathlib.Path(given.build).resolve() if given.build else BUILD
    places = {"bench": build / "bench", "data": build / "bench-data", "source": SOURCE}
    everything = suite.load(given.suites.split(",") if given.suites else
                            [s for s in SUITES if s.exists()])
    foreign = mimalloc_bench(given.mimalloc_bench)
    left_out = []
    if foreign:
        places |= {"mbench": foreign[0], "mbench_source": foreign[1]}
    chosen = suite.choose(everything, given.tests)
    if not foreign:
        without = [t for t in chosen if any("{mbench" in word for word in t.command)]
        if without and given.tests:
            raise Bad(f"--tests {without[0].name}: wants --mimalloc-bench DIR")
        if without:
            left_out.append(f"{len(without)} tests of mimalloc-bench: --mimalloc-bench DIR is "
                            "not given")
        chosen = [t for t in chosen if t not in without]
    return [suite.placed(t, places) for t in chosen], left_out


def plan(given):
    """For tools/bench: the packages to install, or "nothing" where nothing is to be built."""
    if given.list or given.report:
        print("nothing")
        return
    if given.resume:
        given = session.resumed(given, arguments)[0]
    session.library_of(given)
    chosen, _ = tests_of(given)
    if not given.install_peers:
        peers.parse(given.peers, session.library_of(given))
    packages = {p for t in chosen for p in t.needs}
    if given.counts != "no":
        packages |= {"strace"}
        if any(t.instructions for t in chosen):
            packages |= {"valgrind"}
    print(" ".join(sorted(packages)))


def show_list(given):
    chosen, left_out = tests_of(given)
    group = None
    for test in chosen:
        if test.group != group:
            group = test.group
            print(f"\n{group}")
        print(f"  {test.name:24} {test.threads:2} thread{'s' if test.threads > 1 else ' '}  "
              f"{test.about}")
    print("\npeers")
    for peer in peers.parse(given.peers, session.library_of(given)):
        print(f"  {peer.label:24} {peer.version or peer.library}"
              + "".join(f" {k}={v}" for k, v in peer.env.items()))
    for line in left_out:
        print(f"left out: {line}")


# ---- Measuring. ----

class Progress:
    """n of m, what runs, and how long it may take yet."""

    def __init__(self, steps):
        self.steps, self.done, self.spent, self.live = steps, 0, {}, sys.stderr.isatty()

    def begin(self, test, peer, what):
        self.since = time.monotonic()
        if self.live:
            print(f"\r\033[K[{self.done + 1}/{len(self.steps)}] {test.name}, {peer.label}, "
                  f"{what}{self.left()}", end="", file=sys.stderr, flush=True)

    def end(self):
        kind, test = self.steps[self.done][:2]
        self.spent.setdefault((kind, test.name), []).append(time.monotonic() - self.since)
        self.done += 1

    def left(self):
        """By what the same step of the same test took, else the mean of its kind."""
        if self.done < 3:
            return ""
        kinds, total = {}, 0.0
        for (kind, _), times in self.spent.items():
            kinds.setdefault(kind, []).extend(times)
        overall = [t for times in kinds.values() for t in times]
        for kind, test, *_ in self.steps[self.done:]:
            times = self.spent.get((kind, test.name)) or kinds.get(kind) or overall
            total += sum(times) / len(times)
        minutes = total / 60
        return f"; {minutes:.0f} min left" if minutes >= 2 else f"; {total:.0f} s left"

    def say(self, text):
        print(("\r\033[K" if self.live else "") + text, file=sys.stderr, flush=True)


def make_input(test):
    """Run what makes the input of the test, once. Why not, or ""."""
    if test.input is None or os.path.exists(test.input[-1]):
        return ""
    target = pathlib.Path(test.input[-1])
    target.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(test.input, capture_output=True, text=True, check=False)
    if done.returncode == 0 and target.exists():
        return ""
    if target.is_file():
        target.unlink() # half of it
    return (f"{shlex.join(test.input)} made no input: exit status {done.returncode} "
            + measure.last_line(done.stderr))


def steps_of(given, chosen, contenders, results):
    """What is yet to be done, in order: (kind, test, peer, rep)."""
    steps = []
    for test in chosen:
        for peer in contenders:
            steps.append(("proof", test, peer, 0))
        if given.counts != "only":
            for rep in range(1, given.reps + 1):
                steps += [("run", test, peer, rep) for peer in contenders]
        if given.counts != "no":
            if not test.driver:
                steps += [("calls", test, peer, 0) for peer in contenders]
            if test.instructions:
                steps += [("instructions", test, peer, 0) for peer in contenders]
    return [s for s in steps if not store.measured(results, *s)]


def do_step(where, results, kind, test, peer, rep):
    """One step; where the proof has failed, the rest of that cell is not run."""
    if kind == "proof":
        if missing := make_input(test):
            results.add("run", test, peer, 0, measure.Run("fail", missing))
        else:
            results.add("proof", test, peer, 0, where.prove(test, peer))
    elif results.failure(test.name, peer.label):
        return
    elif kind == "run":
        run = store.check_output(results, test, where.run(test, peer))
        results.add("run", test, peer, rep, run)
    else:
        how = where.count_calls if kind == "calls" else where.count_instructions
        count, why = how(test, peer)
        results.add(kind, test, peer, 0, count=count, note=why)


def tell(progress, results, test):
    """One line when a test is done."""
    row = results.table("seconds" if test.time else "peak_kib", [test.name])[test.name]
    ratio = report.stats.ratios(row, results.ours())
    cells = []
    for peer in results.labels():
        failed = results.failure(test.name, peer)
        cells.append(f"{peer} {failed[0] if failed else report.number(ratio[peer])}")
    noise = test.time and results.noise(test.name)
    progress.say(f"[{progress.done}/{len(progress.steps)}] {test.name}: "
                 + ("" if test.time else "peak memory: ") + ", ".join(cells)
                 + (f"; noisy: {noise}" if noise else "") + progress.left())


def measure_all(given, chosen, contenders, results):
    where = measure.Machine(session.launch_of(given))
    signal.signal(signal.SIGTERM, signal.default_int_handler) # nothing is left running
    try:
        session.check_peers(where, contenders)
        steps = steps_of(given, chosen, contenders, results)
        progress = Progress(steps)
        for number, (kind, test, peer, rep) in enumerate(steps):
            what = f"run {rep} of {given.reps}" if kind == "run" else kind
            progress.begin(test, peer, what)
            do_step(where, results, kind, test, peer, rep)
            progress.end()
            if number + 1 == len(steps) or steps[number + 1][1] is not test:
                tell(progress, results, test)
    except KeyboardInterrupt:
        print(f"\ntools/bench: interrupted; tools/bench --resume {results.folder} goes on",
              file=sys.stderr)
        return False
    finally:
        where.stop()
    return True


def finish(given, results):
    """Tables, plots, document. The exit status."""
    if not results.rows:
        print("tools/bench: nothing measured", file=sys.stderr)
        return 1
    report.print_all(results, sys.stdout)
    report.write_summary(results)
    images = session.draw("plots", results) if given.plots == "yes" else []
    if given.markdown:
        session.copy_images(images, given.markdown)
        report.write_markdown(results, SOURCE / "doc" / "perf.in.md", given.markdown, images)
    print(f"\n{results.path}, summary.csv and {len(images)} plots beside it"
          + (f"; {given.markdown}" if given.markdown else ""))
    return 1 if results.failures() else 0


def main(argv):
    if argv[:1] == ["--rest"]:
        return rest.main(argv)
    given = arguments(argv)
    given.words = [w for w in argv if w != "--plan"]
    if given.plan:
        plan(given)
        return 0
    if given.list:
        show_list(given)
        return 0
    if given.report:
        return finish(given, store.Results(given.report))
    results = None
    if given.resume:
        given, results = session.resumed(given, arguments)
    chosen, left_out = tests_of(given)
    contenders = session.contenders_of(given)
    results = session.begin(given, contenders, results)
    for line in left_out:
        print(f"tools/bench: left out: {line}", file=sys.stderr)
    print(f"tools/bench: {len(chosen)} tests, {given.reps} runs each of "
          + ", ".join(p.label for p in contenders) + f"; results in {results.folder}",
          file=sys.stderr)
    whole = measure_all(given, chosen, contenders, results)
    status = finish(given, results)
    return status if whole else 130


try:
    sys.exit(main(sys.argv[1:]))
except Bad as error:
    print(f"tools/bench: {error}", file=sys.stderr)
    sys.exit(2)
except BrokenPipeError:
    sys.exit(1)
