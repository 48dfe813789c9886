"""vidgen cache knows quantized copies: lists them, removes them with their model, and when they are stale."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from tests import twins
from tests.conftest import ANSWER
from vidgen.backends import store
from vidgen.core.amounts import amount
from vidgen.core.plan import Precision
from vidgen.weights.place import Place

REPOSITORY = "Lightricks/LTX-Video-0.9.5"
COMMIT = "0" * 40


def write(path: Path, facts: dict[str, str] | None, size: int = 4096) -> Path:
    """A file of safetensors with what it says of itself."""
    header = {"__metadata__": facts or {}, "t": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(size))
    return path


def weights(component: str = "transformer") -> Path:
    """A component in the cache, as a download leaves it: a link to a blob."""
    folder = Place(REPOSITORY).snapshot(COMMIT) / component
    blob = write(Place(REPOSITORY).blob(f"{'a' * 63}{len(component) % 10}"), None)
    folder.mkdir(parents=True)
    (folder / "diffusion_pytorch_model.safetensors").symlink_to(os.path.relpath(blob, folder))
    return folder


def copied(folder: Path, precision: Precision = Precision.INT8, size: int = 2048) -> Path:
    return write(store.place(folder, precision), store.made(folder, precision), size)


def test_what_a_clip_leaves_is_listed_and_removed(vidgen: ANSWER) -> None:
    words = ["--size", "32x32", "--frames", "5", "--steps", "1", "--precision", "int8", "-q", "-o", "x.mp4"]
    assert vidgen("t2v", "a red circle", *words).code == 0
    kept = sorted(store.store().iterdir())
    listed = json.loads(vidgen("cache", "--json").out)["quantized"]
    assert sorted(entry["path"] for entry in listed) == [str(path) for path in kept]
    assert {(entry["component"], entry["precision"], *entry["models"]) for entry in listed} == {
        ("transformer", "int8", "pocket"),
        ("text_encoder", "int8", "pocket"),
    }
    assert "nothing to remove" in vidgen("cache", "gc").err
    assert vidgen("cache", "rm", "pocket", "--yes").code == 0
    assert list(store.store().iterdir()) == []
    assert vidgen("cache", "rm", "pocket", "--yes").code == 4


def test_they_are_listed_by_model_precision_and_size(vidgen: ANSWER) -> None:
    folder = weights()
    sizes = [copied(folder, Precision.FP8, 4096).stat().st_size, copied(folder).stat().st_size]
    lines = vidgen("cache").out.splitlines()
    assert [line.split() for line in lines[-4:-1]] == [
        ["SIZE", "QUANTIZED", "PART", "OF"],
        [*amount(sizes[0]).split(), "fp8", "transformer", "ltx-video-2b-0.9.5"],
        [*amount(sizes[1]).split(), "int8", "transformer", "ltx-video-2b-0.9.5"],
    ]
    assert lines[-1] == f"{amount(sum(sizes))} in {store.store()}"


@pytest.mark.parametrize("name", ["ltx-video-2b", REPOSITORY])
def test_they_go_with_their_model_and_no_other(name: str, vidgen: ANSWER) -> None:
    copy, other = copied(weights()), copied(twins.ltx(Path("twin")) / "vae")
    assert str(copy) in vidgen("cache", "rm", name, "--dry-run").out
    assert copy.is_file()
    assert vidgen("cache", "rm", name, "--yes").code == 0
    assert (copy.exists(), other.exists(), Place(REPOSITORY).folder.exists()) == (False, True, False)


def test_those_of_a_folder_go_by_its_path(vidgen: ANSWER) -> None:
    copy = copied(twins.ltx(Path("twin")) / "vae")
    assert vidgen("cache", "rm", "./twin", "--yes").code == 0
    assert not copy.exists()
    assert Path("twin/vae").is_dir()


def _gone(copy: Path, folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def _changed(copy: Path, folder: Path) -> None:
    (folder / "config.json").write_text("{}")


def _older(copy: Path, folder: Path) -> None:
    facts = json.loads(store.made(folder, Precision.INT8)[store.MADE])
    write(copy, {store.MADE: json.dumps({**facts, "torchao": "0.1"})})


def _damaged(copy: Path, folder: Path) -> None:
    copy.write_bytes(copy.read_bytes()[:-1])


def _nobodys(copy: Path, folder: Path) -> None:
    write(copy, None)


STALE: dict[str, Callable[[Path, Path], None]] = {
    "a copy of weights that have gone": _gone,
    "a copy of weights that have changed": _changed,
    "a copy that torchao 0.1 has made": _older,
    "a damaged copy": _damaged,
    "a damaged copy:": _nobodys,
}


@pytest.mark.parametrize("why", list(STALE))
def test_gc_takes_those_that_nobody_can_use(why: str, vidgen: ANSWER) -> None:
    folder = weights()
    copy, other = copied(folder), copied(twins.ltx(Path("twin")) / "vae")
    assert version("torchao") in store.made(folder, Precision.INT8)[store.MADE]
    assert "nothing to remove" in vidgen("cache", "gc").err
    STALE[why](copy, folder)
    said = vidgen("cache", "gc", "--dry-run").out
    assert f"{why.rstrip(':')}: {copy}" in said
    assert str(other) not in said
    assert vidgen("cache", "gc", "--yes").code == 0
    assert (copy.exists(), other.exists()) == (False, True)


def test_gc_takes_what_a_killed_writer_left_and_not_what_is_being_written(vidgen: ANSWER) -> None:
    kept = store.place(weights(), Precision.INT8)
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    mine = write(store.unfinished(kept), None)
    left = write(kept.with_name(f"{kept.name}.{ended.pid}"), None)
    ancient = write(kept.with_name(f"{kept.name}.{os.getppid()}"), None)
    os.utime(ancient, (1, 1))
    stranger = write(kept.with_name(f"{kept.name}.bak"), None)
    assert vidgen("cache", "gc", "--yes").code == 0
    assert [path.exists() for path in (mine, left, ancient, stranger)] == [True, False, False, True]
