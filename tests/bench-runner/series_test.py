# SPDX-License-Identifier: MIT
"""The figures of tools/bench --rest on series made up for it, and its targets."""
import json
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "runner"))
import measure  # noqa: E402
import peers  # noqa: E402
import rest_report  # noqa: E402
import results as store  # noqa: E402
import series  # noqa: E402
import suite  # noqa: E402
from series import Sample  # noqa: E402

MEBI = 1 << 20


def every(step, begin, end, rss, live=lambda t: 0):
    """Samples every `step` seconds."""
    count = round((end - begin) / step)
    return [Sample(begin + i * step, live(begin + i * step), rss(begin + i * step))
            for i in range(count + 1)]


class Excess(unittest.TestCase):
    def test_what_is_held_is_summed_over_time_and_what_is_live_is_not(self):
        flat = every(0.5, 10, 20, lambda t: 300, lambda t: 100)
        self.assertAlmostEqual(series.excess(flat, 10, 20), 2000)
        self.assertAlmostEqual(series.excess(flat, 12, 13), 200)

    def test_samples_need_not_be_evenly_spaced(self):
        samples = [Sample(t, 0, t * 10) for t in (0, 0.1, 0.9, 1.0, 1.7, 2.0)]
        self.assertAlmostEqual(series.excess(samples, 0, 2), 20)

    def test_it_ends_between_two_samples(self):
        samples = [Sample(0, 0, 0), Sample(1, 0, 100)]
        self.assertAlmostEqual(series.excess(samples, 0, 0.5), 12.5)
        self.assertAlmostEqual(series.excess(samples, 0.5, 1), 37.5)
        self.assertAlmostEqual(series.excess(samples, 0.25, 0.75), 25)

    def test_what_was_seen_first_and_last_goes_for_moments_before_and_after_it(self):
        samples = every(0.1, 1, 2, lambda t: 10)
        self.assertAlmostEqual(series.excess(samples, 0.5, 2.5), 20)

    def test_a_hole_in_the_samples_leaves_no_figure(self):
        whole = every(0.1, 0, 10, lambda t: 10)
        holed = [s for s in whole if not 4 < s.time < 6]
        self.assertAlmostEqual(series.excess(whole, 0, 10), 100)
        self.assertIsNone(series.excess(holed, 0, 10))
        self.assertAlmostEqual(series.excess(holed, 0, 3.9), 39) # the hole is elsewhere

    def test_samples_that_begin_late_or_end_early_leave_no_figure(self):
        samples = every(0.1, 2, 8, lambda t: 10)
        self.assertIsNone(series.excess(samples, 0, 8))
        self.assertIsNone(series.excess(samples, 2, 10))
        self.assertIsNone(series.excess([], 0, 1))

    def test_less_held_than_live_is_below_zero(self):
        """Blocks that were asked for and not touched yet."""
        self.assertAlmostEqual(series.excess([Sample(0, 50, 20), Sample(1, 50, 20)], 0, 1), -30)


class Lookups(unittest.TestCase):
    def test_it_is_the_first_sample_at_the_moment_or_after_it(self):
        samples = every(0.02, 0, 6, lambda t: t)
        self.assertAlmostEqual(series.rss_after(samples, 5.01).time, 5.02)
        self.assertAlmostEqual(series.rss_after([Sample(1, 0, 7)], 1).rss, 7)

    def test_an_exact_one_is_preferred_if_it_is_near(self):
        near, far = Sample(1.1, 0, 2, exact=True), Sample(1.7, 0, 3, exact=True)
        self.assertEqual(series.rss_after([Sample(1.0, 0, 1), near, far], 1).rss, 2)
        self.assertEqual(series.rss_after([Sample(1.0, 0, 1), far], 1).rss, 1)

    def test_a_sample_before_the_moment_or_long_after_it_says_nothing(self):
        self.assertIsNone(series.rss_after([Sample(0.99, 0, 1), Sample(1.6, 0, 2)], 1))
        self.assertIsNone(series.rss_after([], 1))


