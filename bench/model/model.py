#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The cost model: what malloc and free do to machines larger than this one (doc/model.md).

Runs hakmem-model, which counts on a machine of its own making, once for each load and number of
threads; prints counts per operation, by path and by cache line, and whether they grow with the
threads. Exit status 1: some do.
"""
import argparse
import bisect
import collections
import csv
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ME = "tools/bench --model"
LOADS = {  # name: operations of a thread unless --ops says otherwise, what it is
    "local": (20000, "each thread replaces blocks of its own at random"),
    "pairs": (20000, "one thread of two allocates, the other frees, in batches of 4,096"),
    "cross": (10000, "each thread frees what all others allocated, in random order"),
    "churn": (10000, "threads end and hand their blocks to a successor on the next core"),
    "large": (500, "each thread replaces blocks of 1 to 9 MiB at random"),
}
THREADS = [1, 2, 4, 8, 16, 32, 64]

# What an operation is called, by a function that ran in it: the first that fits.
PATHS = {
    "malloc": [
        ("sweep of idle bins", "cache_sweep"),
        ("new superslab", "ss_run_take_locked superslab_take"),
        ("pooled superslab", "superslab_take"),
        ("new slab", "ss_slab_take_locked"),
        ("virgin blocks", "slab_carve"),
        ("slab's free list", "slab_splice"),
        ("remote-free queue", "ss_remote_take"),
        ("other heaps' blocks", "remote_take_near"),
        ("run", "ss_run_alloc"),
        ("mapping", "large_map_alloc"),
        ("spare list", "spare_pop"),
        ("pop, above 8 KiB", "hak_malloc_slow"),
        ("pop", ""),
    ],
    "free": [
        ("sweep of idle bins", "cache_sweep"),
        ("carry for the owner", "queue_carry_locked"),
        ("send home", "ss_send_home"),
        ("flush, superslab given", "superslab_give"),
        ("flush, slab given", "ss_slab_give_locked"),
        ("flush", "ss_flush"),
        ("set aside", "tiny_give"),
        ("run", "ss_run_free"),
        ("mapping", "map_table_remove"),
        ("keep or sort", "tiny_give_remote"),
        ("push", ""),
    ],
    "birth": [("new cache", "cache_create"), ("parked cache", "")],
    "death": [("park, empty another", "parked_flush_one"), ("park", "")],
}

METRICS = [  # key, sum of these counts, title, whether growth is judged, smallest that counts
    ("rmw", ["rmw"], "atomic read-modify-writes", True, 0.005),
    ("ordered", ["acquires", "releases"], "acquire loads, release stores", True, 0.005),
    ("locks", ["locks"], "locks taken", True, 0.005),
    ("waits", ["waits"], "futex waits", True, 0.001),
    ("system", ["system_calls"], "system calls", True, 0.001),
    ("records", ["records"], "lines moved: records", True, 0.02),
    ("blocks", ["blocks"], "lines moved: blocks", True, 0.02),
    ("shares", ["shares"], "lines taken from readers", True, 0.02),
    ("program", ["program"], "lines moved by the program", False, 0),
    ("cycles", ["cycles"], "cycles, modelled", False, 0),
]
TOLERANCE = 0.10  # growth of less is none


class Model(Exception):
    """One line for the user."""


# ---- The program and its symbols. ----

def built(folder):
    """Build hakmem-model in a folder of its own, installing what is missing."""
    script = """
me=$1; folder=$2; source tools/common.sh
need_packages build-essential meson ninja-build pkg-config libcmocka-dev python3-matplotlib
need_meson
if [[ ! -f $folder/build.ninja ]]; then
    say "configuring $folder"
    CC=gcc meson setup "$folder" >"$log" 2>&1 || { tail -n 30 "$log"; exit 1; }
