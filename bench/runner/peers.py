# SPDX-License-Identifier: MIT
"""The allocators compared: what is installed, and what the command line names."""
import dataclasses
import hashlib
import os
import pathlib
import re
import subprocess

from suite import Bad

# Word of --peers: the names that its library has in Debian, and its packages.
DEBIAN = {
    "jemalloc": (["libjemalloc.so.2"], ["libjemalloc2"]),
    "tcmalloc": (["libtcmalloc_minimal.so.4"],
                 ["libtcmalloc-minimal4", "libtcmalloc-minimal4t64"]),
    "mimalloc": (["libmimalloc.so.3", "libmimalloc.so.2"], ["libmimalloc3", "libmimalloc2.0"]),
}
WORDS = "hakmem, system, jemalloc, tcmalloc, mimalloc, all or the path of a library"


@dataclasses.dataclass
class Peer:
    label: str
    library: str         # its real path; what LD_PRELOAD gets
    version: str
    env: dict
    ours: bool = False   # hakmem, in whatever form
    system: bool = False


def cached_libraries():
    """{soname: path} of the dynamic linker's cache."""
    out = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True,
                         check=False).stdout
    found = {}
    for name, path in re.findall(r"^\s*(\S+) \([^)]*\) => (\S+)$", out, re.M):
        if os.uname().machine.replace("_", "-") in path.replace("_", "-"):
            found.setdefault(name, path)
    return found


def libc():
    """The C library of this process, which the commands use too."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            if "/libc.so.6" in line or "/libc-2" in line:
                return os.path.realpath(line.split(maxsplit=5)[5].strip())
    raise Bad("no libc.so.6 in this process: the system malloc cannot be named")


def package_version(path):
    """"NAME VERSION" of the Debian package that has the file, or None."""
    for name in (path, path.removeprefix("/usr")):
        out = subprocess.run(["dpkg-query", "-S", name], capture_output=True, text=True,
                             check=False).stdout
        if ": " in out:
            package = out.split(": ")[0].split(",")[0]
            return subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}", package],
                                  capture_output=True, text=True, check=False).stdout
    return None


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def version_of(path):
    try:
        if found := package_version(path):
            return found
    except FileNotFoundError:
        pass # not Debian
    return f"{os.path.basename(path)}, SHA-256 {digest(path)[:12]}"


def is_hakmem(path):
    """By its own exported name: a copy under another name is still hakmem."""
    return b"\0hak_usable_size\0" in pathlib.Path(path).read_bytes()


def by_path(label, text, version, env):
    path = os.path.realpath(text)
    if not os.path.isfile(path):
        raise Bad(f"--peers {text}: no such file; expected {WORDS}")
    if re.search(r"[\s:]", path):
        raise Bad(f"--peers {path}: LD_PRELOAD takes no path with a space or a colon")
    if pathlib.Path(path).read_bytes()[:4] != b"\x7fELF":
        raise Bad(f"--peers {text}: not a shared library (no ELF header)")
    return Peer(label or os.path.basename(text).removeprefix("lib").split(".")[0], path,
                version or version_of(path), env, ours=is_hakmem(path))


def by_word(word, label, version, env, hakmem, cache):
    """A Peer, or None for a Debian package that is not installed."""
    if word == "hakmem":
        return Peer(label or word, os.path.realpath(hakmem), version or "", env, ours=True)
    if word == "system":
        path = libc()
        return Peer(label or word, path, version or version_of(path), env, system=True)
    for name in DEBIAN[word][0]:
        if name in cache:
            return by_path(label or word, cache[name], version, env)
    return None


def split(text):
    """The comma-separated parts; a comma that belongs to a value is written \\, ."""
    return [p.replace("\\,", ",") for p in re.split(r"(?<!\\),", text) if p]


def parse(text, hakmem):
    """Peers of the value of --peers, None being all that are there.

    A part is [LABEL[@VERSION]=]NAME-OR-PATH. Parts VARIABLE=VALUE belong to the next name; a
    label may stand before the first of them.
    """
    cache = cached_libraries()
    peers, env, label, version = [], {}, None, None

    def add(peer):
        if any(p.label == peer.label for p in peers):
            raise Bad(f"--peers: two are called {peer.label}; give one a label: LABEL=...")
        peers.append(peer)

    for part in split(text if text is not None else "all"):
        while "=" in part:
            name, rest = part.split("=", 1)
            if re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
                env[name] = rest
                part = None
                break
            if label is not None or not re.fullmatch(r"[\w.+-]+(@[^=]*)?", name):
                break # a path with = in it, or nonsense: said below
            label, _, version = name.partition("@")
            part = rest
        if part is None:
            continue
        if part == "all":
            if label or env:
                raise Bad("--peers all: takes no label or environment")
            for word in ("hakmem", "system", *DEBIAN):
                peer = by_word(word, None, None, {}, hakmem, cache)
                if peer is not None and peer.label not in [p.label for p in peers]:
                    add(peer)
        elif part in ("hakmem", "system", *DEBIAN):
            peer = by_word(part, label, version, env, hakmem, cache)
            if peer is None:
                raise Bad(f"--peers {part}: not installed; --install-peers installs "
                          + " or ".join(DEBIAN[part][1]))
            add(peer)
        elif "/" in part or os.path.exists(part):
            add(by_path(label, part, version, env))
        else:
            raise Bad(f"--peers {part or text}: expected {WORDS}")
        env, label, version = {}, None, None
    if label or env:
        raise Bad(f"--peers {text}: a label or variable is followed by no name; "
                  f"expected {WORDS}")
    if not any(p.ours for p in peers):
        peers.insert(0, by_word("hakmem", None, None, {}, hakmem, cache))
    return peers
