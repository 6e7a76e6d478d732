# SPDX-License-Identifier: MIT
"""Python on text: strings that grow, split, join, replace, regular expressions, a template, and
long results built from short pieces, as log processing and page rendering do. One argument: how
many rounds."""
import hashlib
import random
import re
import sys

ROUNDS = int(sys.argv[1])
dice = random.Random(3).random
WORD = re.compile(r"(\w+)-(\d+)")
WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu".split()


def line(n):
    return f"{n:08} host{n % 50} [" + " ".join(
        f"{WORDS[int(dice() * len(WORDS))]}-{int(dice() * 10000)}"
        for _ in range(3 + int(dice() * 12))) + f"] \"GET /{'p' * int(120 * dice() ** 3)}\""


def page(lines):
    rows = []
    for text in lines:
        stamp, host, rest = text.split(" ", 2)
        pairs = WORD.findall(rest)
        cells = "".join(f"<td>{word.title()}={number}</td>" for word, number in pairs)
        rows.append(f"<tr id='{stamp}'><th>{host.upper()}</th>{cells}</tr>")
    return "<table>\n" + "\n".join(rows) + "\n</table>"


def main():
    digest = hashlib.sha256()
    kept = []
    for round_ in range(ROUNDS):
        lines = [line(round_ * 400 + i) for i in range(400)]
        text = page(lines)
        text = text.replace("<td>", "\n  <td class='x'>")
        kept.append(text)
        if len(kept) > 60:
            del kept[int(dice() * 60)]
        buffer = ""
        for word in text.split()[:4000]:
            buffer += word[::-1]
        pieces = bytearray()
        for piece in WORD.sub(r"\2:\1", "\n".join(lines)).encode().splitlines():
            pieces += piece.ljust(80)[:200]
        digest.update(buffer.encode())
        digest.update(bytes(pieces))
    print(len(kept), sum(map(len, kept)), digest.hexdigest())


main()