fi
meson compile -C "$folder" hakmem-model >"$log" 2>&1 || { tail -n 40 "$log"; exit 1; }
"""
    done = subprocess.run(["bash", "-c", script, "bash", ME, str(folder)], cwd=ROOT,
                          check=False)
    if done.returncode:
        raise Model(f"hakmem-model does not build in {folder}")
    return folder / "bench" / "model" / "hakmem-model"


class Symbols:
    """Functions by any address in them, variables by the cache line."""

    def __init__(self, program):
        lines = subprocess.run(["nm", "-n", "-S", "--defined-only", program], check=True,
                               capture_output=True, text=True).stdout.splitlines()
        self.starts, self.names, self.variables, self.text = [], [], [], set()
        for line in lines:
            fields = line.split()
            name = re.sub(r"\.(?:constprop|isra|part|cold|lto_priv)\b.*", "", fields[-1])
            if len(fields) == 4 and fields[2] in "tTwW":
                self.starts.append(int(fields[0], 16))
                self.names.append(name)
                self.text.add(name)
            elif len(fields) == 4:
                self.variables.append((int(fields[0], 16), int(fields[1], 16), name))

    def function(self, address):
        return self.names[bisect.bisect_right(self.starts, address) - 1]

    def line(self, address):
        line = address & ~63
        there = [name for at, size, name in self.variables
                 if at < line + 64 and at + size > line]
        return " ".join(dict.fromkeys(there)) or hex(address)


def unknown_functions(symbols):
    """What PATHS names that is not, or no longer, a function of the allocator."""
    return [f"path '{path}' of {kind}: no function {name} in the allocator: PATHS in "
            "bench/model/model.py has to follow it"
            for kind, rules in PATHS.items() for path, names in rules
            for name in names.split() if name not in symbols.text]


# ---- Runs. ----

# What the background thread does is not malloc's or free's.
NOTHING_GOES_BACK = {"HAKMEM_DECAY_MS": "0", "HAKMEM_BATCH_THRESHOLD": "1T"}
Run = collections.namedtuple("Run", "counts paths sites")
# counts: names; paths: {(kind, path): [operations, count...]}; sites: {(function, place): n}


def path_name(kind, functions):
    for path, names in PATHS[kind]:
        if all(name in functions for name in names.split()):
            return path
    raise AssertionError(kind)


def parse(text, symbols):
    names, paths, sites = [], {}, collections.Counter()
    for line in text.splitlines():
        what, *fields = line.split()
        if what == "counts":
            names = fields
        elif what == "path":
            kind, numbers = fields[0], [int(f) for f in fields[1:2 + len(names)]]
            functions = {symbols.function(int(f, 16)) for f in fields[2 + len(names):]}
            # The runtime takes a 4-byte word that leaves 0 for a lock; that has to stay true.
            if numbers[1 + names.index("locks")] and "os_lock_change" not in functions:
                raise Model(f"a lock outside os_lock_change, by one of {' '.join(functions)}")
            row = paths.setdefault((kind, path_name(kind, functions)), [0] * len(numbers))
            row[:] = [a + b for a, b in zip(row, numbers)]
        elif what == "site":
            place = fields[1].replace("-", " ")
            if place.startswith("0x"):
                place = symbols.line(int(place, 16))
            moved = int(fields[2]) + int(fields[3])
            sites[symbols.function(int(fields[0], 16)), place] += moved
    return Run(names, paths, sites)


def run(program, symbols, load, threads, operations, cpus=None):
    one_cpu = min(os.sched_getaffinity(0))  # turns pass faster on one
    environment = dict(os.environ, MODEL_CPUS=str(cpus or threads), **NOTHING_GOES_BACK)
    done = subprocess.run([program, load, str(threads), str(operations)], check=False,
                          capture_output=True, text=True, env=environment,
                          preexec_fn=lambda: os.sched_setaffinity(0, {one_cpu}))
    if done.returncode:
        raise Model(f"load {load} with {threads} threads: " +
                    (done.stderr.strip() or f"ended with status {done.returncode}"))
    return parse(done.stdout, symbols)


# ---- Figures. ----

OPERATIONS = ("malloc", "free")


def total(one, kinds, counts, path=None):
    """Operations of these kinds (and path), and the sum of these counts."""
    rows = [row for (kind, name), row in one.paths.items()
            if kind in kinds and path in (None, (kind, name))]
    return (sum(row[0] for row in rows),
            sum(row[1 + one.counts.index(count)] for row in rows for count in counts))


def per_operation(one, counts, kinds=OPERATIONS, path=None):
    n, value = total(one, kinds, counts, path)
    return value / n if n else 0.0


def grows(before, after, least):
    return after - before > least and after > before * (1 + TOLERANCE)


def contribution(one, counts, path, kinds):
    """What a path adds to the average operation of these kinds."""
    return total(one, kinds, counts, path)[1] / max(total(one, kinds, [])[0], 1)


def paths_of(runs):
    seen = {key for one in runs.values() for key in one.paths}
    order = [(kind, path) for kind, rules in PATHS.items() for path, _ in rules]
    return [key for key in order if key in seen]


def lines_of(one):
    """{(function, place): lines moved or taken per operation}, deaths and births too."""
    n = max(total(one, OPERATIONS, [])[0], 1)
    return {site: moved / n for site, moved in one.sites.items()}


def compared(runs):
    """Few and many threads. At 2 a successor or a partner is the same one too often: from 4, if
    there is anything above."""
    many = max(runs)
    few = [n for n in runs if 4 <= n < many] or [n for n in runs if n >= 2] or [many]
    return min(few), many


JUDGED = [  # kinds, what one is called, how much more than METRICS says is the smallest growth
    (OPERATIONS, "an operation", 1),
    (["birth"], "a birth", 20),
    (["death"], "a death", 20),
]


def growth(runs, kinds, called, factor):
    """One line for each metric that grows."""
    few, many = compared(runs)
    for key, counts, title, judged, least in METRICS:
        before, after = (per_operation(runs[n], counts, kinds) for n in (few, many))
        if not judged or not grows(before, after, least * factor):
            continue
        path = max((p for p in paths_of(runs) if p[0] in kinds),
                   key=lambda p: contribution(runs[many], counts, p, kinds) -
                   contribution(runs[few], counts, p, kinds))
        text = (f"{title} grow: {before:.4f} {called} at {few} threads, {after:.4f} at {many}; "
                f"most on path {path[0]}: {path[1]}")
        if key in ("records", "blocks", "shares") and kinds == OPERATIONS:
            old, new = lines_of(runs[few]), lines_of(runs[many])
            site = max(new, key=lambda s: (new[s] - old.get(s, 0)) *
                       ((s[1] == "block") == (key == "blocks")))
            text += f", in {site[0]}, line of {site[1]}"
        yield text


def verdict(load, runs):
    """The last lines of a load's table, and whether anything grows."""
    few, many = compared(runs)
    if few == many:
        return [f"{load}: one number of threads above 1: nothing to compare"], False
    lines = [f"{load}: {line}" for judged in JUDGED for line in growth(runs, *judged)]
    if lines:
        return lines, True
    return [f"{load}: counts do not grow from {few} to {many} threads "
            f"(by less than {TOLERANCE:.0%})"], False


