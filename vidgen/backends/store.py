"""Where quantized components are kept, and what each was made of. Knows files and their headers, not torch."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from math import prod
from pathlib import Path

from vidgen.core.amounts import amount
from vidgen.core.errors import OutputRefused
from vidgen.core.headers import header
from vidgen.core.plan import Precision

MADE = "vidgen"
"""Under which a kept file says what it was made of."""

WRITING_S = 24 * 3600.0
"""Nobody takes so long to write a file: a process of that number is another one by then."""

LEAST = 2**30
"""Bytes that a copy leaves free on the disk, where nothing goes on without it."""

LIBRARIES = {Precision.INT8: "torchao", Precision.FP8: "torchao", Precision.NF4: "bitsandbytes"}
"""Which library holds weights so: another version of it does not read what was kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """A kept component: the folder it was made of, its precision, its bytes. `fault` says why nobody can use it."""

    path: Path
    source: Path | None
    precision: str
    size: int
    fault: str = ""


def store() -> Path:
    """The folder of kept components: in VIDGEN_CACHE, or in the user's cache folder."""
    from platformdirs import user_cache_path

    named = os.environ.get("VIDGEN_CACHE")
    return (Path(named) if named else user_cache_path("vidgen")) / "quantized"


def place(folder: Path, precision: Precision, scheme: str = "") -> Path:
    """Where the component in `folder` is kept at `precision`; by which `scheme`, where that is not the usual one.

    Differs when the files, the scheme or the library do. A file in the Hub's cache is named by its own hash.
    """
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.json")])
    facts = [(file.name, file.resolve().name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    how = [precision.value, version(LIBRARIES[precision]), *([scheme] if scheme else [])]
    said = json.dumps([str(folder.resolve().parent), folder.name, facts, *how])
    mark = hashlib.sha256(said.encode()).hexdigest()[:16]
    return store() / f"{folder.resolve().parent.name[:40]}-{folder.name}-{precision}-{mark}.safetensors"


def made(folder: Path, precision: Precision, scheme: str = "") -> dict[str, str]:
    """What a kept file says of itself in its header."""
    library = LIBRARIES[precision]
    facts = {"source": str(folder.absolute()), "precision": precision.value, library: version(library)}
    return {MADE: json.dumps(facts | ({"scheme": scheme} if scheme else {}))}


def wanted(folder: Path, precision: Precision, scheme: str, share: float) -> float:
    """Bytes that a copy of what is in `folder` will take, `share` of it quantized; 0 where one is kept already."""
    if place(folder, precision, scheme).is_file():
        return 0.0
    held = (header(file).tensors for file in folder.glob("*.safetensors"))
    count = sum(prod(entry.shape) for tensors in held for entry in tensors.values())
    return count * (share * precision.bytes + (1 - share) * precision.computed.bytes)


def afford(size: float) -> None:
    """Refuse (exit 6) to begin where the disk has no room for copies of `size` that nothing goes on without."""
    free = shutil.disk_usage(next(each for each in (store(), *store().parents) if each.is_dir())).free
    if size and free < size + LEAST:
        raise unkept(f"{amount(int(size))} are to come, {amount(free)} are free")


def unkept(why: str) -> OutputRefused:
    """The refusal of a disk that does not take what blocks are to come from."""
    return OutputRefused(
        f"quantized weights cannot be kept in {store()}: {why}", "make room there, or name another folder: VIDGEN_CACHE"
    )


def unfinished(kept: Path) -> Path:
    """Where this process writes a file that will be kept."""
    return kept.with_name(f"{kept.name}.{os.getpid()}")


def copies() -> Iterator[Copy]:
    """Everything that is kept, and what killed processes left; not what is being written."""
    for path in sorted(store().glob("*.safetensors")):
        yield _copy(path)
    for path in sorted(store().glob("*.safetensors.*")):
        if path.suffix[1:].isdigit() and not _writing(path):
            yield Copy(path=path, source=None, precision="", size=_size(path), fault="a copy that was not finished")


def _copy(path: Path) -> Copy:
    size = _size(path)
    try:
        said = json.loads(header(path).facts[MADE])
        source, precision = Path(said["source"]), Precision(said["precision"])
        fault = _fault(path, source, precision, str(said[LIBRARIES[precision]]), str(said.get("scheme", "")))
    except (OSError, ValueError, KeyError, TypeError):
        return Copy(path=path, source=None, precision="", size=size, fault="a damaged copy")
    return Copy(path=path, source=source, precision=precision.value, size=size, fault=fault)


def _fault(path: Path, source: Path, precision: Precision, made_by: str, scheme: str) -> str:
    library = LIBRARIES[precision]
    if made_by != version(library):
        return f"a copy that {library} {made_by} has made"
    if not any(source.glob("*.safetensors")):
        return "a copy of weights that have gone"
    try:
        current = place(source, precision, scheme).name == path.name
    except OSError:
        current = False  # a link in the cache whose file has gone
    return "" if current else "a copy of weights that have changed"


def _writing(path: Path) -> bool:
    """Whether the process that a file is named after is at work on it still."""
    try:
        if time.time() - path.stat().st_mtime > WRITING_S:
            return False
        os.kill(int(path.suffix[1:]), 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
