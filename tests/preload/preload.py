#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run a real program without and with hakmem preloaded, and compare.

usage: preload.py LIBRARY PROGRAM        (one name of PROGRAMS below)
       preload.py --list | --packages

Each program does a fixed piece of work (programs/) in a fresh directory, twice. Wanted: exit
status 0, the same bytes on stdout and stderr, the same bytes in the files it names; and proof
that the second run was on hakmem. The proof is the dynamic linker's own record, written by that
very run (LD_DEBUG=bindings): in every process malloc is bound to the library, and none of
malloc, calloc, realloc, free is bound to any other. A program that links another allocator, as
Debian's redis-server links jemalloc, would show there.

Exit status: 0, 1, or 77 where the program is not installed.
"""
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent / "programs"
FAMILY = ("malloc", "calloc", "realloc", "free")
SECONDS = 100  # for one run, far above what any takes

# ---- Sources to compile, too dull to keep in a file. ----


def c_source(path, functions=300):
    """Functions with switches, loops and tables: what generated code looks like."""
    with open(path, "w") as f:
        f.write("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n")
        for i in range(functions):
            f.write(f"struct s{i} {{ int a[{i % 7 + 1}]; struct s{i} *next; double d; }};\n"
                    f"static const int table{i}[] = {{"
                    + ", ".join(str(i * k % 97) for k in range(40)) + "};\n"
                    f"int f{i}(struct s{i} *s, int n)\n{{\n    int sum = {i};\n"
                    f"    for (int i = 0; i < n; i++)\n        switch ((sum + i) % 5) {{\n"
                    + "".join(f"        case {k}: sum += table{i}[(i + {k}) % 40] * s->a[0];\n"
                              "            break;\n" for k in range(4))
                    + f"        default: sum ^= {i}; s->d += sum;\n        }}\n"
                    "    return sum;\n}\n")
        f.write("int main(void)\n{\n    long all = 0;\n")
        for i in range(functions):
            f.write(f"    {{ struct s{i} s = {{{{{i}}}, NULL, 0}}; all += f{i}(&s, 50); }}\n")
        f.write('    printf("%ld\\n", all);\n    return 0;\n}\n')


def cxx_source(path):
    """Templates, one instance after the other; the program itself lives on operator new."""
    with open(path, "w") as f:
        f.write("""#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <regex>
#include <string>
#include <thread>
#include <unordered_map>
#include <variant>
#include <vector>
using leaf = std::variant<int, std::string>;
template <int N> struct tree {
    std::map<std::string, std::vector<std::unique_ptr<leaf>>> children;
    long fill(int n)
    {
        for (int i = 0; i < n; i++)
            children[std::to_string(i * N % 101)].push_back(
                std::make_unique<leaf>(i % 2 ? leaf(i) : leaf(std::string(i % 60, 'x'))));
        return std::accumulate(children.begin(), children.end(), 0L, [](long sum, auto &c) {
            return sum + static_cast<long>(c.first.size() * c.second.size());
        });
    }
};
template <int N> long all()
{
    long sum = tree<N>().fill(300);
    if constexpr (N > 0)
        sum += all<N - 1>();
    return sum;
}
int main()
{
    std::vector<std::thread> threads;
    std::vector<long> sums(4);
    for (int i = 0; i < 4; i++)
        threads.emplace_back([&, i] { sums[i] = all<30>(); });
    for (auto &t : threads)
        t.join();
    std::unordered_map<std::string, int> words;
    std::string text;
    for (int i = 0; i < 3000; i++)
        text += "w" + std::to_string(i * 7919 % 613) + " ";
    std::regex word("w(\\\\d+)");
    for (std::sregex_iterator it(text.begin(), text.end(), word), end; it != end; ++it)
        words[(*it)[1]]++;
    std::cout << sums[0] << ' ' << sums[3] << ' ' << words.size() << std::endl;
    try {
        volatile size_t most = static_cast<size_t>(-1) / 2;
        delete[] new char[most];
    } catch (const std::bad_alloc &e) {
        std::cout << e.what() << std::endl;
    }
}
""")


def debugged_source(path):
    Path(path).write_text("""#include <stdlib.h>
