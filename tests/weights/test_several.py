"""A model in several repositories: fetched together, each file into its own repository's cache, and found there."""

import json
import re
import signal
from pathlib import Path

import pytest

from tests.conftest import ANSWER
from tests.loopback import COMMIT, Hub, running, until
from tests.repository import FLUX, FRAMEPACK, HUNYUAN, scattered, tensors
from tests.weights.test_stopping import DOWNLOAD, LISTING, WASTE, finished, kept, started
from vidgen import hub as here
from vidgen.backends import store
from vidgen.catalog.cards import card
from vidgen.core.plan import Precision
from vidgen.weights.place import Place

COMMITS = {HUNYUAN: "a" * 40, FRAMEPACK: "b" * 40, FLUX: "c" * 40}
TRANSFORMER = "diffusion_pytorch_model.safetensors"
UNNEEDED = {"README.md", "flux1-redux-dev.safetensors", "image_embedder/config.json"}
UNNEEDED |= {f"transformer/{name}" for name in ("config.json", TRANSFORMER)}


def needed(repository: str, hub: Hub) -> set[str]:
    """The files of a repository that FramePack needs."""
    return {name for name in hub.files[repository] if name not in UNNEEDED or repository == FRAMEPACK} - {"README.md"}


@pytest.fixture
def three(hub: Hub) -> Hub:
    """A hub with FramePack's three repositories."""
    hub.files.update(scattered())
    hub.commits.update(COMMITS)
    return hub


@pytest.fixture
def fetched(three: Hub, vidgen: ANSWER) -> Hub:
    assert vidgen("download", "framepack", "-q").code == 0
    return three


def at(repository: str) -> Path:
    return Place(repository).snapshot(COMMITS[repository])


