#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Make the fixed input of one real program.

usage: make_input.py KIND PATH [--small]
KIND: c cppcheck cxx git jq redis smt sql words xml

The same bytes every time: one seed, no date, no name of this machine. PATH is written beside
its place and renamed at the end, so that an interrupted run leaves no half input. --small makes
a hundredth or so of it, for the tests. c, cxx, git and redis make
directories.
"""
import os
import random
import shutil
import subprocess
import sys

WORDS = ("alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi "
         "rho sigma tau upsilon phi chi psi omega order price city customer ledger "
         "stock").split()


class Dice:
    """Random numbers from random() alone, whose sequence Python promises not to change."""

    def __init__(self, seed):
        self.random = random.Random(seed).random

    def below(self, n):
        return int(self.random() * n)

    def pick(self, things):
        return things[self.below(len(things))]

    def long_tail(self, most):
        """1..most, small ones often."""
        return 1 + int(most * self.random() ** 6)

    def words(self, n):
        return " ".join(self.pick(WORDS) for _ in range(n))


# ---- C and C++ for the compilers. ----


def c_expression(dice, depth):
    if depth == 0:
        return dice.pick(["a", "b", "s->x", "s->y", "(int)s->d", "t[i & 15]", "i",
                          str(dice.below(1000))])
    left, right = c_expression(dice, depth - 1), c_expression(dice, depth - 1 - dice.below(2) *
                                                              (depth > 1))
    operator = dice.pick(["+", "-", "*", "^", "&", "|", "<", ">"])
    return f"({left} {operator} {right})"


def c_function(dice, n):
    """A function as generated code has them: struct access, loops, a switch, calls upwards."""
    kind = n % 40
    yield (f"struct s{n} {{ int x, y; double d; struct s{n} *next; "
           f"char name[{1 + n % 31}]; }};\n")
    yield f"static int f{n}(struct s{n} *s, int a, int b)\n{{\n    int t[16] = {{0}}, i;\n"
    for _ in range(2 + dice.below(3)):
        yield f"    for (i = 0; i < (a & {3 + dice.below(60)}); i++) {{\n"
        for _ in range(2 + dice.below(3)):
            yield (f"        t[(i + {dice.below(16)}) & 15] += "
                   f"{c_expression(dice, 2 + dice.below(2))};\n")
        yield f"        if ({c_expression(dice, 2)})\n            s->y += t[i & 7];\n    }}\n"
    yield f"    switch ((a ^ b) & {7 if kind % 2 else 15}) {{\n"
    for case in range(4 + dice.below(4)):
        yield (f"    case {case}:\n        s->x = {c_expression(dice, 3)};\n"
               f"        b -= s->x;\n        break;\n")
    yield f"    default:\n        s->d *= {c_expression(dice, 1)};\n    }}\n"
    if n > 3:
        other = n - 1 - dice.below(3)
        yield (f"    struct s{other} o = {{a, b, s->d, 0, \"{dice.pick(WORDS)[:n % 31]}\"}};\n"
               f"    return f{other}(&o, b, a) + s->x + t[3];\n}}\n")
    else:
        yield "    return s->x + t[3];\n}\n"


def make_c(path, small):
    """What the C compiler proper reads: no #include left. Beside it, a link to it."""
    os.mkdir(path)
    dice = Dice("c")
    functions = 6 if small else 45
    with open(os.path.join(path, "input.i"), "w") as f:
        for n in range(functions):
            f.writelines(c_function(dice, n))
        f.write("int entry(int a, int b)\n{\n    int sum = 0;\n")
        for n in range(functions):
            f.write(f"    struct s{n} v{n} = {{a, b, a, 0, \"\"}};\n"
                    f"    sum += f{n}(&v{n}, a, b);\n")
        f.write("    return sum;\n}\n")
    cc1 = output(["gcc", "-print-prog-name=cc1"]).strip()
    os.symlink(cc1, os.path.join(path, "cc1"))


CXX_HEAD = """#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>
"""