#include <string.h>
struct node { struct node *next; int value; };
static struct node *work(struct node *list, int depth)
{
    struct node *n = malloc(sizeof *n);
    n->next = list;
    n->value = depth;
    return depth == 0 ? n : work(n, depth - 1);
}
int main(void)
{
    struct node *list = work(NULL, 20);
    int sum = 0;
    for (struct node *n = list; n != NULL; n = n->next)
        sum += n->value;
    return sum != 210;
}
""")


# ---- One run of something, under an environment. ----


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


def environment(directory):
    """Nothing of the caller's but the way to programs; no hash seed, clock or home is left."""
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(directory), "TMPDIR": str(directory), "LC_ALL": "C.UTF-8", "TZ": "UTC",
            "PERL_HASH_SEED": "0", "PERL_PERTURB_KEYS": "0", "PYTHONHASHSEED": "0",
            "PYTHONMALLOC": "malloc", "PYTHONDONTWRITEBYTECODE": "1", "SOURCE_DATE_EPOCH": "0"}


def run(argv, directory, env, **more):
    done = subprocess.run(argv, cwd=directory, env=env, stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=SECONDS, **more)
    if done.returncode != 0:
        raise Failed(f"{argv[0]}: exit status {done.returncode}\n"
                     + done.stdout[-2000:].decode(errors="replace")
                     + done.stderr[-4000:].decode(errors="replace"))
    return done.stdout, done.stderr


# ---- redis: a server and its clients, on a socket in the directory; no port at all. ----


def redis(directory, env):
    log = open(directory / "server.log", "wb")
    server = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", "socket", "--save", "", "--appendonly",
         "yes", "--appendfsync", "no", "--enable-debug-command", "yes", "--io-threads", "2",
         "--hash-max-listpack-entries", "32", "--daemonize", "no", "--dir", str(directory)],
        cwd=directory, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        return redis_clients(directory, env, server)
    finally:
        server.poll() is None and server.kill()
        server.wait()


def redis_clients(directory, env, server):
    def cli(*words, script=None):
        argv = ["redis-cli", "-s", "socket", *words]
        done = subprocess.run(argv, cwd=directory, env=env, input=script, capture_output=True,
                              timeout=SECONDS)
        if done.returncode != 0 or done.stderr or b"ERR" in done.stdout:
            raise Failed(f"redis-cli {words}: {done.stdout[-500:]!r} {done.stderr[-500:]!r}")
        return done.stdout

    until = time.monotonic() + 20
    while not (directory / "socket").exists():
        if server.poll() is not None or time.monotonic() > until:
            raise Failed("redis-server does not start:\n"
                         + (directory / "server.log").read_text())
        time.sleep(0.02)
    commands = []
    for i in range(4000):
        commands += [f"SET key:{i} v{'v' * (i * 37 % 2000)}",
                     f"APPEND key:{i * 7 % 4000} more{i}",
                     f"LPUSH list:{i % 50} {'e' * (i % 90)}{i}",
                     f"SADD set:{i % 20} m{i * i % 997}",
                     f"HSET hash:{i % 40} f{i} h{'h' * (i % 120)}",
                     f"ZADD z:{i % 10} {i % 501} m{i}"]
        if i % 5 == 0:
            commands += [f"DEL key:{i * 3 % 4000}", f"LTRIM list:{i % 50} 0 60"]
    out = [cli(script="\n".join(commands).encode())]
    load = ["redis-benchmark", "-s", "socket", "-q", "-c", "30", "-r", "5000", "--threads", "2"]
    run([*load, "-n", "20000", "-P", "16", "-d", "300", "-t",
         "set,get,incr,lpush,rpop,sadd,hset,spop,zadd,zpopmin,lrange_100,mset"], directory, env)
    out.append(cli("EVAL", "for i = 1, 20000 do local t = {} for k = 1, 10 do t[k] = i .. 'x' "
                   "end end redis.call('DEL', 'mylist', 'myset', 'myhash', 'myzset') "
                   "return 'done'", "0"))
    cli("EVAL", "for _, k in ipairs(redis.call('KEYS', '*__rand_int__*')) do "
        "redis.call('DEL', k) end return 1", "0")
    # What the load left under random names is not comparable; the rest is, also after the forks
    # of a save and a rewrite, and after loading it all again.
    names = cli("EVAL", "for _, p in ipairs({'key:0*', 'counter:*'}) do for _, k in "
                "ipairs(redis.call('KEYS', p)) do if #k == #'key:000000004711' or "
                "p ~= 'key:0*' then redis.call('DEL', k) end end end "
                "return redis.call('DBSIZE')", "0")
    out += [names, cli("DEBUG", "DIGEST")]
    cli("BGREWRITEAOF")
    while b"aof_rewrite_in_progress:1" in cli("INFO", "persistence"):
        time.sleep(0.05)
    cli("BGSAVE")
    while b"rdb_bgsave_in_progress:1" in cli("INFO", "persistence"):
        time.sleep(0.05)
    info = cli("INFO", "persistence")
    if b"rdb_last_bgsave_status:ok" not in info or b"aof_last_bgrewrite_status:ok" not in info:
        raise Failed(info.decode())
    cli("DEBUG", "RELOAD")
    out += [cli("DEBUG", "DIGEST"), cli("MEMORY", "PURGE"), cli("FLUSHALL", "ASYNC")]
    subprocess.run(["redis-cli", "-s", "socket", "SHUTDOWN", "NOSAVE"], cwd=directory, env=env,
                   capture_output=True, timeout=SECONDS)
    if server.wait(timeout=30) != 0:
        raise Failed(f"redis-server: exit status {server.returncode}\n"
                     + (directory / "server.log").read_text()[-4000:])
    return b"".join(out), b""


