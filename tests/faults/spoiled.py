"""Folders of weights, spoiled: files that hold something else for a while, other tensors, pickles."""

import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from tests.faults.refused import RAN

WEIGHTS = {
    "transformer": "transformer/diffusion_pytorch_model.safetensors",
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "text_encoder": "text_encoder/model.safetensors",
}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n"


@contextmanager
def holding(path: Path, data: bytes | None) -> Iterator[None]:
    """While it lasts, the file at `path` holds `data`, or is not there."""
    before = path.read_bytes() if path.exists() else None
    try:
        _put(path, data)
        yield
    finally:
        _put(path, before)


def _put(path: Path, data: bytes | None) -> None:
    if data is None:
        path.unlink(missing_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def flipped(data: bytes, place: int, bit: int) -> bytes:
    """`data` with one bit turned."""
    return data[:place] + bytes([data[place] ^ (1 << bit)]) + data[place + 1 :]


def header(data: bytes) -> int:
    """Where the header of a file of tensors ends."""
    return 8 + int.from_bytes(data[:8], "little")


def places(data: bytes) -> list[int]:
    """Where to cut a file of tensors off: at each fortieth, and all through its header."""
    begin = header(data)
    within = [1, 7, 8, 9, *(8 + begin * part // 12 for part in range(1, 12)), begin - 1, begin, begin + 1]
    return sorted({*within, *(len(data) * part // 40 for part in range(1, 40)), len(data) - 1})


def edited(data: bytes, edit: Callable[[dict[str, Any]], None]) -> bytes:
    """A file of tensors after `edit` of the mapping of its names to tensors."""
    from safetensors.torch import load, save

    tensors = load(data)
    edit(tensors)
    return save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata={"format": "pt"})


def changed(data: bytes, **keys: object) -> bytes:
    """A JSON file with more keys, or other values."""
    return json.dumps({**json.loads(data), **keys}).encode()


def sharded(folder: Path) -> list[str]:
    """Splits the text encoder in two shards with an index; their names."""
    from safetensors.torch import load_file, save_file

    file = folder / WEIGHTS["text_encoder"]
    tensors = load_file(file)
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    shares = {name: dict(list(tensors.items())[number::2]) for number, name in enumerate(names)}
    for name, share in shares.items():
        save_file(share, file.parent / name, metadata={"format": "pt"})
    weight_map = {key: name for name, share in shares.items() for key in share}
    index = {"metadata": {"total_size": file.stat().st_size}, "weight_map": weight_map}
    (file.parent / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    file.unlink()
    return names


class Bomb:
    """Runs a command when it is unpickled, which makes a file."""

    def __init__(self) -> None:
        self.command = f"touch '{Path(RAN).resolve()}'"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        return os.system, (self.command,)


def _archive() -> bytes:
    """A pickle as torch.save packs it."""
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": Bomb()}))
        archive.writestr("archive/version", "3\n")
    return packed.getvalue()


PICKLES: Mapping[str, Callable[[], bytes]] = {
    "plain": lambda: pickle.dumps(Bomb()),
    "old": lambda: pickle.dumps(Bomb(), protocol=0),
    "packed": _archive,
}

SCRIPT = f"from pathlib import Path\n\nPath({RAN!r}).touch()\n"
"""Code that a folder of weights brings along: a module that makes the file when it is imported."""
