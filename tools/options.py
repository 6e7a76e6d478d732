# SPDX-License-Identifier: MIT
"""The rows of src/base/options.def, for the programs that make documents of them."""
import collections
import re
import sys

Option = collections.namedtuple("Option", "name type defaults min max unit choices help")

ROW = re.compile(r'HAK_OPT\((\w+), (FLAG|COUNT|SIZE|LIMIT), (\w+), (\w+), (\w+), (\w+), (\w+), '
                 r'"([^"]*)", "([^"]+)"\)')
TRIPLE = re.compile(r'HAK_OPT_TRIPLE\((\w+), ([\d:]+), (\d+), (\d+), "([^"]*)", "([^"]+)"\)')
TEXT = re.compile(r'HAK_OPT_TEXT\((\w+), "([^"]+)", "([^"]+)"\)')
LIST = re.compile(r'HAK_OPT_LIST\((\w+), (\d+), "([^"]+)", "([^"]+)"\)')
CHOICE = re.compile(r'HAK_OPT_CHOICE\((\w+), (\d+), "([^"]+)", "([^"]+)"\)')


def read(path):
    """Every row in order. Ends the program on a row it cannot read: none may be left out."""
    rows = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            line = line.strip()
            if not line.startswith("HAK_OPT"):
                continue
            if m := ROW.fullmatch(line):
                name, kind, fast, balanced, lean, low, high, unit, text = m.groups()
                rows.append(Option(name, kind.lower(), (fast, balanced, lean), low, high, unit,
                                   [], text))
            elif m := LIST.fullmatch(line):
                rows.append(Option(m[1], "list", ("all",) * 3, "0", m[2], m[3], [], m[4]))
            elif m := CHOICE.fullmatch(line):
                words = m[3].split("|")
                word = words[int(m[2])]
                rows.append(Option(m[1], "choice", (word, word, word), "", "", "", words, m[4]))
            elif m := TRIPLE.fullmatch(line):
                name, default_, low, high, unit, text = m.groups()
                rows.append(Option(name, "triple", (default_,) * 3, low, high, unit, [], text))
            elif m := TEXT.fullmatch(line):
                rows.append(Option(m[1], "text", ("none",) * 3, "", "", m[2], [], m[3]))
            else:
                sys.exit(f"{path}:{number}: not a row of the form the head of the file gives")
    return rows


def variable(o):
    return "HAKMEM_" + o.name.upper()


def accepted(o):
    """What a value may be, in words."""
    if o.type == "choice":
        return ", ".join(o.choices[:-1]) + " or " + o.choices[-1]
    if o.type == "text":
        return o.unit
    if o.type == "triple":
        return f"a:b:c, each {o.min} to {o.max} {o.unit}"
    if o.type == "list":
        return f"all, or {o.unit} below {o.max} as in 0-1,3"
    if o.type == "flag" and o.max == "1":
        return "0 or 1"
    if o.min == o.max:
        return o.min
    special = "auto, 0 or " if o.type == "limit" else ""
    return f"{special}{o.min} to {o.max}" + (f" {o.unit}" if o.unit else "")


def default(o):
    """The default, and what the other presets make of it where they differ."""
    fast, balanced, lean = o.defaults
    others = [f"{mode} {value}" for mode, value in (("fast", fast), ("lean", lean))
              if value != balanced]
    return balanced + (f" ({', '.join(others)})" if others else "")
