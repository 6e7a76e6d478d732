# SPDX-License-Identifier: MIT
"""What a process held over time, and the figures that come of it. Times are seconds, memory is
bytes. A figure is None where the samples do not tell it: it is never made up."""
import dataclasses

LATE = 0.5        # so much after a moment a sample may still speak for it
GAP = 1.0         # so long nothing may be known for what is summed over time
FAINT = 0.01      # below this part of the most that was live a ratio to it says nothing
MOMENTS = (0, 1, 3, 5, 30) # of rest, that are looked at


@dataclasses.dataclass
class Sample:
    time: float
    live: int
    rss: int
    exact: bool = False # counted page by page; else what the kernel has added up so far


def rss_after(samples, moment):
    """The first sample at the moment or soon after it, an exact one if there is one."""
    there = [s for s in samples if moment <= s.time <= moment + LATE]
    return next((s for s in there if s.exact), there[0] if there else None)


def pieces(samples, begin, end):
    """[(seconds, sample, next sample)] that cover begin to end, cut off there; None where
    nothing is known for longer than GAP."""
    if not samples or end < begin:
        return None
    # What was seen first and last goes for the moments before and after it.
    first = dataclasses.replace(samples[0], time=min(begin, samples[0].time))
    last = dataclasses.replace(samples[-1], time=max(end, samples[-1].time))
    every = [first, *samples, last]
    found = []
    for one, two in zip(every, every[1:]):
        low, high = max(one.time, begin), min(two.time, end)
        if low >= high:
            continue
        if two.time - one.time > GAP:
            return None
        found.append((high - low, between(one, two, low), between(one, two, high)))
    return found


def between(one, two, time):
    """What was so at the time, on the straight line from one sample to the next."""
    part = (time - one.time) / (two.time - one.time)
    return Sample(time, one.live + (two.live - one.live) * part,
                  one.rss + (two.rss - one.rss) * part)


def excess(samples, begin, end):
    """Integral of what was held beyond what was live: byte-seconds, or None."""
    known = pieces(samples, begin, end)
    if known is None:
        return None
    return sum(t * (a.rss - a.live + b.rss - b.live) / 2 for t, a, b in known)


def mean_ratio(samples, begin, end):
    """Held to live, the mean over the time in which much was live, or None."""
    known = pieces(samples, begin, end)
    most = max((s.live for s in samples), default=0)
    if known is None or most <= 0:
        return None
    counted = [(t, a.rss / a.live + b.rss / b.live) for t, a, b in known
               if min(a.live, b.live) > most * FAINT]
    total = sum(t for t, _ in counted)
    return sum(t * r / 2 for t, r in counted) / total if total > 0 else None


def figures(samples, start, work, idle, end):
    """{name: value or None} of a run whose phases began at these times."""
    before = [s for s in samples if start <= s.time < work]
    found = {"rss_start": (max(before, key=lambda s: (s.exact, s.time)).rss
                           if before else None),
             "rss_peak": max((s.rss for s in samples), default=None)}
    resting = [s for s in samples if idle <= s.time <= end]
    for moment in MOMENTS:
        if idle + moment > end:
            continue # nobody asked for so long a rest
        sample = rss_after(resting, idle + moment)
        found[f"rss_{moment}"] = None if sample is None else sample.rss
        if sample is None or sample.live > 0:
            found[f"ratio_{moment}"] = None if sample is None else sample.rss / sample.live
    found["mean_ratio"] = mean_ratio(samples, work, idle)
    # A rest is as long as it was meant to be, and a little longer.
    whole = max([m for m in MOMENTS if idle + m <= end])
    found["excess"] = excess(samples, work, idle + whole)
    return found