class Ratios(unittest.TestCase):
    def test_the_mean_is_over_time_and_not_over_samples(self):
        """Ratio 2 for a second, seen often, and ratio 4 for a second, seen rarely."""
        samples = [*every(0.01, 0, 1, lambda t: 200, lambda t: 100),
                   Sample(1.0, 100, 400), Sample(2.0, 100, 400)]
        self.assertAlmostEqual(series.mean_ratio(samples, 0, 2), 3)

    def test_when_next_to_nothing_is_live_the_ratio_does_not_count(self):
        samples = [*every(0.1, 0, 1, lambda t: 1000, lambda t: 1),
                   *every(0.1, 1.1, 2, lambda t: 1500, lambda t: 1000)]
        self.assertAlmostEqual(series.mean_ratio(samples, 0, 2), 1.5)

    def test_without_anything_live_or_without_samples_there_is_none(self):
        self.assertIsNone(series.mean_ratio(every(0.1, 0, 1, lambda t: 10), 0, 1))
        self.assertIsNone(series.mean_ratio([], 0, 1))


class Figures(unittest.TestCase):
    """A program that starts at 100, works from 101 to 103, and rests for 30 s."""

    def of(self, samples, end=133.5):
        return series.figures(samples, 100, 101, 103, end)

    def decay(self):
        def rss(t):
            return 5 if t < 101 else 1000 if t < 104 else 100 if t < 110 else 10

        def live(t):
            return 0 if t < 101 else 500 if t < 103 else 0
        return every(0.02, 100, 133.4, rss, live)

    def test_each_moment_has_what_was_held_then(self):
        found = self.of(self.decay())
        self.assertEqual([found[f"rss_{m}"] for m in (0, 1, 3, 5, 30)],
                         [1000, 100, 100, 100, 10])
        self.assertEqual((found["rss_start"], found["rss_peak"]), (5, 1000))

    def test_the_start_is_the_exact_look_or_the_last_one_before_the_work(self):
        self.assertEqual(self.of([Sample(100.1, 0, 7), Sample(100.9, 0, 9)])["rss_start"], 9)
        self.assertEqual(self.of([Sample(100.1, 0, 7, exact=True), Sample(100.9, 0, 9)])
                         ["rss_start"], 7)
        self.assertIsNone(self.of([Sample(101.5, 0, 9)])["rss_start"])

    def test_the_excess_is_from_the_work_to_the_last_moment(self):
        # 2 s of 500 beyond what is live, 1 s of 1000, 6 s of 100, 23 s of 10; the steps between
        # two samples take 20 ms of the one and the other.
        self.assertAlmostEqual(self.of(self.decay())["excess"], 1000 + 1000 + 600 + 230,
                               delta=0.02 * 2000)

    def test_a_moment_without_a_sample_has_no_figure_and_the_others_have(self):
        samples = [s for s in self.decay() if not 107.9 < s.time < 108.7]
        found = self.of(samples)
        self.assertIsNone(found["rss_5"])
        self.assertEqual((found["rss_3"], found["rss_30"]), (100, 10))
        self.assertIsNotNone(found["excess"]) # a hole of 0.8 s hides little

    def test_moments_after_the_rest_are_not_asked_for(self):
        found = self.of(self.decay(), end=108.2)
        self.assertIn("rss_5", found)
        self.assertNotIn("rss_30", found)
        self.assertAlmostEqual(found["excess"], 1000 + 1000 + 400, delta=0.02 * 2000)

    def test_a_ratio_is_there_where_blocks_live_on(self):
        self.assertNotIn("ratio_5", self.of(self.decay()))
        kept = [Sample(s.time, 50, s.rss) for s in self.decay()]
        self.assertEqual(self.of(kept)["ratio_5"], 2)
        self.assertIsNone(self.of([])["ratio_5"])


