# SPDX-License-Identifier: MIT
"""The plot of tools/bench --rest: what every allocator holds over time, a panel a scenario."""
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

import plots
import rest_report
import stats
from plots import MEBI, plt

TICKS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000]
STEPS = 240  # points of a curve: more is not to be seen


def thinned(curve):
    """As many points as can be seen: of each step the first, the least and the most held; and
    where nothing changes the ends."""
    begin, end = curve[0][0], curve[-1][0]
    steps = {}
    for point in curve:
        steps.setdefault(int((point[0] - begin) / (end - begin or 1) * STEPS), []).append(point)
    kept = []
    for points in steps.values():
        kept += sorted({points[0], min(points, key=lambda p: p[2]),
                        max(points, key=lambda p: p[2])})
    kept += [curve[-1]] * (kept[-1] != curve[-1])
    return [p for i, p in enumerate(kept) if not 0 < i < len(kept) - 1
            or kept[i - 1][1:] != p[1:] or kept[i + 1][1:] != p[1:]]


def curves(results, test):
    """{peer: [(seconds since the rest began, live, held)]} of the first runs, in MiB."""
    found = {}
    for peer in results.labels():
        curve, runs = results.curve(test, peer), results.runs(test, peer)
        if curve and runs:
            begun = runs[0]["figures"]["idle_at"]
            found[peer] = thinned([(t - begun, live / MEBI, held / MEBI)
                                   for t, live, held in curve])
    return found


def labelled(axis, ends):
    """The names at the right ends of their lines, moved apart where they would touch.

    ends: {name: (y, color, weight)}, on a logarithmic axis."""
    low, high = axis.get_ylim()
    height = axis.get_window_extent().height * 72 / axis.figure.dpi # points
    ratio = (high / low) ** (9.2 / height)  # of two names that just do not touch
    placed = []
    for name, (value, *_) in sorted(ends.items(), key=lambda e: e[1][0]):
        placed.append([name, max(value, placed[-1][1] * ratio if placed else low)])
    top = high
    for entry in reversed(placed): # what has been pushed out above moves down again
        entry[1] = min(entry[1], top)
        top = entry[1] / ratio
    for name, place in placed:
        _, color, weight = ends[name]
        axis.annotate(name, (1, place), xycoords=("axes fraction", "data"), xytext=(4, 0),
                      textcoords="offset points", va="center", fontsize=7.5, color=color,
                      weight=weight, annotation_clip=False)


def panel(results, axis, test, style):
    """One scenario. {name: (y, color, weight)} for labelled()."""
    told, ends = curves(results, test), {}
    live = told.get(next((p for p in results.ours() if p in told), next(iter(told))))
    bottom = min(min(h for _, _, h in c) for c in told.values()) * 0.8
    axis.fill_between([t for t, _, _ in live], bottom, [max(v, bottom) for _, v, _ in live],
                      color="#DDDDDD", linewidth=0, zorder=1)
    for peer, curve in told.items():
        mine = peer in results.ours()
        axis.plot([t for t, _, _ in curve], [h for _, _, h in curve],
                  color=style[peer]["color"], linewidth=2.6 if mine else 1.2,
                  zorder=6 if mine else 3, solid_joinstyle="round")
        ends[peer] = (curve[-1][2], style[peer]["color"], "bold" if mine else "normal")
    if (more := rest_report.wanted(results, test)) and (mine := [p for p in told if p in
                                                                 results.ours()]):
        axis.axhline(told[mine[0]][0][2] + more / MEBI, color=style[mine[0]]["color"],
                     linewidth=1, linestyle=(0, (1, 2)), zorder=2)
    axis.axvline(0, color="#444444", linewidth=0.8, linestyle=(0, (4, 3)), zorder=2)
    axis.set_yscale("log")
    top = max(max(h for _, _, h in c) for c in told.values()) * 1.25
    axis.set_ylim(bottom, top)
    axis.yaxis.set_major_locator(FixedLocator([t for t in TICKS if bottom <= t <= top]))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    works = [-c[0][0] for c in told.values()]
    axis.set_xlim(-min(max(works), 1.5 * stats.median(works)),
                  max(c[-1][0] for c in told.values()))
    axis.grid(axis="y", color="#E6E6E6", linewidth=0.7)
    axis.set_title(f"{test}: {results.session['scenarios'][test]['about']}", fontsize=9)
    return ends


def legend(results, style):
    """What the colours mean."""
    lines = [plt.Line2D([], [], color=look["color"], label=peer,
                        linewidth=2.6 if peer in results.ours() else 1.2)
             for peer, look in style.items()]
    return [*lines, plt.Rectangle((0, 0), 1, 1, color="#DDDDDD", label="live blocks"),
            plt.Line2D([], [], color="#444444", linewidth=0.8, linestyle=(0, (4, 3)),
                       label="the rest begins"),
            plt.Line2D([], [], color=plots.OURS[0], linewidth=1, linestyle=(0, (1, 2)),
                       label="hakmem shall be below")]


def draw(results, folder):
    """rest.svg and rest.png. The SVG path, in a list; no path where nothing was measured."""
    style = plots.looks(results)
    tests = [t for t in results.tests() if curves(results, t)]
    if not tests:
        return []
    wide = 2 if len(tests) > 1 else 1
    tall = -(-len(tests) // wide)
    figure, axes = plt.subplots(tall, wide, layout="constrained", squeeze=False,
                                figsize=(5.2 * wide, 2.9 * tall))
    ends = [panel(results, axis, test, style) for axis, test in zip(axes.flat, tests)]
    for axis in axes[:, 0]:
        axis.set_ylabel("MiB resident", fontsize=8)
    handles = legend(results, style)
    free = list(axes.flat)[len(tests):]
    for axis in free:
        axis.axis("off")
        axis.legend(handles=handles, loc="center", ncols=2, frameon=False, fontsize=9.5,
                    handlelength=2.6, labelspacing=0.9, columnspacing=3)
    figure.supxlabel("seconds since the rest began", fontsize=9)
    plots.headed(figure, "Memory over time: work, then rest; lower is better",
                 None if free else handles)
    figure.draw_without_rendering() # the axes have their sizes now
    for axis, lines in zip(axes.flat, ends):
        labelled(axis, lines)
    path = folder / "rest.svg"
    figure.savefig(path, metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=110)
    plt.close(figure)
    return [path]
