"""Time: what was measured is remembered and foretold, and a budget takes the largest clips that end in it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import vidgen
from tests.conftest import ANSWER
from tests.planning.counted import counted, usual
from tests.values import NOTHING, cuda, job, says
from vidgen import fitting, history
from vidgen.catalog import cards, gpus
from vidgen.core.card import Phase
from vidgen.core.errors import DoesNotFit, Refusal, UsageRefused
from vidgen.core.plan import Job, PhasePlan
from vidgen.planning.check import draw
from vidgen.planning.cost import arithmetic, passes
from vidgen.planning.planner import choose
from vidgen.shots import Shot

SLOW = {"encode": 10.0, "denoise": 100.0, "decode": 10.0}


def learnt(seconds: dict[str, float], **words: Any) -> Job:
    """A machine that took `seconds` for pocket's own clip, and that clip's job."""
    [made] = vidgen.prepare("t2v", prompt="a red circle", model="pocket", seed=1, **words)
    plan = made.plan
    said = arithmetic(made.request, made.card, made.canvas, made.weights, plan.rung, plan.machine)
    history.paced(made, seconds, said)
    return made


def planned(**words: Any) -> list[Job]:
    return vidgen.prepare("t2v", **{"prompt": "a red circle", "model": "pocket", "seed": 1, **words})


def test_what_a_clip_took_is_what_the_next_will_take(vidgen: ANSWER) -> None:
    line = ("t2v", "a red circle", "--model", "pocket", "--steps", "2", "--frames", "9")
    assert json.loads(vidgen("plan", *line, "--json").out)["seconds"] == 0
    assert "not known" in vidgen("plan", *line).out
    assert vidgen(*line, "-o", "x.mkv").code == 0
    plan = json.loads(vidgen("plan", *line, "--json").out)
    took = json.loads(Path("x.mkv.json").read_text())["seconds"]
    assert {phase["phase"]: phase["seconds"] for phase in plan["phases"]} == pytest.approx(took, rel=0.01)
    assert plan["seconds"] == pytest.approx(sum(took.values()), rel=0.01)
    assert "about" in vidgen("plan", *line).out


def test_the_pace_is_the_median_of_the_last_clips() -> None:
    for seconds in (1e6, 10, 10, 10, 20, 30):
        learnt({"denoise": seconds})
    [now] = planned()
    assert {phase.phase: phase.seconds for phase in now.plan.phases}[Phase.DENOISE] == pytest.approx(10)


def test_twice_the_steps_take_about_twice_the_time() -> None:
    learnt(SLOW)
    times = [planned(steps=steps)[0].plan.phases[1].seconds for steps in (20, 40)]
    assert times[1] / times[0] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("text", ["nonsense", "[1]", '{"denoise": [0]}', '{"attic": [1]}', '{"denoise": ["x"]}'])
def test_a_damaged_memory_is_none(text: str) -> None:
    learnt(SLOW)
    for file in history.store().glob("pace-*"):
        file.write_text(text)
    assert planned()[0].plan.seconds == 0


def test_a_card_that_is_known_needs_no_history() -> None:
    card = counted("hunyuan-video")
    wanted = usual(card, width=768, height=512, frames=61)
    machine = gpus.rated(replace(cuda(24), name="NVIDIA GeForce RTX 4090"))
    plan = choose(wanted, card, draw(wanted, card), machine, NOTHING)
    assert all(phase.seconds > 1 for phase in plan.phases)
    assert plan.seconds == pytest.approx(sum(phase.seconds for phase in plan.phases))
    slower = choose(wanted, card, draw(wanted, card), machine, NOTHING, {Phase.DENOISE: 2.0})
    assert slower.phases[1].seconds == pytest.approx(2 * plan.phases[1].seconds)
    unknown = choose(wanted, card, draw(wanted, card), cuda(24), NOTHING)
    assert unknown.seconds == 0


def test_passes_are_those_of_the_models_guidance() -> None:
    found = {
        name: passes(usual(cards.card(name)), cards.card(name))
        for name in ("ltx-video-2b-0.9.5", "hunyuan-video", "ltx-2-19b-distilled", "ltx-2-19b-dev", "ltx-2.3-dev")
    }
    assert list(found.values()) == [2, 1, 1, 3, 4]
    assert passes(usual(cards.card("hunyuan-video"), true_cfg_scale=4.0), cards.card("hunyuan-video")) == 2


def test_a_budget_that_is_long_enough_changes_nothing() -> None:
    whole = learnt(SLOW)
    [made] = planned(budget="10m")
    assert (made.request, made.adjustments) == (whole.request, whole.adjustments)


def test_a_budget_takes_the_largest_clip_that_ends_in_it_and_says_what_was_reduced() -> None:
    learnt(SLOW)
    [made] = planned(budget="100s")
    assert made.plan.seconds <= 100
    [said] = made.adjustments
    assert said == "to end within 1 min 40 s: 15 steps for 20"
    assert {setting.name: setting.origin for setting in made.settings}["steps"] == "budget"


def test_what_was_typed_is_not_reduced() -> None:
    learnt(SLOW)
    [made] = planned(budget="100s", steps=20)
    assert made.request.steps == 20
    assert made.request.frames < 17 or made.request.width < 64
    with pytest.raises(DoesNotFit) as refused:
        planned(budget="100s", steps=20, frames=17, size="64x64")
    says(refused, 5, "nothing that was left open ends within 1 min 40 s", "nearest that fits: --budget 120s")


def test_a_budget_is_for_all_clips_together() -> None:
    learnt(SLOW)
    made = planned(budget="4m", seed="1..4")
    assert len(made) == 4
    assert sum(one.plan.seconds for one in made) <= 240
    assert made[0].request.steps < 20


def test_a_draft_that_ends_in_time_is_a_draft_of_a_smaller_whole() -> None:
    """Half of what is asked for, and not half of that half."""
    machine = gpus.rated(replace(cuda(80), name="NVIDIA GeForce RTX 4090"))
    words: dict[str, Any] = {"prompt": "a cat", "model": "ltx-2-19b-distilled-x2", "machine": machine, "draft": True}
    [asked], [smaller] = (vidgen.prepare("t2v", size=size, **words) for size in (None, "1152x768"))
    assert smaller.plan.seconds < asked.plan.seconds
    [made] = vidgen.prepare("t2v", **words, frames=121, budget=f"{smaller.plan.seconds + 0.1:.1f}s")
    assert (made.whole, made.request.width) == (smaller.whole, 576)
    assert any(said.endswith(": 1152x768 for 1536x1024") for said in made.adjustments)


def test_a_strict_request_is_made_as_it_is_or_not() -> None:
    learnt(SLOW)
    with pytest.raises(DoesNotFit):
        planned(budget="100s", strict=True)


def test_where_nothing_is_known_a_budget_is_refused() -> None:
    with pytest.raises(DoesNotFit) as refused:
        planned(budget="1h")
    says(refused, 5, "how long pocket takes on", "is not known", "make a clip without --budget")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("2 min", 120), ("1.5h", 5400), ("0.5m", 30)]
)
def test_a_budget_is_a_length_of_time(text: str, seconds: float) -> None:
    assert fitting.budget(text) == seconds


@pytest.mark.parametrize("text", ["0", "soon", "-1m", "10 parsecs", "1e9", "m"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(UsageRefused):
        fitting.budget(text)


def test_a_refusal_of_memory_names_what_is_nearest_and_fits(vidgen: ANSWER) -> None:
    answer = vidgen("plan", "t2v", "x", "--model", "ltx-video-2b", "--size", "1216x704", "--vram", "2")
    assert answer.code == 5
    remedy = answer.err.splitlines()[-1].strip()
    assert remedy.startswith("nearest that fits: --")
    again = remedy.removeprefix("nearest that fits: ").split()
    line = {"--size": "1216x704", "--model": "ltx-video-2b", **dict(zip(again[::2], again[1::2], strict=True))}
    words = [word for pair in line.items() for word in pair]
    assert vidgen("plan", "t2v", "x", *words, "--vram", "2").code == 0


MEASURED = (
    PhasePlan(phase=Phase.ENCODE, components=("text_encoder",), weights_gib=4.0),
    PhasePlan(phase=Phase.DENOISE, components=("transformer",), weights_gib=2.0, work_gib=1.0),
    PhasePlan(phase=Phase.DECODE, components=("vae",), weights_gib=0.1, work_gib=0.1),
)


def shot(peaks: dict[str, float], *, measured: str = "then") -> Shot:
    made = job()
    card = replace(made.card, cost=replace(made.card.cost, measured=measured))
    made = replace(made, card=card, plan=replace(made.plan, phases=MEASURED))
    return Shot(job=made, part=None, peak_gib=peaks, standing_gib=0.5)  # type: ignore[arg-type]


def test_a_peak_that_was_not_predicted_is_told_in_one_line() -> None:
    assert (
        list(shot({"encode": 4.5, "denoise": 4.5, "decode": 0.8}).misses())
        == [
            "denoise took 4.0 GiB of memory where 3.0 were predicted",
            "decode took 0.3 GiB of memory where 0.2 were predicted",
        ][:1]
    )
    assert list(shot({"denoise": 2.5}).misses()) == ["denoise took 2.0 GiB of memory where 3.0 were predicted"]
    assert list(shot({"denoise": 3.7, "decode": 0.75}).misses()) == []
    assert list(shot({"denoise": 9.0}, measured="").misses()) == []


def test_the_record_has_each_peak_beside_what_was_predicted(vidgen: ANSWER) -> None:
    assert vidgen("t2v", "a red circle", "--steps", "1", "--frames", "5", "-o", "x.mkv").code == 0
    record = json.loads(Path("x.mkv.json").read_text())
    phases = {"encode", "denoise", "decode"}
    assert set(record["peak_gib"]) == phases
    for name in ("predicted_gib", "predicted_host_gib", "predicted_seconds"):
        assert set(record["plan"][name]) == phases
    assert 0 < record["standing_gib"] <= max(record["peak_gib"].values())


def test_a_refusal_with_nothing_nearer_keeps_its_own_remedy() -> None:
    with pytest.raises(Refusal) as refused:
        vidgen.prepare("t2v", prompt="x", model="ltx-video-2b", machine=cuda(0.5))
    says(refused, 5, "another model")
