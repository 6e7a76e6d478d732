# SPDX-License-Identifier: MIT
"""Plots from the results: small SVG files that a person reads at a glance, and PNG of each."""
import re

import matplotlib
matplotlib.use("svg")
# pylint: disable=wrong-import-position
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator  # noqa: E402

import report  # noqa: E402
import stats  # noqa: E402

# Okabe and Ito's colours, told apart by the colour-blind too; ours is always the first, and
# every peer has a shape of its own besides.
OURS = ["#D55E00", "#882255", "#661100"]
PEERS = ["#0072B2", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#000000", "#999933", "#7F7F7F",
         "#332288", "#44AA99"]
SHAPES = "ovs^DPX<>ph"
MEBI = 1 << 20
TICKS = [0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1, 1.05, 1.1, 1.25, 1.5, 2, 3, 5, 10]
plt.rcParams.update({
    "svg.fonttype": "none", "svg.hashsalt": "hakmem", "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial", "sans-serif"], "font.size": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left",
    "axes.titlesize": 11, "axes.axisbelow": True, "figure.facecolor": "white"})


def looks(results):
    """{peer: dict(color, marker, size, zorder)}."""
    ours, theirs, style = 0, 0, {}
    for peer in results.labels():
        if peer in results.ours():
            style[peer] = {"color": OURS[ours % len(OURS)], "marker": "o", "s": 62, "zorder": 5}
            ours += 1
        else:
            style[peer] = {"color": PEERS[theirs % len(PEERS)],
                           "marker": SHAPES[1 + theirs % (len(SHAPES) - 1)], "s": 26,
                           "zorder": 3}
            theirs += 1
    return style


