# SPDX-License-Identifier: MIT
"""Tables from the results: for the terminal, for doc/perf.md, and summary.csv."""
import csv
import dataclasses
import pathlib
import re
import textwrap

import stats
from suite import Bad

MEBI = 1024            # KiB
LARGE = 16 * MEBI      # from here on a test is large: the least of the peers takes that much
SMALL_EXTRA = 1 * MEBI # what a small test may take beyond the system malloc
WIDTH = 120            # columns of the terminal


@dataclasses.dataclass
class Table:
    title: str
    columns: list          # peers
    rows: list             # (name, [cell of each peer], [further cells])
    further: list = dataclasses.field(default_factory=list)  # names of the further columns
    means: int = 0         # so many of the last rows are means


def amount(what, value):
    """An absolute figure with its unit."""
    if value is None:
        return "-"
    if what == "peak_kib":
        return f"{value / MEBI:.1f} MiB"
    if what == "seconds":
        for unit, size in (("s", 1), ("ms", 1e-3), ("us", 1e-6)):
            if value >= size:
                return f"{value / size:.3g} {unit}"
        return f"{value * 1e9:.3g} ns"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def number(value, digits=2):
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if value < 100 else f"{value:.0f}"


def grid(results, what, tests, title, marks=False):
    """Ratios to the best peer, test by test, and their geometric means."""
    labels, ours = results.labels(), results.ours()
    rows = results.table(what, tests)
    lines = []
    for test, row in rows.items():
        ratio = stats.ratios(row, ours)
        winner = stats.best_of(row, row)
        cells = []
        for peer in labels:
            cell = number(ratio[peer])
            if ratio[peer] is None and (failed := results.failure(test, peer)):
                cell = failed[0]
            cell += "*" if peer == winner else ""
            cells.append(cell + ("~" if marks and results.blurred(test, peer) else ""))
        best = stats.best_of(row, [p for p in labels if p not in ours]) or winner
        further = [amount(what, row.get(best))]
        if marks:
            further.append(f"{results.spread(test):.0%}")
        lines.append((test + (" !" if marks and results.noise(test) else ""), cells, further))
    mean, counted = stats.means(rows, ours)
    if counted:
        whole = "" if counted == len(rows) else f", {counted} of {len(rows)} tests"
        lines.append((f"geometric mean{whole}", [number(mean[p], 3) for p in labels], []))
    return Table(title, labels, lines, ["best peer"] + ["spread"] * marks, means=counted > 0)


def large_and_small(results):
    """Tests whose best peer has a peak of 16 MiB and more, and the others."""
    large, small = [], []
    for test, row in results.table("peak_kib", results.tests()).items():
        best = stats.best_of(row, [p for p in row if p not in results.ours()] or row)
        if best is not None:
            (large if row[best] >= LARGE else small).append(test)
    return large, small


def small_grid(results, tests):
    """The small tests, with what they take beyond the system malloc."""
    table = grid(results, "peak_kib", tests,
                 "Peak memory, smaller tests: ratio to the best peer")
    system = results.system()
    if system not in results.labels():
        return table
    rows = results.table("peak_kib", tests)
    worst, beyond = [], []
    for peer in results.labels():
        extra = [row[peer] - row[system] for row in rows.values() if row[peer] and row[system]]
        worst.append(f"{max(extra) / MEBI:+.1f}" if extra else "-")
        beyond.append(str(sum(e > SMALL_EXTRA for e in extra)))
    table.rows += [(f"MiB above {system}, at most", worst, []),
                   (f"tests with 1 MiB above {system}", beyond, [])]
    table.means += 2
    return table


COUNTS = {"faults": "Page faults, minor and major (median)", "calls": "System calls (one run)",
          "instructions": "Instructions (callgrind, one run, whole process with its start)"}


def tables(results):
    """Every table, by the name that doc/perf.in.md has for it."""
    made = {}
    for group in results.group_names():
        made[f"time {group}"] = grid(results, "seconds", results.timed(group),
                                     f"Time, {group}: ratio of the medians to the best peer",
                                     marks=True)
    large, small = large_and_small(results)
    if large:
        made["memory large"] = grid(results, "peak_kib", large, "Peak memory, tests where even "
                                    "the best peer has 16 MiB and more: ratio to it")
    if small:
        made["memory small"] = small_grid(results, small)
    for what, title in COUNTS.items():
        tests = [t for t, row in results.table(what, results.tests()).items()
                 if any(row.values())]
        if tests:
            made[what] = grid(results, what, tests, f"{title}: ratio to the best peer")
    if rows := results.figures():
        made["figures"] = figures(results, rows)
    made["summary"] = summary(results)
    return made


