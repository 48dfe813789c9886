"""A draft is the first of two stages; finalized, it is the clip that both would have made at once, bit for bit."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import vidgen
from tests.conftest import ANSWER
from tests.left import TWO_STAGES, tiny
from tests.values import says
from vidgen.catalog import cards
from vidgen.core.errors import InputRefused, Stopped, UsageRefused, WeightsRefused
from vidgen.core.plan import Job
from vidgen.core.request import Mode
from vidgen.core.result import Event
from vidgen.media.inspect import digest, inspect
from vidgen.planning.drafts import first_stage
from vidgen.resume import finalize, resume
from vidgen.studio.fingerprint import fingerprint

ASKED: dict[str, Any] = {"prompt": "a red circle", "size": "151x101", "frames": 9, "seed": 3, "codec": "ffv1"}
KEPT = Path("draft.mkv.latents")


@pytest.fixture(scope="module", autouse=True)
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The twin of a model of two stages."""
    place = tmp_path_factory.mktemp("drafts") / "tiny"
    tiny(place)
    return place


def asked(model: Path, mode: Mode = Mode.T2V, **words: Any) -> Job:
    [job] = vidgen.prepare(mode, **{**ASKED, "model": str(model), "output": "draft.mkv", **words})
    return job


def made(job: Job) -> str:
    """The frames of a run to the end."""
    [result] = vidgen.run([job])
    return digest(result.path)


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The frames of both stages at once."""
    return made(asked(model, output=tmp_path_factory.mktemp("whole") / "whole.mkv"))


def test_two_stages_from_the_command_line_twice_with_one_seed_are_identical(vidgen: ANSWER, model: Path) -> None:
    words = ("--size", "151x101", "--frames", "9", "--seed", "3", "--codec", "ffv1")
    for name in ("one.mkv", "two.mkv"):
        assert vidgen("t2v", "a red circle", "--model", str(model), *words, "-o", name).code == 0
    assert digest(Path("one.mkv")) == digest(Path("two.mkv"))
    facts = inspect(Path("one.mkv"))
    assert (facts.width, facts.height, facts.frames) == (151, 101, 9)
    told = json.loads(vidgen("show", "one.mkv", "--json").out)
    assert (told["request"]["steps"], told["canvas"]["width"], told["canvas"]["height"]) == (8, 192, 128)


def test_a_draft_from_the_command_line_is_half_as_large_and_finalized_it_is_the_whole_clip(
    vidgen: ANSWER, model: Path, whole: str
) -> None:
    words = ("t2v", "a red circle", "--model", str(model), "--size", "151x101", "--frames", "9", "--codec", "ffv1")
    drafted = vidgen(*words, "--seed", "3", "--draft", "-o", "draft.mkv")
    assert (drafted.code, drafted.out) == (0, "draft.mkv\n")
    assert "a draft of 75x50, half of the 151x101 asked for" in drafted.err
    facts = inspect(Path("draft.mkv"))
    assert (facts.width, facts.height, facts.frames) == (75, 50, 9)
    assert "--size 151x101 --draft" in vidgen("show", "draft.mkv", "--command").out
    done = vidgen("finalize", "draft.mkv")
    assert (done.code, done.out) == (0, "draft-final.mkv\n")
    assert "refines the draft draft.mkv" in done.err
    assert digest(Path("draft-final.mkv")) == whole
    assert KEPT.is_dir()
    assert not list(Path().glob("*.part"))
    record = json.loads(vidgen("show", "draft-final.mkv", "--json").out)
    assert (record["request"]["width"], "draft" in record["request"]) == (151, False)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (Mode.I2V, {"picture": "first.png", "fit": "pad"}),
        pytest.param(Mode.KEYFRAME, {"at": ["0:first.png", "5:first.png:0.6"]}, marks=pytest.mark.slow),
    ],
)
def test_pictures_count_in_a_draft_as_they_do_in_the_whole(
    model: Path, picture: Path, mode: Mode, words: dict[str, Any]
) -> None:
    at_once = made(asked(model, mode, output="whole.mkv", **words))
    made(asked(model, mode, draft=True, **words))
    picture.unlink()
    assert made(finalize("draft.mkv", output="film.mkv")) == at_once


def stopped(job: Job, at: tuple[str, int]) -> None:
    """A run that is asked to stop at an event."""

    def listen(event: Event) -> None:
        if (event.phase, event.done) == at:
            raise Stopped("stopped", "")

    with pytest.raises(Stopped):
        list(vidgen.run([job], listen))


def test_a_draft_and_its_finish_are_gone_on_with_wherever_they_were_stopped(model: Path, whole: str) -> None:
    stopped(asked(model, draft=True), ("denoise", 5))
    job = resume("draft.mkv.part")
    assert job.notes == ("going on with seed 3 from step 5 of 8",)
    assert (job.request.width, job.steps, job.card.refine) == (75, 8, None)
    made(job)
    stopped(finalize(KEPT), ("denoise", 10))
    again = finalize("draft.mkv")
    assert "going on with seed 3 from step 10 of 11" in again.notes
    assert made(again) == whole
    stopped(finalize("draft.mkv", output="third.mkv"), ("decode", 4))
    assert made(resume("third.mkv.part")) == whole


def test_a_draft_may_be_called_otherwise_by_then_if_its_latents_are_too(model: Path) -> None:
    made(asked(model, draft=True))
    Path("draft.mkv").rename("liked.mkv")
    KEPT.rename("liked.mkv.latents")
    assert finalize("liked.mkv").request.output == Path("liked-final.mkv")
    assert finalize("liked.mkv.latents", output="{seed}.mkv").request.output == Path("3.mkv")


@pytest.mark.slow
def test_a_draft_is_decoded_again_like_any_clip_whose_latents_are_kept(vidgen: ANSWER, model: Path, whole: str) -> None:
    first = made(asked(model, draft=True))
    assert vidgen("decode", str(KEPT), "-o", "again.mkv").code == 0
    assert digest(Path("again.mkv")) == first
    assert made(finalize("draft.mkv")) == whole


def test_a_draft_is_another_clip_than_the_whole_and_than_one_of_its_size(model: Path) -> None:
    whole, draft = asked(model), asked(model, draft=True)
    small, other = asked(model, size="75x50"), asked(model, size="150x101", draft=True)
    assert len({fingerprint(job) for job in (whole, draft, small, other)}) == 4
    assert (other.request.width, other.request.height) == (draft.request.width, draft.request.height)


def test_a_draft_needs_neither_upscaler_nor_the_memory_of_the_whole(model: Path) -> None:
    draft, whole = asked(model, draft=True), asked(model)
    assert "latent_upsampler" not in {name for phase in draft.plan.phases for name in phase.components}
    assert draft.plan.peak_gib < whole.plan.peak_gib
    known = cards.card(TWO_STAGES)
    first = first_stage(known)
    assert (first.grid.size, first.cost.token_kib) == (known.grid.size // 2, known.cost.token_kib / 4)
    assert first_stage(first) is first


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("pocket", TWO_STAGES),
        ("ltx-video-13b-0.9.7-dev", "ltx-video-13b-0.9.7-dev-x2"),
        ("ltx-2-19b-distilled", "ltx-2-19b-distilled-x2"),
    ],
)
def test_a_draft_by_a_model_of_one_stage_is_refused_with_one_that_has_two(name: str, other: str) -> None:
    with pytest.raises(UsageRefused) as refused:
        vidgen.prepare("t2v", prompt="x", model=name, draft=True)
    says(refused, 2, f"{name} draws in one stage", f"--model {other}")


def test_what_is_no_draft_is_refused(model: Path, picture: Path) -> None:
    made(asked(model, output="plain.mkv", keep_latents=True))
    for name in ("plain.mkv", "plain.mkv.latents"):
        with pytest.raises(InputRefused) as refused:
            finalize(name)
        says(refused, 3, f"{name} is no draft", "--draft")
    with pytest.raises(InputRefused) as refused:
        finalize("nowhere.mkv")
    says(refused, 3, "nowhere.mkv is not there", "--draft")
    with pytest.raises(InputRefused) as refused:
        finalize(picture)
    says(refused, 3, "first.png has no record of how it was made", "vidgen writes")
    with pytest.raises(InputRefused) as refused:
        finalize("nowhere.mkv.latents")
    says(refused, 3, "nowhere.mkv.latents is not there", "--draft")


def test_a_draft_whose_latents_are_gone_damaged_or_anothers_is_refused(model: Path) -> None:
    made(asked(model, draft=True))
    made(asked(model, draft=True, output="other.mkv", seed=4))
    KEPT.rename("away")
    with pytest.raises(InputRefused) as refused:
        finalize("draft.mkv")
    says(
        refused, 3, "draft.mkv.latents, which holds the latents of the draft, is not beside it", "vidgen show --command"
    )
    shutil.copytree("other.mkv.latents", KEPT)
    with pytest.raises(InputRefused) as refused:
        finalize("draft.mkv")
    says(refused, 3, "the latents in draft.mkv.latents are those of another clip")
    shutil.rmtree(KEPT)
    Path("away").rename(KEPT)
    file = KEPT / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(InputRefused) as refused:
        finalize("draft.mkv")
    says(refused, 3, "the latents in draft.mkv.latents are damaged")


def test_a_draft_that_is_not_finished_is_gone_on_with_first(model: Path) -> None:
    stopped(asked(model, draft=True), ("denoise", 5))
    with pytest.raises(InputRefused) as refused:
        finalize("draft.mkv.part")
    says(refused, 3, "the draft in draft.mkv.part is not finished", "vidgen resume draft.mkv.part")


def test_what_only_the_second_stage_needs_may_come_after_the_draft(model: Path, whole: str) -> None:
    later = shutil.copytree(model, Path("later").absolute())
    (later / "latent_upsampler").rename("away")
    made(asked(later, draft=True))
    with pytest.raises(WeightsRefused) as refused:
        made(finalize("draft.mkv"))
    says(refused, 4, "later")
    Path("away").rename(later / "latent_upsampler")
    assert made(finalize("draft.mkv")) == whole


def test_auto_without_a_model_of_two_stages_refuses_a_draft(vidgen: ANSWER) -> None:
    answer = vidgen("plan", "t2v", "x", "--draft")
    assert answer.code == 2
    assert "pocket draws in one stage" in answer.err