# ---- The table. ----

PYTHON = "/usr/bin/python3"  # Debian's, whose libc and libraries are the system's


def python_tests(*modules):
    return [[PYTHON, "-m", "unittest", "-q", "-b", *("test.test_" + m for m in modules)]]


def has_python_tests():
    probe = "import importlib.util as u; exit(u.find_spec('test.test_dict') is None)"
    if subprocess.run([PYTHON, "-c", probe]).returncode != 0:
        raise Skipped("Python's own tests are not installed (libpython3.11-testsuite)")


def has_java_compiler():
    modules = subprocess.run(["java", "--list-modules"], capture_output=True).stdout
    if b"jdk.compiler" not in modules:
        raise Skipped("this JVM has no compiler module (it is in default-jdk-headless)")


def script(name, *args):
    return [["bash", str(HERE / name), *args]]


class Program:
    def __init__(self, needs, package, commands, prepare=None, probe=None, same=None):
        self.needs = needs          # executables
        self.package = package      # of Debian
        self.commands = commands    # argv lists, or function(directory, env) -> stdout, stderr
        self.prepare = prepare      # {file to make in the directory: function}
        self.probe = probe          # raises Skipped
        self.same = same or (lambda text: text)  # what of the output is comparable


def without_times(text):
    """unittest's "Ran 123 tests in 1.234s"."""
    return re.sub(rb" in \d+\.\d+s", b"", text)


def without_process_ids(text):
    text = re.sub(rb"process \d+", b"process N", text)
    return re.sub(rb"0x[0-9a-f]+", b"ADDRESS", text)


PROGRAMS = {
    "python_objects": Program(
        [PYTHON], "libpython3.11-testsuite",
        python_tests("dict", "list", "sort", "deque", "set", "bytes", "array", "weakref", "re",
                     "json", "unicode", "ordered_dict", "generators"),
        probe=has_python_tests, same=without_times),
    "python_threads": Program(
        [PYTHON], "libpython3.11-testsuite",
        python_tests("threading", "thread", "threading_local", "context", "gc"),
        probe=has_python_tests, same=without_times),
    "python_io": Program(
        [PYTHON], "libpython3.11-testsuite",
        python_tests("memoryio", "zlib", "pickle", "struct", "mmap", "csv", "ctypes"),
        probe=has_python_tests, same=without_times),
    "sqlite3": Program(["sqlite3"], "sqlite3", [
        ["sqlite3", "-batch", ":memory:", ".read " + str(HERE / "sqlite.sql")]]),
    "perl": Program(["perl"], "perl", [["perl", str(HERE / "perl.pl")]]),
    "perl_threads": Program(["perl"], "perl", [["perl", str(HERE / "perl.pl"), "threads"]]),
    "lua": Program(["lua5.4"], "lua5.4", [["lua5.4", str(HERE / "lua.lua")]]),
    "node": Program(["node"], "nodejs", [["node", str(HERE / "node.js")]]),
    "java": Program(["java"], "default-jdk-headless", [
        ["java", "-Xmx300m", "-XX:-UsePerfData", str(HERE / "Main.java")]],
        probe=has_java_compiler),
    "redis": Program(["redis-server", "redis-cli", "redis-benchmark"], "redis-server", redis),
    "gcc": Program(["gcc"], "gcc", script("compile.sh", "gcc", "large.c"),
                   prepare={"large.c": c_source}),
    "gxx": Program(["g++"], "g++", script("compile.sh", "g++", "large.cc"),
                   prepare={"large.cc": cxx_source}),
    "clang": Program(["clang"], "clang", script("compile.sh", "clang", "large.c"),
                     prepare={"large.c": lambda path: c_source(path, 150)}),
    "git": Program(["git"], "git", script("git.sh")),
    "bash": Program(["bash", "sort", "xargs"], "bash", script("bash.sh")),
    "archive": Program(["tar", "xz", "gzip", "bzip2"], "xz-utils", script("archive.sh")),
    "openssl": Program(["openssl"], "openssl", script("openssl.sh")),
    "gdb": Program(["gdb", "gcc"], "gdb", [
        ["gcc", "-g", "-O0", "-o", "debugged", "debugged.c"],
        ["gdb", "--batch", "-nx", "-iex", "set debuginfod enabled off",
         "-ex", "break work if depth == 3", "-ex", "run", "-ex", "backtrace", "-ex",
         "python print(len([gdb.execute('info functions', to_string=True) for _ in range(2)]))",
         "-ex", "print *list->next", "-ex", "finish", "-ex", "continue", "./debugged"]],
        prepare={"debugged.c": debugged_source}, same=without_process_ids),
}


