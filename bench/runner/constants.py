# SPDX-License-Identifier: MIT
"""What each constant of src/policy/elo.c and ace.c does: bench/constants.c with one of them changed at a
time. Prints a table for doc/policy.md; the same on every machine, for nothing in it is timed."""
import pathlib
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parents[2]
SCORE = "return 1 / (1 + r * r);"
ELO = [("as it is", "", ""),
       ("K 16, then 16", "K_NEW = 64, K_OLD = 24", "K_NEW = 16, K_OLD = 16"),
       ("K 24, then 24", "K_NEW = 64, K_OLD = 24", "K_NEW = 24, K_OLD = 24"),
       ("K 64, then 64", "K_NEW = 64, K_OLD = 24", "K_NEW = 64, K_OLD = 64"),
       ("K 128, then 48", "K_NEW = 64, K_OLD = 24", "K_NEW = 128, K_OLD = 48"),
       ("exponent 2", SCORE, "return 1 / (1 + r);"),
       ("exponent 8", SCORE, "return 1 / (1 + r * r * r * r);"),
       ("0 points to lead", "AHEAD = 20", "AHEAD = 0"),
       ("60 points to lead", "AHEAD = 20", "AHEAD = 60"),
       ("20 after one match", "CLEAR = 40", "CLEAR = 20"),
       ("never after one match", "CLEAR = 40", "CLEAR = 4000"),
       ("20 points to freeze", "MARGIN = 50", "MARGIN = 20"),
       ("100 points to freeze", "MARGIN = 50", "MARGIN = 100"),
       ("a loss of 0.05 % of all time", "LOSS_TIME = 0.002", "LOSS_TIME = 0.0005"),
       ("a loss of 1 % of all time", "LOSS_TIME = 0.002", "LOSS_TIME = 0.01"),
       ("trust 50", "BONUS = 200", "BONUS = 50"),
       ("trust 800", "BONUS = 200", "BONUS = 800")]
ACE = [("as it is", "", ""),
       ("grow at 1", "GROW = 2,", "GROW = 1,"),
       ("grow at 4", "GROW = 2,", "GROW = 4,"),
       ("shrink at 1/16", "SHRINK = 0.25", "SHRINK = 0.0625"),
       ("shrink at 1", "SHRINK = 0.25", "SHRINK = 1"),
       ("1 look up", "UP_LOOKS = 2", "UP_LOOKS = 1"),
       ("8 looks up", "UP_LOOKS = 2", "UP_LOOKS = 8"),
       ("2 looks down", "DOWN_LOOKS = 8", "DOWN_LOOKS = 2"),
       ("32 looks down", "DOWN_LOOKS = 8", "DOWN_LOOKS = 32"),
       ("no longer waits", "k->wait = (uint8_t)HAK_MIN", "k->wait = 0 * (uint8_t)HAK_MIN"),
       ("nothing remembered", "k->feared = grows ? (float)lost : 0;", "k->feared = 0;")]


def figures(folder, changed, old, new):
    sources = []
    for name in ("elo.c", "ace.c"):
        text = (SOURCE / "src" / "policy" / name).read_text(encoding="utf-8")
        if name == changed and old:
            if old not in text:
                sys.exit(f"constants.py: {name}: no longer has \"{old}\"")
            text = text.replace(old, new)
        path = pathlib.Path(folder) / name
        path.write_text(text, encoding="utf-8")
        sources.append(path)
    program = pathlib.Path(folder) / "constants"
    subprocess.run(["cc", "-O2", "-std=gnu11", "-D_GNU_SOURCE", "-I", SOURCE / "src",
                    SOURCE / "bench" / "constants.c", *sources, "-o", program], check=True)
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()


def main():
    with tempfile.TemporaryDirectory() as folder:
        print("| ELO | best or next to it leads, % | cost above the best, % | new leaders among equals |\n"
              "|---|---:|---:|---:|")
        for name, old, new in ELO:
            f = figures(folder, "elo.c", old, new)
            print(f"| {name} | {' / '.join(f[0:9:3])} | {' / '.join(f[1:9:3])} | {' / '.join(f[2:9:3])} |")
        print("\n| ACE | cost above the best, us a second | moves in 1,000 looks | most |\n|---|---:|---:|---:|")
        for name, old, new in ACE:
            f = figures(folder, "ace.c", old, new)
            print(f"| {name} | {f[9]} | {f[10]} | {f[11]} |")


if __name__ == "__main__":
    main()
