# SPDX-License-Identifier: MIT
"""What every mode of tools/bench does before it measures: arguments, library, results."""
import argparse
import importlib
import os
import pathlib
import shlex
import shutil
import sys
import time

import machine
import peers
import results as store
import suite
from suite import Bad

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = SOURCE / "build-bench"


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Bad(f"{message}; see tools/bench --help")


def whole(given, name, least, most):
    """The whole number that was given for --NAME."""
    text = getattr(given, name)
    try:
        number = int(text)
    except ValueError:
        raise Bad(f"--{name} {text}: expected a number") from None
    if not least <= number <= most:
        raise Bad(f"--{name} {text}: expected {least} to {most}")
    return number


def library_of(given):
    if given.library and not os.path.isfile(given.library):
        raise Bad(f"--library {given.library}: no such file")
    build = pathlib.Path(given.build) if given.build else BUILD
    path = given.library or str(build / "libhakmem.so.1")
    if os.path.isfile(path) and not peers.is_hakmem(path):
        raise Bad(f"--library {path}: not hakmem (exports no hak_usable_size)")
    return path


def launch_of(given):
    launch = pathlib.Path(given.build or BUILD) / "bench" / "launch"
    if not launch.exists():
        raise Bad(f"{launch}: not built; run tools/bench, which does")
    return launch.resolve()


def contenders_of(given):
    """Those that --peers names; all are there."""
    contenders = peers.parse(given.peers, library_of(given))
    for peer in contenders:
        if not os.path.isfile(peer.library):
            raise Bad(f"{peer.library}: not built; run tools/bench, which does")
    return contenders


def check_peers(where, contenders):
    """Every peer must serve a trivial program, before hours are spent."""
    trivial = suite.Test("trivial", "", 1, ["/bin/true"], timeout=20.0)
    for peer in contenders:
        if why := where.prove(trivial, peer).note:
            raise Bad(f"--peers {peer.label}: {peer.library} is no malloc that can be "
                      f"preloaded: {why}")


def fingerprint(peer):
    return {"label": peer.label, "library": peer.library, "version": peer.version,
            "env": peer.env, "ours": peer.ours, "system": peer.system,
            "file": peers.digest(peer.library)}


def resumed(given, arguments):
    """(options, results) of an interrupted run, with what is given now on top."""
    results = store.Results(given.resume)
    words = results.session["arguments"] + given.words
    if given.out or given.report:
        raise Bad("--resume: takes neither --out nor --report")
    given = arguments(words)
    given.words = words
    return given, results


def begin(given, contenders, results):
    """Results to go on with, whose peers are those of before; or new ones."""
    now = [fingerprint(p) for p in contenders]
    if results is None:
        command = "tools/bench " + shlex.join(given.words)
        folder = given.out or BUILD / "results" / time.strftime("%Y%m%d-%H%M%S")
        return store.Results(folder, {
            "arguments": given.words, "command": command.strip(), "peers": now,
            "machine": machine.describe(SOURCE)})
    known = {p["label"]: p for p in results.session["peers"]}
    for peer in now:
        before = known.setdefault(peer["label"], peer)
        if before != peer:
            raise Bad(f"--resume {results.folder}: {peer['label']} is not what it was when the "
                      f"run began ({before['library']})")
    results.session["peers"] = list(known.values())
    results.save_session()
    return results


def draw(name, results):
    """The plots that the module makes of the results; their paths."""
    try:
        plots = importlib.import_module(name) # needs matplotlib, which nothing else does
    except ImportError as error:
        print(f"tools/bench: no plots: {error} (package python3-matplotlib)", file=sys.stderr)
        return []
    return plots.draw(results, results.folder)


def copy_images(images, document):
    """To img/ beside the document."""
    beside = pathlib.Path(document).resolve().parent / "img"
    beside.mkdir(parents=True, exist_ok=True)
    for image in images:
        shutil.copy(image, beside / image.name)
