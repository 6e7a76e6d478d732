# SPDX-License-Identifier: MIT
"""Start-up lines, explain, profiles, hakmem tune, tools/bench --policy: of whole programs."""
import importlib.machinery
import importlib.util
import math
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import unittest

BUILD, SOURCE = pathlib.Path(os.environ["HAKMEM_BUILD"]), pathlib.Path(os.environ["HAKMEM_SOURCE"])
LIBRARY = str(BUILD / "libhakmem.so")
LOAD = str(BUILD / "bench" / "policy")


def load_module(path):
    loader = importlib.machinery.SourceFileLoader("tune", str(path))
    spec = importlib.util.spec_from_loader("tune", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def on_hakmem(command, **options):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HAKMEM_", "MALLOC_"))}
    env |= {"LD_PRELOAD": LIBRARY} | {f"HAKMEM_{k}": v for k, v in options.items()}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


class InFolder(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.at = pathlib.Path(self.folder.name)


class Lines(unittest.TestCase):
    def said(self, **options):
        return on_hakmem(["/bin/true"], LOG="info", **options).stderr

    def test_the_three_lines_that_users_know(self):
        err = self.said(ELO_ENABLED="1", ACE_ENABLED="0")
        self.assertIn("[ELO] Initialized 12 strategies (thresholds: 512KB-32MB)\n", err)
        self.assertIn("[Batch] Initialized (threshold=8 MB, min_size=64 KB, bg=on)\n", err)
        self.assertIn("[ACE] ACE disabled (HAKMEM_ACE_ENABLED=0)\n", err)

    def test_what_is_on_or_fixed_is_said(self):
        self.assertIn("[ACE] Initialized (thread=2 MB, process=32 MB)\n", self.said(ACE_ENABLED="1"))
        self.assertIn("[ELO] ELO disabled (HAKMEM_ELO_ENABLED=0), threshold=32 MB\n",
                      self.said(ELO_ENABLED="0"))
        self.assertIn("[ELO] ELO disabled (HAKMEM_ELO_STRATEGY), threshold=1600 KB\n",
                      self.said(ELO_STRATEGY="4"))
        self.assertIn("[ELO] ELO disabled (HAKMEM_LARGE_THRESHOLD), threshold=3 MB\n",
                      self.said(LARGE_THRESHOLD="3M"))

    def test_nothing_is_said_without_being_asked(self):
        self.assertEqual(on_hakmem(["/bin/true"]).stderr, "")


DECISION = re.compile(r"hakmem: explain: t=\d+\.\d{3} s, (ELO|ACE), .*from .* to .*, rule: .+")


class Explain(InFolder):
    sparse = [LOAD, "--load", "sparse", "--steps", "1500"]

    def test_elo_says_each_match_on_stderr(self):
        run = on_hakmem(self.sparse, EXPLAIN="stderr", ELO_ENABLED="1", ELO_EXPLORE="50")
        self.assertEqual(run.returncode, 0)
        lines = run.stderr.splitlines()
        self.assertGreater(len(lines), 2)
        for line in lines:
            self.assertRegex(line, DECISION)
        self.assertIn("ns an operation", run.stderr)

    def test_lines_go_to_a_file_wherever_the_program_goes(self):
        path = self.at / "why"
        path.write_text("before\n")
        on_hakmem(["sh", "-c", f"cd /; exec {LOAD} --load sparse --steps 1500"], EXPLAIN=str(path),
                  ELO_ENABLED="1")
        text = path.read_text().splitlines()
        self.assertEqual(text[0], "before")
        self.assertGreater(len(text), 2)
        for line in text[1:]:
            self.assertRegex(line, DECISION)

    def test_ace_says_what_moved(self):
        run = on_hakmem([LOAD, "--load", "hot", "--steps", "400"], EXPLAIN="stderr",
                        ELO_ENABLED="0", ACE_ENABLED="1", CACHE_TOTAL="1M", ELO_WEIGHTS="1:1:0")
        self.assertEqual(run.returncode, 0)
        for line in run.stderr.splitlines():
            self.assertRegex(line, DECISION)
        self.assertIn("ACE, capacity of class 64 ", run.stderr)

    def test_the_rate_is_bounded(self):
        run = on_hakmem(self.sparse, EXPLAIN="stderr", ELO_ENABLED="1", ELO_EXPLORE="50")
        seconds = [int(m) for m in re.findall(r"t=(\d+)\.", run.stderr)]
        for second in set(seconds): # of the process's clock, which may cut a second of ours in two
            self.assertLessEqual(seconds.count(second), 41)

    def test_a_place_that_cannot_be_written_is_one_line(self):
        run = on_hakmem(["/bin/true"], EXPLAIN="/nowhere/at/all")
        self.assertEqual(run.stderr, "hakmem: option: HAKMEM_EXPLAIN='/nowhere/at/all': expected stderr "
                         "or a file that can be written; using none\n")


class Profile(InFolder):
    def saved(self):
        path = self.at / "p"
        run = on_hakmem([LOAD, "--load", "sparse", "--steps", "1500"], PROFILE_SAVE=str(path),
                        ELO_ENABLED="1", ELO_EXPLORE="50")
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        return path

    def test_what_was_learned_is_kept_and_used(self):
        path = self.saved()
        text = path.read_text()
        self.assertTrue(text.startswith("hakmem-profile 1\nmade-by "))
        ratings = {int(a): int(b) for a, b in re.findall(r"^elo (\d+) (\d+) \d+$", text, re.M)}
        self.assertEqual(sorted(ratings), list(range(1, 13)))
        self.assertLess(abs(sum(ratings.values()) - 12 * 150000), 12) # rounded to hundredths
        run = on_hakmem(["/bin/true"], PROFILE=str(path), LOG="info", ELO_ENABLED="1")
        self.assertIn("is in effect", run.stderr)
        self.assertEqual(list(self.at.iterdir()), [path])    # nothing beside it

    def test_nothing_learned_is_nothing_written(self):
        path = self.at / "p"
        on_hakmem(["/bin/true"], PROFILE_SAVE=str(path))
        self.assertFalse(path.exists())

    def refused(self, text, why, binary=None):
        path = self.at / "bad"
        path.write_bytes(binary if binary is not None else text.encode())
        run = on_hakmem(["/bin/true"], PROFILE=str(path), SHOW="1")
        complaints = [line for line in run.stderr.splitlines() if ": option: " in line]
        self.assertEqual(len(complaints), 1, run.stderr)
        self.assertIn(f"HAKMEM_PROFILE='{path}': expected ", complaints[0])
        self.assertIn(why, complaints[0])
        self.assertNotIn("(profile)", run.stderr)
        self.assertEqual(run.returncode, 0)

    def test_damaged_foreign_and_stale_files_are_refused(self):
        tune = load_module(BUILD / "hakmem-tune")
        good = tune.profile_text({"HAKMEM_HEAPS": "3", "HAKMEM_TINY_CACHE": "16K"})
        path = self.at / "good"
        path.write_text(good)
        run = on_hakmem(["/bin/true"], PROFILE=str(path), SHOW="1", HEAPS="5")
        self.assertIn("HAKMEM_TINY_CACHE=16K (profile)", run.stderr)
        self.assertIn("HAKMEM_HEAPS=5 (environment)", run.stderr)
        for i in range(0, len(good)): # any byte
            broken = good[:i] + chr(ord(good[i]) ^ 1) + good[i + 1:]
            if "\n" not in (good[i], broken[i]) or i % 7 == 0:
                self.refused(broken, "profile" if i > 0 else "")
        for i in (0, 1, 10, 30, len(good) - 2, len(good) // 2): # any end
            self.refused(good[:i], "profile")
        self.refused("", "a profile of hakmem")
        self.refused("\x7fELF", "a profile of hakmem")
        self.refused(None, "a profile of hakmem", os.urandom(40000))
        self.refused(good.replace("profile 1", "profile 2"), "form 1")
        def signed(text):
            return self.signed(tune, text)
        self.refused(signed("hakmem-profile 1\nmade-by 0.0.9\n"), "stale")
        head = f"hakmem-profile 1\nmade-by {tune.VERSION}\n"
        for line in ("option HAKMEM_HEAPS=many", "option HAKMEM_STATS=1", "option HAKMEM_EXPLAIN=x",
                     "option PATH=/", "elo 1 2", "elo x 150000 1", "nonsense", "", "elo 2 150000 1",
                     "elo 1 999999999 1", "ace 64 60000 1 1"):
            self.refused(signed(head + "option HAKMEM_TINY_CACHE=16K\n" + line + "\n"),
                         "lines this hakmem knows")
        self.refused(signed(head + "x" * 20000 + "\n"), "undamaged")

    def signed(self, tune, text):
        return text + f"checksum {tune.fnv(text.encode()):016x}\n"

    def test_capacities_are_told_to_classes_of_every_size(self):
        tune = load_module(BUILD / "hakmem-tune")
        head = f"hakmem-profile 1\nmade-by {tune.VERSION}\n"
        kept = ["ace 64 128 32 256", "ace 12288 4 2 8", "ace 65536 2 1 1"]
        path, saved = self.at / "p", self.at / "saved"
        path.write_text(self.signed(tune, head + "\n".join(kept) + "\n"))
        run = on_hakmem(["/bin/ls", "/"], PROFILE=str(path), PROFILE_SAVE=str(saved), ACE_ENABLED="1")
        self.assertEqual(run.stderr, "")
        self.assertEqual([line for line in saved.read_text().splitlines() if line.startswith("ace ")], kept)
        many = "".join(f"ace {16 * n} 1 1 1\n" for n in range(1, 400))
        self.refused(self.signed(tune, head + many), "lines this hakmem knows")

    def test_no_file_is_one_line(self):
        run = on_hakmem(["/bin/true"], PROFILE="/nowhere")
        self.assertEqual(run.stderr, "hakmem: option: HAKMEM_PROFILE='/nowhere': expected a file that can be "
                         "read; using none\n")

    def test_a_place_that_cannot_be_written_is_one_line(self):
        run = on_hakmem([LOAD, "--load", "sparse", "--steps", "1500"], PROFILE_SAVE="/nowhere/p",
                        ELO_ENABLED="1", ELO_EXPLORE="50")
        self.assertEqual(run.stderr, "hakmem: profile: /nowhere/p cannot be written\n")


class Arithmetic(unittest.TestCase):
    def setUp(self):
        self.tune = load_module(BUILD / "hakmem-tune")
        self.names = ["default", "a", "b", "c", "d", "e"]

    def played(self, costs, seed, rounds=20, noise=0.05):
        rng, t = random.Random(seed), self.tune.Tournament(self.names)
        for number in range(1, rounds + 1):
            busy = rng.uniform(1, 1.5) # of all in this round
            t.round(number, {n: costs[n] * busy * math.exp(rng.gauss(0, noise)) for n in t.players()})
            self.assertAlmostEqual(sum(t.rating.values()), 1500 * len(self.names), places=6)
            if len(t.players()) < 2:
                break
        return t

    def test_points_are_conserved_and_the_best_wins(self):
        for seed in range(30):
            t = self.played({"default": 1, "a": 1.1, "b": 0.8, "c": 1.3, "d": 2, "e": 1}, seed)
            self.assertEqual(t.leader(), "b")

    def test_hopeless_ones_are_stopped_early(self):
        t = self.played({"default": 1, "a": 5, "b": 0.9, "c": 1, "d": 3, "e": 1.4}, 1)
        self.assertEqual((t.out["a"], t.out["d"]), (1, 1))
        self.assertNotIn("default", t.out)

    def test_among_equals_the_default_stays(self):
        wins = sum(self.played(dict.fromkeys(self.names, 1), seed, 8).leader() != "default"
                   for seed in range(100))
        self.assertLessEqual(wins, 15) # 5 candidates, of each of which 2.5 % look better

    def test_a_candidate_that_fails_is_out(self):
        t = self.tune.Tournament(["default", "a"])
        t.round(1, {"default": 1, "a": math.inf})
        self.assertEqual((t.players(), t.leader()), (["default"], "default"))

    def test_intervals_hold_the_truth(self):
        rng, held = random.Random(1), 0
        for _ in range(1000):
            mean, half = self.tune.confidence([rng.gauss(0.1, 0.05) for _ in range(6)])
            held += abs(mean - 0.1) <= half
        self.assertTrue(930 <= held <= 970, held)

    def test_scores_are_those_of_the_allocator(self):
        self.assertAlmostEqual(self.tune.expected(400), 10 / 11)
        self.assertAlmostEqual(self.tune.score(1, 2), 16 / 17)


class Tune(InFolder):
    # Works for long, unless it is told the right thing.
    script = ('[ "$HAKMEM_TINY_CACHE" = 16K ] && n=2000 || n=60000; i=0; '
              'while [ $i -lt $n ]; do i=$((i+1)); done')

    def tune(self, *args):
        return subprocess.run([BUILD / "hakmem", "tune", *args], cwd=self.at, capture_output=True, text=True,
                              check=False)

    def test_the_winner_is_found_and_written(self):
        run = self.tune("--rounds", "3", "--candidates", "cache-16K,decay-250", "--memory", "0", "--",
                        "sh", "-c", self.script)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("winner: cache-16K\n", run.stdout)
        self.assertIn("export HAKMEM_TINY_CACHE=16K\n", run.stdout)
        self.assertEqual((self.at / "hakmem-tuned.sh").read_text(), "export HAKMEM_TINY_CACHE=16K\n")
        shown = on_hakmem(["/bin/true"], PROFILE=str(self.at / "hakmem-tuned.profile"), SHOW="1").stderr
        self.assertIn("HAKMEM_TINY_CACHE=16K (profile)", shown)
        self.assertRegex(run.stdout, r"cache-16K +\d+ +\d")
        if importlib.util.find_spec("matplotlib"):
            self.assertEqual((self.at / "hakmem-tuned.png").read_bytes()[:4], b"\x89PNG")

    def test_other_candidates_may_be_added(self):
        run = self.tune("--rounds", "3", "--candidates", "decay-250", "--no-plot", "--memory", "0",
                        "--add", "mine=HAKMEM_TINY_CACHE=16K,HAKMEM_HEAPS=2", "--out", "x", "--",
                        "sh", "-c", self.script)
        self.assertIn("winner: mine\n", run.stdout)
        self.assertEqual((self.at / "x.sh").read_text(),
                         "export HAKMEM_HEAPS=2\nexport HAKMEM_TINY_CACHE=16K\n")
        self.assertFalse((self.at / "x.png").exists())

    def test_a_command_that_fails_is_one_line(self):
        run = self.tune("--", "false")
        self.assertEqual(run.returncode, 1)
        self.assertEqual(run.stderr.strip(), "hakmem: tune: false: failed with the default settings")

    def test_bad_arguments_are_refused(self):
        for args in ([], ["--rounds", "0", "--", "true"], ["--candidates", "none", "--", "true"],
                     ["--memory", "2", "--", "true"], ["--add", "x", "--", "true"],
                     ["--add", "x=PATH=/", "--", "true"]):
            run = self.tune(*args)
            self.assertEqual(run.returncode, 2)
            self.assertIn("hakmem tune: error: ", run.stderr)


class Bench(InFolder):
    def bench(self, *args):
        return subprocess.run([sys.executable, SOURCE / "bench" / "runner" / "policy.py", "--library", LIBRARY,
                               "--program", LOAD, "--out", self.at, *args], capture_output=True, text=True,
                              check=False)

    def test_every_setting_is_run_and_shown(self):
        run = self.bench("--loads", "hot:2,sparse:2", "--settings", "off,elo,ace,both,s1,s12", "--reps", "2")
        self.assertEqual(run.returncode, 0, run.stderr)
        rows = (self.at / "policy.csv").read_text().splitlines()
        self.assertEqual(len(rows), 1 + 2 * (4 * 2 + 2))
        self.assertIn("| hot |", run.stdout)
        self.assertIn("<svg", (self.at / "policy.svg").read_text())

    def test_fixed_settings_that_were_all_ended_leave_a_chart_without_them(self):
        (self.at / "policy.csv").write_text("load,setting,rep,cpu,wall,mean,peak,ended\n"
                                            "hot,off,0,1,1,1,1,1\nhot,elo,0,1,1,1,1,1\nhot,s1,0,9,9,1,1,0\n")
        run = self.bench("--report")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("<svg", (self.at / "policy.svg").read_text())

    def test_a_run_that_was_ended_is_no_figure(self):
        (self.at / "policy.csv").write_text("load,setting,rep,cpu,wall,mean,peak,ended\n"
                                            "hot,off,0,1,1,1,1,0\nhot,elo,0,1,1,1,1,1\n")
        run = self.bench("--report")
        self.assertEqual(run.returncode, 1)
        self.assertEqual(run.stderr, "tools/bench: no figure, as --limit ended it: hot off\n")

    def test_the_constants_are_where_the_model_changes_them(self):
        constants = load_module(SOURCE / "bench" / "runner" / "constants.py")
        for name, rows in (("elo.c", constants.ELO), ("ace.c", constants.ACE)):
            text = (SOURCE / "src" / "policy" / name).read_text()
            for _, old, _ in rows:
                self.assertIn(old, text)
        figures = constants.figures(self.at, "elo.c", "", "")
        self.assertEqual(len(figures), 12)
        self.assertGreaterEqual(float(figures[3]), 95) # with a fifth of noise the best or its neighbour leads

    def test_bad_arguments_are_refused(self):
        for args in (["--loads", "none"], ["--settings", "s13"], ["--reps", "0"]):
            self.assertEqual(self.bench(*args).returncode, 2)


if __name__ == "__main__":
    unittest.main()