def make_cxx(path, small):
    """C++ with the standard library's headers, preprocessed; and a link to the compiler."""
    os.mkdir(path)
    dice = Dice("cxx")
    source = os.path.join(path, "input.cc")
    with open(source, "w") as f:
        f.write(CXX_HEAD)
        for n in range(2 if small else 7):
            key = dice.pick(["int", "std::string", "unsigned long"])
            f.write(f"""struct record{n} {{
    std::string name;
    std::vector<std::variant<int, std::string, double>> fields;
    std::map<{key}, std::shared_ptr<record{n}>> children;
    std::unordered_map<std::string, int> index;
}};
long walk{n}(const record{n} &r, const std::function<long(const record{n} &)> &visit)
{{
    long sum = visit(r);
    for (auto &[key, child] : r.children)
        sum += walk{n}(*child, visit);
    for (auto &field : r.fields)
        sum += std::visit([](auto &v) -> long {{ return sizeof v; }}, field);
    return sum;
}}
void order{n}(std::vector<record{n}> &all)
{{
    std::sort(all.begin(), all.end(),
              [](auto &a, auto &b) {{
                  return a.name.size() * {1 + dice.below(9)} < b.name.size();
              }});
    all.erase(std::remove_if(all.begin(), all.end(),
                             [](auto &r) {{ return r.name == "{dice.pick(WORDS)}"; }}),
              all.end());
    for (auto &r : all)
        r.index[r.name + "{dice.pick(WORDS)}"] += {dice.below(1000)};
}}
""")
    text = output(["clang++", "-std=c++17", "-E", "-P", source])
    with open(os.path.join(path, "input.ii"), "w") as f:
        f.write(text)
    os.remove(source)
    os.symlink(os.path.realpath(shutil.which("clang++")), os.path.join(path, "clang"))


def make_cppcheck(path, small):
    dice = Dice("cppcheck")
    with open(path, "w") as f:
        for n in range(2 if small else 100):
            f.writelines(c_function(dice, n))


# ---- Data. ----


def make_git(path, small):
    """A history of files that grow by small edits, packed with deltas."""
    dice = Dice("git")
    files = 5 if small else 400
    commits = 20 if small else 10000
    text = [[dice.words(3 + dice.below(9)) for _ in range(100 + dice.long_tail(600))]
            for _ in range(files)]
    git = ["git", "-C", path, "-c", "core.compression=1", "-c", "core.fsync=none"]
    env = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "HOME": path, "GIT_DIR": "."}
    os.mkdir(path)
    run([*git, "init", "-q", "--bare", "."], env=env)
    importer = subprocess.Popen([*git, "fast-import", "--quiet"], env=env,
                                stdin=subprocess.PIPE)
    send = importer.stdin.write
    for n in range(commits):
        send(f"commit refs/heads/main\n"
             f"committer A U Thor <author@example.org> {10**9 + n} +0000\n"
             f"data 7\nc{n:06}\n".encode())
        for _ in range(1 + dice.below(3)):
            which = dice.below(files)
            lines = text[which]
            for _ in range(1 + dice.below(4)):
                lines[dice.below(len(lines))] = dice.words(3 + dice.below(9))
            lines.insert(dice.below(len(lines)), dice.words(8))
            data = "\n".join(lines).encode()
            send(f"M 644 inline d{which % 12}/f{which}\ndata {len(data)}\n".encode())
            send(data + b"\n")
    importer.stdin.close()
    if importer.wait() != 0:
        fail("git fast-import failed")
    run([*git, "repack", "-q", "-a", "-d", "-f", "--window=4", "--depth=50", "--threads=1"],
        env=env)
    packs = os.listdir(os.path.join(path, "objects/pack"))
    pack = next(name for name in packs if name.endswith(".pack"))
    os.replace(os.path.join(path, "objects/pack", pack), path + "..new.pack")
    shutil.rmtree(path)
    os.mkdir(path)
    os.replace(path + "..new.pack", os.path.join(path, "input.pack"))


