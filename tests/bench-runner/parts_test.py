# SPDX-License-Identifier: MIT
"""The parts of tools/bench that need no run: statistics, suites, peers, tables."""
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import types
import unittest
import unittest.mock

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "runner"))
import measure  # noqa: E402
import peers  # noqa: E402
import report  # noqa: E402
import results as store  # noqa: E402
import stats  # noqa: E402
import suite  # noqa: E402

HAKMEM = pathlib.Path(os.environ["HAKMEM_BENCH_BUILD"]) / "libhakmem.so.1"
ONE = '[[test]]\nname = "one"\nabout = "a"\nthreads = 1\ncommand = ["true"]\n'


class Statistics(unittest.TestCase):
    def test_the_geometric_mean_of_a_half_and_two_is_one(self):
        self.assertAlmostEqual(stats.geomean([0.5, 2]), 1)
        self.assertAlmostEqual(stats.geomean([1, 1, 8]), 2)
        self.assertIsNone(stats.geomean([]))

    def test_the_spread_is_the_range_over_the_median(self):
        self.assertAlmostEqual(stats.spread([9, 10, 12]), 0.3)
        self.assertEqual(stats.spread([7]), 0)

    def test_quantiles_interpolate(self):
        self.assertEqual(stats.quantile([4, 1, 3, 2], 0.5), 2.5)
        self.assertEqual(stats.quantile([5, 1], 0), 1)
        self.assertEqual(stats.quantile([5, 1], 1), 5)

    def test_middle_halves_overlap_or_do_not(self):
        self.assertFalse(stats.overlap([1, 1.1, 1.2], [2, 2.1, 2.2]))
        self.assertTrue(stats.overlap([1, 1.8, 2.1], [2, 2.1, 2.2, 1.6]))
        # One outlier each does not blur what is apart.
        self.assertFalse(stats.overlap([1, 1, 1, 1, 9], [2, 2, 2, 2, 0.1]))

    def test_fewer_than_three_repetitions_tell_nothing_apart(self):
        self.assertTrue(stats.overlap([1, 1], [2, 2, 2]))

    def test_a_fixed_loop_that_varies_makes_a_machine_noisy(self):
        self.assertEqual(stats.noisy([1, 1.01, 1.02, 1], [0.0, 0.02]), "")
        self.assertIn("fixed loop", stats.noisy([1, 1.3, 1, 1.2], [0.0]))

    def test_other_work_makes_a_machine_noisy(self):
        self.assertIn("others took 50%", stats.noisy([1, 1, 1], [0.4, 0.5, 0.6]))
        self.assertEqual(stats.noisy([1, 1, 1], [0, 0, 0.9]), "")

    def test_ratios_are_to_the_best_peer_and_ours_may_be_below_one(self):
        row = {"hakmem": 1.0, "a": 2.0, "b": 4.0, "c": None}
        self.assertEqual(stats.ratios(row, ["hakmem"]),
                         {"hakmem": 0.5, "a": 1, "b": 2, "c": None})
        self.assertEqual(stats.ratios(row, []), {"hakmem": 1, "a": 2, "b": 4, "c": None})

    def test_the_best_peer_of_a_repetition_is_the_one_that_the_others_say(self):
        runs = {"h": [1.0, 1.0, 1.0], "a": [2.0, 2.0, 8.0], "b": [3.0, 3.0, 0.5]}
        # By the first and third, and by the second and third, it is b; by the first two it is a.
        self.assertEqual(stats.fair_ratios(runs, ["h"])["h"],
                         stats.geomean([1 / 3, 1 / 3, 1 / 8]))
        self.assertEqual(stats.fair_ratios({"h": [1.0], "a": [2.0, 1.0]}, ["h"]),
                         {"h": None, "a": None})

    def test_who_is_as_good_as_all_peers_is_at_one_by_a_blind_choice_only(self):
        chance = random.Random(1)
        plain, fair = [], []
        for _ in range(500):
            runs = {n: [chance.gauss(1, 0.03) for _ in range(3)] for n in "habcdef"}
            row = {n: stats.median(r) for n, r in runs.items()}
            plain.append(stats.ratios(row, ["h"])["h"])
            fair.append(stats.fair_ratios(runs, ["h"])["h"])
        self.assertGreater(stats.geomean(plain), 1.02)
        self.assertAlmostEqual(stats.geomean(fair), 1, delta=0.005)

    def test_without_peers_ours_are_the_scale(self):
        self.assertEqual(stats.ratios({"x": 2.0, "y": 3.0}, ["x", "y"]), {"x": 1, "y": 1.5})
        self.assertEqual(stats.ratios({"x": None}, []), {"x": None})

    def test_a_test_that_one_failed_counts_for_no_one(self):
        rows = {"good": {"h": 2.0, "a": 1.0}, "bad": {"h": 1.0, "a": None}}
        self.assertEqual(stats.means(rows, ["h"]), ({"h": 2.0, "a": 1.0}, 1))


