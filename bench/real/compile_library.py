# SPDX-License-Identifier: MIT
"""Python's parser, syntax trees and compiler over its own standard library: many small nodes of
many types, built up and dropped file by file. One argument: how many rounds."""
import ast
import hashlib
import os
import sys

ROUNDS = int(sys.argv[1])
MODULES = """argparse asyncio/base_events bdb calendar cgi cmd codecs collections/__init__
configparser copy csv dataclasses datetime decimal difflib dis doctest email/message enum
fileinput fractions ftplib functools gettext glob gzip heapq http/client http/server imaplib
inspect ipaddress json/decoder locale logging/__init__ mailbox mimetypes ntpath optparse os
pathlib pdb pickle pickletools platform plistlib posixpath pprint pydoc random shutil smtplib
socket socketserver ssl statistics string subprocess tarfile tempfile textwrap threading
tokenize traceback turtle typing unittest/mock urllib/parse urllib/request uuid weakref
zipfile""".split()


def main():
    digest = hashlib.sha256()
    library = os.path.dirname(os.__file__)
    nodes = 0
    for _ in range(ROUNDS):
        for module in MODULES:
            path = f"{library}/{module}.py"
            if not os.path.exists(path):
                continue
            with open(path, encoding="utf-8") as file:
                source = file.read()
            tree = ast.parse(source)
            nodes += sum(1 for _ in ast.walk(tree))
            code = compile(tree, module, "exec")
            digest.update(code.co_code)
            digest.update(ast.unparse(tree.body[-1]).encode())
    print(nodes, digest.hexdigest())


main()
