"""The record comes back from every kind of file as it was put in, and nothing else changes."""

import json
import os
from pathlib import Path

import pytest

from tests.media.drawn import shape, write
from vidgen.core.errors import InputRefused, OutputRefused
from vidgen.media import inspect, record

NASTY = "a = b;\n# e\n;f\n # c \\ d\\\n[STREAM]\ncomment=no \"q\" 'x' </rdf:li> &amp; <b> 猫が \U0001f600 \r\n\t" * 60
KINDS = ["mp4", "mov", "mkv", "webm", "gif", "webp", "png"]


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("suffix", KINDS)
def test_a_record_comes_back(folder: Path, suffix: str, ascii_only: bool) -> None:
    path = write(folder / f"x.{suffix}", shape())
    before, facts = inspect.digest(path), inspect.inspect(path)
    asked = {"prompt": NASTY, "seed": 7}
    record.embed(path, json.dumps(asked, ensure_ascii=ascii_only))
    assert record.read(path) == asked
    assert (inspect.digest(path), inspect.inspect(path)) == (before, facts)
    assert [entry.name for entry in folder.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", KINDS)
def test_a_long_record_comes_back(folder: Path, suffix: str) -> None:
    asked = {"prompt": "猫\n" * 40_000}
    assert record.read(write(folder / f"x.{suffix}", shape(frames=2), comment=json.dumps(asked))) == asked


def test_the_sidecar_stands_in(folder: Path) -> None:
    path = write(folder / "x.mp4", shape(frames=2))
    record.write_sidecar(path, '{"seed": 1}')
    record.write_sidecar(path, '{"seed": 2}')
    assert record.sidecar(path) == folder / "x.mp4.json"
    assert record.read(path) == record.read(record.sidecar(path)) == {"seed": 2}
    assert len(list(folder.iterdir())) == 2
    record.embed(path, '{"seed": 3}')
    assert record.read(path) == {"seed": 3}


def test_a_clip_without_a_record_is_refused(folder: Path) -> None:
    path = write(folder / "x.mp4", shape(frames=2))
    for comment in ("", "shot at sea", "[1, 2]", "[" * 100_000):
        if comment:
            record.embed(path, comment)
        with pytest.raises(InputRefused, match="has no record") as refused:
            record.read(path)
        assert "x.mp4.json" in refused.value.remedy


def test_a_missing_file_and_a_foreign_one_are_refused(folder: Path) -> None:
    (folder / "note.txt").write_text('{"seed": 1}')
    (folder / "bad.gif").write_bytes(b"GIF89a" + os.urandom(99))
    for name in ("missing.mp4", "note.txt", "bad.gif"):
        with pytest.raises(InputRefused, match="has no record"):
            record.read(folder / name)


def test_a_giant_record_is_refused(folder: Path) -> None:
    path = folder / "x.json"
    path.write_text(json.dumps({"prompt": "x" * (1 << 20)}))
    with pytest.raises(InputRefused, match="larger than 1 MiB"):
        record.read(path)


def test_a_sidecar_that_cannot_be_written(folder: Path) -> None:
    with pytest.raises(OutputRefused, match="No such file"):
        record.write_sidecar(folder / "none" / "x.mp4", "{}")


def test_a_record_that_cannot_be_put_in_is_a_refusal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(folder / "x.mkv", shape())
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OutputRefused, match=r"into x\.mkv: No space left"):
        record.embed(path, "{}")
    assert (list(folder.iterdir()), path.read_bytes()) == ([path], before)
