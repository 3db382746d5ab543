"""Runs one program that nobody trusts, and then its tests, where it can reach nothing. Linux only.

A script that `sandbox.py` starts as `python -I -S jail.py` with an empty environment; standard library only.

    sandbox ── job, report ── keeper ── pipe ── prisoner
    (our process)             (this script)     (its fork: runs the program, then the tests)

The keeper moves into namespaces of its own (unshare(2)): a mount namespace with nothing in it but the standard
library, the shared libraries, two devices and an empty scratch folder in memory; a network namespace without a
network; an IPC namespace; and a PID namespace whose first and only process is the prisoner, so that its death
is the death of everything in it. A user namespace comes first; root does without where there is none, and the
prisoner becomes nobody. The prisoner gives up every capability, gets limits, and a seccomp filter refuses the
calls that would make processes, sockets, namespaces, or memory that no limit counts. The keeper never runs
foreign code; it holds the deadline, and kills when whoever started it goes away.

Passing means that the prisoner wrote a random word to the pipe, which it does after the last test. Leaving
early, printing and replaced builtins do not get there. Code that searches its own interpreter for the word
(frames, gc), or returns objects that claim to equal anything, does: one process cannot keep secrets from
itself. Programs are written by a model that does not know this file; do not train against it as a reward.
"""

# pathlib, json, signal and the like would double the time this takes to start, which every program pays.
# ruff: noqa: PTH102, PTH103, PTH112, PTH120, PTH123
import builtins
import ctypes
import os
import resource
import select
import stat
import struct
import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

CPU_SECONDS = 5
WALL_SECONDS = 10
"""Longer than the processor time, so that a busy machine stops nobody."""
MEMORY_BYTES = 1 << 29
SCRATCH_BYTES = 1 << 24
OPEN_FILES = 64
REPORT_BYTES = 400
NOBODY = 65534
PIPE = 3
SIGKILL = 9
PASSED, FAILED, UNAVAILABLE = "passed", "failed", "unavailable"
MACHINE = os.uname().machine

CLONE_NEWUSER = 0x10000000
CLONE_OTHERS = 0x00020000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000
"""CLONE_NEWNS, NEWUTS, NEWIPC, NEWPID, NEWNET."""
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
MNT_DETACH = 2
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID = 1, 2
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
CAPABILITY_VERSION_3 = 0x20080522
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
MOUNT_SETATTR = 442

# Numbers from asm/unistd.h. No process or thread; no socket (a pair of connected ones is harmless, asyncio needs
# it); no namespace in which capabilities would come back; no memory that RLIMIT_AS does not count; no keyring.
REFUSED = {
    "x86_64": {
        "clone": 56, "fork": 57, "vfork": 58, "clone3": 435, "socket": 41, "unshare": 272, "setns": 308,
        "ptrace": 101, "shmget": 29, "semget": 64, "msgget": 68, "memfd_create": 319, "memfd_secret": 447,
        "io_uring_setup": 425, "userfaultfd": 323, "bpf": 321, "perf_event_open": 298, "add_key": 248,
        "request_key": 249, "keyctl": 250,
    },
    "aarch64": {
        "clone": 220, "clone3": 435, "socket": 198, "unshare": 97, "setns": 268, "ptrace": 117, "shmget": 194,
        "semget": 190, "msgget": 186, "memfd_create": 279, "memfd_secret": 447, "io_uring_setup": 425,
        "userfaultfd": 282, "bpf": 280, "perf_event_open": 241, "add_key": 217, "request_key": 218,
        "keyctl": 219,
    },
}  # fmt: skip
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: "Any") -> None:
    """A function of the C library that returns -1 on failure; that becomes an OSError naming it."""
    if getattr(libc, name)(*arguments) == -1:
        raise failure(name)


def failure(name: str) -> OSError:
    """What the C library's last failed call says."""
    number = ctypes.get_errno()
    return OSError(number, f"{name}: {os.strerror(number)}")