class Targets(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        named = [{"label": n, "library": f"/{n}", "version": n, "env": {},
                  "ours": n == "hakmem", "system": n == "system"}
                 for n in ("hakmem", "system", "je")]
        about = {"about": "a", "threads": 1000}
        self.results = store.Results(pathlib.Path(folder.name, "out"), {
            "peers": named, "machine": {"hakmem": "h"}, "command": "c", "arguments": [],
            "idle": 30, "scenarios": dict.fromkeys(
                ("spike", "survivors", "serverday", "sleepers", "drain"), about)})

    def add(self, test, **of):
        """Runs of the peers: a dict of figures, or why it failed."""
        for rep, (label, found) in enumerate(of.items(), 1):
            run = (measure.Run("fail", found) if isinstance(found, str) else
                   measure.Run("ok", figures=json.dumps(found)))
            self.results.add("run", suite.Test(test, "", 1, ["x"], group="rest"),
                             peers.Peer(label, "", "", {}), rep, run)

    def judged(self, test):
        lines = [t for t in rest_report.verdict(self.results) if f"hakmem, {test}:" in t]
        self.assertEqual(len(lines), 1)
        return lines[0]

    def test_a_spike_may_leave_8_mib_after_3_seconds(self):
        for held, word in ((18, ": met: 8.0 MiB"), (18.1, ": NOT MET: 8.1 MiB")):
            with self.subTest(held):
                self.setUp()
                self.add("spike", hakmem={"rss_start": 10 * MEBI, "rss_3": int(held * MEBI)},
                         system={"rss_start": 10 * MEBI, "rss_3": 40 * MEBI})
                self.assertIn(word, self.judged("spike"))
                self.assertIn("best peer, system, has 30.0", self.judged("spike"))

    def test_survivors_hold_at_most_what_they_hold_under_the_best_peer(self):
        for last, word in ((2.0, ": met:"), (2.1, ": NOT MET:")):
            with self.subTest(last):
                self.setUp()
                self.add("survivors", hakmem={"ratio_5": 2.0, "ratio_30": last},
                         system={"ratio_5": 9.0, "ratio_30": 9.0},
                         je={"ratio_5": 3.0, "ratio_30": 2.0})
                self.assertIn(word, self.judged("survivors"))

    def test_a_server_day_takes_no_more_memory_and_no_more_time(self):
        for ratio, cpu, word in ((1.2, 10.4, ": met:"), (1.3, 10, ": NOT MET:"),
                                 (1.2, 10.6, ": NOT MET:")):
            with self.subTest((ratio, cpu)):
                self.setUp()
                self.add("serverday", hakmem={"mean_ratio": ratio, "work_cpu": cpu},
                         system={"mean_ratio": 1.2, "work_cpu": 12},
                         je={"mean_ratio": 1.5, "work_cpu": 10})
                self.assertIn(word, self.judged("serverday"))

    def test_a_sleeping_thread_keeps_64_kib(self):
        for each, word in ((64, ": met: 64.0 KiB a thread"), (65, ": NOT MET: 65.0 KiB")):
            with self.subTest(each):
                self.setUp()
                self.add("sleepers", hakmem={"rss_start": MEBI,
                                             "rss_30": MEBI + each * 1024 * 1000})
                self.assertIn(word, self.judged("sleepers"))

    def test_what_failed_or_has_no_figure_is_not_met(self):
        self.add("spike", hakmem="killed by SIGSEGV", system={"rss_start": 1, "rss_3": 2})
        self.add("drain", hakmem={"rss_start": 1, "rss_30": None})
        self.assertIn("NOT MET: it failed", self.judged("spike"))
        self.assertIn("not to be judged", self.judged("drain"))
        self.assertIn("FAIL: spike under hakmem: killed by SIGSEGV",
                      rest_report.verdict(self.results))

    def test_a_table_has_a_failure_and_marks_the_best(self):
        self.add("drain", hakmem={"rss_start": 3 * MEBI, "work": 1.0},
                 system={"rss_start": 2 * MEBI, "work": None}, je="timeout after 300 s")
        table = rest_report.tables(self.results)["rest drain"]
        rows = {name: cells for name, cells, _ in table.rows}
        self.assertEqual(rows["RSS at the start, MiB"], ["3.0", "2.0*", "-"])
        self.assertEqual(rows["time of the work, s"], ["1.00*", "-", "-"])
        self.assertEqual(rows["failed"], ["", "", "FAIL"])

    def test_figures_are_medians_and_one_run_without_a_figure_takes_it_away(self):
        for held in (1, 9, 5):
            self.add("spike", hakmem={"rss_peak": held, "rss_0": held if held < 9 else None})
        self.assertEqual(rest_report.value(self.results, "spike", "hakmem", "rss_peak"), 5)
        self.assertIsNone(rest_report.value(self.results, "spike", "hakmem", "rss_0"))


if __name__ == "__main__":
    unittest.main()
