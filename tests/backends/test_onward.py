"""From any step that was kept, a clip goes on to the very latents of a run that was never stopped."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL.Image import Image

from tests import twins
from tests.backends import films
from vidgen.backends import ltx, onward, pipes, quiet
from vidgen.backends.port import State, Tensors
from vidgen.core.errors import ChecksFailed, InputRefused
from vidgen.core.plan import Job, Placement, Precision, Rung
from vidgen.core.request import Keyframe, Lora, Mode

EVERY = dict.fromkeys(Mode, "LTXConditionPipeline")
ENDS = (Keyframe(picture=Path("a.png"), strength=1.0), Keyframe(picture=Path("b.png"), frame=8, strength=0.6))
COARSE = Rung(precision=Precision.BF16, placement=Placement.RESIDENT)


def kept(job: Job, pictures: Sequence[Image] = ()) -> tuple[Tensors, Tensors, list[Tensors]]:
    """Embeddings, final latents, and the state after each step, each through a file."""
    backend, states = ltx.open(job), list[Tensors]()
    conditioning = backend.encode([job])[0]

    def step(done: int, total: int, state: State | None = None) -> None:
        assert state is not None
        states.append(films.through_disk(state()))

    latents = backend.denoise(job, conditioning, pictures, step)
    backend.close()
    return conditioning, latents, states


def gone_on(job: Job, conditioning: Tensors, pictures: Sequence[Image], since: Tensors) -> tuple[Tensors, list[int]]:
    """The final latents of a new backend, and the steps that it was seen to do."""
    backend, done = ltx.open(job), list[int]()
    latents = backend.denoise(job, conditioning, pictures, lambda step, total, state=None: done.append(step), since)
    backend.close()
    return latents, done


def every_step_goes_on(job: Job, seeds: Sequence[int] = ()) -> None:
    pictures = [twins.picture(job.canvas.width, job.canvas.height, seed) for seed in seeds]
    conditioning, whole, states = kept(job, pictures)
    assert [int(state["step"]) for state in states] == list(range(1, job.request.steps + 1))
    for state in states:
        latents, done = gone_on(job, conditioning, pictures, state)
        assert latents.keys() == whole.keys()
        assert all(torch.equal(latents[name], whole[name]) for name in whole), int(state["step"])
        assert done == list(range(int(state["step"]) + 1, job.request.steps + 1))


@pytest.mark.parametrize("guidance", [3.0, 1.0])
@pytest.mark.parametrize(
    ("mode", "seeds"), [(Mode.T2V, ()), (Mode.I2V, (1,)), (Mode.KEYFRAME, (1,))], ids=["t2v", "i2v", "keyframe"]
)
def test_every_mode_goes_on_from_every_step(twin: Path, mode: Mode, seeds: tuple[int, ...], guidance: float) -> None:
    every_step_goes_on(twins.job(twins.card(twin), mode, guidance_scale=guidance), seeds)


@pytest.mark.parametrize(("mode", "seeds"), [(Mode.T2V, ()), (Mode.I2V, (1,)), (Mode.KEYFRAME, (1, 2))])
def test_a_distilled_model_goes_on_in_bfloat16(timed: Path, mode: Mode, seeds: tuple[int, ...]) -> None:
    card = twins.card(timed, pipelines=EVERY, timesteps=(1000.0, 900.0, 725.0, 0.03))
    job = twins.job(card, mode, guidance_scale=1.0, steps=4, keyframes=ENDS[: len(seeds)], rung=COARSE)
    every_step_goes_on(job, seeds)


def test_pictures_that_are_noised_at_every_step_are_noised_alike(twin: Path) -> None:
    card = twins.card(twin, image_cond_noise_scale=0.15, guidance_rescale=0.7)
    every_step_goes_on(twins.job(card, Mode.KEYFRAME, keyframes=ENDS, frames=17), (1, 2))


def test_a_scheduler_that_draws_noise_draws_the_same(tmp_path: Path) -> None:
    folder = twins.ltx(tmp_path / "ltx")
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(file.read_text().replace('"stochastic_sampling": false', '"stochastic_sampling": true'))
    every_step_goes_on(twins.job(twins.card(folder)))


def test_a_lora_goes_on_being_worn(twin: Path) -> None:
    job = twins.job(twins.card(twin), loras=[Lora(path=twins.lora(Path("style.safetensors")))])
    every_step_goes_on(job)


def test_steps_that_were_done_cost_no_call_of_the_transformer(twin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = twins.job(twins.card(twin), steps=4)
    conditioning, _, states = kept(job)
    kind = quiet.found("diffusers.models.transformers.transformer_ltx", "LTXVideoTransformer3DModel")
    real, calls = kind.forward, list[int]()

    def forward(self: Any, *words: Any, **more: Any) -> Any:
        calls.append(1)
        return real(self, *words, **more)

    monkeypatch.setattr(kind, "forward", forward)
    gone_on(job, conditioning, (), states[2])
    assert len(calls) == 1


@pytest.mark.parametrize("name", [name for name in pipes.KINDS if "Scheduler" in name])
def test_a_scheduler_remembers_nothing_but_its_place(name: str) -> None:
    """One that remembers more, as a multi-step scheduler does, needs that in its checkpoints."""
    scheduler = quiet.found(pipes.KINDS[name].module, name)()
    scheduler.set_timesteps(4)
    latents = torch.ones(1, 4, 2)
    scheduler.step(latents, scheduler.timesteps[0], latents)
    before = dict(vars(scheduler))
    scheduler.step(latents, scheduler.timesteps[1], latents)
    after = vars(scheduler)
    assert [key for key in after if after[key] is not before.get(key, "new")] == ["_step_index"]


@pytest.mark.parametrize("fault", [{"latents": torch.zeros(1, 3, 8)}, {"step": torch.tensor(9)}])
def test_what_was_kept_of_another_model_is_refused(twin: Path, fault: dict[str, torch.Tensor]) -> None:
    job = twins.job(twins.card(twin))
    conditioning, _, states = kept(job)
    with pytest.raises(InputRefused, match="where this model draws"):
        gone_on(job, conditioning, (), {**states[0], **fault})


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ({}, "another seed"),
        ({"guidance_scale": 40.0}, "lower --guidance-scale"),
        ({"loras": [Lora(path=Path("style.safetensors"))]}, "a LoRA is too strong"),
    ],
)
@pytest.mark.parametrize(
    ("latents", "said"),
    [
        (torch.full((1, 4, 2), 31.0), "31 times as large as noise after step 2"),
        (torch.tensor([1.0, float("nan")]), "NaN or infinite values after step 2"),
        (torch.tensor([1.0, float("inf")]), "NaN or infinite values after step 2"),
    ],
)
def test_latents_that_cannot_become_a_picture_are_refused_with_their_likely_cause(
    twin: Path, words: dict[str, Any], cause: str, latents: torch.Tensor, said: str
) -> None:
    with pytest.raises(ChecksFailed, match=said) as refused:
        onward.watched(twins.job(twins.card(twin), **words), latents, "after step 2")
    assert cause in refused.value.remedy


def test_latents_are_let_pass_up_to_far_beyond_what_models_draw(twin: Path) -> None:
    onward.watched(twins.job(twins.card(twin)), torch.full((1, 4, 2), 29.0, dtype=torch.bfloat16), "after step 2")
