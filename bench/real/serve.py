#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Start a server on the malloc named in HAKMEM_BENCH_PRELOAD, give it a fixed load, stop it.

usage: serve.py redis [REQUESTS]     redis-benchmark: so many requests of each kind
       serve.py redis-mix DIRECTORY  the commands that make_input.py wrote there, all replies
                                     checked

HAKMEM_BENCH_PRELOAD is the path of a malloc library; empty or unset means the system's. Only
the server gets it. Printed are the lines that the head of bench/real.toml names. Anything
wrong, a server that does not start or does not live to the end, is one line on stderr and exit
status 1.
"""
import ctypes
import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zlib

START = 20   # seconds for a server to answer
LOAD = 120   # seconds for the whole load
ROUNDS = 3   # how often redis-mix gives every connection its commands
FAMILY = ("malloc", "calloc", "realloc", "free", "posix_memalign", "malloc_usable_size")
PR_SET_PDEATHSIG = 1


class Failed(Exception):
    pass


def server_environment(library):
    """Debian's redis-server links jemalloc, under the plain names of the family. The C library
    before it is how the system's malloc gets there."""
    env = {name: value for name, value in os.environ.items() if name != "HAKMEM_BENCH_PRELOAD"}
    return {**env, "LD_PRELOAD": library or "libc.so.6"}


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def library_wanted():
    """The path of the library, or "" for the system's malloc."""
    path = os.environ.get("HAKMEM_BENCH_PRELOAD", "")
    if path and not os.path.isfile(path):
        raise Failed(f"HAKMEM_BENCH_PRELOAD={path}: expected the path of a library")
    return os.path.realpath(path) if path else ""


def prove_bindings(executable, library):
    """The dynamic linker's own record: the server is bound to this malloc and no other."""
    with tempfile.TemporaryDirectory(prefix="hakmem-serve-") as directory:
        subprocess.run([executable, "--version"], stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=START,
                       env={**server_environment(library), "LD_BIND_NOW": "1",
                            "LD_DEBUG": "bindings", "LD_DEBUG_OUTPUT": directory + "/trace"})
        text = "".join(open(os.path.join(directory, name), errors="replace").read()
                       for name in os.listdir(directory))
    bound = re.findall(r"binding file (\S+) \[\d+\] to (\S+) \[\d+\]: normal symbol `(\w+)'",
                       text)
    mallocs = {os.path.realpath(target) for source, target, symbol in bound
               if symbol in FAMILY and os.path.realpath(source) == os.path.realpath(executable)}
    if len(mallocs) != 1:
        where = " and ".join(sorted(mallocs)) or "no file"
        raise Failed(f"{executable}: malloc is in {where}, "
                     f"expected {library or 'libc.so.6'} alone")
    mallocs = mallocs.pop()
    if mallocs != library if library else not os.path.basename(mallocs).startswith("libc.so"):
        raise Failed(f"{executable}: malloc is in {mallocs}, expected {library or 'libc.so.6'}")


