# SPDX-License-Identifier: MIT
"""tools/bench --rest as a person runs it, with little work and a rest of a second."""
import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ["HAKMEM_BENCH_BUILD"])
RUNNER = [sys.executable, "-B", str(ROOT / "bench" / "runner"), "--rest", "--build", str(BUILD)]
SMALL = ["--mib", "16", "--idle", "1", "--day", "1", "--plots", "no", "--peers",
         "hakmem,system"]
SPIKE = '[[test]]\nname = "spike"\nabout = "a"\nthreads = 1\ncommand = '


def script(text):
    """A scenario that a shell plays; "$@" is what the runner adds to a run that counts. A run
    for proof is a spike."""
    proof = f'[ $# = 0 ] && exec "{BUILD}/bench/spike" --mib 8; '
    return f"{SPIKE}['sh', '-c', '{proof}{text}', 'sh']\n"


class Rest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.out = self.folder / "out"

    def bench(self, *arguments, status=0):
        """Run it; (stdout, stderr)."""
        done = subprocess.run([*RUNNER, *arguments], capture_output=True, text=True,
                              timeout=120, check=False)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout, done.stderr

    def measure(self, *arguments, scenarios=None, status=0):
        words = [*SMALL, "--out", str(self.out), *arguments]
        if scenarios is not None:
            (self.folder / "rest.toml").write_text(scenarios)
            words += ["--suites", str(self.folder / "rest.toml")]
        return self.bench(*words, status=status)

    def rows(self, kind="run"):
        with open(self.out / "runs.csv", newline="", encoding="utf-8") as f:
            return [row for row in csv.DictReader(f) if row["kind"] == kind]

    def failed(self, words, scenarios):
        """Every run of it is a failed run, and says why."""
        out, _ = self.measure("--counts", "no", scenarios=scenarios, status=1)
        self.assertEqual({row["status"] for row in self.rows()}, {"fail"})
        for row in self.rows():
            self.assertIn(words, row["note"])
        self.assertIn("NOT MET: it failed", out)
        with open(self.out / "figures.csv", newline="", encoding="utf-8") as f:
            figures = list(csv.DictReader(f))
        self.assertEqual({row["figure"] for row in figures}, {"failed"})


class Whole(Rest):
    def test_every_scenario_from_end_to_end(self):
        target = self.folder / "rest.md"
        out, err = self.measure("--markdown", str(target))
        runs = self.rows()
        self.assertEqual([(r["test"], r["peer"]) for r in runs if r["test"] == "spike"],
                         [("spike", "hakmem"), ("spike", "system")])
        self.assertEqual({r["test"] for r in runs},
                         {"spike", "survivors", "serverday", "sleepers", "drain"})
        self.assertEqual({r["status"] for r in runs + self.rows("proof")}, {"ok"}, err)
        for run in runs:
            self.check(run["test"], json.loads(run["figures"]))
        self.assertIn("spike: much memory for a moment", out)
        self.assertIn("MiB above the start after 1 s of rest", out)
        text = target.read_text()
        self.assertIn("| RSS at the start, MiB |", text)
        self.assertNotIn("<!--", text)
        curve = (self.out / "spike.hakmem.over-time.csv").read_text().splitlines()
        self.assertEqual(curve[0], "time,live,rss")
        self.assertGreater(len(curve), 20)
        again, _ = self.bench("--report", str(self.out), "--plots", "no")
        self.assertEqual(again.split(str(self.out))[0], out.split(str(self.out))[0])

    def check(self, scenario, found):
        """Figures that no malloc can have otherwise."""
        name = f"{scenario}: {found}"
        for figure in ("rss_start", "rss_peak", "rss_0", "rss_1", "excess", "work"):
            self.assertGreater(found[figure], 0, f"{figure} of {name}")
        self.assertNotIn("rss_3", found)
        self.assertGreaterEqual(found["rss_peak"], max(found["rss_0"], found["rss_1"]), name)
        # The rest alone is a second; what was held beyond what was live was there that long.
        self.assertGreater(found["excess"], 0.9 * min(found["rss_0"], found["rss_1"])
                           - found["rss_peak"] * (scenario in ("survivors", "serverday")), name)
        if scenario in ("spike", "survivors"):
            self.assertGreater(found["rss_peak"], 16 << 20, name)
            self.assertGreater(found["faults"], (16 << 20) / 4096, name)
        if scenario in ("survivors", "serverday"): # blocks live on, in memory
            self.assertGreaterEqual(found["ratio_1"], 1, name)
        else:
            self.assertNotIn("ratio_1", found)
        if scenario == "serverday":
            self.assertGreater(found["work"], 0.99, name)
            self.assertGreater(found["mean_ratio"], 1, name)

    def test_system_calls_are_counted(self):
        self.measure("--scenarios", "spike")
        counts = [int(r["count"]) for r in self.rows("calls")] or \
            [json.loads(r["figures"])["calls"] for r in self.rows()]
        self.assertEqual(len(counts), 2)
        for count in counts:
            self.assertGreater(count, 20)

    def test_memory_is_looked_at_from_outside(self):
        """4 MiB after a start of next to nothing; 2 of them live on; a second to see both."""
        program = ("import os, struct, sys, time; t = time.monotonic_ns\n"
                   "if len(sys.argv) < 2: sys.exit(0) # a run for proof\n"
                   "b = os.open(sys.argv[2], os.O_RDWR)\n"
                   "def enter(n, live): "
                   "os.pwrite(b, struct.pack(\"QQq\", 0, os.getpid(), live), 0); "
                   "os.pwrite(b, struct.pack(\"Q\", t()), 24 + 40 * n); "
                   "os.pwrite(b, struct.pack(\"Q\", n), 0); time.sleep(0.2 if n < 3 else 1.5)\n"
                   "enter(1, 0); m = bytearray(b\"x\" * (4 << 20)); enter(2, 4 << 20); "
                   "m = m[:2 << 20]; enter(3, 2 << 20); enter(4, 2 << 20)")
        (self.folder / "told.py").write_text(program)
        self.measure("--counts", "no", "--peers", "system", "--reps", "2",
                     scenarios=f"{SPIKE}['{sys.executable}', '-c', "
                     f"'exec(open(\"{self.folder}/told.py\").read())']\n")
        self.assertEqual(len(self.rows()), 4) # hakmem takes part even if not named
        for run in self.rows():
            found = json.loads(run["figures"])
            grown = found["rss_1"] - found["rss_start"]
            self.assertGreater(grown, 1 << 20)
            self.assertAlmostEqual(found["ratio_1"], found["rss_1"] / (2 << 20))
            self.assertAlmostEqual(found["work"], 0.2, delta=0.15)


