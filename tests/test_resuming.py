"""What was finished is on disk: killed anywhere, the same command goes on and makes the same clip, bit for bit."""

import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import vidgen
from tests import stored, twins
from tests.conftest import ANSWER
from vidgen.core.errors import InputRefused, OutputRefused, Refusal, Stopped, UsageRefused
from vidgen.core.plan import Job
from vidgen.core.result import Event
from vidgen.media.inspect import digest
from vidgen.resume import resume
from vidgen.studio.part import part

STEPS, FRAMES = 3, 5
ASKED: dict[str, Any] = {
    "prompt": "a red circle moving right",
    "model": "pocket",
    "steps": STEPS,
    "frames": FRAMES,
    "codec": "ffv1",
}
PART = Path("x.mkv.part")


def asked(**words: Any) -> Job:
    mode = "i2v" if "picture" in words else "t2v"
    [job] = vidgen.prepare(mode, **{"seed": 3, "output": "x.mkv", **ASKED, **words})
    return job


def in_a_process(work: Callable[[], object]) -> int:
    """How a process of its own ended that did `work`: a signal's number below 0, else its exit code.

    Forked, as importing torch takes seconds; on one thread, as a forked process has none of its parent's.
    """
    child = os.fork()
    if not child:
        code = 1
        try:
            torch.set_num_threads(1)
            work()
            code = 0
        except Refusal as refusal:
            code = refusal.exit_code
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def make(job: Callable[[], Job], *, killed_at: tuple[str, int] = ("", 0), log: str = "events") -> int:
    """Make a clip in a process of its own, killed by SIGKILL at an event; `log` gets every event."""

    def listen(event: Event) -> None:
        with Path(log).open("a", encoding="ascii") as file:
            file.write(f"{event.phase} {event.done}\n")
        if (event.phase, event.done) == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    return in_a_process(lambda: list(vidgen.run([job()], listen)))