class Process:
    """The server and what the kernel knows of it."""

    def __init__(self, argv, directory, library):
        self.name = argv[0]
        self.log = os.path.join(directory, "log")
        self.errors = os.path.join(directory, "errors")
        executable = shutil.which(argv[0])
        if executable is None:
            raise Failed(f"{argv[0]}: expected it to be installed")
        prove_bindings(executable, library)
        with open(self.log, "wb") as log, open(self.errors, "wb") as errors:
            self.child = subprocess.Popen(
                argv, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=errors,
                env=server_environment(library), preexec_fn=die_with_parent)

    def last_words(self):
        for path in (self.errors, self.log):
            with open(path, encoding="utf-8", errors="replace") as f:
                lines = f.read().strip().splitlines()
            if lines:
                return lines[-1]
        return "it said nothing"

    def alive(self, when):
        status = self.child.poll()
        if status is not None:
            how = f"signal {-status}" if status < 0 else f"exit status {status}"
            raise Failed(f"{self.name} ended {when}: {how}; its last line: {self.last_words()}")

    def file(self, name):
        with open(f"/proc/{self.child.pid}/{name}", encoding="utf-8", errors="replace") as f:
            return f.read()

    def cpu_and_faults(self):
        fields = self.file("stat").rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK"), int(fields[7]) + int(fields[9])

    def peak_kb(self):
        return int(re.search(r"VmHWM:\s*(\d+)", self.file("status")).group(1))

    def loaded(self, library):
        if not library:
            return "none"
        if library not in self.file("maps"):
            raise Failed(f"{self.name} runs without {library}")
        return library

    def end(self):
        """Wait for a server that was told to stop, and pass on what it said on stderr."""
        try:
            status = self.child.wait(timeout=START)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} does not stop") from None
        if status != 0:
            raise Failed(f"{self.name} ended with status {status}, expected 0; "
                         f"its last line: {self.last_words()}")
        with open(self.errors, encoding="utf-8", errors="replace") as f:
            sys.stderr.write(f.read())

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()


# ---- redis. ----


def command(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


class Redis:
    def __init__(self, directory, library):
        self.path = os.path.join(directory, "socket")
        self.process = Process(
            ["redis-server", "--port", "0", "--unixsocket", self.path, "--save", "",
             "--enable-debug-command", "yes", "--dir", directory], directory, library)

    def wait_until_up(self):
        until = time.monotonic() + START
        while True:
            self.process.alive("at its start")
            try:
                return self.ask(b"PING")
            except OSError:
                if time.monotonic() > until:
                    raise Failed(f"redis-server does not answer within {START} s") from None
                time.sleep(0.02)

    def connect(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(LOAD)
        connection.connect(self.path)
        return connection

    def ask(self, *words):
        """A short reply, without its first byte's meaning."""
        with self.connect() as connection:
            connection.sendall(command(*words))
            reply = connection.recv(1 << 20)
            if reply[:1] == b"$":
                size = int(reply[1:reply.index(b"\r\n")])
                while len(reply) < size:
                    more = connection.recv(1 << 20)
                    if not more:
                        break
                    reply += more
            return reply

    def stop(self):
        try:
            self.ask(b"SHUTDOWN", b"NOSAVE")
        except OSError:
            pass
        self.process.end()

    def benchmark(self, requests):
        """What everybody quotes. Its keys are drawn anew each time, so that only the number of
        each command is the same, and that none failed."""
        load = ["redis-benchmark", "-s", self.path, "-q", "-c", "40", "-P", "16",
                "-r", "100000", "-n", str(requests)]
        for more in (["-d", "40", "-t", "set,get,incr,lpush,rpush,lpop,sadd,hset,zadd"],
                     ["-d", "900", "-t", "set,get"],
                     ["del", "key:__rand_int__"],
                     ["-d", "200", "-t", "set"]):
            try:
                done = subprocess.run(load + more, stdin=subprocess.DEVNULL,
                                      capture_output=True, timeout=LOAD, text=True)
            except subprocess.TimeoutExpired:
                self.process.alive("during the load")
                raise Failed(f"redis-benchmark is not done within {LOAD} s") from None
            time.sleep(0 if done.returncode == 0 else 0.2)  # a server that dies is dead
            self.process.alive("during the load")
            if done.returncode != 0:
                raise Failed(f"redis-benchmark: exit status {done.returncode}, expected 0: "
                             + (done.stderr.strip().splitlines() or ["it said nothing"])[-1])

    def benchmark_result(self, _):
        counts = re.findall(r"cmdstat_(\w+):calls=(\d+),.*failed_calls=(\d+)",
                            self.ask(b"INFO", b"commandstats").decode())
        failed = [name for name, _, n in counts if n != "0"]
        if failed:
            raise Failed(f"commands failed: {' '.join(failed)}")
        return ",".join(f"{name}={calls}" for name, calls, _ in sorted(counts)
                        if name not in ("ping", "info", "config|get", "shutdown"))

    def mix(self, streams):
        """Many connections at once, every one with keys of its own: its replies are the same
        whatever the others do."""
        selector = selectors.DefaultSelector()
        streams = [stream * ROUNDS + command(b"ECHO", b"the end") for stream in streams]
        checksums = [0] * len(streams)
        for n, stream in enumerate(streams):
            connection = self.connect()
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE, n)
        sent = [0] * len(streams)
        tail = [b""] * len(streams)
        until = time.monotonic() + LOAD
        while selector.get_map():
            if time.monotonic() > until:
                raise Failed(f"redis-server is not done within {LOAD} s")
            for key, events in selector.select(1):
                n, connection = key.data, key.fileobj
                try:
                    if events & selectors.EVENT_WRITE:
                        sent[n] += connection.send(streams[n][sent[n]:sent[n] + (1 << 14)])
                        if sent[n] == len(streams[n]):
                            selector.modify(connection, selectors.EVENT_READ, n)
                    if events & selectors.EVENT_READ:
                        data = connection.recv(1 << 18)
                        checksums[n] = zlib.crc32(data, checksums[n])
                        tail[n] = (tail[n] + data)[-16:]
                        if tail[n].endswith(b"\r\nthe end\r\n"):
                            selector.unregister(connection)
                            connection.close()
                        elif not data:
                            raise ConnectionError
                except BlockingIOError:
                    pass
                except ConnectionError:
                    time.sleep(0.2)
                    self.process.alive("during the load")
                    raise Failed("redis-server closed a connection") from None
        return checksums

    def mix_result(self, checksums):
        digest = self.ask(b"DEBUG", b"DIGEST").strip(b"+\r\n").decode()
        return f"{digest}-{zlib.crc32(repr(checksums).encode()):08x}"


# ---- The command. ----


def read_streams(directory):
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(".resp"))
        streams = [open(os.path.join(directory, name), "rb").read() for name in names]
    except OSError as error:
        raise Failed(f"{directory}: {error.strerror}: expected what make_input.py redis made") \
            from None
    if not streams:
        raise Failed(f"{directory}: expected .resp files, as make_input.py redis makes them")
    return streams


