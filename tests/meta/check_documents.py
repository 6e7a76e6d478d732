#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_documents.py SOURCE-ROOT: what the documents name in backticks exists.

So does every file that a link leads to. The documents: doc/*.md, README.md and CONTRIBUTING.md;
doc/why is history and may name what is gone. The names: functions, types and constants that
carry one of our prefixes, HAKMEM_ names, and paths that start with a folder of the tree.
"""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(root / "tools"))
import options  # noqa: E402

NAME = re.compile(r"\b(?:hak|tiny|ss|superslab|mid|large|policy|os|elo|ace|batch)_"
                  r"[a-z0-9_]*[a-z0-9]\b|"
                  r"\b(?:HAK|TINY|SS|MID|LARGE|POLICY)_[A-Z0-9_]*[A-Z0-9]\b")
VARIABLE = re.compile(r"\bHAKMEM_[A-Z0-9_]*[A-Z0-9]\b(?!_?\*)")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)") # not to another site
PATH = re.compile(r"^(?:src|include|tests|tools|doc|man|bench|subprojects|cmake)/[\w./-]*")

source = "\n".join(p.read_text(errors="replace") for top in ("src", "include", "tests")
                   for p in (root / top).rglob("*")
                   if p.suffix in (".c", ".h", ".def", ".build"))
words = set(re.findall(r"\w+", source))
variables = {options.variable(o) for o in options.read(root / "src/base/options.def")}


def faults_in(span):
    for name in NAME.findall(span):
        if name not in words and not span.startswith("HAKMEM_"):
            yield f"`{name}`: no such name in src, include or tests"
    for name in VARIABLE.findall(span):
        if name not in variables and name not in words:
            yield f"`{name}`: no such option in src/base/options.def"
    if (m := PATH.match(span)) and not (root / m[0]).exists():
        if span[len(m[0]):][:1] not in tuple("*<{"): # `tests/<suite>`: a pattern, not a file
            yield f"`{m[0]}`: no such file"


documents = sorted((root / "doc").glob("*.md")) + [root / "README.md", root / "CONTRIBUTING.md"]
faults = []
for path in documents:
    if not path.exists():
        faults.append(f"{path}: missing")
        continue
    for number, line in enumerate(path.read_text().splitlines(), 1):
        for span in re.findall(r"`([^`]+)`", line):
            faults += [f"{path.relative_to(root)}:{number}: {f}" for f in faults_in(span)]
        for target in LINK.findall(line):
            if not (path.parent / target).exists():
                faults.append(f"{path.relative_to(root)}:{number}: link to {target}: no such file")
print("\n".join(faults) or f"{len(documents)} documents name nothing that is not there")
sys.exit(bool(faults))