# ---- Both runs, and what is wanted of them. ----


class Result:
    def __init__(self, program, directory, env):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        for name, make in (program.prepare or {}).items():
            make(directory / name)
        start = time.monotonic()
        self.out, self.err = b"", b""
        if callable(program.commands):
            self.out, self.err = program.commands(directory, env)
        else:
            for argv in program.commands:
                out, err = run(argv, directory, env)
                self.out += out
                self.err += err
        self.seconds = time.monotonic() - start
        self.out, self.err = program.same(self.out), program.same(self.err)


def difference(name, plain, hakmem):
    if plain == hakmem:
        return
    a, b = plain.splitlines(), hakmem.splitlines()
    for n in range(max(len(a), len(b))):
        x, y = a[n] if n < len(a) else b"(end)", b[n] if n < len(b) else b"(end)"
        if x != y:
            raise Failed(f"{name} differs from line {n + 1} on\n"
                         f"  without: {x[:300]!r}\n  hakmem:  {y[:300]!r}")
    raise Failed(f"{name} differs in its line ends")


def prove(traces, library):
    """The number of processes in the linker's records, all of them proved to be on hakmem."""
    bound = re.compile(r"binding file (\S+) \[\d+\] to (\S+) \[\d+\]: normal symbol `(\w+)'")
    processes = 0
    for trace in traces.glob("trace.*"):
        found = {b for b in bound.findall(trace.read_text(errors="replace")) if b[2] in FAMILY}
        ours = {(source, symbol) for source, target, symbol in found
                if os.path.realpath(target) == library}
        if "malloc" not in {symbol for _, symbol in ours}:
            raise Failed(f"a process without hakmem's malloc: {trace.read_text()[:500]}")
        for source, target, symbol in found:
            # A program at a fixed address lends libraries its own stub for a function whose
            # address it takes; where that leads is what the program is bound to.
            if (source, symbol) not in ours and (target, symbol) not in ours:
                raise Failed(f"{source} has {symbol} of {target}, not hakmem's")
        processes += 1
    if processes == 0:
        raise Failed("the dynamic linker recorded no process")
    return processes


def compare(library, name):
    program = PROGRAMS[name]
    for executable in program.needs:
        if shutil.which(executable) is None:
            raise Skipped(f"{executable} is not installed (package {program.package})")
    if program.probe:
        program.probe()
    library = os.path.realpath(library)
    with tempfile.TemporaryDirectory(prefix="hakmem-preload-") as top:
        directory, traces = Path(top) / "work", Path(top) / "traces"
        traces.mkdir()
        plain = Result(program, directory, environment(directory))
        hakmem = Result(program, directory, {
            **environment(directory), "LD_PRELOAD": library,
            "LD_DEBUG": "bindings", "LD_DEBUG_OUTPUT": str(traces / "trace")})
        difference("stdout", plain.out, hakmem.out)
        difference("stderr", plain.err, hakmem.err)
        processes = prove(traces, library)
    print(f"{name}: equal output ({len(plain.out) + len(plain.err)} bytes, sha256 "
          f"{hashlib.sha256(plain.out).hexdigest()[:12]}), exit status 0, {processes} "
          f"processes on hakmem; {plain.seconds:.1f} s without, {hakmem.seconds:.1f} s with it")


def main():
    if sys.argv[1:] == ["--list"]:
        print("\n".join(PROGRAMS))
        return 0
    if sys.argv[1:] == ["--packages"]:
        print("\n".join(sorted({p.package for p in PROGRAMS.values()})))
        return 0
    if len(sys.argv) != 3 or sys.argv[2] not in PROGRAMS:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        compare(sys.argv[1], sys.argv[2])
    except Skipped as why:
        print(f"skipped: {why}")
        return 77
    except (Failed, subprocess.TimeoutExpired) as why:
        print(f"{sys.argv[2]}: FAILED: {why}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
