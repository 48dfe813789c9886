"""LTX, split into verbs, draws what one call of the Diffusers pipeline draws, and says no where that would lie."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import twins
from tests.backends import films
from vidgen.backends import ltx
from vidgen.backends.port import State
from vidgen.backends.quiet import quickly
from vidgen.core.errors import ChecksFailed, Stopped, UsageRefused, WeightsRefused
from vidgen.core.plan import Canvas, Job, Placement, Precision, Rung
from vidgen.core.request import Keyframe, Lora, Mode

RESIDENT = Rung(precision=Precision.FP32, placement=Placement.RESIDENT)
EVERY = dict.fromkeys(Mode, "LTXConditionPipeline")
DECODE: dict[str, Any] = {"decode_timestep": 0.05, "decode_noise_scale": 0.025}
ENDS = (Keyframe(picture=Path("a.png"), strength=1.0), Keyframe(picture=Path("b.png"), frame=8, strength=0.6))


def same(job: Job, seeds: tuple[int, ...] = ()) -> np.ndarray[Any, Any]:
    """Split equals whole, bit for bit; the frames."""
    pictures = [twins.picture(job.canvas.width, job.canvas.height, seed) for seed in seeds]
    ours = films.split(job, pictures)
    np.testing.assert_array_equal(ours, films.whole(job, pictures))
    assert ours.shape == (job.request.frames, job.request.height, job.request.width, 3)
    assert ours.dtype == np.uint8
    assert ours.std() > 1
    return ours


@pytest.mark.parametrize("guidance", [3.0, 1.0])
@pytest.mark.parametrize(
    ("mode", "seeds"), [(Mode.T2V, ()), (Mode.I2V, (1,)), (Mode.KEYFRAME, (1,))], ids=["t2v", "i2v", "keyframe"]
)
@pytest.mark.parametrize("decoder", ["twin", "timed"])
def test_split_equals_whole(
    request: pytest.FixtureRequest, decoder: str, mode: Mode, seeds: tuple[int, ...], guidance: float
) -> None:
    card = twins.card(request.getfixturevalue(decoder), **(DECODE if decoder == "timed" else {}))
    same(twins.job(card, mode, guidance_scale=guidance), seeds)


def test_noise_scale_falls_back_to_the_timestep(timed: Path) -> None:
    job = twins.job(twins.card(timed, decode_timestep=0.3))
    other = replace(job, card=twins.card(timed, decode_timestep=0.3, decode_noise_scale=0.0))
    assert (same(job) != films.split(other)).any()


@pytest.mark.parametrize("decoder", ["twin", "timed"])
def test_two_keyframes_with_strengths_and_noise(request: pytest.FixtureRequest, decoder: str) -> None:
    card = twins.card(request.getfixturevalue(decoder), image_cond_noise_scale=0.15, guidance_rescale=0.7, **DECODE)
    same(twins.job(card, Mode.KEYFRAME, keyframes=ENDS, frames=17), (1, 2))


@pytest.mark.parametrize(("mode", "seeds"), [(Mode.T2V, ()), (Mode.I2V, (1,)), (Mode.KEYFRAME, (1, 2))])
def test_a_distilled_model_keeps_its_timesteps_in_every_mode(timed: Path, mode: Mode, seeds: tuple[int, ...]) -> None:
    card = twins.card(timed, pipelines=EVERY, timesteps=(1000.0, 900.0, 725.0, 0.03), **DECODE)
    keyframes = ENDS[: len(seeds)]
    done: list[tuple[int, int]] = []
    job = twins.job(card, mode, guidance_scale=1.0, steps=4, keyframes=keyframes)
    same(job, seeds)
    pictures = [twins.picture(64, 32, seed) for seed in seeds]
    films.split(job, pictures, lambda index, total, state=None: done.append((index, total)))
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_decoder_with_noise_of_its_own_repeats_itself(noisy: Path) -> None:
    job = twins.job(twins.card(noisy))
    first = same(job)
    torch.manual_seed(99)
    np.testing.assert_array_equal(first, films.split(job))


@pytest.mark.parametrize(("mode", "seeds"), [(Mode.T2V, ()), (Mode.I2V, (1,)), (Mode.KEYFRAME, (1, 2))])
def test_bfloat16(timed: Path, mode: Mode, seeds: tuple[int, ...]) -> None:
    rung = Rung(precision=Precision.BF16, placement=Placement.PHASE)
    same(twins.job(twins.card(timed, **DECODE), mode, rung=rung, keyframes=ENDS[: len(seeds)]), seeds)


def test_the_clip_is_cut_from_the_canvas(twin: Path) -> None:
    canvas = Canvas(width=64, height=64, frames=17, left=7, top=14)
    job = twins.job(twins.card(twin), canvas=canvas, width=50, height=36, frames=12, fps=Fraction(24000, 1001))
    frames = same(job)
    drawn = films.whole(job, cut=False)
    np.testing.assert_array_equal(frames, drawn[:12, 14:50, 7:57])


def test_placements_draw_the_same(timed: Path) -> None:
    card, pictures = twins.card(timed, **DECODE), [twins.picture(64, 32)]
    clips = []
    for placement in Placement:
        backend = ltx.open(job := twins.job(card, Mode.I2V, rung=replace(RESIDENT, placement=placement)))
        clips.append(films.straight(backend, job, pictures))
        backend.close()
    np.testing.assert_array_equal(clips[0], clips[1])


def test_one_backend_serves_modes_and_seeds_in_turn(twin: Path) -> None:
    card, pictures = twins.card(twin), [twins.picture(64, 32)]
    jobs = [twins.job(card), twins.job(card, Mode.I2V), twins.job(card, seed=8), twins.job(card)]
    backend = ltx.open(jobs[0])
    clips = [films.straight(backend, job, pictures if job.request.keyframes else ()) for job in jobs]
    backend.close()
    np.testing.assert_array_equal(clips[0], clips[3])
    assert (clips[0] != clips[2]).any()
    np.testing.assert_array_equal(clips[1], films.whole(jobs[1], pictures))


def test_a_batch_is_encoded_as_its_clips_are(twin: Path) -> None:
    card = twins.card(twin)
    jobs = [twins.job(card), twins.job(card, prompt="a blue square"), twins.job(card, guidance_scale=1.0)]
    together = ltx.open(jobs[0]).encode(jobs)
    for job, tensors in zip(jobs, together, strict=True):
        alone = ltx.open(job).encode([job])[0]
        assert alone.keys() == tensors.keys()
        assert all(torch.equal(alone[name], tensors[name]) for name in alone)
    assert set(together[2]) == {"prompt_embeds", "prompt_attention_mask"}


def test_stopping_stops_at_once(twin: Path) -> None:
    done: list[int] = []

    def step(index: int, total: int, state: State | None = None) -> None:
        done.append(index)
        if index == 2:
            raise Stopped("stopped", "")

    with pytest.raises(Stopped):
        films.split(twins.job(twins.card(twin), steps=5), step=step)
    assert done == [1, 2]


def test_tiles_of_space_and_time_give_the_whole_picture(twin: Path) -> None:
    job = twins.job(twins.card(twin), width=544, height=32, frames=65, steps=1)
    backend = ltx.open(replace(job, plan=replace(job.plan, rung=replace(RESIDENT, tiling=512))))
    tiled = films.straight(backend, job)
    plain = films.split(job)
    assert tiled.shape == plain.shape == (65, 32, 544, 3)
    assert 0 < np.abs(tiled.astype(int) - plain).mean() < 20
    backend.close()


def test_lora_changes_the_picture_and_leaves_no_trace(twin: Path) -> None:
    card = twins.card(twin)
    bare, dressed = twins.job(card), twins.job(card, loras=[Lora(path=twins.lora(Path("style.safetensors")))])
    backend = ltx.open(bare)
    before, changed, after = (films.straight(backend, job) for job in (bare, dressed, bare))
    backend.close()
    np.testing.assert_array_equal(before, after)
    assert (before != changed).any()
    pipe = films.pipeline(twin, "LTXPipeline", Precision.FP32)
    with quickly():
        pipe.load_lora_weights("style.safetensors", adapter_name="style")
    np.testing.assert_array_equal(changed, films.whole(bare))
    pipe.unload_lora_weights()


def test_lora_weights_count(twin: Path) -> None:
    card, file = twins.card(twin), twins.lora(Path("style.safetensors"))
    none, half = (twins.job(card, loras=[Lora(path=file, weight=weight)]) for weight in (0.0, 0.5))
    two = twins.job(card, loras=[Lora(path=file, weight=0.25), Lora(path=file, weight=0.25)])
    np.testing.assert_array_equal(films.split(none), films.split(twins.job(card)))
    assert np.abs(films.split(half).astype(int) - films.split(two)).max() <= 1


@pytest.mark.parametrize("fault", [{"prefix": "unet"}, {"width": 48}])
def test_lora_of_another_model_is_refused(twin: Path, fault: dict[str, Any]) -> None:
    job = twins.job(twins.card(twin), loras=[Lora(path=twins.lora(Path("other.safetensors"), **fault))])
    with pytest.raises(WeightsRefused, match=r"other\.safetensors"):
        films.split(job)
    films.split(twins.job(twins.card(twin)))


@pytest.mark.parametrize("content", [b"", b"nothing like safetensors"])
def test_lora_that_is_no_lora_is_refused(twin: Path, content: bytes) -> None:
    Path("bad.safetensors").write_bytes(content)
    for name in ("bad.safetensors", "absent.safetensors"):
        with pytest.raises(WeightsRefused, match=name):
            films.split(twins.job(twins.card(twin), loras=[Lora(path=Path(name))]))


@pytest.mark.parametrize(("component", "said"), [("transformer", "after step 1 of 3"), ("vae", "decoded video")])
def test_nan_is_refused_and_not_filmed(tmp_path: Path, component: str, said: str) -> None:
    folder = twins.ltx(tmp_path / "ltx")
    file = folder / component / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.startswith(("proj_out", "decoder.conv_out")))
    save_file({**tensors, name: tensors[name] * float("nan")}, file, metadata={"format": "pt"})
    with pytest.raises(ChecksFailed, match=f"NaN.*{said}"):
        films.split(twins.job(twins.card(folder)))


def test_a_decoder_of_another_size_is_refused(twin: Path) -> None:
    job = twins.job(twins.card(twin))
    latents = {"latents": torch.zeros(1, 8, 1, 1, 2), "generator": torch.Generator().get_state()}
    with pytest.raises(ChecksFailed, match="64x32, 1 frames, where 64x32, 9 frames"):
        ltx.open(job).decode(job, latents)


def test_an_unknown_pipeline_is_refused(twin: Path) -> None:
    card = twins.card(twin, pipelines={Mode.T2V: "LTXMagicPipeline"})
    with pytest.raises(WeightsRefused, match="LTXMagicPipeline"):
        ltx.open(twins.job(card))


def test_fixed_timesteps_need_the_pipeline_that_follows_them(twin: Path) -> None:
    with pytest.raises(WeightsRefused, match="timesteps"):
        ltx.open(twins.job(twins.card(twin, timesteps=(1000.0, 500.0))))


def test_a_weak_first_picture_is_refused_where_it_would_be_ignored(twin: Path) -> None:
    weak = [Keyframe(picture=Path("a.png"), strength=0.5)]
    with pytest.raises(UsageRefused, match="strength"):
        ltx.open(twins.job(twins.card(twin), Mode.I2V, keyframes=weak))


def test_a_canvas_off_the_grid_of_the_weights_is_refused(twin: Path) -> None:
    for canvas in (Canvas(width=48, height=32, frames=9), Canvas(width=64, height=32, frames=10)):
        with pytest.raises(WeightsRefused, match="multiples of 32"):
            films.split(twins.job(twins.card(twin), canvas=canvas))


def test_a_scheduler_that_shifts_by_length_is_refused_for_conditions(tmp_path: Path) -> None:
    folder = twins.ltx(tmp_path / "ltx")
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(file.read_text().replace('"use_dynamic_shifting": false', '"use_dynamic_shifting": true'))
    films.split(twins.job(twins.card(folder)))
    with pytest.raises(WeightsRefused, match="shifts by length"):
        films.split(twins.job(twins.card(folder), Mode.KEYFRAME), [twins.picture(64, 32)])


def test_a_distilled_model_that_is_forced_into_other_steps_is_spaced_by_its_pipeline(timed: Path) -> None:
    fixed = twins.card(timed, pipelines=EVERY, timesteps=(1000.0, 900.0, 725.0, 0.03), **DECODE)
    free = twins.card(timed, pipelines=EVERY, **DECODE)
    forced = films.split(twins.job(fixed, steps=2, force=True))
    np.testing.assert_array_equal(forced, films.whole(twins.job(free, steps=2)))