def main() -> None:
    """Job on stdin: a line with two lengths in bytes, program, tests. Report on stdout: how it ended, a space, why."""
    call("prctl", PR_SET_PDEATHSIG, SIGKILL)
    program_bytes, test_bytes = map(int, sys.stdin.buffer.readline().split())
    program, tests = (sys.stdin.buffer.read(size).decode() for size in (program_bytes, test_bytes))
    try:
        unshare()
        build_root()
        report = keep(program, tests)
    except OSError as error:
        report = f"{UNAVAILABLE} {error.strerror}"
    os.write(1, report.encode())


def unshare() -> None:
    """Namespaces of our own: a user's, in which we are nobody and may make the others; or root makes those."""
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(CLONE_OTHERS | CLONE_NEWUSER) == -1:
        return call("unshare", CLONE_OTHERS)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{NOBODY} {uid} 1"),
        ("gid_map", f"{NOBODY} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def build_root() -> None:
    """A new root with what Python needs, read-only, and /scratch; everything else is out of reach."""
    if MACHINE not in REFUSED:
        raise OSError(0, f"the system calls of {MACHINE} are not known here")
    call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
    # Opened before the new root covers /tmp, where some of them may lie.
    shown = [(path, os.open(path, os.O_PATH)) for path in (*folders(), "/dev/null", "/dev/urandom")]
    memory("/tmp", 1 << 20)
    for path, fd in shown:
        show(fd, "/tmp" + path)
        os.close(fd)
    os.mkdir("/tmp/scratch")
    memory("/tmp/scratch", SCRATCH_BYTES)
    os.chdir("/tmp")
    if libc.syscall(PIVOT_ROOT[MACHINE], b".", b".") == -1:
        raise failure("pivot_root")
    call("umount2", b".", MNT_DETACH)
    read_only("/", recursive=False)
    os.chdir("/scratch")


def folders() -> list[str]:
    """The standard library, and where the shared libraries come from that its modules load."""
    with open("/proc/self/maps") as maps:
        mapped = {line.split(maxsplit=5)[-1].strip() for line in maps if ".so" in line}
    found = {os.path.dirname(path) for path in mapped} | {path for path in sys.path if os.path.isdir(path)}
    return sorted(path for path in found if not any(path.startswith(other + "/") for other in found))


def show(fd: int, target: str) -> None:
    """Mount what `fd` is open on at `target`, read-only, installed packages left out."""
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT))
    call("mount", f"/proc/self/fd/{fd}".encode(), target.encode(), None, MS_BIND | MS_REC, None)
    read_only(target)
    for place in ("", f"python{sys.version_info.major}.{sys.version_info.minor}/"):
        for packages in (f"{target}/{place}site-packages", f"{target}/{place}dist-packages"):
            if os.path.isdir(packages):
                memory(packages, 4096)
                read_only(packages)