# ---- Output. ----

def number(x):
    if x == 0:
        return "0"
    return f"{x:.4f}" if x < 10 else f"{x:.1f}" if x < 1000 else f"{x:.0f}"


def table(head, rows, first=38):
    for row in [head] + rows:
        print(row[0].ljust(first) + "".join(
            (c if isinstance(c, str) else number(c)).rjust(11) for c in row[1:]))
    print()


def print_load(load, runs):
    threads = sorted(runs)
    print(f"\n{load}: {LOADS[load][1]}\n")
    table(["an operation costs, with threads:"] + [str(n) for n in threads],
          [[title] + [per_operation(runs[n], counts) for n in threads]
           for _, counts, title, _, _ in METRICS])
    for kind in ("birth", "death"):
        if any(total(runs[n], [kind], [])[0] for n in threads):
            table([f"a thread's {kind} costs:"] + [str(n) for n in threads],
                  [[title] + [per_operation(runs[n], counts, [kind]) for n in threads]
                   for key, counts, title, _, _ in METRICS if key != "program"])
    few, many = compared(runs)
    shown = [m for m in METRICS if m[0] in ("rmw", "locks", "records", "blocks")]
    head = ["path: its share, and what one costs"]
    head += [f"{key}@{n}" for key in ["share"] + [m[0] for m in shown] for n in (few, many)]
    rows = []
    for path in paths_of(runs):
        one = [f"{path[0]}: {path[1]}"]
        for n in (few, many):
            whole = total(runs[n], OPERATIONS if path[0] in OPERATIONS else [path[0]], [])[0]
            one.append(f"{total(runs[n], [path[0]], [], path)[0] / max(whole, 1):.3%}")
        for _, counts, _, _, _ in shown:
            one += [per_operation(runs[n], counts, [path[0]], path) for n in (few, many)]
        rows.append(one)
    table(head, rows)
    old, new = lines_of(runs[few]), lines_of(runs[many])
    top = sorted(set(old) | set(new), key=lambda s: -max(old.get(s, 0), new.get(s, 0)))[:12]
    table(["lines moved or taken, in 1,000 operations", f"@{few}", f"@{many}"],
          [[f"{place}, by {function}", 1000 * old.get((function, place), 0),
            1000 * new.get((function, place), 0)] for function, place in top], first=74)


