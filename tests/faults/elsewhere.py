"""Disks that are full or closed, and folders without rights: mounts and rights of a process's own, gone with it.

Takes no rights to begin with: a namespace of users makes its process the owner of its own mounts. Linux only.
"""

import ctypes
import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.faults.score import NotSurvived, Trial

NEW_USER, NEW_MOUNTS, READ_ONLY, REMOUNT = 0x10000000, 0x20000, 1, 32
CAPABILITIES = 0x20080522


def on_a_disk(folder: Path, size: str, trial: Trial, work: Callable[[Trial], None]) -> None:
    """Do `work` in a process for which `folder` is a disk of so many bytes; what it finds out reaches `trial`."""
    folder.mkdir(parents=True)
    told = folder.with_name(f"{folder.name}-told")
    child = os.fork()
    if not child:
        code, inner = 1, Trial()
        try:
            _own_mounts()
            _mount(folder, 0, f"size={size}")
            work(inner)
            code = 0
        except BaseException as error:
            why = str(error) if isinstance(error, NotSurvived) else traceback.format_exc()
            told.write_text(json.dumps({"why": why, "marks": inner.marks}))
        os._exit(code)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        found = json.loads(told.read_text())
        trial.marks.update(found["marks"])
        raise NotSurvived(found["why"])


def resize(folder: Path, size: str) -> None:
    """Give the disk at `folder` another size; it can be written again."""
    _mount(folder, REMOUNT, f"size={size}")


def close(folder: Path) -> None:
    """Nothing can be written on the disk at `folder` any more."""
    _mount(folder, REMOUNT | READ_ONLY, "")


def without_rights() -> None:
    """This process may do no more than anybody: `chmod` means something to it, even if it is root's."""
    header = (ctypes.c_uint32 * 2)(CAPABILITIES, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _checked(ctypes.CDLL(None, use_errno=True).capset(header, nothing))


def _own_mounts() -> None:
    user, group = os.getuid(), os.getgid()
    _checked(ctypes.CDLL(None, use_errno=True).unshare(NEW_USER | NEW_MOUNTS))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def _mount(folder: Path, flags: int, options: str) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    _checked(library.mount(b"tmpfs", bytes(folder), b"tmpfs", ctypes.c_ulong(flags), options.encode()))


def _checked(code: int) -> None:
    if code:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
