"""vidgen download as a person meets it: what it says, what it refuses, what a second look finds."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from tests.conftest import ANSWER
from tests.loopback import CANARY, COMMIT, MODEL, REPOSITORY, UNWANTED, Fault, Hub
from vidgen.weights.place import Place

TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"


def folder() -> Path:
    return Place(REPOSITORY).snapshot(COMMIT)


def spoil(name: str = TRANSFORMER) -> None:
    """Turn one bit of a file that is in the cache."""
    path = (folder() / name).resolve()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_dry_run_lists_and_moves_nothing(hub: Hub, vidgen: ANSWER) -> None:
    hub.gated = {REPOSITORY}
    answer = vidgen("download", "ltx-video-2b", "--dry-run")
    assert (answer.code, hub.served, Path(constants.HF_HUB_CACHE).exists()) == (0, 0, False)
    for said in (f"{MODEL}: {REPOSITORY}, commit 0123456; gated", TRANSFORMER, "128.1 KiB", "to fetch", "free in"):
        assert said in answer.out
    assert not [name for name in UNWANTED if name in answer.out]


def test_a_dry_run_for_a_script(hub: Hub, vidgen: ANSWER) -> None:
    said = json.loads(vidgen("download", MODEL, "--dry-run", "--json").out)
    (model,) = said["models"]
    assert said["schema"] == 1
    assert said["free_bytes"] > 0
    assert model["bytes"] == model["fetch_bytes"] == hub.size() == sum(file["bytes"] for file in model["files"])
    assert {file["state"] for file in model["files"]} == {"absent"}
    assert {len(file["hash"]) for file in model["files"]} == {40, 64}


def test_the_folder_is_the_result_and_the_rest_is_talk(hub: Hub, vidgen: ANSWER) -> None:
    answer = vidgen("download", "ltx-video-2b")
    assert (answer.code, answer.out) == (0, f"{folder()}\n")
    assert f"{MODEL} is here; fetched 256.8 KiB" in answer.err
    again = vidgen("download", "ltx-video-2b")
    assert (again.code, again.out) == (0, answer.out)
    assert again.err == f"vidgen: {MODEL} is here; nothing was to be fetched\n"
    assert vidgen("download", "ltx-video-2b", "-q").err == ""


def test_what_came_is_data_for_a_script(hub: Hub, vidgen: ANSWER) -> None:
    said = json.loads(vidgen("download", MODEL, "--json", "--progress", "json").out)
    assert (said["model"], said["folder"], said["fetched"]) == (MODEL, str(folder()), hub.size())


@pytest.mark.parametrize("name", ["ltx-video-2b", MODEL, REPOSITORY])
def test_a_model_is_known_by_name_alias_and_repository(name: str, hub: Hub, vidgen: ANSWER) -> None:
    assert vidgen("download", name, "--dry-run").out.startswith(f"{MODEL}: ")
    assert vidgen("download", "somebody/else").code == 2


def test_progress_for_a_script(hub: Hub, vidgen: ANSWER) -> None:
    lines = [line for line in vidgen("download", MODEL, "--progress", "json").err.splitlines() if line[0] == "{"]
    last = json.loads(lines[-1])
    assert (last["phase"], last["done"], last["total"]) == ("download", hub.size(), hub.size())


def test_the_built_in_model_needs_no_download(vidgen: ANSWER) -> None:
    answer = vidgen("download", "pocket")
    assert (answer.code, answer.out, "built in" in answer.err) == (0, "", True)


def _gated(hub: Hub) -> None:
    hub.gated = {REPOSITORY}


def _private(hub: Hub) -> None:
    del hub.files[REPOSITORY]


def _bad_token(hub: Hub) -> None:
    hub.tokens = {"another"}


def _only_pickles(hub: Hub) -> None:
    del hub.files[REPOSITORY]["vae/diffusion_pytorch_model.safetensors"]


def failing(**fault: Any) -> Callable[[Hub], None]:
    return lambda hub: hub.faults.append(Fault(**fault))


INFO, FILE = "/api/models", TRANSFORMER
REFUSED: dict[str, tuple[Callable[[Hub], None], str, int, str, str]] = {
    "gated, nobody logged in": (_gated, "", 4, "is gated: its licence has to be accepted at", "hf auth login"),
    "gated, not let in": (_gated, CANARY, 4, "the account of your token has not been let in", "accept its licence at"),
    "a token that is none": (_bad_token, CANARY, 4, "the hub does not accept your token", "hf auth login"),
    "no such repository, unknown": (_private, "", 4, f"no {REPOSITORY} on the hub, or only for those", "hf auth login"),
    "no such repository, known": (_private, CANARY, 4, f"no {REPOSITORY} on the hub, or not for", "hf auth login"),
    "forbidden": (failing(at=FILE, status=403), CANARY, 4, "your token may not read", "hf auth login"),
    "forbidden listing": (failing(at=INFO, status=403), CANARY, 4, "your token may not read", "hf auth login"),
    "a file that has gone": (
        failing(at=FILE, status=404, headers={"X-Error-Code": "EntryNotFound"}),
        "",
        4,
        "a file that",
        "the same command again",
    ),
    "a closed repository": (
        failing(at=INFO, status=403, headers={"X-Error-Message": "Access to this resource is disabled."}),
        "",
        4,
        "the hub has closed",
        "vidgen models",
    ),
    "an odd answer": (failing(at=INFO, status=418), "", 4, "the hub refuses", "look at http"),
    "only pickles": (_only_pickles, "", 4, "has no vae/*.safetensors", "the model's card"),
    "damaged always": (failing(at=FILE, kind="flip", after=99), "", 4, "arrived damaged", "try another network"),
    "too many requests": (failing(at=INFO, status=429), "", 75, "asked too often from here (429)", "in some minutes"),
    "too many, and for long": (
        failing(at=INFO, status=429, headers={"Retry-After": "300"}),
        "",
        75,
        "asked too often",
        "in 300 seconds",
    ),
    "a hub that is not well": (failing(at=INFO, status=503), "", 75, "the hub is not well (503)", "again later"),
    "an error of the hub": (failing(at=FILE, status=500), "", 75, "the hub is not well (500)", "what came stays"),
    "always cut": (failing(at=FILE, kind="cut"), "", 75, "cannot be reached", "what came stays"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_each_fault_has_its_code_its_sentence_and_a_next_step(
    name: str, hub: Hub, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch
) -> None:
    harm, token, code, said, remedy = REFUSED[name]
    harm(hub)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    answer = vidgen("download", MODEL, "-q")
    assert (answer.code, answer.out) == (code, ""), answer.err
    assert len(answer.err.splitlines()) == 2
    assert said in answer.err.splitlines()[0]
    assert remedy in answer.err.splitlines()[1]
    assert CANARY not in answer.err


def test_a_revision_that_is_not_there(hub: Hub, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch) -> None:
    cards = Path("cards")
    cards.mkdir()
    ours = (Path(__file__).parents[2] / "vidgen/catalog/models" / f"{MODEL}.toml").read_text()
    (cards / "sketch.toml").write_text(
        ours.replace("[weights]", '[weights]\nrevision = "v9"').replace("aliases", "#").replace("serves", "#")
    )
    monkeypatch.setenv("VIDGEN_FAMILIES", str(cards))
    answer = vidgen("download", "sketch")
    assert (answer.code, f"{REPOSITORY} has no revision v9" in answer.err, "commits/main" in answer.err) == (
        4,
        True,
        True,
    )


def test_a_disk_too_small_is_refused_before_anything_moves(
    hub: Hub, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2**30, 2**30, 2**10))
    answer = vidgen("download", MODEL)
    assert (answer.code, hub.served) == (6, 0)
    assert "256.8 KiB are to come, and" in answer.err
    assert "HF_HOME" in answer.err
    listed = vidgen("download", MODEL, "--dry-run")
    assert (listed.code, "1.0 KiB free in" in listed.out, "too little" in listed.out) == (0, True, True)


@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://127.0.0.1"])
def test_an_endpoint_that_is_no_address(
    endpoint: str, hub: Hub, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    answer = vidgen("download", MODEL)
    assert (answer.code, "HF_ENDPOINT is no address" in answer.err) == (2, True)


def test_an_endpoint_that_is_no_hub(hub: Hub, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.faults = [Fault(at="/api/models", status=200, headers={})]
    answer = vidgen("download", MODEL)
    assert (answer.code, "does not answer as a hub does" in answer.err) == (75, True)


def _down(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.close()


def _offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize(
    ("away", "code", "said"), [(_down, 75, "cannot be reached"), (_offline, 4, "HF_HUB_OFFLINE is set")]
)
def test_without_a_hub_what_is_here_serves_and_what_is_not_is_refused(
    away: Callable[..., None], code: int, said: str, hub: Hub, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vidgen("download", MODEL).code == 0
    away(hub, monkeypatch)
    answer = vidgen("download", MODEL)
    assert (answer.code, answer.out) == (0, f"{folder()}\n")
    assert f"{said}" in answer.err
    assert f"{MODEL} is whole here, as of commit 0123456" in answer.err
    (folder() / TRANSFORMER).unlink()
    answer = vidgen("download", MODEL)
    assert (answer.code, answer.out) == (code, "")
    assert f"{MODEL} lacks transformer/*.safetensors here" in answer.err
    shutil.rmtree(constants.HF_HUB_CACHE)
    answer = vidgen("download", MODEL)
    assert (answer.code, f"nothing of {MODEL} is here" in answer.err) == (code, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["download", "sora"], "unknown model"),
        (["download"], "Missing argument"),
        (["download", MODEL, "--verify", "--repair"], "three things"),
        (["download", "pocket", "--verify"], "a folder on this machine"),
    ],
)
def test_words_that_make_no_sense(words: list[str], said: str, vidgen: ANSWER) -> None:
    answer = vidgen(*words)
    assert (answer.code, said in answer.err) == (2, True), answer.err


def test_a_token_that_would_travel_in_the_open_is_told_of(
    hub: Hub, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    assert "unencrypted" not in vidgen("download", MODEL).err
    shutil.rmtree(constants.HF_HUB_CACHE)
    monkeypatch.setattr("vidgen.weights.listing.NEAR", set())
    assert "your token goes unencrypted to 127.0.0.1" in vidgen("download", MODEL).err


def test_a_second_look_finds_a_turned_bit_and_repair_fetches_only_that_file(hub: Hub, vidgen: ANSWER) -> None:
    vidgen("download", MODEL)
    assert vidgen("download", MODEL, "--verify").code == 0
    spoil()
    served = hub.served
    answer = vidgen("download", MODEL, "--verify")
    assert (answer.code, hub.served) == (4, served)
    assert f"{MODEL}: {TRANSFORMER} is damaged" in answer.err
    assert f"vidgen download --repair {MODEL}" in answer.err
    assert vidgen("download", "--repair", MODEL).code == 0
    assert hub.served - served == len(hub.files[REPOSITORY][TRANSFORMER])
    assert vidgen("download", MODEL, "--verify").code == 0


def test_repair_without_a_hub_leaves_the_file_and_says_so(hub: Hub, vidgen: ANSWER) -> None:
    vidgen("download", MODEL)
    spoil()
    hub.close()
    answer = vidgen("download", "--repair", MODEL)
    assert (answer.code, (folder() / TRANSFORMER).exists()) == (75, True)


def test_a_second_look_names_what_is_missing_and_repair_brings_it(hub: Hub, vidgen: ANSWER) -> None:
    vidgen("download", MODEL)
    (folder() / TRANSFORMER).resolve().unlink()
    (folder() / "vae/config.json").unlink()
    said = json.loads(vidgen("download", MODEL, "--verify", "--json").out)
    missing = {file["name"] for file in said["files"] if file["verdict"] == "missing"}
    assert (said["whole"], missing) == (False, {TRANSFORMER, "vae/config.json"})
    served = hub.served
    assert vidgen("download", "--repair", MODEL).code == 0
    assert hub.served - served == len(hub.files[REPOSITORY][TRANSFORMER])
    assert vidgen("download", MODEL, "--verify").code == 0


def test_repair_stays_at_the_version_that_is_here(hub: Hub, vidgen: ANSWER) -> None:
    vidgen("download", MODEL)
    spoil("vae/config.json")
    assert vidgen("download", "--repair", MODEL).out == f"{folder()}\n"
    assert any(asked.path.endswith(f"/revision/{COMMIT}") for asked in hub.asked)


def test_nothing_here_can_be_verified(hub: Hub, vidgen: ANSWER) -> None:
    answer = vidgen("download", MODEL, "--verify")
    assert (answer.code, f"vidgen download {MODEL}" in answer.err) == (4, True)


def test_a_clip_never_starts_a_download(hub: Hub, vidgen: ANSWER) -> None:
    answer = vidgen("t2v", "a red circle", "--model", MODEL)
    assert (answer.code, hub.asked) == (4, [])
    assert f"fetch it: vidgen download {MODEL}" in answer.err