def json_value(dice, depth):
    kind = dice.below(6 if depth > 0 else 3)
    if kind == 0:
        return str(dice.below(10**6))
    if kind == 1:
        return f'"{dice.words(dice.long_tail(40))}"'
    if kind == 2:
        return dice.pick(["true", "false", "null", "3.25", "-17"])
    if kind == 3:
        return "[" + ",".join(json_value(dice, depth - 1) for _ in range(dice.below(8))) + "]"
    return "{" + ",".join(f'"{dice.pick(WORDS)}{n}":{json_value(dice, depth - 1)}'
                          for n in range(dice.below(8))) + "}"


def make_jq(path, small):
    dice = Dice("jq")
    with open(path, "w") as f:
        for n in range(300 if small else 30000):
            f.write(f'{{"id":{n},"name":"{dice.words(2)}","value":{json_value(dice, 3)}}}\n')


def make_redis(path, small):
    """Commands in the server's own protocol, one file a connection. Keys are a connection's
    own, so that its replies do not depend on the others. Values have sizes with a long tail;
    some keys grow, some shrink, many are replaced or deleted."""
    os.mkdir(path)
    for connection in range(3 if small else 16):
        dice = Dice(f"redis{connection}")
        with open(os.path.join(path, f"{connection:02}.resp"), "wb") as f:
            for _ in range(300 if small else 25000):
                n = dice.below(4000)
                key, few = f"{connection}:key:{n}", f"{connection}:few:{n % 60}"
                value = dice.pick(WORDS) * dice.long_tail(300)
                words = dice.pick([
                    ["SET", key, value], ["SET", key, value], ["APPEND", key, value[:80]],
                    ["GET", key], ["DEL", key], ["STRLEN", key],
                    ["LPUSH", "l" + few, value[:200]], ["RPOP", "l" + few],
                    ["LRANGE", "l" + few, "0", "5"], ["LTRIM", "l" + few, "0", "90"],
                    ["HSET", "h" + few, str(n), value[:120]], ["HDEL", "h" + few, str(n + 1)],
                    ["SADD", "s" + few, value[:20] + str(n)], ["SREM", "s" + few, str(n)],
                    ["ZADD", "z" + few, str(n), str(dice.below(1000))],
                    ["ZREMRANGEBYRANK", "z" + few, "0", "1"]])
                f.write((f"*{len(words)}\r\n" + "".join(
                    f"${len(word)}\r\n{word}\r\n" for word in words)).encode())