def write_csv(folder, results):
    with open(folder / "model-paths.csv", "w", newline="") as file:
        out = csv.writer(file)
        first = next(iter(next(iter(results.values())).values()))
        out.writerow(["load", "threads", "kind", "path", "operations"] + first.counts)
        for load, runs in results.items():
            for n, one in sorted(runs.items()):
                for (kind, path), row in sorted(one.paths.items()):
                    out.writerow([load, n, kind, path] + row)
    with open(folder / "model-lines.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["load", "threads", "function", "line", "moved_or_taken"])
        for load, runs in results.items():
            for n, one in sorted(runs.items()):
                for (function, place), moved in one.sites.most_common():
                    out.writerow([load, n, function, place, moved])


def pyplot_found():
    try:
        import matplotlib
    except ImportError as error:
        raise Model(f"model.svg: {error}: install python3-matplotlib, "
                    "or use --no-plot") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot
    return pyplot


def plot(path, results, pyplot):
    pyplot.rcParams["svg.hashsalt"] = "hakmem"
    keys = [m for m in METRICS if m[0] in ("rmw", "locks", "records", "blocks", "shares")]
    figure, axes = pyplot.subplots(1, len(results), figsize=(3.4 * len(results), 3.6),
                                   squeeze=False)
    for axis, (load, runs) in zip(axes[0], results.items()):
        threads = sorted(runs)
        for (_, counts, title, _, _), mark in zip(keys, "os^Dv"):
            axis.plot(threads, [per_operation(runs[n], counts) for n in threads], mark + "-",
                      label=title, markersize=4)
        axis.set_xscale("log", base=2)
        axis.set_xticks(threads, [str(n) for n in threads])
        axis.minorticks_off()
        axis.set_ylim(bottom=0)
        axis.set_title(load)
        axis.set_xlabel("threads")
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("in one operation")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(keys), frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(path)


# ---- The command line. ----

def arguments():
    def loads(text):
        names = text.split(",")
        for name in names:
            if name not in LOADS:
                raise argparse.ArgumentTypeError(f"'{name}': expected {', '.join(LOADS)}")
        return names

    def count(text):
        if not re.fullmatch("[0-9]{1,8}", text) or int(text) < 1:
            raise argparse.ArgumentTypeError(f"'{text}': expected a number from 1")
        return int(text)

    def threads(text):
        numbers = sorted({count(t) for t in text.split(",")})
        if numbers[-1] > 64:
            raise argparse.ArgumentTypeError(f"'{numbers[-1]}': expected 1..64")
        return numbers

    def cpus(text):
        return max(threads(text)) if "," not in text else count(text)

    class Parser(argparse.ArgumentParser):
        def error(self, message):
            raise Model(message.removeprefix("argument "))

    parser = Parser(prog=ME, description=__doc__.split("\n\n")[1], allow_abbrev=False)
    parser.add_argument("--loads", type=loads, default=list(LOADS), metavar="A,B",
                        help=f"of {', '.join(LOADS)} (default: all)")
    parser.add_argument("--threads", type=threads, default=THREADS, metavar="N,M",
                        help="1..64 each (default: 1,2,4,8,16,32,64)")
    parser.add_argument("--ops", type=count, metavar="N",
                        help="operations of each thread that are counted (default: by load)")
    parser.add_argument("--cpus", type=cpus, metavar="N",
                        help="CPUs the allocator is told of (default: as many as threads)")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build-model",
                        metavar="FOLDER", help="for model-*.csv and model.svg "
                        "(default: build-model)")
    parser.add_argument("--program", type=pathlib.Path, metavar="FILE",
                        help="a hakmem-model built before (default: build one in build-model)")
    parser.add_argument("--no-plot", action="store_true", help="no model.svg, no matplotlib")
    return parser.parse_args()


def main():
    args = arguments()
    program = args.program or built(ROOT / "build-model")
    if not os.access(program, os.X_OK):
        raise Model(f"--program '{program}': expected a program")
    symbols = Symbols(program)
    for line in unknown_functions(symbols):
        print(f"{ME}: {line}", file=sys.stderr)
    pyplot = None if args.no_plot else pyplot_found()
    results = {}
    todo = [(load, n) for load in args.loads for n in args.threads]
    for i, (load, n) in enumerate(todo, 1):
        print(f"{ME}: {i} of {len(todo)}: {load}, {n} thread{'s' * (n > 1)}", file=sys.stderr,
              flush=True)
        results.setdefault(load, {})[n] = run(program, symbols, load, n,
                                              args.ops or LOADS[load][0],
                                              args.cpus)
    print("\nAn operation is one malloc or one free; NAME@N is a column for N threads, each on a\n"
          "modelled core of its own. What is counted, and what the paths are: doc/model.md.")
    for load, runs in results.items():
        print_load(load, runs)
    grown = False
    for load, runs in results.items():
        lines, more = verdict(load, runs)
        print("\n".join(lines))
        grown |= more
    args.out.mkdir(parents=True, exist_ok=True)
    write_csv(args.out, results)
    if pyplot:
        plot(args.out / "model.svg", results, pyplot)
    print(f"{ME}: details in {args.out}", file=sys.stderr)
    return 1 if grown else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Model as error:
        print(f"{ME}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
