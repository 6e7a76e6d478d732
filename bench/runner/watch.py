# SPDX-License-Identifier: MIT
"""A workload of bench/rest.h while it works and rests: started, and looked at from outside."""
import contextlib
import json
import mmap
import os
import pathlib
import signal
import struct
import subprocess
import tempfile
import time

import machine
import measure
import series

PERIOD = 0.02      # seconds from one sample to the next
IDLE_MORE = 0.5    # of rest, so that its last moment is seen
# struct rest_board: phase, pid, live; ns, user, sys, faults, rss at the begin of each phase.
BOARD = struct.Struct("QQq" + "QQQQQ" * 5)
PHASE = struct.Struct("Q")
NONE, START, WORK, IDLE, END = range(5)


class Watched:
    """One process. look() as often as PERIOD says, until ended() is true; then result()."""

    def __init__(self, launch, test, peer, idle, count_calls):
        self.test, self.peer = test, peer
        self.samples, self.exact_due, self.pid = [], [], 0
        self.late, self.stranger = "", "" # why it was ended
        self.phase, self.at = NONE, {}
        self.folder = tempfile.TemporaryDirectory(prefix="hakmem-bench-",
                                                  ignore_cleanup_errors=True)
        self.path = pathlib.Path(self.folder.name)
        self.board_fd = os.memfd_create("board")
        os.ftruncate(self.board_fd, BOARD.size)
        self.board = mmap.mmap(self.board_fd, BOARD.size)
        clean, alone = measure.environment(test, peer)
        command = [*test.command, "--board", f"/dev/fd/{self.board_fd}", "--idle-ms",
                   str(round((idle + IDLE_MORE) * 1000))]
        self.counted = count_calls
        argv = (measure.perf_counter(self.path) if count_calls else []) + \
            measure.launched(launch, self.path, alone, test.stdin)
        with open(self.path / "out", "wb") as out, open(self.path / "err", "wb") as err:
            self.child = subprocess.Popen(argv + command, cwd=self.path, env=clean, stdout=out,
                                          stderr=err, stdin=subprocess.DEVNULL,
                                          pass_fds=[self.board_fd], start_new_session=True)
        self.until = time.monotonic() + test.timeout

    # ---- While it runs. ----

    def look(self):
        """Take a sample, if there is something to be seen."""
        phase, = PHASE.unpack(self.board[:PHASE.size]) # first: what belongs to it is there
        _, pid, live, *at = BOARD.unpack(self.board[:])
        now = time.monotonic()
        if now > self.until and not self.late:
            self.late = f"timeout after {self.test.timeout:g} s"
            self.kill()
        while self.phase < phase:
            self.phase += 1
            self.enter(self.phase, pid, at[self.phase * 5:self.phase * 5 + 4])
        if START <= phase < END:
            with contextlib.suppress(OSError): # it has just ended
                self.sample(now, live)

    def enter(self, phase, pid, at):
        self.at[phase] = {"time": at[0] / 1e9, "user": at[1] / 1e6, "sys": at[2] / 1e6,
                          "faults": at[3]}
        begun = self.at[phase]["time"]
        if phase == START:
            self.pid = pid
            self.exact_due = [begun]
            self.check_library()
        elif phase == IDLE:
            self.exact_due = [begun + m for m in series.MOMENTS]

    def check_library(self):
        """This very process, not one like it, has the peer's library."""
        with contextlib.suppress(OSError): # it has ended: said elsewhere
            maps = pathlib.Path(f"/proc/{self.pid}/maps").read_text(encoding="utf-8")
            if measure.runs_without(self.peer.library, maps):
                self.stranger = f"it has {self.peer.library} not mapped"
                self.kill()

    def sample(self, now, live):
        exact = bool(self.exact_due) and self.exact_due[0] <= now
        name = "smaps_rollup" if exact else "statm"
        text = pathlib.Path(f"/proc/{self.pid}/{name}").read_text(encoding="utf-8")
        if exact:
            del self.exact_due[0]
            rss = int(machine.first(r"^Rss:\s+(\d+) kB", text, "0")) << 10
        else:
            rss = int(text.split()[1]) * mmap.PAGESIZE
        if rss > 0: # else it is about to end
            self.samples.append(series.Sample(now, live, rss, exact))

    def working(self):
        return self.phase < IDLE and not self.ended()

    def ended(self):
        return self.child.poll() is not None

    def kill(self):
        """With what started it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)

    def close(self):
        """End it, whatever it is doing, and what it has left behind."""
        self.kill()
        self.child.wait()
        self.board.close()
        os.close(self.board_fd)
        self.folder.cleanup()

    # ---- When it has ended. ----

    def result(self, own_calls):
        """A measure.Run of it."""
        failure, report = measure.outcome(self.path, self.child.returncode)
        if self.stranger:
            return measure.Run("refused", self.stranger)
        failure = self.late or failure
        if not failure and set(self.at) != {START, WORK, IDLE, END}:
            failure = "ended without having worked and rested"
        if failure:
            return measure.Run("fail", failure)
        at = self.at
        found = series.figures(self.samples, *(at[p]["time"] for p in (START, WORK, IDLE, END)))
        work = {k: at[IDLE][k] - at[WORK][k] for k in at[IDLE]}
        rest = {k: at[END][k] - at[IDLE][k] for k in at[IDLE]}
        found |= {"rss_peak": max(found["rss_peak"] or 0, int(report["peak"]) << 10),
                  "work": work["time"], "work_cpu": work["user"] + work["sys"],
                  "rest_cpu": rest["user"] + rest["sys"],
                  "faults": work["faults"] + rest["faults"],
                  "idle_at": at[IDLE]["time"] - at[START]["time"]}
        if self.counted:
            found["calls"] = measure.perf_value(self.path) - own_calls
        return measure.Run(
            "ok", seconds=work["time"], wall=report["wall"], user=report["user"],
            sys=report["sys"], peak_kib=int(report["peak"]),
            faults=int(report["minor"] + report["major"]), switched=int(report["switched"]),
            before=report["before"], after=report["after"], figures=json.dumps(found),
            curve=self.curve())

    def curve(self):
        """Lines of time,live,rss, the time since the start."""
        begun = self.at[START]["time"]
        lines = [f"{s.time - begun:.3f},{s.live},{s.rss}" for s in self.samples]
        return "\n".join(["time,live,rss", *lines, ""])


# ---- Several of them. ----

def available():
    """Bytes of memory to be had; a quarter of the machine's is left to others."""
    text = machine.read("/proc/meminfo")
    left, every = (int(machine.first(rf"^{n}:\s+(\d+) kB", text, "0")) << 10
                   for n in ("MemAvailable", "MemTotal"))
    return left - every // 4


def watch_all(steps, start, finished, need):
    """Run every step: one works at a time, while those before it rest.

    start(step) returns a Watched; finished(step, watched) is called when it has ended. The next
    waits while there are not `need` bytes of memory to be had, unless nothing runs.
    """
    waiting, running = list(steps), []
    try:
        while waiting or running:
            since = time.monotonic()
            for step, watched in list(running):
                watched.look()
                if watched.ended():
                    watched.look() # what it told last
                    running.remove((step, watched))
                    try:
                        finished(step, watched)
                    finally:
                        watched.close()
            if waiting and not any(w.working() for _, w in running) and (
                    not running or available() >= need):
                step = waiting.pop(0)
                if (watched := start(step)) is not None:
                    running.append((step, watched))
            time.sleep(max(0.001, since + PERIOD - time.monotonic()))
    finally:
        for _, watched in running:
            watched.close()
