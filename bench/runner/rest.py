# SPDX-License-Identifier: MIT
"""tools/bench --rest: what hakmem and its peers hold while a program works, and rests."""
import argparse
import csv
import dataclasses
import pathlib
import signal
import sys
import time

import measure
import peers
import rest_report
import results as store
import session
import suite
import watch
from session import BUILD, SOURCE
from suite import Bad

SCENARIOS = SOURCE / "bench" / "rest.toml"
EPILOG = """
The scenarios are in bench/rest.toml. One works at a time; those before it rest meanwhile, which
takes no processor. Whoever holds memory while it rests makes others wait where the machine has
too little left.

examples:
  tools/bench --rest
  tools/bench --rest --scenarios spike,sleepers --mib 256 --peers system,jemalloc
  tools/bench --rest --peers all --reps 3 --markdown doc/rest.md
"""


def arguments(argv):
    p = session.Parser(
        prog="tools/bench --rest",
        description="What hakmem and its peers hold while a program works, and while it rests.",
        epilog=EPILOG, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rest", action="store_true", help=argparse.SUPPRESS)
    p.add_argument("--scenarios", metavar="LIST", help="separated by commas; default: all")
    p.add_argument("--peers", metavar="LIST", help="as in tools/bench --help; default: all")
    p.add_argument("--mib", metavar="N", default="2048", help="MiB of the spike, and what the "
                   "other scenarios take follows it; default: 2048")
    p.add_argument("--idle", metavar="S", default="30", help="seconds of rest; default: 30")
    p.add_argument("--day", metavar="S", default="60", help="seconds of the server's day; "
                   "default: 60")
    p.add_argument("--reps", metavar="N", default="1", help="runs of each; default: 1")
    p.add_argument("--counts", choices=["yes", "no"], default="yes",
                   help="count system calls, without perf in a run of their own; default: yes")
    p.add_argument("--library", metavar="PATH", help="what hakmem is, instead of the release "
                   "built in build-bench/")
    p.add_argument("--out", metavar="DIR", help="where the results go; default: "
                   "build-bench/results/DATE-TIME")
    p.add_argument("--resume", metavar="DIR", help="go on with the run whose results are "
                   "there; what else is given replaces what was given then")
    p.add_argument("--report", metavar="DIR",
                   help="measure nothing; report on the results there")
    p.add_argument("--markdown", metavar="FILE",
                   help="write FILE, and the plot in img/ beside it, from doc/rest.in.md")
    p.add_argument("--plots", choices=["yes", "no"], default="yes", help="default: yes")
    p.add_argument("--list", action="store_true", help="show scenarios, and end")
    p.add_argument("--suites", metavar="LIST", help=argparse.SUPPRESS)   # for the tests
    p.add_argument("--build", metavar="DIR", help=argparse.SUPPRESS)     # with the workloads
    p.add_argument("--plan", action="store_true", help=argparse.SUPPRESS) # for tools/bench
    given = p.parse_args(argv)
    for name, least, most in (("mib", 8, 1 << 20), ("idle", 1, 3600), ("day", 1, 3600),
                              ("reps", 1, 1000)):
        setattr(given, name, session.whole(given, name, least, most))
    return given


def scenarios_of(given):
    """The chosen ones with paths and sizes."""
    build = pathlib.Path(given.build).resolve() if given.build else BUILD
    places = {"bench": build / "bench", "mib": given.mib, "half_mib": given.mib // 2,
              "kib": given.mib // 2, "connections": max(256, given.mib * 10),
              "tick_us": given.day * 1000000 // 3600}
    every = suite.load(given.suites.split(",") if given.suites else [SCENARIOS])
    chosen = suite.choose(every, given.scenarios, "--scenarios")
    return [dataclasses.replace(suite.placed(t, places),
                                timeout=t.timeout + given.day + given.idle) for t in chosen]


def plan(given):
    """For tools/bench: the packages to install, or "nothing" where nothing is to be built."""
    if given.list or given.report:
        print("nothing")
        return
    if given.resume:
        given = session.resumed(given, arguments)[0]
    scenarios_of(given)
    peers.parse(given.peers, session.library_of(given))
    print("strace" if given.counts == "yes" and not measure.has_perf() else "")


# ---- Measuring. ----

class Measuring:
    """The passes: proofs, runs with their rests, system calls where perf cannot count them."""

    def __init__(self, given, scenarios, contenders, results):
        self.given, self.scenarios, self.contenders = given, scenarios, contenders
        self.results = results
        self.where = measure.Machine(session.launch_of(given))
        self.by_perf = given.counts == "yes" and measure.has_perf()
        self.begun, self.done = time.monotonic(), 0

    def cells(self):
        return [(test, peer) for test in self.scenarios for peer in self.contenders]

    def left(self, kind, rep=0):
        return [(test, peer, rep) for test, peer in self.cells()
                if not store.measured(self.results, kind, test, peer, rep)
                and not self.results.failure(test.name, peer.label)]

    def say(self, text):
        print(f"[{time.monotonic() - self.begun:4.0f} s] {text}", file=sys.stderr, flush=True)

    def prove(self):
        for test, peer, _ in self.left("proof"):
            self.results.add("proof", test, peer, 0, self.where.prove(test, peer))

    def start(self, step):
        test, peer, _ = step
        if self.results.failure(test.name, peer.label):
            return None # an earlier run of it has failed
        return watch.Watched(self.where.launch, test, peer, self.given.idle, self.by_perf)

    def finished(self, step, watched):
        test, peer, rep = step
        run = watched.result(self.where.own_calls() if self.by_perf else 0)
        self.results.add("run", test, peer, rep, run)
        self.done += 1
        self.say(f"{test.name}, {peer.label}: "
                 + (f"work {run.seconds:.1f} s, peak {run.peak_kib / 1024:.0f} MiB"
                    if run.status == "ok" else f"FAIL: {run.note}"))

    def run(self):
        steps = [step for rep in range(1, self.given.reps + 1)
                 for step in self.left("run", rep)]
        if self.by_perf:
            self.where.own_calls() # its runs come before all others
        watch.watch_all(steps, self.start, self.finished, (self.given.mib * 3 // 2 + 512) << 20)

    def count(self):
        """One rest is as long as another for who counts system calls: a second."""
        for test, peer, _ in self.left("calls"):
            shorter = dataclasses.replace(test, command=[*test.command, "--idle-ms",
                                                               "1000"])
            count, why = self.where.count_calls(shorter, peer)
            self.results.add("calls", test, peer, 0, count=count, note=why)

    def all(self):
        """False if it was interrupted."""
        signal.signal(signal.SIGTERM, signal.default_int_handler) # nothing is left running
        try:
            session.check_peers(self.where, self.contenders)
            self.say("proving that every scenario runs on every peer")
            self.prove()
            self.run()
            if self.given.counts == "yes" and not self.by_perf:
                self.say("counting system calls with strace")
                self.count()
        except KeyboardInterrupt:
            print(f"\ntools/bench: interrupted; tools/bench --rest --resume "
                  f"{self.results.folder} goes on", file=sys.stderr)
            return False
        finally:
            self.where.stop()
        return True


# ---- What came of it. ----

def write_figures(results):
    """figures.csv: a line for each figure of each run."""
    with open(results.folder / "figures.csv", "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(["scenario", "peer", "rep", "figure", "value"])
        for (kind, test, peer), rows in results.rows.items():
            for row in rows if kind == "run" else []:
                if row["status"] != "ok":
                    writer.writerow([test, peer, row["rep"], "failed", row["note"]])
                for name, value in row["figures"].items():
                    writer.writerow([test, peer, row["rep"], name,
                                     "" if value is None else f"{value:.6g}"
                                     if isinstance(value, float) else value])


def finish(given, results):
    """Tables, plot, document. The exit status."""
    if not results.rows:
        print("tools/bench: nothing measured", file=sys.stderr)
        return 1
    rest_report.print_all(results, sys.stdout)
    write_figures(results)
    images = session.draw("rest_plots", results) if given.plots == "yes" else []
    if given.markdown:
        session.copy_images(images, given.markdown)
        rest_report.write_markdown(results, SOURCE / "doc" / "rest.in.md", given.markdown,
                                   images)
    print(f"\n{results.path}, figures.csv, the curves and {len(images)} plot(s) beside it"
          + (f"; {given.markdown}" if given.markdown else ""))
    return 1 if results.failures() else 0


def remember(given, scenarios, results):
    """What the report needs to know; a run does not go on with other sizes."""
    for name in ("mib", "idle", "day"):
        begun, now = results.session.get(name), getattr(given, name)
        if begun not in (None, now):
            raise Bad(f"--{name} {now}: the run in {results.folder} began with {begun}")
        results.session[name] = now
    results.session.setdefault("scenarios", {}).update(
        {t.name: {"about": t.about, "threads": t.threads} for t in scenarios})
    results.save_session()


def main(argv):
    given = arguments(argv)
    given.words = [w for w in argv if w != "--plan"]
    if given.plan:
        plan(given)
        return 0
    if given.list:
        for test in scenarios_of(given):
            print(f"  {test.name:12} {test.about}")
        return 0
    if given.report:
        return finish(given, store.Results(given.report))
    results = None
    if given.resume:
        given, results = session.resumed(given, arguments)
    scenarios = scenarios_of(given)
    contenders = session.contenders_of(given)
    results = session.begin(given, contenders, results)
    remember(given, scenarios, results)
    print(f"tools/bench: {len(scenarios)} scenarios, {given.reps} run(s) each of "
          + ", ".join(p.label for p in contenders) + f"; results in {results.folder}",
          file=sys.stderr)
    complete = Measuring(given, scenarios, contenders, results).all()
    status = finish(given, results)
    return status if complete else 130