def denoised(log: str = "events") -> list[int]:
    """The steps that the runs in `log` told; each run begins with the one it goes on from."""
    lines = Path(log).read_text(encoding="ascii").splitlines()
    return [int(line.split()[1]) for line in lines if line.startswith("denoise ")]


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Everything is imported, so that processes that are forked need not do it each."""
    [job] = vidgen.prepare("t2v", **ASKED, seed=0, output=tmp_path_factory.mktemp("warm") / "x.mkv")
    list(vidgen.run([job]))


@pytest.fixture
def whole() -> str:
    """The frames of an undisturbed run."""
    assert make(lambda: asked(output="whole.mkv"), log="whole") == 0
    return digest(Path("whole.mkv"))


def test_killed_at_every_step_and_then_at_every_frame_the_clip_is_the_same(whole: str) -> None:
    """One clip, killed again and again: each kill repeats one step, and no more."""
    for step in range(1, STEPS + 1):
        assert make(lambda: asked(checkpoint_every=1), killed_at=("denoise", step)) == -signal.SIGKILL
        assert not Path("x.mkv").exists()
    assert denoised() == [0, 1, 0, 1, 2, 1, 2, 3]
    for frame in range(1, FRAMES + 1):
        Path("events").unlink()
        assert make(lambda: asked(checkpoint_every=1), killed_at=("decode", frame)) == -signal.SIGKILL
        assert not Path("x.mkv").exists()
        assert denoised() == ([2, 3] if frame == 1 else [])
    assert make(lambda: asked(), log="last") == 0
    assert digest(Path("x.mkv")) == whole
    assert sorted(path.name for path in Path().glob("x.mkv*")) == ["x.mkv", "x.mkv.json"]


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("mode", ["t2v", "i2v"])
def test_work_repeated_never_exceeds_one_interval(mode: str, every: int, picture: Path) -> None:
    words: dict[str, Any] = {"steps": 6, "checkpoint_every": every, **({"picture": picture} if mode == "i2v" else {})}
    assert make(lambda: asked(output="whole.mkv", **words), log="whole") == 0
    for step in range(1, 7):
        assert make(lambda: asked(overwrite=True, **words), killed_at=("denoise", step)) == -signal.SIGKILL
        assert make(lambda: asked(overwrite=True, **words), log=f"again{step}") == 0
        assert 0 < step - denoised(f"again{step}")[0] <= every
        assert digest(Path("x.mkv")) == digest(Path("whole.mkv"))


def stopped(words: dict[str, Any], at: tuple[str, int]) -> None:
    """A run of this process that is asked to stop at an event."""

    def listen(event: Event) -> None:
        if (event.phase, event.done) == at:
            raise Stopped("stopped", "")

    with pytest.raises(Stopped):
        list(vidgen.run([asked(**words)], listen))


def finished(job: Job) -> tuple[str, list[int]]:
    """The frames of a run to the end, and its denoise events."""
    events: list[Event] = []
    [result] = vidgen.run([job], events.append)
    return digest(result.path), [event.done for event in events if event.phase == "denoise"]


@pytest.mark.parametrize("output", ["x.mkv", "{slug}-{seed}.mkv"])
def test_without_a_seed_the_same_command_goes_on_with_the_seed_it_had(output: str) -> None:
    words = {"seed": "random", "output": output}
    stopped(words, ("denoise", 2))
    [left] = Path().glob("*.part")
    job = asked(**words)
    assert str(job.request.output) + ".part" == left.name
    assert job.notes == (f"going on with seed {job.request.seed} from step 2 of {STEPS}",)
    assert {setting.name: setting.value for setting in job.settings}["seed"] == str(job.request.seed)
    assert asked(**words).request.seed == job.request.seed
    pixels, steps = finished(job)
    assert steps == [2, 3]
    assert pixels == finished(asked(seed=job.request.seed, output="whole.mkv"))[0]
    assert not list(Path().glob("*.part"))


@pytest.mark.parametrize(
    "other",
    [{"prompt": "a blue square"}, {"steps": 5}, {"seed": 4}, {"output": "y.mkv"}, {"guidance_scale": 2}],
    ids=lambda other: next(iter(other)),
)
def test_a_different_request_neither_takes_it_up_nor_destroys_it(other: dict[str, Any]) -> None:
    stopped({"seed": "random"}, ("denoise", 2))
    before = {path: path.read_bytes() for path in PART.rglob("*") if path.is_file()}
    job = asked(**{"seed": "random", **other})
    assert job.notes == ()
    with part(job) as made:
        assert made.folder != PART
        assert not made.has("checkpoint")
    assert {path: path.read_bytes() for path in PART.rglob("*") if path.is_file()} == before
    assert [path.name for path in Path().glob("*.part")] == [PART.name]


def test_a_checkpoint_that_was_cut_short_is_passed_over() -> None:
    stopped({}, ("denoise", 2))
    file = PART / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert asked().notes == ()
    assert finished(asked())[1] == [0, 1, 2, 3]


def test_a_folder_goes_on_alone_elsewhere_with_its_pictures(picture: Path, tmp_path: Path) -> None:
    words = {"picture": picture, "background": "red", "fit": "pad"}
    pixels, _ = finished(asked(**words, output="whole.mkv"))
    stopped(words, ("denoise", 2))
    elsewhere = tmp_path / "elsewhere" / PART.name
    elsewhere.parent.mkdir()
    shutil.move(PART, elsewhere)
    picture.unlink()
    job = resume(elsewhere)
    assert (job.request.output, job.notes) == (
        tmp_path / "elsewhere" / "x.mkv",
        ("going on with seed 3 from step 2 of 3",),
    )
    assert job.adjustments == ()
    assert finished(job) == (pixels, [2, 3])
    record = json.loads((tmp_path / "elsewhere" / "x.mkv.json").read_text())
    assert record["request"]["keyframes"][0]["picture"] == "first.png"
    assert record["settings"]["fps"] == "card"
    assert not elsewhere.exists()


def test_a_folder_begun_in_another_precision_says_so() -> None:
    stopped({}, ("denoise", 2))
    file = PART / "request.json"
    file.write_text(file.read_text().replace("fp32 on cpu", "bf16 on cuda"))
    job = resume(PART)
    assert job.request.output == Path("x.mkv")
    assert job.adjustments == ("begun with bf16 on cuda, finished with fp32 on cpu",)
    assert finished(job)[1] == [2, 3]


LIMITS = {"precision": "bf16", "offload": "phase", "tiling": "off", "vram": 12}


def limited(job: Job) -> tuple[str, str, str, float]:
    request = job.request
    return request.precision, request.offload, request.tiling, request.vram_gib


def origins(job: Job) -> dict[str, str]:
    return {setting.name: setting.origin for setting in job.settings if setting.name in LIMITS}


def test_a_folder_goes_on_within_the_limits_that_it_was_begun_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever variables say by now; what is typed counts more."""
    stopped(LIMITS, ("denoise", 2))
    monkeypatch.setenv("VIDGEN_PRECISION", "fp32")
    job = resume(PART)
    assert limited(job) == ("bf16", "phase", "off", 12.0)
    assert (str(job.plan.rung.precision), job.plan.rung.placement) == ("bf16", "phase")
    assert set(origins(job).values()) == {"flag"}
    assert limited(resume(PART, limits={"precision": "auto", "vram": None})) == ("auto", "phase", "off", 12.0)
    assert finished(job)[1] == [2, 3]


