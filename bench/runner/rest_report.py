# SPDX-License-Identifier: MIT
"""Tables and verdicts of tools/bench --rest: for the terminal and for doc/rest.md."""
import textwrap

import report
import series
import stats

MEBI, KIBI = 1 << 20, 1 << 10
TIME_TOLERANCE = 1.05  # up to this it is no more time: two runs of the same differ by that
RULE = (
    "Figures are medians over the runs. RSS is what /proc/PID/smaps_rollup counts at the "
    "moments of the table, and what /proc/PID/statm says every 20 ms between them. No more time "
    f"means at most {TIME_TOLERANCE - 1:.0%} more.")


def points(what):
    return [(f"{what}_{m}", f"after {m} s of rest" if m else "at the end of the work")
            for m in series.MOMENTS]


# Figure, what it is called, what it is divided by, digits.
ROWS = [("rss_start", "RSS at the start, MiB", MEBI, 1), ("rss_peak", "peak, MiB", MEBI, 1),
        *((k, f"{n}, MiB", MEBI, 1) for k, n in points("rss")),
        *((k, f"RSS/live {n}", 1, 2) for k, n in points("ratio")),
        ("mean_ratio", "mean RSS/live in the work", 1, 2),
        ("excess", "RSS beyond live over time, GiB s", KIBI * MEBI, 2),
        ("faults", "page faults, thousands", 1000, 1), ("calls", "system calls", 1, 0),
        ("work", "time of the work, s", 1, 2), ("work_cpu", "its processor time, s", 1, 2),
        ("rest_cpu", "processor time of the rest, ms", 1e-3, 1)]


def value(results, test, peer, name):
    """Median of the figure, or None where a run does not tell it."""
    if name == "calls" and (counted := results.value("calls", test, peer)) is not None:
        return counted
    told = [run["figures"].get(name) for run in results.runs(test, peer)]
    return stats.median(told) if told and None not in told else None


def above(results, test, peer, moment):
    """Bytes held above those at the start, after so much rest."""
    start, held = (value(results, test, peer, n) for n in ("rss_start", f"rss_{moment}"))
    return None if None in (start, held) else held - start


def threads_of(results, test):
    return results.session["scenarios"].get(test, {}).get("threads", 1)


def latest(results):
    """The last moment of rest that was asked for."""
    return max(m for m in series.MOMENTS if m <= results.session["idle"])


def line(name, row, scale, digits):
    """A row of a table, or None where nobody has the figure."""
    if all(v is None for v in row.values()):
        return None
    best = stats.best_of(row, row)
    cells = []
    for peer, number in row.items():
        if number is None:
            cells.append("-")
            continue
        text = f"{number / scale:.{digits}f}"
        cells.append(text + "*" * (peer == best and len(row) > 1))
    return (name, cells, [])


def scenario(results, test):
    """All figures of it."""
    labels = results.labels()
    stays = any(value(results, test, p, "ratio_0") is not None for p in labels)
    rows = [line(name, {p: value(results, test, p, key) for p in labels}, scale, digits)
            for key, name, scale, digits in ROWS if stays or key != "mean_ratio"]
    if test == "sleepers":
        threads = threads_of(results, test)
        rows.insert(7, line(f"KiB a thread after {latest(results)} s",
                            {p: above(results, test, p, latest(results)) for p in labels},
                            KIBI * threads, 1))
    failed = {p: f for p in labels if (f := results.failure(test, p))}
    if failed:
        rows.append(("failed", [failed[p][0] if p in failed else "" for p in labels], []))
    about = results.session["scenarios"][test]["about"]
    return report.Table(f"{test}: {about}", labels, [r for r in rows if r])


def summary(results):
    """What the targets are about, a line each."""
    labels, rows = results.labels(), []
    end = latest(results)

    def add(test, name, figure, scale, digits=1):
        if test in results.tests():
            rows.append(line(f"{test}: {name}", {p: figure(test, p) for p in labels}, scale,
                             digits))

    def beyond(moment):
        return lambda test, peer: above(results, test, peer, moment)

    def plain(name):
        return lambda test, peer: value(results, test, peer, name)

    soon = min(3, end)
    add("spike", f"MiB above the start, {soon} s", beyond(soon), MEBI)
    add("survivors", f"RSS/live, {end} s", plain(f"ratio_{end}"), 1, 2)
    add("serverday", "mean RSS/live in the work", plain("mean_ratio"), 1, 2)
    add("serverday", "its processor time, s", plain("work_cpu"), 1, 2)
    add("sleepers", f"KiB a thread, {end} s", beyond(end),
        KIBI * threads_of(results, "sleepers"))
    add("drain", f"MiB above the start, {end} s", beyond(end), MEBI)
    for test in results.tests():
        add(test, "RSS beyond live, GiB s", plain("excess"), KIBI * MEBI, 2)
    return report.Table("In short", labels, [r for r in rows if r])


