# SPDX-License-Identifier: MIT
"""tools/bench as a person runs it, on suites of its own that take moments."""
import csv
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
RUNNER = [sys.executable, "-B", str(ROOT / "bench" / "runner"), "--build", str(BUILD)]
STATIC = BUILD / "tests" / "life" / "life_static_link"
sys.path.insert(0, str(ROOT / "bench" / "runner"))
import peers  # noqa: E402


def entry(name, command, *lines):
    words = ", ".join(f"'{word}'" for word in command)
    return "\n".join(["[[test]]", f'name = "{name}"', 'about = "a"', "threads = 1",
                      f"command = [{words}]", *lines, ""])


class Bench(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.out = self.folder / "out"

    def bench(self, *arguments, tests=None, status=0):
        """Run it; (stdout, stderr)."""
        command = [*RUNNER, *arguments]
        if tests is not None:
            (self.folder / "own.toml").write_text(tests)
            command += ["--suites", str(self.folder / "own.toml"), "--out", str(self.out)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout, done.stderr

    def measure(self, tests, *arguments, status=0):
        return self.bench("--peers", "hakmem,system", "--reps", "1", "--counts", "no",
                          "--plots", "no", *arguments, tests=tests, status=status)

    def rows(self, kind="run"):
        with open(self.out / "runs.csv", newline="", encoding="utf-8") as f:
            return [row for row in csv.DictReader(f) if row["kind"] == kind]

    def says(self, out, words):
        """Wherever its lines are broken."""
        self.assertIn(words, " ".join(out.split()))

    def refused(self, word, *arguments):
        out, err = self.bench(*arguments, status=2)
        self.assertEqual((out, err.count("\n")), ("", 1), err)
        self.assertIn(word, err)


class BadInput(Bench):
    def test_bad_arguments_are_one_line_that_names_them(self):
        self.refused("--reps 0: expected 1 to 1000", "--reps", "0")
        self.refused("--reps many: expected a number", "--reps", "many")
        self.refused("--bogus", "--bogus")
        self.refused("--counts", "--counts", "maybe")
        self.refused("--tests no-such: no such test", "--tests", "no-such")
        self.refused("--peers jmalloc: expected", "--peers", "jmalloc")
        self.refused("--peers /no/x.so: no such file", "--peers", "/no/x.so")
        self.refused("--library /no/x.so: no such file", "--library", "/no/x.so")
        self.refused("not hakmem", "--library", peers.libc())
        self.refused("--mimalloc-bench /usr: not built there", "--mimalloc-bench", "/usr")
        self.refused("wants --mimalloc-bench", "--tests", "cfrac")
        self.refused("no results", "--resume", str(self.folder))
        self.refused("no results", "--report", str(self.folder))

    def test_a_damaged_suite_is_one_line(self):
        (self.folder / "x.toml").write_text("[[test]\n")
        self.refused("not TOML", "--suites", str(self.folder / "x.toml"))

    def test_results_are_not_written_over(self):
        self.measure(entry("t", ["true"]))
        _, err = self.measure(entry("t", ["true"]), status=2)
        self.assertIn("--resume", err)

    def test_a_library_that_is_no_malloc_is_refused_before_any_run(self):
        libm = pathlib.Path(peers.libc()).with_name("libm.so.6")
        _, err = self.bench("--peers", f"system,m={libm}", tests=entry("t", ["true"]), status=2)
        self.assertIn(f"--peers m: {libm} is no malloc that can be preloaded", err)
        self.assertFalse(self.out.exists() and self.rows())

    def test_a_library_that_cannot_be_loaded_is_refused(self):
        broken = self.folder / "broken.so"
        broken.write_bytes(b"\x7fELF" + bytes(2000))
        _, err = self.bench("--peers", str(broken), tests=entry("t", ["true"]), status=2)
        self.assertIn("cannot be preloaded", err)


class Runs(Bench):
    def test_a_suite_from_end_to_end(self):
        script = "seq 3000 | tac | sort -n | sha256sum; echo took 0.25 s"
        tests = (entry("first", ["sh", "-c", script], 'output = "same"')
                 + entry("second", ["sh", "-c", script], "metric = 'took ([0-9.]+) s'",
                         "env = { LIMIT = '1' }")
                 + entry("third", ["sort", "{data}/bench-runner-test"], "input = ['sh', '-c', "
                         "'seq 100 >\"$0\"', '{data}/bench-runner-test']"))
        target = self.folder / "perf.md"
        out, err = self.bench("--peers", "hakmem,system", "--reps", "2", "--counts", "yes",
                              "--markdown", str(target), tests=tests)
        runs = self.rows()
        self.assertEqual([(r["test"], r["peer"], r["rep"]) for r in runs[:4]],
                         [("first", "hakmem", "1"), ("first", "system", "1"),
                          ("first", "hakmem", "2"), ("first", "system", "2")])
        self.assertEqual(len(runs), 12)
        self.assertEqual({r["status"] for r in runs}, {"ok"})
        self.assertEqual({float(r["seconds"]) for r in runs if r["test"] == "second"}, {0.25})
        for row in runs:
            self.assertGreater(int(row["peak_kib"]), 1000)
            self.assertGreater(int(row["faults"]), 50)
            self.assertGreater(float(row["wall"]), 0)
        self.assertEqual({r["status"] for r in self.rows("proof")}, {"ok"})
        for row in self.rows("calls"):
            self.assertEqual(row["status"], "ok", row["note"])
            self.assertGreater(int(row["count"]), 20)
        self.says(out, "geometric mean")
        self.assertIn("hakmem 1.00, system 1.00", err) # second: the metric is the same
        self.assertIn("| second |", target.read_text())
        with open(self.out / "summary.csv", newline="", encoding="utf-8") as f:
            times = [r for r in csv.DictReader(f) if r["measure"] == "seconds"]
        self.assertEqual(len(times), 6)
        again, _ = self.bench("--report", str(self.out))
        self.assertEqual(again.split("plots")[0], out.split("plots")[0])

    def test_a_failing_test_is_fail_with_its_reason_and_status_1(self):
        out, _ = self.measure(
            entry("good", ["true"])
            + entry("status", ["sh", "-c", "echo block 7 is torn >&2; exit 3"])
            + entry("signal", ["sh", "-c", "kill -SEGV $$"])
            + entry("metric", ["echo", "nothing"], "metric = 'x([0-9]+)'")
            + entry("missing", ["/no/such/program"]), status=1)
        for words in ("FAIL: status under hakmem: exit status 3: block 7 is torn",
                      "FAIL: signal under system: killed by SIGSEGV",
                      "FAIL: metric under hakmem: nothing in the output matches",
                      "/no/such/program: No such file or directory"):
            self.says(out, words)
        self.says(out, "geometric mean, 1 of 5 tests")

    def test_a_test_that_does_not_end_is_ended_with_its_children(self):
        begun = time.monotonic()
        out, _ = self.measure(entry("slow", ["sh", "-c", "sleep 61 & sleep 61"], "timeout = 1"),
                              status=1)
        self.assertLess(time.monotonic() - begun, 30)
        self.says(out, "timeout after 1 s")
        left = subprocess.run(["pgrep", "-f", "^sleep 61$"], capture_output=True, check=False)
        self.assertEqual(left.stdout, b"")

    def test_an_output_that_differs_is_a_failure(self):
        out, _ = self.measure(entry("t", ["sh", "-c", "echo $LD_PRELOAD"], 'output = "same"'),
                              status=1)
        self.says(out, "its output is not that of the first run")

    def test_a_static_program_is_refused(self):
        if not STATIC.exists():
            self.skipTest("no static program was built")
        out, _ = self.measure(entry("t", [str(STATIC)]), status=1)
        self.says(out, "REFUSED")
        self.says(out, "linked statically")
        self.assertEqual(self.rows(), [])

    def test_a_program_that_drops_the_library_is_refused(self):
        out, _ = self.measure(entry("t", ["env", "-i", "sleep", "2"]), status=1)
        self.says(out, "sleep has")
        self.says(out, "not mapped")

    def test_an_input_that_cannot_be_made_fails_the_test(self):
        out, _ = self.measure(entry("t", ["true"], "input = ['sh', '-c', 'echo no disk >&2; "
                                    "exit 1', '{data}/none']"), status=1)
        self.says(out, "made no input: exit status 1 no disk")

    def test_what_was_interrupted_is_reported_and_goes_on(self):
        tests = entry("a", ["true"]) + entry("b", ["sleep", "1.5"])
        (self.folder / "own.toml").write_text(tests)
        with subprocess.Popen(
                [*RUNNER, "--suites", str(self.folder / "own.toml"), "--out", str(self.out),
                 "--peers", "hakmem,system", "--reps", "2", "--counts", "no", "--plots", "no"],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            for line in run.stderr: # a line when a test is done
                if "] a:" in line:
                    break
            run.send_signal(signal.SIGINT)
            out, err = run.communicate(timeout=60)
        self.assertEqual(run.returncode, 130, err)
        self.assertIn("--resume", err)
        self.says(out, "geometric mean")
        done = self.rows()
        self.assertEqual([r["test"] for r in done[:4]], ["a"] * 4)
        self.assertLess(len(done), 8)
        self.bench("--resume", str(self.out))
        self.assertEqual(self.rows()[:len(done)], done)
        self.assertEqual(len(self.rows()), 8)
        self.bench("--resume", str(self.out), "--reps", "3", "--tests", "a")
        self.assertEqual(len(self.rows()), 10)

    def test_counts_can_be_had_alone_and_the_runs_later(self):
        self.measure(entry("t", ["true"], "instructions = ['true']"), "--counts", "only")
        self.assertEqual(self.rows(), [])
        self.assertEqual(len(self.rows("calls")), 2)
        kinds = self.rows("instructions") # valgrind may be missing; a note says so then
        self.assertTrue(all(r["count"] or r["note"] for r in kinds) and len(kinds) == 2)
        self.bench("--resume", str(self.out), "--counts", "no")
        self.assertEqual(len(self.rows()), 2)

    def test_a_run_goes_on_with_the_same_library_built_again(self):
        ours = self.folder / "libhakmem.so"
        ours.write_bytes((BUILD / "libhakmem.so.1").read_bytes())
        self.measure(entry("t", ["true"]), "--library", str(ours))
        os.utime(ours, (0, 0))
        self.bench("--resume", str(self.out), "--reps", "3")
        self.assertEqual(len(self.rows()), 6)

    def test_a_run_does_not_go_on_with_another_library(self):
        self.measure(entry("t", ["true"]))
        other = self.folder / "libhakmem.so"
        other.write_bytes((BUILD / "libhakmem.so.1").read_bytes())
        _, err = self.bench("--resume", str(self.out), "--library", str(other), status=2)
        self.assertIn("hakmem is not what it was", err)


class Launch(unittest.TestCase):
    def launch(self, *arguments):
        with tempfile.NamedTemporaryFile("r") as report:
            program = BUILD / "bench" / "launch"
            done = subprocess.run([program, "-o", report.name, *arguments],
                                  capture_output=True, text=True, check=False)
            return done, dict(line.split() for line in report.read().splitlines())

    def test_the_peak_is_the_programs_own(self):
        _, small = self.launch("true")
        _, large = self.launch(sys.executable, "-c", "b'x' * 50_000_000")
        self.assertLess(int(small["peak"]), 4000)
        self.assertGreater(int(large["peak"]), 50_000_000 // 1024)

    def test_the_environment_given_is_the_commands_alone(self):
        done, _ = self.launch("-e", "GIVEN=a b", "sh", "-c", 'echo "$GIVEN"')
        self.assertEqual(done.stdout, "a b\n")

    def test_what_waited_for_children_took_counts(self):
        _, report = self.launch("sh", "-c", "perl -e '1 for 1..3e6' || sort /dev/null; true")
        self.assertGreater(int(report["minor"]), 100)
        self.assertEqual((report["status"], report["signal"]), ("0", "0"))

    def test_bad_use_is_an_error(self):
        self.assertEqual(self.launch()[0].returncode, 125)
        self.assertEqual(self.launch("-i", "/no/input", "true")[0].returncode, 125)
        self.assertEqual(self.launch("-e", "true", "-x")[0].returncode, 125)


if __name__ == "__main__":
    unittest.main()
