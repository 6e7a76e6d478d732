#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""model_test.py SOURCE-ROOT HAKMEM-MODEL: what must hold of the allocator's counts, and of
model.py."""
import csv
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT, PROGRAM = pathlib.Path(sys.argv[1]), sys.argv[2]
sys.path.insert(0, str(ROOT / "bench" / "model"))
import model  # noqa: E402

# pairs: whole batches
OPS = {"local": 20000, "pairs": 24576, "cross": 4000, "churn": 4000, "large": 200}
FAST = [("malloc", "pop"), ("free", "push")]
SHARED = ["rmw", "acquires", "releases", "locks", "waits", "system_calls", "records", "shares"]


def command(*arguments):
    return subprocess.run([sys.executable, ROOT / "bench" / "model" / "model.py", "--program",
                           PROGRAM, *arguments], capture_output=True, text=True, check=False)


class TheAllocator(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        symbols = model.Symbols(PROGRAM)
        cls.unknown = model.unknown_functions(symbols)
        cls.runs = {load: {n: model.run(PROGRAM, symbols, load, n, ops) for n in (1, 2, 4)}
                    for load, ops in OPS.items()}

    def test_paths_are_told_apart_by_functions_that_exist(self):
        self.assertEqual(self.unknown, [])

    def test_a_fast_malloc_or_free_shares_nothing_while_blocks_stay_with_their_thread(self):
        for n, one in self.runs["local"].items():
            for path in FAST:
                count, cost = model.total(one, [path[0]], SHARED + ["blocks"], path)
                self.assertGreater(count, 0)
                self.assertEqual(cost, 0, f"{path} at {n} threads")

    def test_a_fast_malloc_or_free_has_no_rmw_and_no_lock_under_any_load(self):
        for load, runs in self.runs.items():
            for n, one in runs.items():
                for path in FAST:
                    _, cost = model.total(one, [path[0]], ["rmw", "locks"], path)
                    self.assertEqual(cost, 0, f"{load}: {path} at {n} threads")

    def test_nine_of_ten_operations_are_fast_while_blocks_stay_with_their_thread(self):
        for one in self.runs["local"].values():
            every, _ = model.total(one, model.OPERATIONS, [])
            fast = sum(model.total(one, [path[0]], [], path)[0] for path in FAST)
            self.assertGreater(fast, 0.9 * every)

    def test_what_came_home_moves_lines_where_it_is_taken_in_and_own_spare_lists_move_none(self):
        for load, path in (("local", "spare list"),):
            key = ("malloc", path)
            count, rmw = model.total(self.runs[load][2], [key[0]], ["rmw"], key)
            self.assertGreater(count, 0, path)
            self.assertEqual(rmw, 0, path)
        moved = [model.total(self.runs[load][2], ["malloc"], ["blocks"], ("malloc", path))[1]
                 for load, path in (("pairs", "remote-free queue"), ("local", "spare list"))]
        self.assertGreater(moved[0], 0)
        self.assertEqual(moved[1], 0)

    def test_counts_do_not_grow_while_blocks_stay_or_pass_between_two(self):
        for load in ("local", "pairs"):
            lines, grown = model.verdict(load, self.runs[load])
            self.assertFalse(grown, "\n".join(lines))

    def test_every_operation_asked_for_is_counted(self):
        for load, runs in self.runs.items():
            for n, one in runs.items():
                every, _ = model.total(one, ["malloc", "free", "birth"], [])
                self.assertGreaterEqual(every, n * OPS[load], f"{load} at {n} threads")

    def test_a_thread_is_born_under_a_lock_and_a_bit_and_dies_under_one_more(self):
        for n, one in self.runs["churn"].items():
            for kind, most in (("birth", 2), ("death", 3)):  # its cache may be lent when it dies
                count, locks = model.total(one, [kind], ["locks"])
                self.assertGreaterEqual(count, n)
                self.assertLess(locks / count, most, f"{kind} at {n} threads")

    def test_moved_lines_are_put_down_to_what_they_are(self):
        for load, runs in self.runs.items():
            sites = runs[4].sites
            other = sum(moved for (_, place), moved in sites.items() if place == "other")
            self.assertLess(other, 0.05 * sum(sites.values()) + 50, load)

    def test_a_run_is_the_same_every_time(self):
        environment = dict(os.environ, **model.NOTHING_GOES_BACK)
        once, again = (subprocess.run([PROGRAM, "cross", "4", "1000"], capture_output=True,
                                      check=True, env=environment).stdout for _ in range(2))
        moves = [{b" ".join(line.split()[-2:]) for line in text.splitlines()
                  if line.startswith(b"path")} for text in (once, again)]
        self.assertEqual(moves[0], moves[1])
        self.assertIn(b"path", once)


class Verdict(unittest.TestCase):
    @staticmethod
    def one(rmw, records):
        counts = ["rmw", "records"] + [c for m in model.METRICS for c in m[1]
                                       if c not in ("rmw", "records")]
        row = [1000, rmw, records] + [0] * (len(counts) - 2)
        sites = {("ss_flush", "superslab record"): records}
        return model.Run(counts, {("free", "flush"): row}, sites)

    def test_it_names_path_and_line_of_what_grows(self):
        lines, grown = model.verdict("cross", {2: self.one(10, 100), 64: self.one(10, 900)})
        self.assertTrue(grown)
        self.assertEqual(len(lines), 1)
        self.assertIn("path free: flush, in ss_flush, line of superslab record", lines[0])
        self.assertIn("0.1000 an operation at 2 threads, 0.9000 at 64", lines[0])

    def test_it_passes_over_what_is_within_the_tolerance_or_shrinks(self):
        for few, many in ((100, 109), (100, 20), (0, 4)):
            _, grown = model.verdict("cross", {2: self.one(few, 0), 64: self.one(many, 0)})
            self.assertFalse(grown, (few, many))

    def test_it_judges_births_and_deaths_on_their_own(self):
        few, many = self.one(0, 0), self.one(0, 0)
        few.paths["birth", "parked cache"] = [10, 30] + [0] * (len(few.counts) - 1)
        many.paths["birth", "parked cache"] = [10, 90] + [0] * (len(few.counts) - 1)
        lines, grown = model.verdict("churn", {4: few, 64: many})
        self.assertTrue(grown)
        self.assertEqual(lines, ["churn: atomic read-modify-writes grow: 3.0000 a birth at 4 "
                                 "threads, 9.0000 at 64; most on path birth: parked cache"])

    def test_it_compares_from_four_threads_on_or_from_two(self):
        runs = {n: self.one(n, 0) for n in (1, 2, 4, 8, 64)}
        self.assertEqual(model.compared(runs), (4, 64))
        self.assertEqual(model.compared({n: runs[n] for n in (1, 2, 4)}), (2, 4))
        lines, grown = model.verdict("cross", {1: self.one(0, 0), 64: self.one(500, 0)})
        self.assertFalse(grown)
        self.assertIn("nothing to compare", lines[0])


class TheCommand(unittest.TestCase):
    def test_it_prints_tables_and_a_verdict_and_writes_what_it_counted(self):
        with tempfile.TemporaryDirectory() as folder:
            done = command("--loads", "local", "--threads", "1,2", "--ops", "2500", "--no-plot",
                           "--out", folder)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("2 of 2: local, 2 threads", done.stderr)
            self.assertIn("atomic read-modify-writes", done.stdout)
            self.assertIn("nothing to compare", done.stdout)
            with open(pathlib.Path(folder) / "model-paths.csv", newline="") as file:
                rows = list(csv.DictReader(file))
            counted = sum(int(r["operations"]) for r in rows if r["threads"] == "2")
            self.assertGreaterEqual(counted, 2 * 2500)
            self.assertTrue((pathlib.Path(folder) / "model-lines.csv").exists())

    def test_bad_input_gets_one_line_that_names_it(self):
        for arguments, texts in (
                (["--loads", "locl"], ["--loads", "'locl'", "expected local, pairs"]),
                (["--threads", "1,65"], ["--threads", "'65'", "1..64"]),
                (["--threads", "1,x"], ["--threads", "'x'", "number"]),
                (["--cpus", "2,4"], ["--cpus", "'2,4'"]),
                (["--ops", "0"], ["--ops", "'0'", "from 1"]),
                (["--opps", "5"], ["--opps"]),
                (["--program", "/nowhere"], ["--program", "'/nowhere'", "expected"])):
            done = command(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertEqual(done.stdout + done.stderr.rstrip("\n").replace("\n", "!"),
                             done.stderr.rstrip("\n"))
            for text in texts:
                self.assertIn(text, done.stderr)


unittest.main(argv=sys.argv[:1])
