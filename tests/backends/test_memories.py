"""What schedulers remember: every one that a family loads was looked into, and counting is all that is not kept."""

from importlib import import_module
from typing import Any

import torch

from vidgen.backends import memories, pipes
from vidgen.backends.quiet import found
from vidgen.catalog import cards

COUNTED = {"_step_index", "this_order", "lower_order_nums", "timestep_list"}
"""What UniPC changes at a step that does not hang on what was drawn: walking the schedule again makes it anew."""


def test_every_scheduler_that_a_family_loads_has_a_memory() -> None:
    families = {card.family for card in cards.cards().values()}
    kinds = [pipes.KINDS, *(import_module(f"vidgen.backends.{family}").KINDS for family in families)]
    assert {name for known in kinds for name in known if name.endswith("Scheduler")} == set(memories.MEMORIES)


def unipc() -> Any:
    kind = found("diffusers.schedulers.scheduling_unipc_multistep", "UniPCMultistepScheduler")
    scheduler = kind(prediction_type="flow_prediction", use_flow_sigmas=True)
    scheduler.set_timesteps(4)
    return scheduler


def test_unipc_changes_nothing_else_at_a_step() -> None:
    scheduler, latents = unipc(), torch.ones(1, 4, 2)
    scheduler.step(latents, scheduler.timesteps[0], latents)
    before = {key: list(value) if isinstance(value, list) else value for key, value in vars(scheduler).items()}
    scheduler.step(latents, scheduler.timesteps[1], latents)
    changed = {key for key, value in vars(scheduler).items() if not _same(value, before[key])}
    assert changed - COUNTED == {"model_outputs", "last_sample"}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(*pair) for pair in zip(one, other, strict=True))
    return one is other or (not isinstance(one, torch.Tensor) and bool(one == other))


def test_what_was_taken_is_put_back_and_nothing_else() -> None:
    scheduler, latents = unipc(), torch.rand(1, 4, 2)
    scheduler.step(latents, scheduler.timesteps[0], latents)
    with memories.of(scheduler) as memory:
        taken = memory.taken()
        assert set(taken) == {"scheduler.model_outputs.1", "scheduler.last_sample"}
        scheduler.step(latents + 1, scheduler.timesteps[1], latents + 1)
        memory.put_back(taken, latents.device)
        assert scheduler.model_outputs[0] is None
        assert all(torch.equal(memory.taken()[name], taken[name]) for name in taken)


def test_a_step_that_was_looked_at_is_the_schedulers_own_again() -> None:
    scheduler = found("diffusers.schedulers.scheduling_dpm_cogvideox", "CogVideoXDPMScheduler")()
    with memories.of(scheduler):
        assert "step" in vars(scheduler)
    assert "step" not in vars(scheduler)