class Failures(Rest):
    def test_a_workload_that_dies_at_work_is_a_failed_run(self):
        self.failed("killed by SIGSEGV", script("sleep 0.05; kill -SEGV $$"))

    def test_a_workload_that_dies_at_rest_is_a_failed_run(self):
        text = f'"{BUILD}/bench/spike" --mib 8 "$@" & sleep 0.7; kill -9 $!; wait $!'
        self.failed("exit status 137", script(text))

    def test_a_workload_that_tells_of_no_rest_is_a_failed_run(self):
        self.failed("ended without having worked and rested", script("exit 0"))

    def test_a_workload_with_an_error_gives_its_line(self):
        self.failed("exit status 1: block 7 is torn",
                    script("echo block 7 is torn >&2; exit 1"))

    def test_a_workload_that_does_not_end_is_ended(self):
        begun = time.monotonic()
        self.failed("timeout after 3 s", script("exec sleep 62").replace(
            "\ncommand", "\ntimeout = 1\ncommand"))
        self.assertLess(time.monotonic() - begun, 60)

    def test_a_program_that_drops_the_library_is_refused(self):
        out, _ = self.measure("--counts", "no", status=1,
                              scenarios=f"{SPIKE}['env', '-i', '{BUILD}/bench/spike', "
                              "'--mib', '8']\n")
        self.assertIn("REFUSED: spike under hakmem", " ".join(out.split()))
        self.assertNotIn(("hakmem", "ok"), [(row["peer"], row["status"])
                                            for row in self.rows()])

    def test_what_was_interrupted_goes_on(self):
        words = [*SMALL, "--counts", "no", "--out", str(self.out), "--scenarios",
                 "spike,survivors", "--reps", "2"]
        with subprocess.Popen([*RUNNER, *words], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as run:
            for line in run.stderr:
                if "spike, system: work" in line:
                    break
            run.send_signal(signal.SIGINT)
            _, err = run.communicate(timeout=60)
        self.assertEqual(run.returncode, 130, err)
        done = self.rows()
        self.assertLess(len(done), 8)
        _, err = self.bench("--resume", str(self.out), "--mib", "32", status=2)
        self.assertIn("--mib 32: the run in", err)
        self.bench("--resume", str(self.out))
        self.assertEqual(self.rows()[:len(done)], done)
        self.assertEqual(len(self.rows()), 8)


class BadInput(Rest):
    def refused(self, word, *arguments):
        out, err = self.bench(*arguments, status=2)
        self.assertEqual((out, err.count("\n")), ("", 1), err)
        self.assertIn(word, err)

    def test_bad_arguments_are_one_line_that_names_them(self):
        self.refused("--mib 7: expected 8 to", "--mib", "7")
        self.refused("--idle 0: expected 1 to", "--idle", "0")
        self.refused("--day x: expected a number", "--day", "x")
        self.refused("--reps 0: expected 1 to", "--reps", "0")
        self.refused("--scenarios no-such: no such", "--scenarios", "no-such")
        self.refused("--peers jmalloc: expected", "--peers", "jmalloc")
        self.refused("--bogus", "--bogus")
        self.refused("no results", "--report", str(self.folder))

    def test_the_scenarios_can_be_listed(self):
        out, _ = self.bench("--list")
        self.assertEqual(len(out.splitlines()), 5)


if __name__ == "__main__":
    unittest.main()