def tables(results):
    made = {f"rest {test}": scenario(results, test) for test in results.tests()}
    made["summary"] = summary(results)
    return made


# ---- The targets. ----

def wanted(results, test):
    """What may be held above the start in the end, in bytes; None where others say."""
    return {"spike": 8 * MEBI, "drain": 8 * MEBI,
            "sleepers": 64 * KIBI * threads_of(results, test)}.get(test)


class Judge:
    """Whether one of ours meets what it shall."""

    def __init__(self, results, mine):
        self.results, self.mine = results, mine
        self.peers = [p for p in results.labels() if p not in results.ours()]

    def best(self, figure):
        """(value, its peer) of the least among the peers, or (None, None)."""
        row = {p: figure(p) for p in self.peers}
        peer = stats.best_of(row, self.peers)
        return (row[peer], peer) if peer else (None, None)

    def say(self, test, met, text):
        word = {True: "met", False: "NOT MET", None: "not to be judged"}[met]
        return f"{self.mine}, {test}: {word}: {text}"

    def bound(self, test, moment, scale, what):
        """At most what is wanted above the start, told in `what` of so many bytes."""
        limit = wanted(self.results, test)
        held = above(self.results, test, self.mine, moment)
        other, peer = self.best(lambda p: above(self.results, test, p, moment))
        beside = f"; the best peer, {peer}, has {other / scale:.1f}" if peer else ""
        if held is None:
            return self.say(test, None, f"no figure after {moment} s of rest")
        return self.say(test, held <= limit, f"{held / scale:.1f} {what} above the start after "
                        f"{moment} s of rest, at most {limit / scale:g} wanted{beside}")

    def survivors(self, test):
        told, met = [], True
        for moment in sorted({min(5, latest(self.results)), latest(self.results)}):
            name = f"ratio_{moment}"
            mine = value(self.results, test, self.mine, name)
            other, peer = self.best(lambda p, n=name: value(self.results, test, p, n))
            if mine is None or peer is None:
                return self.say(test, None, f"no RSS/live of its own and of a peer after "
                                f"{moment} s of rest")
            met = met and mine <= other
            told.append(f"{mine:.2f} after {moment} s of rest, the best peer, {peer}, has "
                        f"{other:.2f}")
        return self.say(test, met, "RSS/live " + "; ".join(told))

    def serverday(self, test):
        def ratio(peer):
            return value(self.results, test, peer, "mean_ratio")

        def time(peer):
            return value(self.results, test, peer, "work_cpu")
        mine, took = ratio(self.mine), time(self.mine)
        other, peer = self.best(ratio)
        least, fastest = self.best(time)
        if None in (mine, took, other, least):
            return self.say(test, None, "no mean RSS/live, or no time, of its own or a peer")
        return self.say(test, mine <= other and took <= least * TIME_TOLERANCE,
                        f"mean RSS/live {mine:.2f}, the best peer, {peer}, has {other:.2f}; "
                        f"{took:.1f} s of processor time, {peer} {time(peer):.1f} s, the "
                        f"fastest peer, {fastest}, {least:.1f} s")

    def all(self):
        end = latest(self.results)
        each = KIBI * threads_of(self.results, "sleepers")
        ways = {"spike": lambda t: self.bound(t, min(3, end), MEBI, "MiB"),
                "survivors": self.survivors, "serverday": self.serverday,
                "sleepers": lambda t: self.bound(t, end, each, "KiB a thread"),
                "drain": lambda t: self.bound(t, end, MEBI, "MiB")}
        return [self.say(t, False, "it failed") if self.results.failure(t, self.mine)
                else ways[t](t) for t in self.results.tests() if t in ways]


def verdict(results):
    """Sentences: which targets are met, and what failed."""
    lines = [line for mine in results.ours() if mine in results.labels()
             for line in Judge(results, mine).all()]
    lines += [f"{word}: {test} under {peer}: {why}" for test, peer, word, why
              in results.failures()]
    for (kind, test, peer), found in results.rows.items():
        if kind == "calls" and found[-1]["status"] != "ok":
            lines.append(f"system calls not counted: {test} under {peer}: {found[-1]['note']}")
    return lines


# ---- Rendering. ----

def print_all(results, out):
    """Everything, the targets last: that is what stays on the screen."""
    bold = out.isatty()
    for table in tables(results).values():
        print(report.as_text(table, bold), file=out)
    print("\n" + textwrap.fill("* least of the row. " + RULE, report.WIDTH) + "\n", file=out)
    for sentence in verdict(results):
        print(textwrap.fill(sentence, report.WIDTH, break_long_words=False), file=out)


def write_markdown(results, template, target, images):
    texts = {name: report.as_markdown(table) for name, table in tables(results).items()}
    texts |= {"rule": RULE, "verdict": report.listed(verdict(results))}
    report.fill_document(results, texts, r"rest \w+", template, target, images)