class Suites(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def load(self, text, name="group.toml"):
        path = pathlib.Path(self.folder.name) / name
        path.write_text(text, encoding="utf-8")
        return suite.load([path])

    def refused(self, text, *words):
        with self.assertRaises(suite.Bad) as caught:
            self.load(text)
        for word in words:
            self.assertIn(word, str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))

    def test_a_test_has_the_group_of_its_file(self):
        self.assertEqual(self.load(ONE)[0].group, "group")

    def test_damaged_toml_is_refused(self):
        self.refused("[[test]\nname =", "group.toml", "not TOML")
        self.refused("[tests]\n", "[[test]]", "tests")
        with self.assertRaises(suite.Bad):
            suite.load([pathlib.Path(self.folder.name) / "none.toml"])

    def test_unknown_and_missing_keys_are_refused(self):
        self.refused(ONE + "thread = 2\n", "test one", "thread")
        self.refused('[[test]]\nname = "x"\n', "test x", "no about")

    def test_wrong_values_are_refused(self):
        for line, word in (("timeout = 0", "above 0"), ('better = "most"', '"less" or "more"'),
                           ('metric = "a"', "one group"), ('figures.x = "a"', "x = 'a'"),
                           ('time = 0', "true or false"), ('metric = "(("', "metric"),
                           ('output = "equal"', '"same"'), ("env = { A = 1 }", "env"),
                           ("needs = [1]", "needs"), ("driver = 1", "driver"),
                           ("input = []", "input")):
            self.refused(ONE + line + "\n", "test one", word)
        self.refused(ONE.replace('"one"', '"One"'), "One", "a-z")
        self.refused(ONE.replace("threads = 1", "threads = true"), "threads", "an integer")

    def test_a_name_is_taken_once(self):
        self.refused(ONE + ONE, "one", "taken")

    def test_tests_are_chosen_by_name_group_and_pattern(self):
        def named(name, group):
            return suite.Test(name, "", 1, ["true"], group=group)
        tests = [named("a-1", "g"), named("a-2", "g"), named("b", "h")]
        for wanted, names in ((None, "a-1 a-2 b"), ("b,a-1", "a-1 b"), ("g", "a-1 a-2"),
                              ("a-*", "a-1 a-2"), ("h/*", "b")):
            self.assertEqual([t.name for t in suite.choose(tests, wanted)], names.split())
        for wanted in ("c", "a", "", ","):
            with self.assertRaises(suite.Bad, msg=wanted):
                suite.choose(tests, wanted)

    def test_only_known_places_are_filled_in(self):
        self.assertEqual(suite.fill("{bench}/x {awk} {}", {"bench": "/b"}), "/b/x {awk} {}")

    def test_the_suites_of_the_tree_are_sound(self):
        tests = suite.load(sorted((ROOT / "bench").glob("*.toml")))
        self.assertGreater(len(tests), 20)
        self.assertEqual({t.name for t in tests if not t.about}, set())


class Peers(unittest.TestCase):
    def parse(self, text):
        return peers.parse(text, str(HAKMEM))

    def refused(self, text, *words):
        with self.assertRaises(suite.Bad) as caught:
            self.parse(text)
        for word in words:
            self.assertIn(word, str(caught.exception))

    def test_labels_versions_and_environment_go_to_the_next_name(self):
        got = self.parse(f"fast=HAKMEM_MODE=fast,A=b\\,c,hakmem,system,c@2.36={peers.libc()}")
        self.assertEqual([(p.label, p.env) for p in got],
                         [("fast", {"HAKMEM_MODE": "fast", "A": "b,c"}), ("system", {}),
                          ("c", {})])
        self.assertEqual(got[2].version, "2.36")
        self.assertEqual([p.ours for p in got], [True, False, False])
        self.assertEqual([p.system for p in got], [False, True, False])

    def test_hakmem_takes_part_unasked(self):
        self.assertEqual([p.label for p in self.parse("system")], ["hakmem", "system"])

    def test_a_copy_of_hakmem_under_another_name_is_ours(self):
        with tempfile.TemporaryDirectory() as folder:
            copy = pathlib.Path(folder) / "before.so"
            copy.write_bytes(HAKMEM.read_bytes())
            self.assertTrue(self.parse(str(copy))[0].ours)

    def test_all_holds_hakmem_and_the_system(self):
        self.assertEqual([p.label for p in self.parse("all")][:2], ["hakmem", "system"])

    def test_nonsense_is_refused(self):
        self.refused("jmalloc", "jmalloc", "expected")
        self.refused("/no/such.so", "/no/such.so", "no such file")
        self.refused(__file__, "not a shared library")
        self.refused("system,system", "two are called system")
        self.refused("A=1", "no name")
        self.refused("x=", "x=", "expected")
        self.refused("A=1,all", "all")

    def test_a_package_that_is_not_there_is_named(self):
        with unittest.mock.patch.object(peers, "cached_libraries", return_value={}):
            self.refused("jemalloc", "--install-peers", "libjemalloc2")