def measure(server, load, argument, result, library):
    server.wait_until_up()
    cpu, faults = server.process.cpu_and_faults()
    begun = time.monotonic()
    outcome = load(server, argument)
    seconds = time.monotonic() - begun
    cpu, faults = (after - before for after, before in
                   zip(server.process.cpu_and_faults(), (cpu, faults)))
    lines = [f"seconds: {seconds:.6f}", f"cpu: {cpu:.6f}",
             f"peak_kb: {server.process.peak_kb()}", f"faults: {faults}",
             f"loaded: {server.process.loaded(library)}", f"result: {result(server, outcome)}"]
    server.stop()
    print("\n".join(lines))


def main(arguments):
    if arguments[:1] == ["redis"] and len(arguments) <= 2:
        if len(arguments) == 2 and not re.fullmatch(r"[1-9]\d{0,8}", arguments[1]):
            raise Failed(f"REQUESTS {arguments[1]}: expected a number from 1 to 999999999")
        load = Redis.benchmark, int((arguments + ["100000"])[1]), Redis.benchmark_result
    elif arguments[:1] == ["redis-mix"] and len(arguments) == 2:
        load = Redis.mix, read_streams(arguments[1]), Redis.mix_result
    else:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    library = library_wanted()
    with tempfile.TemporaryDirectory(prefix="hakmem-serve-") as directory:
        server = Redis(directory, library)
        try:
            measure(server, *load, library)
        except OSError as error:
            time.sleep(0.2)
            server.process.alive("during the load")
            raise Failed(f"redis-server: {error}") from None
        finally:
            server.process.kill()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Failed as why:
        print(f"serve.py: {why}", file=sys.stderr)
        sys.exit(1)