def figures(results, rows):
    """What tests measure themselves, as it is."""
    lines = []
    for name, row in rows.items():
        best = stats.best_of(row, row)
        lines.append((name, [number(v) + "*" * (p == best) for p, v in row.items()], []))
    return Table("What tests measure themselves (median)", results.labels(), lines)


def summary(results):
    """One row of geometric means for each measure."""
    labels, ours = results.labels(), results.ours()
    lines = []

    def line(name, what, tests):
        mean, counted = stats.means(results.table(what, tests), ours)
        if counted:
            lines.append((f"{name} ({counted})", [number(mean.get(p), 3) for p in labels], []))

    groups = results.group_names()
    for group in groups:
        line(f"time, {group}", "seconds", results.timed(group))
    if len(groups) > 1:
        line("time, all", "seconds", results.timed())
    mean, counted = stats.means(results.table("seconds", results.timed()), [])
    if counted and ours:
        lines.append(("time, to the best with hakmem",
                      [number(mean.get(p), 3) for p in labels], []))
    for group in groups + [None] * (len(groups) > 1):
        fair = [r for r in results.fair_ratios(results.timed(group)).values()
                if None not in r.values()]
        if fair:
            lines.append((f"time, {group or 'all'}, blind choice ({len(fair)})",
                          [number(stats.geomean([r[p] for r in fair]), 3) for p in labels], []))
    line("processor time, all", "cpu", results.timed())
    large, small = large_and_small(results)
    line("peak memory, large", "peak_kib", large)
    line("peak memory, small", "peak_kib", small)
    for what, name in (("faults", "page faults"), ("calls", "system calls"),
                       ("instructions", "instructions")):
        line(name, what, results.tests())
    return Table("Geometric means of the ratios to the best peer of each test (tests counted)",
                 labels, lines)


def verdict(results):
    """Sentences: where ours stands, what failed, what was too noisy."""
    lines = []
    rows = results.table("seconds", results.timed())
    for mine in results.ours():
        if mine not in results.labels():
            continue
        ratio = {t: stats.ratios(row, results.ours())[mine] for t, row in rows.items()}
        ratio = {t: r for t, r in ratio.items() if r is not None}
        if ratio and len(results.labels()) > len(results.ours()):
            worst = max(ratio, key=ratio.get)
            lines.append(
                f"{mine}: at or below the best peer's time in "
                f"{sum(r <= 1 for r in ratio.values())} of {len(ratio)} tests, beyond 1.05 in "
                f"{sum(r > 1.05 for r in ratio.values())}; the most is {ratio[worst]:.2f} "
                f"({worst}).")
    for test, peer, word, why in results.failures():
        lines.append(f"{word}: {test} under {peer}: {why}. Out of all means.")
    for kind in ("calls", "instructions"):
        for (k, test, peer), found in results.rows.items():
            if k == kind and found[-1]["status"] != "ok":
                lines.append(f"{kind} not counted: {test} under {peer}: {found[-1]['note']}.")
    noisy = {t: why for t in rows if (why := results.noise(t))}
    if noisy:
        lines.append(f"Too noisy to judge, {len(noisy)} of {len(rows)} tests: "
                     + ", ".join(f"{t} ({why})" if len(noisy) < 4 else t
                                 for t, why in noisy.items()) + ".")
    counts = [len(results.runs(t, p)) for t in results.tests() for p in results.labels()
              if results.runs(t, p)]
    if counts and min(counts) < 3:
        lines.append(f"Some figures stand on {min(counts)} repetition(s): too few for a "
                     "spread.")
    return lines


# ---- Rendering. ----

