#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""boot.py MACHINE --cases CASES --init INIT --library LIBHAKMEM --tool HAKMEM-NUMA [--kernel VMLINUZ]

Boots a Debian kernel under qemu, in software, on a machine with NUMA nodes, and runs the cases of
cases.c that belong to it. A kernel is fetched as the package linux-image-cloud-amd64 and unpacked,
not installed, into the folder of --init; a second boot uses the same. Exit status 0: all hold;
77: there is no qemu, or no kernel, or too little memory here.

`numa=fake` would be no substitute: all CPUs are on node 0 there.
"""
import argparse
import dataclasses
import fcntl
import gzip
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time

BOOTS = 3  # one that does not come to its first case is booted again, so often in all
BOOT_SECONDS, CASE_SECONDS = 60, 60
NODE_MIB = 192


@dataclasses.dataclass
class Machine:
    mib: list       # of each node; 0: it has no memory
    cpus: list      # of each node; 0: it has none
    distances: dict
    cases: list     # settings, program, arguments; after " # " what shall be in its output


def two_nodes():
    hak, numactl = "LD_PRELOAD=/libhakmem.so /cases", "/numactl"
    under = "LD_PRELOAD=/libhakmem.so /numactl {} /cases policy {}"
    return Machine([NODE_MIB, NODE_MIB], [2, 2], {(0, 1): 20}, [
        f"{hak} each_node 0 1",
        f"HAKMEM_NUMA=on {hak} first_touch 0",
        f"HAKMEM_NUMA=off {hak} first_touch 1",
        f"{hak} producer_consumer",
        f"{hak} migrated_thread",
        f"{hak} bouncing_thread",
        f"{hak} full_node 1",
        f"{hak} large local",
        f"HAKMEM_NUMA_LARGE=interleave {hak} large interleave",
        f"{hak} park_and_reuse 0 1",
        f"HAKMEM_NUMA_NODES=1 {hak} each_node 0:1 1",
        f"HAKMEM_LOG=info {hak} cpuset_changes # may use other nodes now",
        "CASES_PRELOAD=/libhakmem.so HAKMEM_LOG=info /cases refused # the system refuses",
        "/hakmem-numa --preload /libhakmem.so /cases each_node 0 1"
        " # ^0 .* 100.0 .* 10 20$\\n1 .* 100.0 .* 20 10$",
        f"HAKMEM_THP=on {hak} huge",
        under.format("--membind=1", "1"),
        under.format("--interleave=all", ""),
        under.format("--preferred=1", "1"),
        under.format("--localalloc", "0"),
    ])


def four_nodes():
    """Node 2 has no memory, and its threads are nearest to node 1; node 3 has no CPU. (The kernel
    numbers those with CPUs first.)"""
    hak = "LD_PRELOAD=/libhakmem.so /cases"
    return Machine([128, 128, 0, 128], [1, 1, 1, 0],
                   {(0, 1): 25, (0, 2): 40, (0, 3): 30, (1, 2): 15, (1, 3): 20, (2, 3): 30}, [
        f"HAKMEM_LOG=info {hak} each_node 0 1 2:1 # their threads use the nearest",
        f"HAKMEM_NUMA_NODES=2,7 {hak} each_node 0 1 2:1 # HAKMEM_NUMA_NODES='2,7': expected nodes",
        f"HAKMEM_NUMA_NODES=0,3 {hak} each_node 0 1:3 2:3",
        f"{hak} producer_consumer",
        f"{hak} full_node 1",
    ])


def between_nodes():
    """Node 1 has CPUs alone, as far from node 0 as from 2: there MPOL_PREFERRED_MANY is needed."""
    hak = "LD_PRELOAD=/libhakmem.so /cases"
    return Machine([128, 0, 128, 128], [1, 1, 1, 1],
                   {(0, 1): 20, (0, 2): 30, (0, 3): 40, (1, 2): 20, (1, 3): 40, (2, 3): 40}, [
        f"{hak} between 1 0 2",
        f"{hak} each_node 0 2 3",
        f"{hak} park_and_reuse 0 2 3",
    ])


MACHINES = {"two": two_nodes, "four": four_nodes, "between": between_nodes}


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


# ---- What is booted. ----

def kernel_fetch(folder):
    """The newest kernel unpacked there, fetched if there is none. One test at a time."""
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = sorted(folder.glob("boot/vmlinuz-*"))
        if found:
            return found[-1]
        if not shutil.which("apt-get") or not shutil.which("dpkg"):
            skip("no kernel: expected apt-get and dpkg, to fetch linux-image-cloud-amd64")
        show = subprocess.run(["apt-cache", "depends", "linux-image-cloud-amd64"], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        names = re.findall(r"Depends: (linux-image-\S+)", show)
        if not names or subprocess.run(["apt-get", "download", "-q", names[0]], cwd=folder,
                                       stdout=subprocess.DEVNULL).returncode != 0:
            skip("no kernel: the package linux-image-cloud-amd64 cannot be fetched")
        package = next(folder.glob("linux-image-*.deb"))
        subprocess.run(["dpkg", "-x", package.name, "."], cwd=folder, check=True)
        package.unlink()
        shutil.rmtree(folder / "lib", ignore_errors=True)
        found = sorted(folder.glob("boot/vmlinuz-*"))
    return found[-1] if found else skip("no kernel in the package linux-image-cloud-amd64")


def libraries(path):
    """What the dynamic linker would load for a program, and the linker."""
    text = subprocess.run(["ldd", path], text=True, stderr=subprocess.DEVNULL,
                           stdout=subprocess.PIPE).stdout
    return re.findall(r"(/\S+) \(0x", text)


class Archive:
    """An initramfs: cpio, "newc"."""

    def __init__(self):
        self.parts, self.names, self.inode = [], set(), 1

    def add(self, name, mode, data=b"", device=(0, 0)):
        if name in self.names:
            return
        self.names.add(name)
        if "/" in name:
            self.add(name.rpartition("/")[0], stat.S_IFDIR | 0o755)
        encoded = name.encode() + b"\0"
        fields = [self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0]
        head = b"070701" + b"".join(b"%08x" % f for f in fields) + encoded
        self.parts += [head, b"\0" * (-len(head) % 4), data, b"\0" * (-len(data) % 4)]
        self.inode += 1

    def program(self, name, path):
        self.add(name, stat.S_IFREG | 0o755, pathlib.Path(path).read_bytes())
        for library in libraries(path):
            self.add(library.lstrip("/"), stat.S_IFREG | 0o755,
                     pathlib.Path(library).read_bytes())

    def bytes(self):
        self.add("TRAILER!!!", 0)
        return gzip.compress(b"".join(self.parts), 1)


def initramfs(args, machine):
    a = Archive()
    for folder in ("proc", "sys", "dev", "cg", "tmp"):
        a.add(folder, stat.S_IFDIR | 0o755)
    a.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    a.add("list", stat.S_IFREG | 0o644, "".join(c.split(" # ")[0] + "\n" for c in machine.cases).encode())
    a.program("init", args.init)
    a.program("cases", args.cases)
    a.program("libhakmem.so", args.library)
    a.program("hakmem-numa", args.tool)
    if shutil.which("numactl"):
        a.program("numactl", shutil.which("numactl"))
    return a.bytes()


# ---- Booting it. ----

def qemu_command(machine, kernel, folder):
    command = ["qemu-system-x86_64", "-machine", "pc", "-accel", "tcg", "-cpu", "max", "-nodefaults",
               "-display", "none", "-no-reboot", "-kernel", str(kernel),
               "-initrd", str(folder / "initramfs"),
               "-append", "console=ttyS0 quiet numa_balancing=disable mitigations=off panic=-1",
               "-serial", f"file:{folder / 'console'}", "-serial", f"file:{folder / 'output'}",
               "-smp", str(sum(machine.cpus)), "-m", f"{sum(machine.mib)}M"]
    cpu = 0
    for node, (mib, cpus) in enumerate(zip(machine.mib, machine.cpus)):
        what = f"node,nodeid={node}"
        if mib:
            command += ["-object", f"memory-backend-ram,id=m{node},size={mib}M"]
            what += f",memdev=m{node}"
        if cpus:
            what += f",cpus={cpu}-{cpu + cpus - 1}"
            cpu += cpus
        command += ["-numa", what]
    for (a, b), distance in machine.distances.items():
        command += ["-numa", f"dist,src={a},dst={b},val={distance}"]
    return command


def text(path):
    return path.read_text(errors="replace") if path.exists() else ""


def boot(machine, kernel, folder):
    """Returns whether the machine came to its cases; kills it where it does not end in time."""
    for name in ("console", "output"):
        (folder / name).unlink(missing_ok=True)
    log = open(folder / "qemu", "w")
    begun = time.monotonic()
    with subprocess.Popen(qemu_command(machine, kernel, folder), stdin=subprocess.DEVNULL,
                          stdout=log, stderr=log) as qemu:
        try:
            while qemu.poll() is None:
                console = text(folder / "console")
                started, seconds = "cases: start" in console, time.monotonic() - begun
                most = BOOT_SECONDS
                if started:
                    most += CASE_SECONDS * (console.count(": status ") + 1)
                if seconds > most:
                    break
                time.sleep(0.2)
        finally:
            if qemu.poll() is None:
                qemu.kill()
    return "cases: start" in text(folder / "console")


def results(machine, folder):
    """Print what each case said. Returns how many failed."""
    status = dict(re.findall(r"case (\d+): status (\d+)", text(folder / "console")))
    output = text(folder / "output").replace("\r", "")
    parts = re.split(r"^-- case \d+\n", output, flags=re.M)[1:] + [""] * len(machine.cases)
    failed = 0
    for n, (case, said) in enumerate(zip(machine.cases, parts)):
        case, _, want = case.partition(" # ")
        good = status.get(str(n)) == "0" and re.search(want, said, re.M) is not None
        failed += not good
        print(f"{'ok' if good else 'FAILED'}: {case.replace('LD_PRELOAD=/libhakmem.so ', '')}"
              + ("" if str(n) in status else ": did not end"))
        print("".join(f"    {line}\n" for line in said.splitlines()), end="")
    return failed


def main():
    p = argparse.ArgumentParser()
    p.add_argument("machine", choices=MACHINES)
    p.add_argument("--cases", required=True)
    p.add_argument("--init", required=True)
    p.add_argument("--library", required=True)
    p.add_argument("--tool", required=True)
    p.add_argument("--kernel")
    args = p.parse_args()
    if not shutil.which("qemu-system-x86_64"):
        skip("no qemu-system-x86_64: expected the package qemu-system-x86")
    machine = MACHINES[args.machine]()
    if not shutil.which("numactl"):
        machine.cases = [c for c in machine.cases if "/numactl" not in c]
        print("numactl is not here: its cases are left out")
    free = int(re.search(r"MemAvailable: +(\d+)", open("/proc/meminfo").read())[1]) // 1024
    if free < sum(machine.mib) + 300:
        skip(f"{free} MiB of memory free: expected {sum(machine.mib) + 300}")
    kernel = args.kernel or kernel_fetch(pathlib.Path(args.init).parent / "kernel")
    with tempfile.TemporaryDirectory(prefix="hakmem-numa-") as name:
        folder = pathlib.Path(name)
        (folder / "initramfs").write_bytes(initramfs(args, machine))
        for attempt in range(BOOTS):
            begun = time.monotonic()
            if boot(machine, kernel, folder):
                break
            print(f"boot {attempt + 1} of {BOOTS} did not come to the cases")
            print("\n".join((text(folder / "qemu") + text(folder / "console")).splitlines()[-20:]))
        else:
            sys.exit(1)
        failed = results(machine, folder)
        print(f"{len(machine.cases)} cases, {failed} failed, {time.monotonic() - begun:.0f} s")
        if "cases: done" not in text(folder / "console"):
            print("the machine did not end by itself:")
            print("\n".join(text(folder / "console").splitlines()[-20:]))
            failed += 1
    sys.exit(failed > 0)


main()
