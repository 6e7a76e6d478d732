# SPDX-License-Identifier: MIT
"""Medians, ratios, geometric means, and the rule that says when a figure is noise."""
import math
import statistics

CALIBRATION_LIMIT = 0.08  # (95 % - 5 %)/median of the fixed loop, over the runs of a test
OTHER_LIMIT = 0.10        # processors that others kept busy, median over the runs of a test
RULE = (
    "A cell is marked ~ where the middle halves (first to third quartile) of its repetitions "
    "and of the best peer's overlap: the two cannot be told apart. A test is marked ! where "
    "the machine was too noisy to judge it: the fixed loop timed directly before and after "
    f"each run varied by more than {CALIBRATION_LIMIT:.0%} (5th to 95th percentile), or others "
    f"took more than {OTHER_LIMIT:.0%} of one processor in the median run. Spread is "
    "(max - min) / median, the largest of the row.")


def median(values):
    return statistics.median(values)


def spread(values):
    """(max - min) / median; 0 for a single value."""
    middle = statistics.median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def quantile(values, part):
    """The value below which that part lies, interpolated; values need not be sorted."""
    ordered = sorted(values)
    place = part * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def overlap(some, others):
    """Do the middle halves of both overlap? Fewer than 3 values each tell nothing: they do."""
    if min(len(some), len(others)) < 3:
        return True
    return (quantile(some, 0.25) <= quantile(others, 0.75)
            and quantile(others, 0.25) <= quantile(some, 0.75))


def geomean(values):
    """None for no values. All must be above 0."""
    return math.exp(statistics.fmean(math.log(v) for v in values)) if values else None


def noisy(calibrations, others):
    """Why the machine was too noisy for these runs, or an empty string."""
    reasons = []
    if len(calibrations) >= 3:
        swing = ((quantile(calibrations, 0.95) - quantile(calibrations, 0.05))
                 / statistics.median(calibrations))
        if swing > CALIBRATION_LIMIT:
            reasons.append(f"the fixed loop varied by {swing:.0%}")
    if others and statistics.median(others) > OTHER_LIMIT:
        reasons.append(f"others took {statistics.median(others):.0%} of a processor")
    return ", ".join(reasons)


def best_of(row, names):
    """The name of those with the least value in row {name: value or None}, or None."""
    there = [n for n in names if row.get(n) is not None]
    return min(there, key=lambda n: row[n]) if there else None


def ratios(row, ours):
    """{name: ratio to the best peer} of one test, None where there is no value.

    Peers are all that are not ours; where none of them has a value, ours are the scale.
    """
    best = best_of(row, [n for n in row if n not in ours]) or best_of(row, row)
    if best is None or row[best] <= 0:
        return {n: None for n in row}
    return {n: None if v is None else v / row[best] for n, v in row.items()}


def means(rows, ours):
    """({name: geometric mean of the ratios}, tests counted) of {test: row}.

    Only the tests count that every name finished, so that no one gains by a failure.
    """
    names = list(dict.fromkeys(n for row in rows.values() for n in row))
    whole = [ratios(row, ours) for row in rows.values()
             if all(row.get(n) is not None and row[n] > 0 for n in names)]
    return {n: geomean([r[n] for r in whole]) for n in names}, len(whole)


def fair_ratios(runs, ours):
    """{name: ratio to the best peer} of one test, from {name: value of each repetition}.

    The least of several medians is low by luck as well: whoever is exactly as good as all his
    peers has a mean ratio above 1. So for each repetition the best peer is the one that the
    others say (leave-one-out), and the ratio is that repetition's. None: fewer than 2 of them.
    """
    peers = [n for n in runs if n not in ours] or list(runs)
    count = min(map(len, runs.values()), default=0)
    if count < 2:
        return {n: None for n in runs}
    found = {n: [] for n in runs}
    for i in range(count):
        best = min(peers, key=lambda n: median(runs[n][:i] + runs[n][i + 1:count]))
        for n in runs:
            found[n].append(runs[n][i] / runs[best][i])
    return {n: geomean(r) for n, r in found.items()}