def as_text(table, bold=False):
    """Aligned, at most WIDTH columns wide: peers that do not fit go into a further block."""
    name = max([len(r[0]) for r in table.rows] + [12])
    cell = max([8] + [len(c) + 1 for _, cells, _ in table.rows for c in cells]
               + [min(len(c), 12) + 1 for c in table.columns])
    last = max([0] + [len(c) + 2 for c in table.further]
               + [len(c) + 2 for _, _, further in table.rows for c in further])
    fit = max(1, (WIDTH - name - last * len(table.further)) // cell)
    lines = ["", table.title, "-" * min(WIDTH, len(table.title))]
    for begin in range(0, len(table.columns), fit):
        part = slice(begin, begin + fit)
        lines.append(" " * name + "".join(f"{c[:12]:>{cell}}" for c in table.columns[part])
                     + "".join(f"{c:>{last}}" for c in table.further))
        for number_of, (first, cells, further) in enumerate(table.rows):
            text = ""
            for c in cells[part]:
                text += (f"\033[1m{c:>{cell}}\033[0m" if bold and "*" in c else f"{c:>{cell}}")
            if number_of == len(table.rows) - table.means and table.means:
                lines.append("")
            lines.append(f"{first:{name}}{text}" + "".join(f"{c:>{last}}" for c in further))
    return "\n".join(lines)


def as_markdown(table):
    lines = ["| | " + " | ".join(table.columns + table.further) + " |",
             "|---|" + "---:|" * (len(table.columns) + len(table.further))]
    for number_of, (name, cells, further) in enumerate(table.rows):
        mean = number_of >= len(table.rows) - table.means
        cells = [f"**{c[:-1]}**{c[-1]}".replace("*~", "~") if c.endswith("~") and "*" in c
                 else f"**{c.rstrip('*')}**" if c.endswith("*") else c for c in cells]
        further = further + [""] * (len(table.further) - len(further))
        lines.append(f"| {f'**{name}**' if mean else name} | " + " | ".join(cells + further)
                     + " |")
    return "\n".join(lines)


def print_all(results, out):
    """Everything, the summary last: that is what stays on the screen."""
    bold = out.isatty()
    made = tables(results)
    for name, table in made.items():
        if name != "summary":
            print(as_text(table, bold), file=out)
    print("\n" + textwrap.fill("* least of the row. " + stats.RULE, WIDTH), file=out)
    print(as_text(made["summary"], bold) + "\n", file=out)
    for line in verdict(results):
        print(textwrap.fill(line, WIDTH, break_long_words=False), file=out)


def write_summary(results):
    """summary.csv: one line for each test, peer and measure."""
    with open(results.folder / "summary.csv", "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(["group", "test", "peer", "measure", "value", "ratio_to_best_peer",
                         "ratio_to_best_of_all", "repetitions", "spread", "remark"])
        for what in ("seconds", "cpu", "peak_kib", *COUNTS):
            for test, row in results.table(what, results.tests()).items():
                to_peers, to_all = stats.ratios(row, results.ours()), stats.ratios(row, [])
                for peer, value in row.items():
                    failed = results.failure(test, peer)
                    if value is None and not failed:
                        continue
                    runs = results.runs(test, peer)
                    single = what in ("calls", "instructions")
                    remark = " ".join(failed) if failed else (
                        results.noise(test) if what == "seconds" else "")
                    writer.writerow([
                        results.groups[test], test, peer, what, value,
                        to_peers[peer] and f"{to_peers[peer]:.4f}",
                        to_all[peer] and f"{to_all[peer]:.4f}",
                        1 if single else len(runs),
                        "" if single or not runs else
                        f"{stats.spread(results.values(what, test, peer)):.4f}", remark])


def shortened(text):
    """Where a file lies on the machine of the day is of no use to a reader: its name is."""
    return re.sub(r"(?<![\w.*])/(?:[^/,=\s]+/)+", "", text)


def write_markdown(results, template, target, images):
    texts = {name: as_markdown(table) for name, table in tables(results).items()}
    texts["rule"] = stats.RULE
    fill_document(results, texts | {"verdict": listed(verdict(results))},
                  r"time \S+|memory \w+|figures|" + "|".join(COUNTS), template, target, images)


def listed(lines):
    return "\n".join(f"- {shortened(line)}" for line in lines)


def fill_document(results, texts, known, template, target, images):
    """The template with every <!-- NAME --> that is a table, a picture or a text replaced.

    known: pattern of names that may have no text, because it was not measured.
    """
    session = results.session
    texts["machine"] = "\n".join(f"- {k}: {v}" for k, v in session["machine"].items())
    texts["peers"] = "\n".join(
        f"- {p['label']}: {p['version'] or session['machine']['hakmem']}"
        + "".join(f", `{k}={v}`" for k, v in p["env"].items()) for p in session["peers"])
    texts["command"] = f"`{shortened(session['command'])}`"
    for image in images:
        about = image.stem.replace("-", " ")
        link = pathlib.Path("img") / image.name
        texts[f"plot {image.stem}"] = f"![{about}]({link})"

    def replace(found):
        name = found[1]
        if name in texts:
            return texts[name]
        if re.fullmatch(known + r"|plot \S+", name):
            return "*Not measured.*"
        raise Bad(f"{template}: <!-- {name} -->: no such part; there are: "
                  + ", ".join(sorted(texts)))
    try:
        text = pathlib.Path(template).read_text(encoding="utf-8")
        target = pathlib.Path(target)
        text = re.sub(r"<!-- ([\w -]+?) -->", replace, text)
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Bad(f"--markdown {error.filename}: {error.strerror}") from None