def trace(folder, number, lines, program="/bin/sh"):
    text = "".join(f"  7:\tbinding file {source} [0] to {target} [0]: normal symbol "
                   f"`{symbol}'\n" for source, target, symbol in lines)
    (folder / f"t.{number}").write_text(f"  7:\ttransferring control: {program}\n" + text)


class Proof(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def doubts(self, driver=False):
        return measure.doubts(self.folder, "/x/peer.so", driver)

    def test_a_record_that_another_runs_into_is_none(self):
        trace(self.folder, 1, [("p", "/x/peer.so", "malloc")])
        with open(self.folder / "t.1", "a", encoding="utf-8") as f:
            f.write("  7:\tbinding file p [0] to /l/lib  8:\tbinding file /x/peer.so [0] to "
                    "/l/libc [0]: normal symbol `free'\n")
        self.assertEqual(self.doubts(), "")

    def test_all_bound_to_the_library_is_proof(self):
        trace(self.folder, 1, [("p", "/x/peer.so", "malloc"),
                               ("/l/libc", "/x/peer.so", "free")])
        self.assertEqual(self.doubts(), "")

    def test_no_record_is_no_proof(self):
        self.assertIn("recorded no process", self.doubts())

    def test_malloc_of_another_is_refused(self):
        trace(self.folder, 1, [("p", "/l/libc", "malloc"), ("/l/libc", "/x/peer.so", "free")])
        self.assertIn("malloc of p is that of /l/libc", self.doubts())

    def test_one_process_on_another_malloc_spoils_all(self):
        trace(self.folder, 1, [("p", "/x/peer.so", "malloc")])
        trace(self.folder, 2, [("q", "/l/libjemalloc", "malloc")])
        self.assertIn("libjemalloc", self.doubts())

    def test_a_second_allocator_under_a_prefix_is_refused(self):
        for name in ("je_malloc", "_rjem_calloc", "rpfree", "mi_aligned_alloc"):
            trace(self.folder, 1, [("p", "/x/peer.so", "malloc"), ("p", "/l/libj", name)])
            self.assertIn(name, self.doubts())

    def test_a_library_may_have_a_free_of_its_own_under_its_name(self):
        for name in ("onig_free", "pcre_free", "xmlfree", "my_malloc"):
            trace(self.folder, 1, [("p", "/x/peer.so", "malloc"), ("p", "/l/libonig", name)])
            self.assertEqual(self.doubts(), "")

    def test_a_stub_of_the_program_that_leads_to_the_library_is_proof(self):
        trace(self.folder, 1, [("/l/libc", "p", "malloc"), ("p", "/x/peer.so", "malloc")])
        self.assertEqual(self.doubts(), "")

    def test_a_process_that_is_still_being_loaded_is_no_stranger(self):
        program, linker, end = "400-500 /usr/bin/cut\n", "7f0-7f1 /usr/lib/ld-linux-x86-64.so.2\n", "7ff-800 [vdso]\n"
        libc, ours = "7d0-7d1 /usr/lib/libc.so.6\n", "7e0-7e1 /opt/libx.so\n"
        for maps in ("", program, program + linker, program + linker + end, program + ours + linker + end,
                     program + libc + ours + linker + end):
            self.assertFalse(measure.runs_without("/opt/libx.so", maps), maps)
        for maps in (program + libc + linker + end, program + end):
            self.assertTrue(measure.runs_without("/opt/libx.so", maps), maps)

    def test_of_a_driver_only_the_server_counts(self):
        trace(self.folder, 1, [("client", "/l/libc", "malloc")])
        self.assertIn("recorded no process", self.doubts(driver=True))
        trace(self.folder, 2, [("server", "/x/peer.so", "malloc")])
        self.assertEqual(self.doubts(driver=True), "")


class Figures(unittest.TestCase):
    def figure(self, out, **keys):
        test = suite.Test("t", "", 1, ["x"], **keys)
        peer = types.SimpleNamespace(library="/x/peer.so", system=False)
        run = measure.Run("ok", seconds=5)
        measure.figures(test, peer, run, out)
        return run

    def test_a_rate_becomes_time_for_the_work(self):
        run = self.figure(b"a\n200 ops\n", metric="^([0-9.]+) ops", better="more", work=50.0)
        self.assertEqual(run.seconds, 0.25)

    def test_a_time_is_taken_as_it_is(self):
        self.assertEqual(self.figure(b"took 1.5 s", metric="took ([0-9.]+)").seconds, 1.5)

    def test_an_output_without_the_figure_is_a_failure(self):
        for out in (b"", b"took 0 s", b"took . s"):
            with self.assertRaises(ValueError):
                self.figure(out, metric="took ([0-9.]+)")

    def test_a_test_may_have_no_time_and_figures_of_its_own(self):
        run = self.figure(b"held 1.5\nend 2\n", time=False,
                          figures={"mean": "^held (.*)$", "end": "^end (.*)$"})
        self.assertEqual((run.seconds, run.figures), (0, '{"mean": 1.5, "end": 2.0}'))
        with self.assertRaises(ValueError):
            self.figure(b"held 1.5\n", figures={"end": "^end (.*)$"})

    def test_a_driver_tells_its_figures_and_the_library_of_the_server(self):
        said = b"seconds: 1.5\ncpu: 1\npeak_kb: 10\nfaults: 3\nloaded: %s\nresult: ab\n"
        run = self.figure(said % b"/x/peer.so", driver=True, output="same")
        self.assertEqual((run.seconds, run.peak_kib, run.result), (1.5, 10, "ab"))
        with self.assertRaisesRegex(ValueError, "the server has none"):
            self.figure(said % b"none", driver=True)
        with self.assertRaisesRegex(ValueError, "printed no cpu"):
            self.figure(b"seconds: 1\n", driver=True)


class Reports(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.peers = ["hakmem", "system", *(f"peer-{n}" for n in range(8))]
        self.results = store.Results(self.folder / "out", {
            "arguments": [], "command": "tools/bench --peers all,x=/home/me/x.so",
            "machine": {"hakmem": "abc"},
            "peers": [{"label": p, "ours": p == "hakmem", "system": p == "system",
                       "version": "1", "env": {}} for p in self.peers]})

    def add(self, test, peer, seconds, rep=1, peak=1000, loop=0.004, **keys):
        run = measure.Run("ok", seconds=seconds, wall=seconds, peak_kib=peak, faults=10,
                          before=loop, after=loop, **keys)
        if seconds is None:
            run = measure.Run("fail", "exit status 1")
        self.results.add("run", suite.Test(test, "", 1, ["x"], group="g"),
                         types.SimpleNamespace(label=peer), rep, run)

    def fill(self, test="t"):
        for rep in (1, 2, 3):
            for number, peer in enumerate(self.peers):
                self.add(test, peer, 1 + number / 2 + rep / 100, rep)

    def test_no_table_is_wider_than_the_terminal(self):
        self.fill("a-name-of-a-test-that-is-long")
        for table in report.tables(self.results).values():
            for line in report.as_text(table).splitlines()[1:]:
                self.assertLessEqual(len(line), report.WIDTH, line)
        self.assertIn("peer-7", report.as_text(report.tables(self.results)["time g"]))

    def test_a_blind_choice_needs_two_repetitions_of_everyone(self):
        def lines():
            return {r[0]: r[1] for r in report.tables(self.results)["summary"].rows}
        self.add("t", "hakmem", 1)
        self.add("t", "system", 2)
        self.assertFalse([name for name in lines() if "blind" in name])
        self.add("t", "hakmem", 1, 2)
        self.add("t", "system", 2, 2)
        self.assertEqual(lines()["time, g, blind choice (1)"], ["0.500", "1.000"])

    def test_the_best_is_marked_and_ours_is_below_one(self):
        self.fill()
        row = report.tables(self.results)["time g"].rows[0]
        self.assertEqual(row[1][:3], ["0.67*", "1.00", "1.33"])

    def test_one_failed_run_fails_the_cell_and_leaves_the_means(self):
        self.fill("good")
        self.fill("bad")
        self.add("bad", "peer-3", None, 4)
        table = report.tables(self.results)["time g"]
        self.assertEqual(table.rows[1][1][5], "FAIL")
        self.assertEqual(table.rows[2][0], "geometric mean, 1 of 2 tests")
        self.assertIn("FAIL: bad under peer-3: exit status 1. Out of all means.",
                      report.verdict(self.results))

    def test_what_cannot_be_told_apart_and_what_is_too_noisy_is_marked(self):
        for rep, near in enumerate((1.0, 1.02, 1.04, 1.06), 1):
            self.add("t", "system", near, rep)
            self.add("t", "hakmem", near + 0.01, rep, loop=0.004 if rep < 3 else 0.006)
        name, cells, _ = report.tables(self.results)["time g"].rows[0]
        self.assertEqual((name, cells), ("t !", ["1.01~", "1.00*"]))
        self.assertIn("Too noisy to judge, 1 of 1 tests",
                      "\n".join(report.verdict(self.results)))

    def test_memory_is_large_from_16_mib_of_the_best_peer_on(self):
        for test, least in (("small", 16383), ("large", 16384)):
            self.add(test, "system", 1, peak=least)
            self.add(test, "hakmem", 1, peak=3000)
            self.add(test, "peer-0", 1, peak=90000)
        self.assertEqual(report.large_and_small(self.results), (["large"], ["small"]))

    def test_a_test_without_a_time_is_in_no_table_of_times_and_counts_for_memory(self):
        self.fill("timed")
        for peer, held in (("hakmem", 2.0), ("system", 1.5)):
            for rep in (1, 2, 3):
                self.add("idle", peer, 0, rep, figures=json.dumps({"held": held}))
        made = report.tables(self.results)
        self.assertEqual([r[0] for r in made["time g"].rows], ["timed", "geometric mean"])
        self.assertIn("idle", [r[0] for r in made["memory small"].rows])
        self.assertEqual(made["figures"].rows[0][:2],
                         ("idle: held", ["2.00", "1.50*"] + ["-"] * 8))
        self.assertNotIn("idle", "\n".join(report.verdict(self.results)))
        self.results.add("run", suite.Test("broken", "", 1, ["x"], group="g"),
                         types.SimpleNamespace(label="system"), 1, measure.Run("fail", "why"))
        self.assertIn("broken", [r[0] for r in report.tables(self.results)["time g"].rows])

    def test_results_read_back_are_those_written(self):
        self.fill()
        self.results.add("calls", suite.Test("t", "", 1, ["x"], group="g"),
                         types.SimpleNamespace(label="system"), 0, count=77)
        again = store.Results(self.folder / "out")
        self.assertEqual(again.rows, self.results.rows)
        self.assertEqual(again.value("calls", "t", "system"), 77)

    def test_damaged_results_are_refused(self):
        self.fill()
        path = self.folder / "out" / "runs.csv"
        path.write_text(path.read_text() + "run,g,t\n")
        with self.assertRaisesRegex(suite.Bad, "damaged results"):
            store.Results(self.folder / "out")
        path.write_text("a,b\n")
        with self.assertRaisesRegex(suite.Bad, "expected the columns"):
            store.Results(self.folder / "out")
        with self.assertRaisesRegex(suite.Bad, "no results"):
            store.Results(self.folder / "none")

    def test_the_document_is_the_template_with_its_parts(self):
        self.fill()
        template, target = self.folder / "in.md", self.folder / "out.md"
        template.write_text("<!-- command --> <!-- time g -->\n<!-- time other -->\n"
                            "<!-- plot means -->")
        report.write_markdown(self.results, template, target, [pathlib.Path("/p/means.svg")])
        text = target.read_text()
        self.assertIn("tools/bench --peers all,x=x.so", text)
        self.assertIn("| t | **0.67** | 1.00 |", text)
        self.assertIn("*Not measured.*", text)
        self.assertIn("![means](img/means.svg)", text)
        template.write_text("<!-- tables -->")
        with self.assertRaisesRegex(suite.Bad, "tables"):
            report.write_markdown(self.results, template, target, [])

    def test_the_template_of_the_tree_names_only_parts_there_are(self):
        self.fill()
        target = self.folder / "perf.md"
        report.write_markdown(self.results, ROOT / "doc" / "perf.in.md", target, [])
        self.assertIn("# Performance figures", target.read_text())

    def test_every_plot_is_drawn(self):
        try:
            import plots
        except ImportError:
            self.skipTest("no python3-matplotlib")
        for test in ("t-1", "t-2"):
            self.fill(test)
        curve = self.folder / "out" / "t-1.hakmem.over-time.csv"
        curve.write_text("time,live,held\n0,1000,2000\n1,900,2000\n")
        drawn = plots.draw(self.results, self.folder)
        self.assertEqual({p.name for p in drawn}, {
            "means.svg", "time-g.svg", "memory-small.svg", "threads.svg", "over-time.svg"})
        self.assertIn("hakmem", (self.folder / "time-g.svg").read_text())


if __name__ == "__main__":
    unittest.main()