def make_smt(path, small):
    """Multiplication of bit vectors backwards: which factors give these products?"""
    bits, goals = (8, 2) if small else (24, 18)
    dice = Dice("smt")
    with open(path, "w") as f:
        f.write("(set-logic QF_BV)\n")
        for n in range(goals):
            a, b = (3 + dice.below(2**(bits // 2) - 3) for _ in range(2))
            f.write(f"(declare-const a{n} (_ BitVec {bits}))\n"
                    f"(declare-const b{n} (_ BitVec {bits}))\n"
                    f"(assert (= (bvmul a{n} b{n}) (_ bv{a * b % 2**bits} {bits})))\n"
                    f"(assert (bvult (_ bv1 {bits}) a{n}))\n(assert (bvult a{n} b{n}))\n"
                    f"(assert (bvult b{n} (_ bv{2**(bits // 2)} {bits})))\n")
            if n > 0:
                f.write(f"(assert (distinct (bvadd a{n} b{n}) (bvadd a{n - 1} b{n - 1})))\n"
                        f"(assert (bvult (bvurem a{n} #x{'0' * (bits // 4 - 1)}d) a{n - 1}))\n")
        f.write("(check-sat)\n")


def make_sql(path, small):
    dice = Dice("sql")
    rows = 500 if small else 60000
    with open(path, "w") as f:
        f.write("CREATE TABLE person "
                "(id INTEGER PRIMARY KEY, name TEXT, city TEXT, note TEXT);\n"
                "CREATE TABLE sale "
                "(id INTEGER PRIMARY KEY, person INT, item TEXT, price REAL);\n"
                "CREATE INDEX person_name ON person (name);\n"
                "CREATE INDEX sale_person ON sale (person);\nBEGIN;\n")
        for n in range(rows):
            f.write(f"INSERT INTO person VALUES ({n}, '{dice.pick(WORDS)}{dice.below(rows)}', "
                    f"'{dice.pick(WORDS)}', '{dice.words(dice.long_tail(60))}');\n"
                    f"INSERT INTO sale VALUES ({n}, {dice.below(rows)}, '{dice.words(2)}', "
                    f"{dice.below(10000) / 4});\n")
            if n % 16 == 15:
                f.write(f"UPDATE person SET note = note || ' more' "
                        f"WHERE id = {dice.below(n)};\n"
                        f"DELETE FROM sale WHERE person = {dice.below(n)};\n"
                        f"SELECT name, sum(price) FROM person "
                        f"JOIN sale ON sale.person = person.id "
                        f"WHERE person.id BETWEEN {n - 16} AND {n} "
                        f"GROUP BY name ORDER BY 2 DESC LIMIT 1;\n")
        f.write("COMMIT;\n"
                "SELECT city, count(*), total(price), "
                "group_concat(DISTINCT substr(item, 1, 3)) "
                "FROM person JOIN sale ON sale.person = person.id GROUP BY city ORDER BY 2;\n"
                "SELECT count(DISTINCT upper(name) || lower(note)) FROM person;\n"
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < "
                f"{rows * 2}) SELECT sum(length(printf('%d-%s', i, hex(i)))) FROM n;\n"
                "SELECT sum(json_extract(j, '$.a[1]')) FROM (SELECT json_object('a', "
                "json_array(id, person, item)) AS j FROM sale);\n")


def make_words(path, small):
    dice = Dice("words")
    with open(path, "w") as f:
        for _ in range(2000 if small else 450000):
            f.write(f"{dice.below(30000)} {dice.pick(WORDS)}{dice.long_tail(20000)} "
                    f"{dice.words(1 + dice.below(9))}\n")


def make_xml(path, small):
    dice = Dice("xml")
    with open(path, "w") as f:
        f.write('<?xml version="1.0" encoding="UTF-8"?>\n<shop>\n')
        for n in range(400 if small else 80000):
            f.write(f'<order id="o{n}" city="{dice.pick(WORDS)}{dice.below(50)}">'
                    f"<customer>{dice.words(2)}</customer>")
            for _ in range(dice.below(4)):
                f.write(f'<item price="{dice.below(1000)}"><name>'
                        f"{dice.words(1 + dice.below(4))}</name></item>")
            f.write(f"<!-- {dice.pick(WORDS)} --><note>{dice.words(dice.long_tail(40))}</note>"
                    "</order>\n")
        f.write("</shop>\n")


# ---- The command. ----


def fail(why):
    print(f"make_input.py: {why}", file=sys.stderr)
    sys.exit(1)


def run(argv, **more):
    try:
        return subprocess.run(argv, check=True, **more)
    except FileNotFoundError:
        fail(f"{argv[0]}: expected it to be installed")
    except subprocess.CalledProcessError as error:
        fail(f"{' '.join(argv)}: exit status {error.returncode}, expected 0")


def output(argv):
    return run(argv, stdout=subprocess.PIPE, text=True).stdout


KINDS = {name[5:]: make for name, make in list(globals().items()) if name.startswith("make_")}


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.remove(path)


def main(arguments):
    small = "--small" in arguments
    words = [word for word in arguments if word != "--small"]
    if len(words) != 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    kind, path = words
    if kind not in KINDS:
        print(f"make_input.py: {kind}: expected one of {' '.join(sorted(KINDS))}",
              file=sys.stderr)
        return 2
    part = path + ".part"
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        remove(part)
        KINDS[kind](part, small)
        remove(path)
        os.replace(part, path)
    except OSError as error:
        fail(f"{path}: {error.strerror}: expected a place to write to")
    except BaseException:
        remove(part)
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
