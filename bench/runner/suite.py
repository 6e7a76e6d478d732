# SPDX-License-Identifier: MIT
"""The tests: bench/*.toml, checked, and chosen by name, group or pattern."""
import dataclasses
import fnmatch
import pathlib
import re
import tomllib


class Bad(Exception):
    """Something given is wrong: one line for the person who gave it."""


@dataclasses.dataclass
class Test:
    name: str
    about: str
    threads: int
    command: list
    group: str = ""
    instructions: list = None  # a shorter form of the command, counted under callgrind
    env: dict = dataclasses.field(default_factory=dict)
    needs: list = dataclasses.field(default_factory=list)  # Debian packages
    input: list = None         # makes the input; its last argument is the file
    stdin: str = "/dev/null"
    metric: str = None         # regular expression with one group, searched in stdout
    better: str = "less"
    work: float = 1.0          # with better = "more": seconds = work / metric
    timeout: float = 300.0     # seconds
    output: str = ""           # "same": all runs of the test write the same bytes
    over_time: str = ""        # a file it writes where it runs: lines of time,live,held (bytes)
    time: bool = True          # false: how long it takes is given, only its memory counts
    figures: dict = dataclasses.field(default_factory=dict)  # name: as metric; less is better
    driver: bool = False       # a client that starts the server measured; see real.toml


KINDS = {"name": str, "about": str, "threads": int, "command": list, "instructions": list,
         "env": dict, "needs": list, "input": list, "stdin": str, "metric": str, "better": str,
         "work": (int, float), "timeout": (int, float), "output": str,
         "over_time": str, "time": bool, "figures": dict, "driver": bool}
WORDS = {str: "a string", int: "an integer", list: "a list of strings",
         dict: "a table of strings", bool: "true or false", (int, float): "a number"}


def check(entry, where):
    """One [[test]] table as a Test."""
    for key, value in entry.items():
        if key not in KINDS:
            raise Bad(f"{where}: {key}: no such key; expected one of {' '.join(KINDS)}")
        kind = KINDS[key]
        right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if right and kind in (list, dict):
            texts = value if kind is list else value.values()
            right = all(isinstance(t, str) for t in texts) and (kind is dict or len(value) > 0)
        if not right:
            raise Bad(f"{where}: {key} = {value!r}: expected {WORDS[kind]}")
    for key in ("name", "about", "threads", "command"):
        if key not in entry:
            raise Bad(f"{where}: no {key}")
    test = Test(**entry)
    if not re.fullmatch("[a-z0-9-]+", test.name):
        raise Bad(f"{where}: name = {test.name!r}: expected a-z, 0-9 and -")
    if test.threads < 1 or test.work <= 0 or test.timeout <= 0:
        raise Bad(f"{where}: threads, work and timeout are above 0")
    if test.better not in ("less", "more"):
        raise Bad(f"{where}: better = {test.better!r}: expected \"less\" or \"more\"")
    if test.output not in ("", "same"):
        raise Bad(f"{where}: output = {test.output!r}: expected \"same\"")
    for key, pattern in {"metric": test.metric, **test.figures}.items():
        try:
            groups = 1 if pattern is None else re.compile(pattern).groups
        except re.error as error:
            raise Bad(f"{where}: {key} = {pattern!r}: {error}") from None
        if groups != 1:
            raise Bad(f"{where}: {key} = {pattern!r}: expected exactly one group")
    return test


def load(paths):
    """All tests of the files, in their order."""
    tests = {}
    for path in map(pathlib.Path, paths):
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Bad(f"{path}: not TOML: {error}") from None
        except OSError as error:
            raise Bad(f"{path}: {error.strerror}") from None
        entries = data.pop("test", [])
        tables = isinstance(entries, list) and all(isinstance(e, dict) for e in entries)
        if data or not tables:
            raise Bad(f"{path}: expected only [[test]] tables"
                      + (f", not {next(iter(data))}" if data else ""))
        for number, entry in enumerate(entries, 1):
            test = check(entry, f"{path}: test {entry.get('name', number)}")
            if test.name in tests:
                raise Bad(f"{path}: test {test.name}: the name is taken in group "
                          f"{tests[test.name].group}")
            test.group = path.stem
            tests[test.name] = test
    return list(tests.values())


def choose(tests, wanted, option="--tests"):
    """Those that the comma-separated names, groups or patterns ask for; all for None."""
    if wanted is None:
        return tests
    chosen = []
    for word in filter(None, wanted.split(",")):
        found = [t for t in tests if word in (t.name, t.group)
                 or fnmatch.fnmatchcase(t.name, word)
                 or fnmatch.fnmatchcase(f"{t.group}/{t.name}", word)]
        if not found:
            raise Bad(f"{option} {word}: no such test or group; --list shows them")
        chosen += [t for t in found if t not in chosen]
    if not chosen:
        raise Bad(f"{option}: expected at least one name, group or pattern")
    return [t for t in tests if t in chosen]


def fill(text, places):
    """{name} in text replaced by places[name]; other braces stay."""
    return re.sub(r"\{(\w+)\}", lambda m: str(places.get(m[1], m[0])), text)


def placed(test, places):
    """The test with its paths filled in."""
    def each(words):
        return None if words is None else [fill(w, places) for w in words]
    return dataclasses.replace(
        test, command=each(test.command), instructions=each(test.instructions),
        input=each(test.input), stdin=fill(test.stdin, places),
        env={k: fill(v, places) for k, v in test.env.items()})