def test_a_folder_that_was_begun_in_no_limits_takes_those_that_are_set_now(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped({}, ("denoise", 2))
    monkeypatch.setenv("VIDGEN_PRECISION", "bf16")
    job = resume(PART)
    assert limited(job) == ("bf16", "auto", "auto", 0.0)
    assert origins(job)["precision"] == "environment"


def test_limits_of_one_machine_are_left_behind_on_another_and_a_line_says_so() -> None:
    stopped(LIMITS, ("denoise", 2))
    machine = asked(overwrite=True).plan.machine
    job = resume(PART, machine=replace(machine, name="a tablet"))
    assert limited(job) == ("bf16", "auto", "off", 0.0)
    assert job.notes[:2] == (f"--offload phase was for {machine.name}", f"--vram 12 was for {machine.name}")
    assert {name for name, origin in origins(job).items() if origin == "flag"} == {"precision", "tiling"}


def test_resume_and_decode_take_limits_and_refuse_wrong_ones(vidgen: ANSWER) -> None:
    stopped({"precision": "bf16"}, ("decode", 3))
    refused = vidgen("resume", "x.mkv.part", "--precision", "int9")
    assert refused.code == 2
    assert "precision 'int9' is none of" in refused.err
    assert vidgen("decode", "x.mkv.part", "--precision", "fp32", "--tiling", "off").code == 0
    plan = json.loads(Path("x.mkv.json").read_text())["plan"]
    assert (plan["precision"], plan["tiling"]) == ("fp32", 0)


def test_a_folder_goes_on_from_within_and_whatever_it_is_called() -> None:
    stopped({"output": "a{{b}}.mkv"}, ("denoise", 2))
    os.chdir("a{b}.mkv.part")
    assert resume(".").request.output.name == "a{b}.mkv"


def test_decoding_needs_finished_latents_and_no_more_than_the_decoder(tmp_path: Path) -> None:
    pixels, _ = finished(asked(output="whole.mkv"))
    stopped({}, ("denoise", 2))
    with pytest.raises(InputRefused, match="no finished latents"):
        resume(PART, decode=True)
    stopped({}, ("decode", 3))
    weights = tmp_path / "pocket"
    shutil.copytree(asked().weights.folder or "", weights)
    for name in ("transformer", "text_encoder", "tokenizer"):
        shutil.rmtree(weights / name)
    job = resume(PART / "latents.safetensors", decode=True, model=str(weights))
    assert [phase.components for phase in job.plan.phases] == [(), (), ("vae",)]
    assert finished(job) == (pixels, [])


def test_kept_latents_stay_and_are_decoded_again(vidgen: ANSWER) -> None:
    line = ["t2v", "a red circle", "--steps", "2", "--seed", "1", "-o", "x.mkv", "--codec", "ffv1", "--keep-latents"]
    assert vidgen(*line).code == 0
    assert sorted(path.name for path in Path().iterdir()) == ["x.mkv", "x.mkv.json", "x.mkv.latents"]
    assert vidgen("decode", "x.mkv.latents").code == 6
    answer = vidgen("decode", "x.mkv.latents", "-o", "again.mkv")
    assert (answer.code, answer.out) == (0, "again.mkv\n"), answer.err
    assert "going on with seed 1 from finished latents" in answer.err
    assert digest(Path("again.mkv")) == digest(Path("x.mkv"))
    assert Path("x.mkv.latents/latents.safetensors").is_file()
    assert vidgen(*line, "--overwrite").code == 0
    assert not list(Path().glob("*.part"))


def test_a_folder_that_was_tampered_with_is_refused(picture: Path) -> None:
    stopped({"picture": picture}, ("denoise", 2))
    file = PART / "request.json"
    text = file.read_text()
    for fault, other in (
        ('"pictures/0/first.png"', '"../../first.png"'),
        ('"output": "x.mkv"', '"output": "../x.mkv"'),
        ('"sha256": "', '"sha256": "0'),
        ('"mode"', '"moods"'),
    ):
        assert fault in text
        file.write_text(text.replace(fault, other))
        with pytest.raises(InputRefused, match="is damaged"):
            resume(PART)


def test_a_gguf_file_is_taken_up_again_and_refused_when_it_has_gone_or_changed(vidgen: ANSWER) -> None:
    file = stored.pocket().absolute()
    stopped({"gguf": str(file)}, ("denoise", 2))
    kept = file.read_bytes()
    assert [(each.path, each.component) for each in resume(PART).request.ggufs] == [(file, "transformer")]
    file.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    changed = vidgen("resume", str(PART))
    assert (changed.code, f"GGUF file {file} is not the file that {PART} was begun with" in changed.err) == (3, True)
    file.unlink()
    gone = vidgen("resume", str(PART))
    assert (gone.code, f"GGUF file {file}, which {PART} was begun with, is not there" in gone.err) == (3, True)
    file.write_bytes(kept)
    done = vidgen("resume", str(PART))
    assert (done.code, PART.exists()) == (0, False)
    assert digest(Path("x.mkv")) == finished(asked(gguf=str(file), output="y.mkv"))[0]


def test_a_lora_that_has_gone_or_changed_is_refused(vidgen: ANSWER) -> None:
    file = twins.lora(Path("style.safetensors"), width=128).absolute()
    stopped({"lora": [str(file)]}, ("denoise", 2))
    kept = file.read_bytes()
    assert resume(PART).request.loras[0].path == file
    file.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    changed = vidgen("resume", str(PART))
    assert (changed.code, f"LoRA {file} is not the file that {PART} was begun with" in changed.err) == (3, True)
    file.unlink()
    gone = vidgen("resume", str(PART))
    assert (gone.code, f"LoRA {file}, which {PART} was begun with, is not there" in gone.err) == (3, True)
    assert "put it back there" in gone.err
    file.write_bytes(kept)
    assert finished(resume(PART))[1] == [2, 3]


def test_what_was_forced_is_gone_on_with_from_the_folder_alone() -> None:
    stopped({"guidance_scale": 1.0, "force": True}, ("denoise", 2))
    job = resume(PART)
    assert (job.request.force, job.adjustments[0].startswith("forced: pocket")) == (True, True)
    assert finished(job)[1] == [2, 3]


def test_what_is_no_folder_of_ours_or_another_models_is_refused(picture: Path) -> None:
    Path("empty.part").mkdir()
    with pytest.raises(InputRefused, match="is no folder of vidgen's"):
        resume("empty.part")
    stopped({}, ("denoise", 2))
    with pytest.raises(UsageRefused, match="begun with another pocket"):
        resume(PART, model="ltx-video-2b")
    (PART / "checkpoint.safetensors").unlink()
    with pytest.raises(InputRefused, match="nothing to go on from"):
        resume(PART)


def test_a_clip_that_is_there_by_now_is_refused_before_any_work() -> None:
    stopped({}, ("denoise", 2))
    job = asked()
    Path("x.mkv").write_text("mine")
    events: list[Event] = []
    with pytest.raises(OutputRefused, match="exists by now"):
        list(vidgen.run([job], events.append))
    assert (events, Path("x.mkv").read_text()) == ([], "mine")
    with pytest.raises(OutputRefused, match="exists"):
        resume(PART)
    assert finished(replace(resume(PART, overwrite=True), checkpoint_every=1))[1] == [2, 3]


def race(jobs: Sequence[Job]) -> list[int]:
    """How processes ended that began together."""
    children = []
    waits, begins = os.pipe()
    for job in jobs:
        child = os.fork()
        if not child:
            os.close(begins)
            os.read(waits, 1)  # until the last who could write has closed it
            os._exit(in_a_process(lambda job=job: list(vidgen.run([job]))))  # type: ignore[misc]
        children.append(child)
    os.close(begins)
    return sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


def test_of_several_at_one_output_one_wins_and_the_others_say_why(whole: str) -> None:
    same = race([asked() for _ in range(4)])
    assert same[0] == 0
    assert set(same[1:]) <= {6, 75}
    assert digest(Path("x.mkv")) == whole
    assert not list(Path().glob("*.part*"))


def test_of_different_requests_at_one_new_output_one_wins() -> None:
    ended = race([asked(seed=seed, steps=1) for seed in range(3)])
    assert ended[0] == 0
    assert set(ended[1:]) <= {6, 75}
    assert Path("x.mkv").is_file()


def test_who_waits_goes_on_when_the_other_was_killed_and_refuses_when_it_was_done(whole: str) -> None:
    assert race([asked(wait=True), asked(wait=True)]) == [0, 6]
    assert digest(Path("x.mkv")) == whole


def test_who_waits_and_may_skip_skips_what_was_made_meanwhile(whole: str) -> None:
    assert race([asked(wait=True, skip_existing=True) for _ in range(3)]) == [0, 0, 0]
    assert digest(Path("x.mkv")) == whole
    assert sorted(path.name for path in Path().glob("x.mkv*")) == ["x.mkv", "x.mkv.json"]


def test_a_clip_that_appeared_since_is_skipped_and_the_others_are_made() -> None:
    jobs = vidgen.prepare("t2v", **ASKED, seed="1..3", output="{seed}.mkv", skip_existing=True)
    Path("2.mkv").write_text("mine")
    results = {result.path.name: result.skipped for result in vidgen.run(jobs)}
    assert results == {"1.mkv": False, "2.mkv": True, "3.mkv": False}
    assert Path("2.mkv").read_text() == "mine"
    assert not list(Path().glob("*.part"))
