# SPDX-License-Identifier: MIT
"""What the figures were measured on."""
import os
import pathlib
import platform
import re
import subprocess
import time


def said(*command):
    """First line that a command prints, or ""."""
    try:
        out = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""
    return out.splitlines()[0].strip() if out else ""


def read(path):
    try:
        return pathlib.Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def first(pattern, text, otherwise="unknown"):
    found = re.search(pattern, text, re.M)
    return found[1].strip() if found else otherwise


def describe(source):
    """{what: text}, in the order to print it."""
    model = first(r"^model name\s*: (.*)", read("/proc/cpuinfo"), platform.machine())
    memory = int(first(r"^MemTotal:\s+(\d+)", read("/proc/meminfo"), "0")) / 1048576
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": f"{model}, {os.cpu_count()} CPUs",
        "memory": f"{memory:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "system": first(r'^PRETTY_NAME="?([^"\n]*)', read("/etc/os-release")),
        "transparent huge pages": first(
            r"\[(\w+)\]", read("/sys/kernel/mm/transparent_hugepage/enabled")),
        "C library": os.confstr("CS_GNU_LIBC_VERSION"),
        "compiler": said("gcc", "--version"),
        "hakmem": said("git", "-C", str(source), "describe", "--always", "--dirty",
                       "--exclude=*") or "unknown",
    }