def headed(figure, title, handles=None):
    """Title and legend above all axes, whatever the height of the figure."""
    wide, tall = figure.get_size_inches()
    columns = min(len(handles), max(1, int(wide / 1.15))) if handles else 1
    lines = -(-len(handles) // columns) if handles else 0
    room = 0.30 + 0.20 * lines  # inches
    figure.set_size_inches(wide, tall + room)
    tall += room
    figure.get_layout_engine().set(rect=(0.1 / wide, 0, 1 - 0.2 / wide, 1 - room / tall))
    figure.text(0.12 / wide, 1 - 0.08 / tall, title, va="top", ha="left", fontsize=11,
                weight="bold")
    if handles:
        figure.legend(handles=handles, loc="upper left", ncols=columns, frameon=False,
                      bbox_to_anchor=(0.12 / wide, 1 - 0.28 / tall), borderaxespad=0,
                      borderpad=0.1, handletextpad=0.3, columnspacing=1.4, handlelength=1.6)


def ratio_axis(axis, low, high):
    """Logarithmic, with the ticks a person would choose and as many as fit."""
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    ticks = [t for t in TICKS if low <= t <= high]
    if high / low > 2: # the fine ones would touch
        ticks = [t for t in ticks if t not in (0.95, 1.05)]
    if high / low > 4:
        ticks = [t for t in ticks if t not in (0.8, 0.9, 1.1, 1.25)]
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.grid(axis="x", color="#DDDDDD", linewidth=0.7)
    axis.axvline(1, color="#444444", linewidth=1, zorder=2)


def dots(results, what, tests, title, note):
    """One row for each test, one mark for each peer; left is better, 1 is the best peer."""
    style = looks(results)
    rows = {t: {p: r for p, r in stats.ratios(row, results.ours()).items() if r is not None}
            for t, row in results.table(what, tests).items()}
    rows = {t: r for t, r in rows.items() if r}
    if not rows:
        return None
    figure, axis = plt.subplots(figsize=(8, 0.75 + 0.235 * len(rows)), layout="constrained")
    values = [v for row in rows.values() for v in row.values()]
    # Beyond this a mark would press all others together: it stands at the edge, with its
    # number.
    edge = min(max(values), 8.0) * 1.06
    for place, (test, row) in enumerate(rows.items()):
        axis.axhline(place, color="#EEEEEE", linewidth=0.7, zorder=1)
        beyond = []
        for peer, value in row.items():
            look = style[peer]
            axis.scatter(min(value, edge), place, linewidths=0.5, edgecolors="white",
                         clip_on=False, **look)
            if value > edge:
                beyond.append(f"{value:.0f}")
        if beyond:
            axis.annotate(" " + ", ".join(sorted(beyond, key=int)), (edge, place), fontsize=7,
                          xytext=(5, 0), textcoords="offset points", va="center",
                          color="#555555", annotation_clip=False)
        for number, peer in enumerate(p for p in style if results.failure(test, p)):
            axis.annotate("x", (edge, place), fontsize=9, color=style[peer]["color"],
                          xytext=(-8 * number, 0), textcoords="offset points", ha="right",
                          va="center", weight="bold")
    ratio_axis(axis, min(min(values) / 1.06, 0.9), max(edge, 1.3))
    axis.set_yticks(range(len(rows)), rows)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    headed(figure, title, [axis.scatter([], [], label=p, **look) for p, look in style.items()])
    axis.set_xlabel(note, fontsize=8, color="#444444")
    return figure


def bars(results):
    """The geometric means: a panel for each measure, a bar for each peer, the best on top."""
    style = looks(results)
    large, small = report.large_and_small(results)
    wanted = [(f"time, {g}", "seconds", results.timed(g)) for g in results.group_names()]
    wanted += [("peak memory, tests of 16 MiB and more", "peak_kib", large),
               ("peak memory, smaller tests", "peak_kib", small)]
    panels = []
    for name, what, tests in wanted:
        mean, counted = stats.means(results.table(what, tests), results.ours())
        if counted:
            panels.append((f"{name} ({counted} test{'s' * (counted > 1)})", mean))
    if not panels:
        return None
    wide = 2 if len(panels) > 1 else 1
    tall = -(-len(panels) // wide)
    figure, axes = plt.subplots(tall, wide, layout="constrained", squeeze=False,
                                figsize=(4.4 * wide, tall * (0.75 + 0.23 * len(style))))
    for axis, (name, mean) in zip(axes.flat, panels):
        order = sorted(mean, key=mean.get)
        top = max(mean.values())
        for place, peer in enumerate(order):
            mine = peer in results.ours()
            axis.barh(place, mean[peer], height=0.72, color=style[peer]["color"],
                      alpha=1 if mine else 0.55)
            axis.annotate(f"{mean[peer]:.3f}", (mean[peer], place), xytext=(3, 0), fontsize=8,
                          textcoords="offset points", va="center",
                          weight="bold" if mine else "normal")
        axis.axvline(1, color="#444444", linewidth=1)
        axis.set_yticks(range(len(order)), order)
        axis.set_ylim(len(order) - 0.4, -0.6)
        axis.set_xlim(0, top * 1.16)
        axis.tick_params(axis="y", length=0)
        axis.set_title(name, fontsize=9.5)
    for axis in list(axes.flat)[len(panels):]:
        axis.set_visible(False)
    headed(figure, "Geometric means of the ratios to the best peer of each test; "
           "shorter is better")
    return figure


def scaling(results):
    """Entries NAME-1, NAME-2, ...: time for the same work against the number of threads."""
    families = {}
    for test in results.tests():
        if found := re.fullmatch(r"(.+)-(\d+)", test):
            families.setdefault((results.groups[test], found[1]), {})[int(found[2])] = test
    families = {n: dict(sorted(f.items())) for (_, n), f in families.items() if len(f) > 1}
    if not families:
        return None
    style = looks(results)
    wide = min(3, len(families))
    tall = -(-len(families) // wide)
    figure, axes = plt.subplots(tall, wide, layout="constrained", squeeze=False,
                                figsize=(max(5.5, 3.1 * wide + 0.4), 2.5 * tall + 0.7))
    for axis, (name, entries) in zip(axes.flat, families.items()):
        highest = 0
        for peer in results.labels():
            points = [(n, v) for n, t in entries.items()
                      if (v := results.value("seconds", t, peer)) is not None]
            if points:
                look = style[peer]
                mine = peer in results.ours()
                axis.plot(*zip(*points), color=look["color"], marker=look["marker"],
                          markersize=5 if mine else 4, linewidth=2.2 if mine else 1.1,
                          zorder=look["zorder"])
                highest = max(highest, *(v for _, v in points))
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_locator(FixedLocator(list(entries)))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axis.set_ylim(0, highest * 1.08 or 1)
        axis.grid(axis="y", color="#DDDDDD", linewidth=0.7)
        axis.set_title(name, fontsize=9.5)
    for axis in list(axes.flat)[len(families):]:
        axis.set_visible(False)
    figure.supxlabel("threads", fontsize=9)
    figure.supylabel("seconds", fontsize=9)
    headed(figure, "Time by number of threads; lower is better",
           [plt.Line2D([], [], color=look["color"], marker=look["marker"], markersize=5,
                       label=p) for p, look in style.items()])
    return figure


def over_time(results):
    """Memory held by each peer, against what is live, over the time of a test that tells."""
    style = looks(results)
    told = {}
    for test in results.tests():
        curves = {p: c for p in results.labels() if (c := results.curve(test, p))}
        if curves:
            told[test] = curves
    if not told:
        return None
    figure, axes = plt.subplots(len(told), 1, layout="constrained", squeeze=False,
                                figsize=(8, 3.4 * len(told) + 0.6))
    for axis, (test, curves) in zip(axes.flat, told.items()):
        live = next(iter(curves.values()))
        axis.fill_between([t for t, _, _ in live], [v / MEBI for _, v, _ in live],
                          color="#DDDDDD", label="live blocks", linewidth=0)
        for peer, curve in curves.items():
            mine = peer in results.ours()
            axis.plot([t for t, _, _ in curve], [h / MEBI for _, _, h in curve], label=peer,
                      color=style[peer]["color"], linewidth=2.2 if mine else 1.1,
                      zorder=style[peer]["zorder"])
        axis.set_ylim(0)
        axis.set_xlim(min(t for t, _, _ in live), max(t for t, _, _ in live))
        axis.grid(axis="y", color="#DDDDDD", linewidth=0.7)
        axis.set_title(test, fontsize=9.5)
        axis.set_ylabel("MiB")
        axis.set_xlabel("time", fontsize=8)
    headed(figure, "Memory held, against memory live, over time",
           axes.flat[0].get_legend_handles_labels()[0])
    return figure


def draw(results, folder):
    """All plots that the results have matter for, as NAME.svg and NAME.png. The SVG paths."""
    left = "ratio to the best peer (its mark is at 1); left is better; x: failed"
    figures = {"means": bars(results)}
    for group in results.group_names():
        figures[f"time-{group}"] = dots(results, "seconds", results.timed(group),
                                        f"Time, {group}", left)
    large, small = report.large_and_small(results)
    figures["memory-large"] = dots(results, "peak_kib", large,
                                   "Peak memory, tests of 16 MiB and more", left)
    figures["memory-small"] = dots(results, "peak_kib", small, "Peak memory, smaller tests",
                                   left)
    figures["threads"] = scaling(results)
    figures["over-time"] = over_time(results)
    written = []
    for name, figure in figures.items():
        if figure is None:
            continue
        path = folder / f"{name}.svg"
        figure.savefig(path, metadata={"Date": None})
        figure.savefig(path.with_suffix(".png"), dpi=110)
        plt.close(figure)
        written.append(path)
    return written
