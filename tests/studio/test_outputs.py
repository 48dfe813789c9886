"""Outputs: where clips go is decided, and proved writable, before anything is loaded."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.values import REQUEST, request, says
from vidgen.core.errors import OutputRefused
from vidgen.core.request import Request
from vidgen.studio.outputs import Place, places


def placed(*requests: Request, **manners: bool) -> list[Place]:
    given: dict[str, Any] = {"chosen": True, "overwrite": False, "skip_existing": False, **manners}
    return places(requests, **given, today=date(2026, 8, 1))


def to(output: str, *seeds: int) -> list[Request]:
    return [request(output=Path(output), seed=seed) for seed in seeds or (7,)]


def paths(found: list[Place]) -> list[str]:
    return [str(place.path) for place in found]


def test_a_free_name_is_used_as_it_is() -> None:
    assert placed(REQUEST) == [Place(path=Path("clip.mp4"))]


def test_looking_at_a_folder_leaves_nothing_in_it() -> None:
    placed(REQUEST)
    assert list(Path().iterdir()) == []


def test_a_name_that_nobody_chose_gets_a_counter() -> None:
    for name in ("clip.mp4", "clip-2.mp4"):
        Path(name).touch()
    assert paths(placed(REQUEST, chosen=False)) == ["clip-3.mp4"]


def test_a_broken_link_of_a_name_that_nobody_chose_is_stepped_around() -> None:
    Path("clip.mp4").symlink_to("gone")
    assert paths(placed(REQUEST, chosen=False)) == ["clip-2.mp4"]


@pytest.mark.parametrize("target", ["there", "gone"])
def test_a_link_of_a_chosen_name_is_refused_like_a_file(target: str) -> None:
    Path("there").touch()
    Path("clip.mp4").symlink_to(target)
    with pytest.raises(OutputRefused) as refused:
        placed(REQUEST)
    says(refused, 6, "clip.mp4 exists", "--overwrite or --skip-existing")


def test_a_chosen_name_that_exists_is_refused() -> None:
    Path("clip.mp4").write_bytes(b"precious")
    with pytest.raises(OutputRefused) as refused:
        placed(REQUEST)
    says(refused, 6, "clip.mp4 exists", "--overwrite or --skip-existing")
    assert Path("clip.mp4").read_bytes() == b"precious"


@pytest.mark.parametrize("chosen", [True, False])
def test_a_file_that_exists_may_be_overwritten_and_is_left_until_then(chosen: bool) -> None:
    Path("clip.mp4").write_bytes(b"old")
    assert placed(REQUEST, chosen=chosen, overwrite=True) == [Place(path=Path("clip.mp4"))]
    assert Path("clip.mp4").read_bytes() == b"old"


@pytest.mark.parametrize("chosen", [True, False])
def test_a_file_that_exists_may_be_skipped(chosen: bool) -> None:
    Path("clip-1.mp4").touch()
    found = placed(*to("clip.mp4", 1, 2), chosen=chosen, skip_existing=True)
    assert found == [Place(path=Path("clip-1.mp4"), skip=True), Place(path=Path("clip-2.mp4"))]


def test_a_folder_gets_the_usual_name_within_it() -> None:
    Path("clips").mkdir()
    assert paths(placed(*to("clips"))) == ["clips/a-red-circle-7.mp4"]


def test_a_folder_of_pictures_is_refused_unless_it_may_be_overwritten() -> None:
    Path("frames.png").mkdir()
    with pytest.raises(OutputRefused) as refused:
        placed(*to("frames.png"))
    says(refused, 6, "frames.png exists", "--overwrite")
    assert paths(placed(*to("frames.png"), overwrite=True)) == ["frames.png"]


def test_a_folder_is_never_overwritten_by_a_clip() -> None:
    Path("a-red-circle.mp4").mkdir()
    with pytest.raises(OutputRefused) as refused:
        placed(*to("{slug}.mp4"), overwrite=True)
    says(refused, 6, "a-red-circle.mp4 is a folder that vidgen did not make", "--output")


def test_several_seeds_of_one_name_each_get_their_own() -> None:
    assert paths(placed(*to("clip.mp4", 1, 2))) == ["clip-1.mp4", "clip-2.mp4"]


def test_a_template_with_the_seed_is_used_as_it_is() -> None:
    assert paths(placed(*to("{seed}.mp4", 1, 2))) == ["1.mp4", "2.mp4"]


def test_two_clips_of_one_name_are_refused() -> None:
    with pytest.raises(OutputRefused) as refused:
        placed(*to("{{seed}}.mp4", 1, 2))
    says(refused, 6, "two clips would be called {seed}.mp4", "use {seed} in --output")


def test_two_clips_of_one_name_that_nobody_chose_are_counted() -> None:
    assert paths(placed(*to("{slug}-{seed}.mp4", 7, 7), chosen=False)) == ["a-red-circle-7.mp4", "a-red-circle-7-2.mp4"]


def test_a_folder_that_is_not_there_is_refused_with_how_to_make_it() -> None:
    with pytest.raises(OutputRefused) as refused:
        placed(*to("a/b/clip.mp4"))
    says(refused, 6, "folder a/b does not exist", "mkdir -p a/b")


def test_a_path_under_a_file_is_refused() -> None:
    Path("file").touch()
    with pytest.raises(OutputRefused) as refused:
        placed(*to("file/clip.mp4"))
    says(refused, 6, "file is not a folder", "another --output")


def test_a_folder_that_takes_no_files_is_refused() -> None:
    with pytest.raises(OutputRefused) as refused:
        placed(*to("/proc/clip.mp4"))
    says(refused, 6, "cannot write in /proc", "another --output")


@contextmanager
def nobody() -> Iterator[None]:
    """Root may write anywhere: become somebody who may not."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)


def test_a_folder_that_one_may_not_write_in_is_refused() -> None:
    Path("locked").mkdir(mode=0o555)
    with pytest.raises(OutputRefused) as refused, nobody():
        placed(*to("locked/clip.mp4"))
    says(refused, 6, "cannot write in locked: Permission denied", "another --output")


def test_a_file_of_somebody_elses_where_the_record_goes_is_left_alone() -> None:
    record = Path("clip.mp4.json")
    record.write_text('{"mine": true}')
    with pytest.raises(OutputRefused) as refused:
        placed(REQUEST)
    says(refused, 6, "clip.mp4.json is there", "no record of vidgen's")
    assert paths(placed(REQUEST, chosen=False)) == ["clip-2.mp4"]
    assert paths(placed(REQUEST, overwrite=True)) == ["clip.mp4"]
    record.write_text('{"made_by": "vidgen (trained algorithmic media)"}')
    assert paths(placed(REQUEST)) == ["clip.mp4"]