def memory(folder: str, size: int) -> None:
    """An empty file system in memory that anyone may write to; it is gone with the namespace."""
    options = f"size={size},nr_inodes=4096,mode=0777".encode()
    call("mount", b"tmpfs", folder.encode(), b"tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)


def read_only(folder: str, recursive: bool = True) -> None:
    """Also what is mounted inside it, where `recursive`. Linux 5.12 or newer."""
    attributes = (ctypes.c_uint64 * 4)(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0, 0, 0)
    flags = AT_RECURSIVE if recursive else 0
    size = ctypes.sizeof(attributes)
    if libc.syscall(MOUNT_SETATTR, AT_FDCWD, folder.encode(), flags, attributes, size) == -1:
        raise failure("mount_setattr")


def keep(program: str, tests: str) -> str:
    """The report on the program, which passes its tests or not in a process of its own."""
    word = os.urandom(16).hex()
    reading, writing = os.pipe()
    prisoner = os.fork()
    if prisoner == 0:
        answer(program, tests, word, writing)
    os.close(writing)
    in_time = wait(prisoner)
    os.kill(prisoner, SIGKILL)
    _, status = os.waitpid(prisoner, 0)
    said = os.read(reading, REPORT_BYTES).decode(errors="replace")
    if said == word:
        return PASSED
    return f"{FAILED} " + (said if said and in_time else cause(in_time, os.waitstatus_to_exitcode(status)))


def wait(prisoner: int) -> bool:
    """Until it ends (True), its time is over, or stdin closes: whoever wanted to know is gone."""
    ended = os.pidfd_open(prisoner)
    watch = select.poll()
    watch.register(ended, select.POLLIN)
    watch.register(0, 0)  # a hang-up is always reported
    return any(fd == ended for fd, _ in watch.poll(WALL_SECONDS * 1000))


def cause(in_time: bool, code: int) -> str:
    """What ended a prisoner that said nothing; `code` as subprocess gives it."""
    if not in_time:
        return f"stopped after {WALL_SECONDS} seconds"
    if code == -SIGKILL:
        return f"stopped after {CPU_SECONDS} seconds of processor time"
    if code < 0:
        return f"crashed with signal {-code}"
    return f"ended before its tests did, with exit status {code}"


def imprison(writing: int) -> None:
    """Give up every right for good."""
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.dup2(writing, PIPE)
    os.closerange(PIPE + 1, 1 << 16)
    if os.getuid() == 0:  # with a user namespace it is nobody already
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    call("capset", (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)())
    call("prctl", PR_SET_PDEATHSIG, SIGKILL)  # forgotten when the user changes
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for name, limit in (
        ("AS", MEMORY_BYTES), ("CPU", CPU_SECONDS), ("FSIZE", SCRATCH_BYTES), ("NOFILE", OPEN_FILES),
        ("NPROC", 0), ("CORE", 0),
    ):  # fmt: skip
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))
    refuse_calls()


def refuse_calls() -> None:
    """Let the calls in REFUSED fail with EPERM, and those of the machine's older call tables kill."""
    load, equal, at_least, end = 0x20, 0x15, 0x35, 0x06
    kill, allow, error = 0x80000000, 0x7FFF0000, 0x00050000 | 1
    lines = [(load, 0, 0, 4), (equal, 1, 0, AUDIT_ARCH[MACHINE]), (end, 0, 0, kill), (load, 0, 0, 0)]
    lines += [(at_least, 0, 1, 0x40000000), (end, 0, 0, kill)]
    for number in REFUSED[MACHINE].values():
        lines += [(equal, 0, 1, number), (end, 0, 0, error)]
    lines += [(end, 0, 0, allow)]
    filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
    program = struct.pack("HP", len(lines), ctypes.addressof(filters))  # struct sock_fprog
    call("prctl", PR_SET_SECCOMP, 2, program, 0, 0)


def answer(program: str, tests: str, word: str, writing: int) -> "NoReturn":
    """Run the program and its tests; write the word, or what went wrong, to the pipe."""
    write, leave = os.write, os._exit
    try:
        imprison(writing)
        said = run(program, tests) or word
    except OSError as error:
        said = f"it cannot be held: {error.strerror}"
    write(PIPE, said.encode(errors="replace")[:REPORT_BYTES])
    leave(0)


def run(program: str, tests: str) -> str:
    """What went wrong, in one line; nothing if all tests passed."""
    module = ModuleType("answer")
    sys.modules["answer"] = module
    genuine = dict(vars(builtins))
    for name, source in (("program", program), ("tests", tests)):
        try:
            exec(compile(source, name, "exec", dont_inherit=True), vars(module))
        except BaseException as error:  # noqa: BLE001 - whatever a foreign program raises
            return describe(name, source, error)
        vars(builtins).update(genuine)
        vars(module)["__builtins__"] = builtins
    return ""


def describe(name: str, source: str, error: BaseException) -> str:
    """`tests, line 2: assert f(1) == 2: AssertionError`."""
    try:
        import traceback

        said = " ".join("".join(traceback.format_exception_only(error)).split())
        for frame in traceback.extract_tb(error.__traceback__):
            if frame.filename == name and frame.lineno:
                line = source.splitlines()[frame.lineno - 1].strip()
                return f"{name}, line {frame.lineno}: {line}: {said}"
        return f"{name}: {said}"
    except BaseException:  # noqa: BLE001 - no file may be left to open, its text is foreign code too
        return f"{name}: {type(error).__name__}"


if __name__ == "__main__":
    main()
