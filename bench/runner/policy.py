# SPDX-License-Identifier: MIT
"""tools/bench --policy: each load of bench/policy.c under every fixed strategy, the default, ELO and
ACE, interleaved: CPU time and memory, a table and a chart of them."""
import argparse
import collections
import csv
import os
import pathlib
import statistics
import subprocess
import sys
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = SOURCE / "build-bench"
# Steps that take the default one to two seconds, so that learning is in the figures.
LOADS = {"images": 24000, "vectors": 60, "slabs": 20, "idle": 600, "hot": 600, "phases": 100,
         "sparse": 800, "bursts": 120}
KIB = (512, 768, 1088, 1600, 2304, 3392, 4928, 7232, 10560, 15360, 22464, 32768)
OFF = {"HAKMEM_ELO_ENABLED": "0", "HAKMEM_ACE_ENABLED": "0"}
SETTINGS = {
    "off": OFF,
    "elo": OFF | {"HAKMEM_ELO_ENABLED": "1"},
    "ace": OFF | {"HAKMEM_ACE_ENABLED": "1"},
    "both": {"HAKMEM_ELO_ENABLED": "1", "HAKMEM_ACE_ENABLED": "1"},
} | {f"s{i}": OFF | {"HAKMEM_ELO_STRATEGY": str(i)} for i in range(1, 13)}

Run = collections.namedtuple("Run", "cpu wall mean peak ended")


def whole(text):
    if not text.isdigit() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text}: expected a number from 1 to 1000")
    return int(text)


def arguments(argv):
    p = argparse.ArgumentParser(prog="tools/bench --policy", description=__doc__,
                                allow_abbrev=False)
    p.add_argument("--loads", default=",".join(LOADS), help="of them, separated by commas; "
                   "LOAD:STEPS for another amount of work; default: %(default)s")
    p.add_argument("--settings", default=",".join(SETTINGS), help="of them, separated by commas; "
                   "s1 to s12 are the fixed strategies; default: %(default)s")
    p.add_argument("--reps", type=whole, default=5, help="runs of off, elo, ace and both; default: 5")
    p.add_argument("--fixed-reps", type=whole, default=1, help="runs of the others; default: 1")
    p.add_argument("--limit", type=whole, default=30, help="seconds after which a run of a fixed "
                   "strategy is ended, for some are fifty times as slow: there is no figure of it; "
                   "default: 30")
    p.add_argument("--library", default=str(BUILD / "libhakmem.so"))
    p.add_argument("--program", default=str(BUILD / "bench" / "policy"))
    p.add_argument("--out", default=str(BUILD / "results" / "policy"), help="folder of the results")
    p.add_argument("--report", action="store_true", help="measure nothing; report on what is there")
    given = p.parse_args(argv)
    given.loads = {name: int(steps) if steps else LOADS[name] for name, _, steps in
                   (load.partition(":") for load in given.loads.split(",") if
                    load.partition(":")[0] in LOADS or
                    p.error(f"--loads {load}: expected of {', '.join(LOADS)}"))}
    given.settings = [s for s in given.settings.split(",") if s in SETTINGS or
                      p.error(f"--settings {s}: expected of {', '.join(SETTINGS)}")]
    return given


