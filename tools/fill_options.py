#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""fill_options.py options.def template output [name=value]...

Writes the template, with its mode, to output: @OPTIONS_MAN@ replaced by man page entries,
@OPTIONS_SH@ by one line an option (name|type|default|min|max|choices|help, choices parted by
blanks), and @name@ by value."""
import shutil
import sys

import options

rows = options.read(sys.argv[1])


def man(o):
    text = o.help.replace("\\", "\\e").replace("-", "\\-")
    return (f".TP\n.B {options.variable(o)}\n{text}\nAccepted: {options.accepted(o)}. "
            f"Default: {options.default(o)}.")


values = {
    "OPTIONS_MAN": "\n".join(map(man, rows)),
    "OPTIONS_SH": "\n".join("|".join([o.name, o.type, options.default(o), o.min, o.max,
                                      " ".join(o.choices), o.help]) for o in rows),
}
values.update(pair.split("=", 1) for pair in sys.argv[4:])
with open(sys.argv[2], encoding="utf-8") as template:
    text = template.read()
for name, value in values.items():
    text = text.replace(f"@{name}@", value)
with open(sys.argv[3], "w", encoding="utf-8") as output:
    output.write(text)
shutil.copymode(sys.argv[2], sys.argv[3])