def spoiled(path: Path) -> None:
    """Turn one bit of a file in the cache."""
    data = bytearray(path.resolve().read_bytes())
    data[len(data) // 2] ^= 1
    path.resolve().write_bytes(data)


def test_a_dry_run_lists_each_repository_with_what_is_needed_of_it(three: Hub, vidgen: ANSWER) -> None:
    answer = vidgen("download", "framepack", "--dry-run")
    assert (answer.code, three.served) == (0, 0)
    for repository in (HUNYUAN, FRAMEPACK, FLUX):
        assert f"framepack: {repository}, commit {COMMITS[repository][:7]}" in answer.out
        listed = set(re.findall(r"^  (\S+)", answer.out, re.MULTILINE))
        assert listed >= needed(repository, three)
    assert not listed & UNNEEDED
    models = json.loads(vidgen("download", "framepack", "--dry-run", "--json").out)["models"]
    assert [(one["model"], one["repository"]) for one in models] == [
        ("framepack", repository) for repository in (HUNYUAN, FRAMEPACK, FLUX)
    ]


def test_each_file_is_put_into_the_cache_of_its_own_repository_and_found_there(three: Hub, vidgen: ANSWER) -> None:
    assert here.find(card("framepack")).missing == tuple(part.name for part in card("framepack").components)
    answer = vidgen("download", "framepack")
    assert answer.out.splitlines() == [str(at(repository)) for repository in (HUNYUAN, FRAMEPACK, FLUX)]
    assert answer.err.count("framepack is here; fetched") == 1
    for repository in (HUNYUAN, FRAMEPACK, FLUX):
        there = {path.relative_to(at(repository)).as_posix() for path in at(repository).rglob("*") if path.is_symlink()}
        assert there == needed(repository, three)
    found = here.find(card("framepack"))
    assert (found.folder, found.missing) == (at(HUNYUAN), ())
    assert (found.of("vae"), found.of("transformer")) == (at(HUNYUAN) / "vae", at(FRAMEPACK))
    assert found.of("image_encoder") == at(FLUX) / "image_encoder"
    assert found.sizes["transformer"] == len(three.files[FRAMEPACK][TRANSFORMER])
    once = three.served
    assert vidgen("download", "framepack", "-q").code == 0
    assert three.served == once


def test_another_model_of_a_repository_lacks_only_what_is_its_own(fetched: Hub) -> None:
    assert here.find(card("hunyuan-video")).missing == ("transformer/config.json", "transformer/*.safetensors")
    assert here.find(card("framepack-f1")).missing == ("transformer",)


def test_a_model_stays_whole_when_another_brings_a_newer_commit_of_its_repository(three: Hub, vidgen: ANSWER) -> None:
    own = three.files[HUNYUAN]
    own[f"transformer/{TRANSFORMER}"] = tensors(35, 500)
    assert vidgen("download", "hunyuan-video", "-q").code == 0
    three.commits[HUNYUAN] = "d" * 40
    own["README.md"] = b"a word more"
    once = three.served
    assert vidgen("download", "framepack", "-q").code == 0
    assert here.find(card("framepack")).folder == Place(HUNYUAN).snapshot("d" * 40)
    assert here.find(card("hunyuan-video")).missing == ()
    assert not (Place(HUNYUAN).snapshot("d" * 40) / "README.md").exists()
    assert three.served - once == sum(
        len(three.files[name][file]) for name in (FRAMEPACK, FLUX) for file in needed(name, three)
    )


@pytest.mark.parametrize("repository", [HUNYUAN, FRAMEPACK, FLUX])
def test_what_a_repository_lacks_is_refused_by_its_name(repository: str, three: Hub, vidgen: ANSWER) -> None:
    (name,) = (name for name in needed(repository, three) if name.endswith(".safetensors") and "text" not in name)
    del three.files[repository][name]
    answer = vidgen("download", "framepack")
    folder = name.rpartition("/")[0]
    assert answer.code == 4
    assert f"{repository} has no {folder}{'/' if folder else ''}*.safetensors, which framepack needs" in answer.err


def test_a_second_look_names_the_component_and_a_repair_fetches_its_file_alone(fetched: Hub, vidgen: ANSWER) -> None:
    assert vidgen("download", "--verify", "framepack").code == 0
    spoiled(at(FRAMEPACK) / TRANSFORMER)
    spoiled(at(FLUX) / "image_encoder/model.safetensors")
    answer = vidgen("download", "--verify", "framepack")
    assert answer.code == 4
    for name in (f"transformer/{TRANSFORMER}", "image_encoder/model.safetensors"):
        assert f"{name} is damaged" in answer.err
    before = fetched.served
    assert vidgen("download", "--repair", "framepack", "-q").code == 0
    files = fetched.files
    assert fetched.served - before == sum(
        len(data) for data in (files[FRAMEPACK][TRANSFORMER], files[FLUX]["image_encoder/model.safetensors"])
    )
    assert vidgen("download", "--verify", "framepack").code == 0


def test_a_repository_that_has_gone_is_named_and_fetched_again(fetched: Hub, vidgen: ANSWER) -> None:
    assert vidgen("cache", "rm", FLUX, "--yes").code == 0
    assert here.find(card("framepack")).missing == ("image_encoder", "feature_extractor")
    assert "image_encoder is missing" in vidgen("download", "--verify", "framepack").err
    assert vidgen("download", "framepack", "-q").code == 0
    assert here.find(card("framepack")).missing == ()


def test_without_a_hub_a_model_that_is_whole_here_is_no_error(fetched: Hub, vidgen: ANSWER) -> None:
    fetched.close()
    assert vidgen("download", "framepack", "--json").code == 0
    Place(FLUX).blob("x").parent.rename("elsewhere")
    answer = vidgen("download", "framepack")
    assert (answer.code, "framepack lacks" in answer.err) == (75, True)


def test_the_cache_knows_every_repository_of_a_model(fetched: Hub, vidgen: ANSWER) -> None:
    served = {
        entry["repository"]: entry["models"] for entry in json.loads(vidgen("cache", "--json").out)["repositories"]
    }
    assert served[FRAMEPACK] == ["framepack"]
    assert served[FLUX] == ["framepack", "framepack-f1"]
    assert set(served[HUNYUAN]) == {"hunyuan-video", "framepack", "framepack-f1"}
    assert vidgen("cache", "gc").err == "vidgen: nothing to remove\n"


def test_a_model_is_removed_from_all_its_repositories(fetched: Hub, vidgen: ANSWER) -> None:
    assert vidgen("cache", "rm", "framepack", "--yes").code == 0
    assert not any(Place(repository).folder.exists() for repository in (HUNYUAN, FRAMEPACK, FLUX))


def test_what_another_model_here_needs_stays(fetched: Hub, vidgen: ANSWER) -> None:
    own = fetched.files[HUNYUAN]
    fetched.files[HUNYUAN] = {**own, f"transformer/{TRANSFORMER}": own["vae/diffusion_pytorch_model.safetensors"]}
    assert vidgen("download", "hunyuan-video", "-q").code == 0
    answer = vidgen("cache", "rm", "framepack", "--yes")
    assert (answer.code, f"{HUNYUAN} stays: hunyuan-video needs it too" in answer.err) == (0, True)
    assert [Place(repository).folder.exists() for repository in (HUNYUAN, FRAMEPACK, FLUX)] == [True, False, False]
    assert here.find(card("hunyuan-video")).missing == ()


def test_a_quantized_copy_of_what_is_at_the_top_is_known_by_its_component(fetched: Hub, vidgen: ANSWER) -> None:
    from tests.cli.test_quantized import copied

    kept_copy = copied(at(FRAMEPACK), Precision.INT8)
    (listed,) = json.loads(vidgen("cache", "--json").out)["quantized"]
    assert (listed["component"], listed["model"], listed["models"]) == ("transformer", FRAMEPACK, ["framepack"])
    assert store.place(at(FRAMEPACK), Precision.INT8) != store.place(at(FLUX) / "image_encoder", Precision.INT8)
    assert vidgen("cache", "rm", "framepack", "--yes").code == 0
    assert not kept_copy.exists()


def test_killed_in_each_repository_it_still_fetches_every_byte_about_once() -> None:
    words = [*DOWNLOAD[:-1], "framepack", "-q"]
    with running(**scattered(mib=1)) as hub:
        wanted = sum(len(hub.files[name][file]) for name in (HUNYUAN, FRAMEPACK, FLUX) for file in needed(name, hub))
        hub.piece, hub.pace_s = 4096, 0.004
        for percent in (30, 80):
            process = started(hub, words=words)
            until(lambda: hub.served >= wanted * percent // 100)  # noqa: B023 - it is called at once
            process.kill()
            assert finished(process)[0] == -signal.SIGKILL
        hub.pace_s = 0.0
        assert finished(started(hub, words=words))[0] == 0
        assert hub.served <= WASTE * wanted + LISTING + 2 * 4 * hub.piece
        assert kept() == wanted
        for repository in (HUNYUAN, FRAMEPACK, FLUX):
            place = Path("home/hub") / f"models--{repository.replace('/', '--')}" / "snapshots" / COMMIT
            for name in needed(repository, hub):
                assert (place / name).read_bytes() == hub.files[repository][name]
