# SPDX-License-Identifier: MIT
"""The figures on disk: runs.csv has every run, session.json what and where; and both read back.

A run that was interrupted goes on from there; a report can be made again at any time.
"""
import collections
import csv
import json
import pathlib

import measure
import stats
from suite import Bad

FIELDS = ["kind", "group", "test", "peer", "rep", "status", "seconds", "wall", "user", "sys",
          "peak_kib", "faults", "switched", "other", "before", "after", "result",
          "figures", "count", "note"]
KINDS = ("proof", "run", "calls", "instructions")


class Results:
    """What was measured: rows by (test, peer), and the session they belong to."""

    def __init__(self, folder, session=None):
        self.folder = pathlib.Path(folder)
        self.path = self.folder / "runs.csv"
        self.rows = collections.defaultdict(list)  # (kind, test, peer): [row]
        self.groups = {}                           # test: group, in the order of measuring
        if session is None:
            self._read()
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Bad(f"--out {folder}: {error.strerror}") from None
        if self.path.exists():
            raise Bad(f"--out {folder}: has a runs.csv already; --resume {folder} goes on "
                      "with it")
        self.session = session
        self.save_session()
        with open(self.path, "w", newline="", encoding="utf-8") as f:
            csv.writer(f).writerow(FIELDS)

    def _read(self):
        try:
            self.session = json.loads(
                (self.folder / "session.json").read_text(encoding="utf-8"))
            with open(self.path, newline="", encoding="utf-8") as f:
                reader = csv.DictReader(f)
                if reader.fieldnames != FIELDS:
                    raise Bad(f"{self.path}: expected the columns {','.join(FIELDS)}")
                for row in reader:
                    self._keep(self._typed(row))
        except OSError as error:
            raise Bad(f"{error.filename}: {error.strerror}: no results of "
                      "tools/bench") from None
        except ValueError as error:
            raise Bad(f"{self.folder}: damaged results: {error}") from None

    @staticmethod
    def _typed(row):
        if None in row.values() or row["kind"] not in KINDS \
                or row["status"] not in ("ok", "fail", "refused"):
            raise ValueError(f"runs.csv: not a row: {','.join(str(v) for v in row.values())}")
        for name in ("rep", "peak_kib", "faults", "switched", "count"):
            row[name] = int(row[name] or 0)
        for name in ("seconds", "wall", "user", "sys", "other", "before", "after"):
            row[name] = float(row[name] or 0)
        row["figures"] = json.loads(row["figures"] or "{}")
        return row

    def _keep(self, row):
        self.rows[row["kind"], row["test"], row["peer"]].append(row)
        self.groups.setdefault(row["test"], row["group"])

    def save_session(self):
        (self.folder / "session.json").write_text(json.dumps(self.session, indent=1) + "\n",
                                                  encoding="utf-8")

    def add(self, kind, test, peer, rep, run=None, count=None, note=""):
        """Write one row at once: what is done survives whatever comes."""
        row = dict.fromkeys(FIELDS, "")
        row |= {"kind": kind, "group": test.group, "test": test.name, "peer": peer.label,
                "rep": rep, "status": "fail" if note else "ok", "note": note,
                "count": count or ""}
        if run is not None:
            row |= {k: f"{v:.6f}" if isinstance(v, float) else v for k, v in vars(run).items()
                    if k != "curve"}
            if run.curve and rep == 1:
                self._curve_path(test.name, peer.label).write_text(run.curve, encoding="utf-8")
        with open(self.path, "a", newline="", encoding="utf-8") as f:
            csv.DictWriter(f, FIELDS).writerow(row)
        self._keep(self._typed(row))

    def _curve_path(self, test, peer):
        return self.folder / f"{test}.{peer.replace('/', '_')}.over-time.csv"

    # ---- What the reports ask for. ----

    def curve(self, test, peer):
        """[(time, live bytes, held bytes)] of a test that writes it, else None."""
        path = self._curve_path(test, peer)
        if not path.exists() or self.failure(test, peer):
            return None
        with open(path, newline="", encoding="utf-8") as f:
            rows = [row for row in csv.reader(f) if len(row) == 3 and row[0][:1].isdigit()]
        return [tuple(map(float, row)) for row in rows]

    def tests(self, group=None):
        return [t for t, g in self.groups.items() if group in (None, g)]

    def timed(self, group=None):
        """Those whose time says something."""
        return [t for t in self.tests(group)
                if not (runs := [r for p in self.labels() for r in self.runs(t, p)])
                or any(r["seconds"] for r in runs)]

    def group_names(self):
        return list(dict.fromkeys(self.groups.values()))

    def labels(self):
        there = {peer for _, _, peer in self.rows}
        return [p["label"] for p in self.session["peers"] if p["label"] in there]

    def ours(self):
        return [p["label"] for p in self.session["peers"] if p["ours"]]

    def system(self):
        return next((p["label"] for p in self.session["peers"] if p["system"]), None)

    def failure(self, test, peer):
        """("FAIL" or "REFUSED", why), or None. One failed run fails them all: the median of the
        lucky ones would hide it."""
        for kind in ("proof", "run"):
            for row in self.rows.get((kind, test, peer), []):
                if row["status"] != "ok":
                    return {"fail": "FAIL", "refused": "REFUSED"}[row["status"]], row["note"]
        return None

    def runs(self, test, peer):
        """The runs, none where one of them failed."""
        if self.failure(test, peer):
            return []
        return self.rows.get(("run", test, peer), [])

    def values(self, what, test, peer):
        """Of each run. cpu is processor time; where a rate is measured, for the work of the
        figure. Work beside it on the machine disturbs it less than time."""
        if what == "cpu":
            return [(r["user"] + r["sys"]) * r["seconds"] / r["wall"]
                    for r in self.runs(test, peer) if r["wall"] > 0]
        return [r[what] for r in self.runs(test, peer)]

    def value(self, what, test, peer):
        """Median of seconds, cpu, peak_kib, faults; count of calls, instructions; or None."""
        if what in ("calls", "instructions"):
            rows = self.rows.get((what, test, peer), [])
            good = rows and rows[-1]["status"] == "ok" and not self.failure(test, peer)
            return rows[-1]["count"] or None if good else None
        values = self.values(what, test, peer)
        return stats.median(values) or None if values else None

    def fair_ratios(self, tests):
        """{test: stats.fair_ratios of seconds}, of those that every peer finished."""
        runs = {t: {p: self.values("seconds", t, p) for p in self.labels()} for t in tests}
        return {t: stats.fair_ratios(row, self.ours()) for t, row in runs.items()
                if all(row.values()) and all(map(all, row.values()))}

    def table(self, what, tests):
        return {t: {p: self.value(what, t, p) for p in self.labels()} for t in tests}

    def figures(self):
        """{"test: name of a figure that it measures itself": {peer: median or None}}."""
        rows = {}
        for test in self.tests():
            said = {p: [r["figures"] for r in self.runs(test, p)] for p in self.labels()}
            names = dict.fromkeys(n for runs in said.values() for r in runs for n in r)
            rows |= {f"{test}: {n}": {p: stats.median([r[n] for r in runs]) if runs else None
                                      for p, runs in said.items()} for n in names}
        return rows

    def noise(self, test):
        """Why the machine was too noisy for the test, or ""."""
        runs = [r for p in self.labels() for r in self.runs(test, p)]
        return stats.noisy([x for r in runs for x in (r["before"], r["after"])],
                           [r["other"] for r in runs])

    def blurred(self, test, peer):
        """Is the peer's time not to be told apart from the best peer's?"""
        row = {p: self.value("seconds", test, p) for p in self.labels()}
        best = stats.best_of(row, [p for p in row if p not in self.ours()])
        if best in (None, peer) or row[peer] is None:
            return False
        return stats.overlap([r["seconds"] for r in self.runs(test, peer)],
                             [r["seconds"] for r in self.runs(test, best)])

    def spread(self, test):
        return max((stats.spread([r["seconds"] for r in self.runs(test, p)])
                    for p in self.labels() if self.runs(test, p)), default=0.0)

    def failures(self):
        """[(test, peer, word, why)]."""
        return [(t, p, *why) for t in self.groups for p in self.labels()
                if (why := self.failure(t, p))]


def measured(results, kind, test, peer, rep):
    return any(r["rep"] == rep for r in results.rows.get((kind, test.name, peer.label), []))


def check_output(results, test, run):
    """A run whose output is not that of the test's first run is a failed run."""
    if run.status != "ok" or test.output != "same":
        return run
    for (kind, name, _), rows in results.rows.items():
        for row in rows:
            if kind == "run" and name == test.name and row["result"] not in ("", run.result):
                return measure.Run("fail", "its output is not that of the first run")
    return run