def measure(command, settings, library, limit):
    """CPU and wall seconds, mean and peak MiB, and whether it came to its end. limit: None, or seconds."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("HAKMEM_")}
    env |= settings | {"LD_PRELOAD": library}
    begun = time.monotonic()
    child = subprocess.Popen(command, env=env)
    samples, ended = [], True
    while True:
        pid, status, use = os.wait4(child.pid, os.WNOHANG)
        if pid:
            break
        try:
            with open(f"/proc/{child.pid}/statm", encoding="ascii") as f:
                samples.append(int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20)
        except (OSError, IndexError):
            pass
        if ended and limit and time.monotonic() - begun > limit:
            child.kill()
            ended = False
        time.sleep(0.005)
    child.returncode = os.waitstatus_to_exitcode(status)
    if ended and child.returncode != 0:
        sys.exit(f"tools/bench: {' '.join(command)}: ended with {child.returncode}")
    return Run(use.ru_utime + use.ru_stime, time.monotonic() - begun,
               statistics.fmean(samples or [0]), use.ru_maxrss / 1024, ended)


def series(given, file):
    table = csv.writer(file)
    table.writerow(["load", "setting", "rep", *Run._fields])
    for load, steps in given.loads.items():
        command = [given.program, "--load", load, "--steps", str(steps)]
        for rep in range(max(given.reps, given.fixed_reps)):
            for name in given.settings:
                fixed = name[0] == "s"
                if rep >= (given.fixed_reps if fixed else given.reps):
                    continue
                run = measure(command, SETTINGS[name], given.library,
                              given.limit if fixed else None)
                table.writerow([load, name, rep, *(f"{v:.3f}" for v in run[:4]), int(run.ended)])
                file.flush()
                print(f"{load} {name} {rep}: {run.cpu:.2f} s CPU, {run.mean:.0f} MiB", flush=True)


def read(path):
    """{load: {setting: Run of medians}}"""
    runs = collections.defaultdict(lambda: collections.defaultdict(list))
    with open(path, encoding="ascii", newline="") as file:
        for row in csv.DictReader(file):
            runs[row["load"]][row["setting"]].append(
                Run(*(float(row[f]) for f in Run._fields[:4]), row["ended"] == "1"))
    return {load: {s: Run(*(statistics.median(getattr(r, f) for r in of) for f in Run._fields[:4]),
                          all(r.ended for r in of)) for s, of in settings.items()}
            for load, settings in runs.items()}


def unended(results):
    """(load, setting) of off, elo, ace and both whose runs were ended by --limit: of such there is no figure."""
    return [(load, s) for load, of in results.items() for s, r in of.items()
            if s[0] != "s" and not r.ended]


def markdown(results):
    lines = ["| load | off: CPU s, MiB on average | best fixed: CPU | elo: CPU, MiB | ace | both |",
             "|---|---:|---:|---:|---:|---:|"]
    product = collections.defaultdict(list)
    for load, of in results.items():
        off = of["off"]
        fixed = {s: r for s, r in of.items() if s[0] == "s" and r.ended}
        best = min(fixed, key=lambda s: fixed[s].cpu) if fixed else None
        cells = [load, f"{off.cpu:.2f}, {off.mean:.0f}",
                 f"{fixed[best].cpu / off.cpu:.2f} ({KIB[int(best[1:]) - 1]}K)" if best else ""]
        for s in ("elo", "ace", "both"):
            if s in of:
                product[s].append(of[s].cpu / off.cpu)
                cells.append(f"{of[s].cpu / off.cpu:.2f}, {of[s].mean / (off.mean or 1):.2f}")
            else:
                cells.append("")
        lines.append("| " + " | ".join(cells) + " |")
    means = [f"{statistics.geometric_mean(product[s]):.3f}" if product[s] else ""
             for s in ("elo", "ace", "both")]
    lines.append("| all, geometric mean | | | " + " | ".join(means) + " |")
    lines.append("\nRatios to off: CPU time, then memory on average.")
    return "\n".join(lines)


def chart(results, path):
    import matplotlib
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "hakmem"
    from matplotlib import pyplot as plt, ticker
    colors = {"elo": "tab:blue", "ace": "tab:green", "both": "tab:red"}
    figure, axes = plt.subplots(2, len(results), figsize=(2.1 * len(results), 5), squeeze=False,
                                sharex=True)
    for column, (load, of) in enumerate(results.items()):
        for row, what in enumerate(("cpu", "mean")):
            axis, off = axes[row][column], getattr(of["off"], what) or 1
            points = [(KIB[int(s[1:]) - 1] / 1024, getattr(r, what) / off)
                      for s, r in of.items() if s[0] == "s" and r.ended]
            if points:
                axis.plot(*zip(*points), ".-", color="gray", label="fixed")
            else: # each was ended; an empty axis has no logarithms
                axis.set_xlim(KIB[0] / 1024, KIB[-1] / 1024)
            axis.axhline(1, color="black", lw=0.8, label="off")
            for s, color in colors.items():
                if s in of:
                    axis.axhline(getattr(of[s], what) / off, color=color, lw=1.2, ls="--", label=s)
            axis.set_xscale("log", base=2)
            axis.set_yscale("log", base=2)
            low, high = axis.get_ylim()
            axis.set_ylim(min(low, 0.8), max(high, 1.25))
            ticks = [t for t in (0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10)
                     if low <= t <= high or 0.8 <= t <= 1.25]
            axis.yaxis.set_major_locator(ticker.FixedLocator(ticks))
            axis.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
            axis.yaxis.set_minor_locator(ticker.NullLocator())
            axis.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
            axis.tick_params(labelsize=7)
            if row == 0:
                axis.set_title(load, fontsize=9)
            else:
                axis.set_xlabel("threshold, MiB", fontsize=7)
    axes[0][0].set_ylabel("CPU time / off")
    axes[1][0].set_ylabel("memory on average / off")
    axes[0][0].legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main(argv):
    given = arguments(argv)
    out = pathlib.Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    if not given.report:
        with open(out / "policy.csv", "w", encoding="ascii", newline="") as file:
            series(given, file)
    results = read(out / "policy.csv")
    if unended(results):
        sys.exit("tools/bench: no figure, as --limit ended it: " +
                 ", ".join(f"{load} {s}" for load, s in unended(results)))
    if any("off" not in of for of in results.values()):
        sys.exit("tools/bench: --settings: off is what all others are compared with")
    table = markdown(results)
    (out / "policy.md").write_text(table + "\n", encoding="ascii")
    print(table)
    chart(results, out / "policy.svg")
    print(f"tools/bench: {out}/policy.csv, .md, .svg")


if __name__ == "__main__":
    main(sys.argv[1:])
