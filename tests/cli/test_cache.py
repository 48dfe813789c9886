"""vidgen cache: what is there, and what goes when it is told to."""

import io
import json
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants, snapshot_download

from tests.conftest import ANSWER
from tests.loopback import COMMIT, MODEL, REPOSITORY, SISTER, Hub, pipeline, tensors
from vidgen import hub as here
from vidgen.catalog.cards import card
from vidgen.weights.place import Place, locked

NEXT = "f" * 40


@pytest.fixture
def filled(hub: Hub, vidgen: ANSWER) -> Hub:
    """A cache with a model in it."""
    assert vidgen("download", MODEL).code == 0
    return hub


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person at a terminal."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("n\ny\n"))
    monkeypatch.setattr("vidgen.cli.cache.attended", lambda: True)


def test_an_empty_cache_is_listed(vidgen: ANSWER) -> None:
    answer = vidgen("cache")
    assert (answer.code, answer.out.startswith("0 bytes in ")) == (0, True)


def test_the_cache_is_listed_with_the_models_that_it_serves(filled: Hub, vidgen: ANSWER) -> None:
    filled.files["somebody/else"] = {"config.json": b"{}"}
    snapshot_download("somebody/else", cache_dir=constants.HF_HUB_CACHE, endpoint=filled.endpoint)
    Place(REPOSITORY).unfinished("c" * 64).write_bytes(b"x" * 2048)
    lines = vidgen("cache").out.splitlines()
    assert lines[1].split()[:4] == ["256.8", "KiB", REPOSITORY, MODEL]
    assert lines[1].endswith("and 2.0 KiB of an unfinished download")
    assert any(line.split()[-2:] == ["somebody/else", "-"] for line in lines)
    largest = json.loads(vidgen("cache", "--json").out)["repositories"][0]
    assert (largest["repository"], largest["models"]) == (REPOSITORY, [MODEL])


def test_the_size_is_that_of_the_files(filled: Hub, vidgen: ANSWER) -> None:
    before = json.loads(vidgen("cache", "--json").out)["repositories"][0]["size"]
    assert before == filled.size()


@pytest.mark.parametrize("name", ["ltx-video-2b", REPOSITORY])
def test_a_model_is_removed(name: str, filled: Hub, vidgen: ANSWER) -> None:
    assert vidgen("cache", "rm", name, "--dry-run").out == f"{REPOSITORY}: 256.8 KiB\n"
    assert here.find(card(MODEL)).missing == ()
    assert vidgen("cache", "rm", name, "--yes").code == 0
    assert not Place(REPOSITORY).folder.exists()
    answer = vidgen("cache", "rm", name, "--yes")
    assert (answer.code, f"holds nothing of {REPOSITORY}" in answer.err) == (4, True)


def test_a_damaged_repository_is_removed_all_the_same(filled: Hub, vidgen: ANSWER) -> None:
    for blob in Place(REPOSITORY).blobs.iterdir():
        blob.unlink()
    assert vidgen("cache", "rm", MODEL, "--yes").code == 0
    assert not Place(REPOSITORY).folder.exists()


def test_what_another_model_shares_stays(filled: Hub, vidgen: ANSWER) -> None:
    filled.files[SISTER] = pipeline(seed=50)
    assert vidgen("download", "ltx-video-2b-0.9.1").code == 0
    said = json.loads(vidgen("cache", "--json").out)
    assert said["bytes"] == filled.served
    assert sum(entry["size"] for entry in said["repositories"]) == filled.size() + filled.size(SISTER)
    assert "64.4 KiB stay for others" in vidgen("cache", "rm", MODEL, "--dry-run").out
    assert vidgen("cache", "rm", MODEL, "--yes").code == 0
    assert vidgen("download", "ltx-video-2b-0.9.1", "--verify").code == 0


def test_nothing_is_removed_unasked(filled: Hub, vidgen: ANSWER) -> None:
    answer = vidgen("cache", "rm", MODEL)
    assert (answer.code, "--yes" in answer.err) == (2, True)
    assert here.find(card(MODEL)).missing == ()


@pytest.mark.usefixtures("asked")
def test_on_a_terminal_it_asks(filled: Hub, vidgen: ANSWER) -> None:
    answer = vidgen("cache", "rm", MODEL)
    assert (answer.code, "nothing was removed" in answer.err) == (0, True)
    assert here.find(card(MODEL)).missing == ()
    assert vidgen("cache", "rm", MODEL).code == 0
    assert here.find(card(MODEL)).missing


def test_a_download_at_work_is_not_removed_under_its_hands(filled: Hub, vidgen: ANSWER) -> None:
    place = Place(REPOSITORY)
    place.unfinished("c" * 64).write_bytes(b"x")
    with locked(place.lock("c" * 64), wanted=lambda: True):
        answer = vidgen("cache", "rm", MODEL, "--yes")
    assert (answer.code, "another program is fetching" in answer.err) == (75, True)
    assert here.find(card(MODEL)).missing == ()


def test_gc_takes_older_versions_and_what_is_unfinished_and_nothing_else(filled: Hub, vidgen: ANSWER) -> None:
    assert "nothing to remove" in vidgen("cache", "gc").err
    old = (Place(REPOSITORY).snapshot(COMMIT) / "vae/diffusion_pytorch_model.safetensors").resolve()
    filled.commits[REPOSITORY] = NEXT
    filled.files[REPOSITORY]["vae/diffusion_pytorch_model.safetensors"] = tensors(7, 5000)
    assert vidgen("download", MODEL).code == 0
    Place(REPOSITORY).unfinished("c" * 64).write_bytes(b"x" * 2048)
    listed = vidgen("cache", "gc", "--dry-run").out
    assert f"a download that was not finished: {Place(REPOSITORY).unfinished('c' * 64)} (2.0 KiB)" in listed
    assert f"an older version: {Place(REPOSITORY).snapshot(COMMIT)}" in listed
    assert f"a file of an older version: {old} (64.1 KiB)" in listed
    assert old.exists()
    assert vidgen("cache", "gc", "--yes").code == 0
    assert (old.exists(), Place(REPOSITORY).snapshot(COMMIT).exists()) == (False, False)
    assert vidgen("download", MODEL, "--verify").code == 0
    assert "nothing to remove" in vidgen("cache", "gc").err


def test_gc_leaves_a_version_that_is_on_its_way_and_what_others_keep(filled: Hub, vidgen: ANSWER) -> None:
    fresh = Place(REPOSITORY).snapshot(NEXT)
    (fresh / "vae").mkdir(parents=True)
    theirs = Path(constants.HF_HUB_CACHE) / "models--somebody--else" / "snapshots" / COMMIT
    theirs.mkdir(parents=True)
    data = Path(constants.HF_HUB_CACHE) / "datasets--somebody--else" / "blobs" / f"{'a' * 64}.incomplete"
    data.parent.mkdir(parents=True)
    data.write_bytes(b"x")
    assert vidgen("cache", "gc", "--yes").code == 0
    assert fresh.exists()
    assert theirs.exists()
    assert data.exists()
