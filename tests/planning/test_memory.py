"""Memory: the numbers of a plan, against sums done by hand and against what is published."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.values import CARD, DISTILLED, NOTHING, request
from vidgen.catalog import cards
from vidgen.core.card import Guidance, Phase, Schedule
from vidgen.core.plan import Canvas, PhasePlan, Placement, Precision, Rung, Weights
from vidgen.core.request import Keyframe, Mode, Request
from vidgen.planning.check import draw
from vidgen.planning.drafts import first_stage
from vidgen.planning.memory import KERNELS_GIB, SHRUNK_GIB, component_gib, phases
from vidgen.planning.settle import Subject, settle

BF16_PHASE = Rung(precision=Precision.BF16, placement=Placement.PHASE)
BF16_RESIDENT = Rung(precision=Precision.BF16, placement=Placement.RESIDENT)
FP32_PHASE = Rung(precision=Precision.FP32, placement=Placement.PHASE)
TILED = Rung(precision=Precision.BF16, placement=Placement.PHASE, tiling=512)


def planned(rung: Rung, wanted: Request) -> dict[Phase, PhasePlan]:
    return {phase.phase: phase for phase in phases(wanted, CARD, draw(wanted, CARD), NOTHING, rung)}


def of_ltx(rung: Rung) -> dict[Phase, PhasePlan]:
    card = cards.card("ltx-video-2b-0.9.5")
    (wanted,), _ = settle({}, card, Subject(mode=Mode.T2V, prompt="x"), fresh_seed=1)
    return {phase.phase: phase for phase in phases(wanted, card, draw(wanted, card), NOTHING, rung)}


def test_weights_are_parameters_times_bytes() -> None:
    assert component_gib("transformer", CARD, NOTHING, Precision.BF16) == 2.0
    assert component_gib("transformer", CARD, NOTHING, Precision.FP32) == 4.0


def test_what_is_always_wide_weighs_the_same_at_every_precision() -> None:
    parts = [replace(part, wide=True, blocks=0.5) for part in CARD.components]
    card = replace(CARD, components=tuple(parts))
    for precision in Precision:
        assert component_gib("transformer", card, NOTHING, precision) == 4.0


def test_weights_of_unknown_count_weigh_what_their_files_weigh_at_bf16() -> None:
    weights = Weights(folder=None, sizes={"tokenizer": 2**30})
    assert component_gib("tokenizer", CARD, weights, Precision.BF16) == 1.0
    assert component_gib("tokenizer", CARD, weights, Precision.FP32) == 2.0
    assert component_gib("scheduler", CARD, weights, Precision.BF16) == 0.0


def test_quantization_shrinks_the_blocks_and_nothing_else() -> None:
    card = cards.card("ltx-video-2b-0.9.5")
    found = {
        name: component_gib(name, card, NOTHING, Precision.INT8) for name in ("text_encoder", "transformer", "vae")
    }
    assert {name: round(gib, 2) for name, gib in found.items()} == {
        "text_encoder": 4.56,
        "transformer": 1.83,
        "vae": 2.32,
    }
    for name, gib in found.items():
        assert component_gib(name, card, NOTHING, Precision.FP8) == gib


def test_one_phase_at_a_time_holds_only_its_own_weights() -> None:
    found = planned(BF16_PHASE, request())
    assert {phase: plan.weights_gib for phase, plan in found.items()} == {
        Phase.ENCODE: 4.0,
        Phase.DENOISE: 2.0,
        Phase.DECODE: 1.0,
    }


def test_everything_resident_holds_the_sum_in_every_phase() -> None:
    assert {plan.weights_gib for plan in planned(BF16_RESIDENT, request()).values()} == {7.0}


def test_a_mask_of_all_pairs_of_tokens_and_passes_that_take_turns_are_counted() -> None:
    wanted = request(width=768, height=512, frames=121, guidance_scale=3.0)
    plain = replace(CARD.cost, token_kib=1.0, pair_bytes=0.0)

    def gib(**cost: Any) -> float:
        card = replace(CARD, cost=replace(plain, **cost))
        return phases(wanted, card, draw(wanted, card), NOTHING, BF16_PHASE)[1].work_gib

    tokens = 16 * 24 * 16
    assert gib() == 2 * tokens / 2**20
    assert gib(turns=True) == tokens / 2**20
    assert gib(pair_bytes=4.0, turns=True) == tokens / 2**20 + 4 * tokens**2 / 2**30


def test_pictures_among_the_latents_and_their_encoding_are_counted() -> None:
    plain, card = request(guidance_scale=1.0), replace(CARD, cost=replace(CARD.cost, token_kib=1.0, pictured_kib=3.0))
    wanted = replace(plain, keyframes=(Keyframe(picture=Path("a.png")),))

    def gib(wanted: Request, **cost: Any) -> float:
        known = replace(card, cost=replace(card.cost, **cost))
        return phases(wanted, known, draw(wanted, known), NOTHING, BF16_PHASE)[1].work_gib

    tokens = 3 * 2 * 2
    assert (gib(plain), gib(wanted), gib(wanted, pictured_kib=0.0)) == (tokens / 2**20, 3 * tokens / 2**20, gib(plain))
    assert gib(wanted, picture_bytes=1e6) == 64 * 64 * 1e6 / 2**30
    assert gib(plain, picture_bytes=1e6) == gib(plain)


@pytest.mark.parametrize(
    ("changed", "tokens", "passes"),
    [
        ({"guidance_scale": 1.0}, 3 * 2 * 2, 1),
        ({"guidance_scale": 3.0}, 3 * 2 * 2, 2),
        ({"width": 768, "height": 512, "frames": 121}, 16 * 24 * 16, 2),
        ({"width": 65, "frames": 18}, 4 * 3 * 2, 2),
    ],
)
def test_denoising_takes_the_cards_kib_for_each_token_and_pass(
    changed: dict[str, float], tokens: int, passes: int
) -> None:
    assert planned(BF16_PHASE, request(**changed))[Phase.DENOISE].work_gib == tokens * 64 * passes / 2**20


def test_guidance_that_is_embedded_takes_one_pass_at_any_scale() -> None:
    card = replace(CARD, schedule=Schedule(guidance=Guidance.EMBEDDED))
    wanted = request(guidance_scale=6.0)
    found = phases(wanted, card, Canvas(width=64, height=64, frames=17), NOTHING, BF16_PHASE)
    assert {plan.phase: plan.work_gib for plan in found}[Phase.DENOISE] == 3 * 2 * 2 * 64 / 2**20


def test_guidance_that_is_forced_upon_a_distilled_model_takes_a_second_pass() -> None:
    canvas = Canvas(width=64, height=64, frames=17)
    plain, forced = (
        phases(request(guidance_scale=scale, force=True), DISTILLED, canvas, NOTHING, BF16_PHASE)
        for scale in (1.0, 3.0)
    )
    assert forced[1].work_gib == 2 * plain[1].work_gib


@pytest.mark.parametrize("frames", [17, 33, 1025])
def test_a_clip_that_is_drawn_piece_by_piece_takes_what_one_piece_takes(frames: int) -> None:
    card = replace(CARD, cost=replace(CARD.cost, frames=17))
    plans = []
    for length in (17, frames):
        wanted = request(frames=length)
        plans.append(phases(wanted, card, draw(wanted, card), NOTHING, BF16_PHASE))
    assert plans[0] == plans[1]


def test_a_decoder_that_takes_some_frames_at_a_time_is_counted_by_those() -> None:
    card = replace(CARD, cost=replace(CARD.cost, decoded=17))
    wanted = request(width=1024, height=1024, frames=129)
    found = {plan.phase: plan for plan in phases(wanted, card, draw(wanted, card), NOTHING, BF16_PHASE)}
    assert found[Phase.DECODE].work_gib == 1024 * 1024 * 17 * 100 / 2**30
    assert found[Phase.DENOISE] == planned(BF16_PHASE, wanted)[Phase.DENOISE]


def test_decoding_takes_the_cards_bytes_for_each_pixel_of_the_canvas() -> None:
    wanted = request(width=1024, height=1024, frames=33)
    assert planned(BF16_PHASE, wanted)[Phase.DECODE].work_gib == 1024 * 1024 * 33 * 100 / 2**30


def test_decoding_in_tiles_takes_a_tile_or_the_whole_if_that_is_less() -> None:
    piece = 3 * 1024 * 512 * 33 * 2 / 2**30
    large = planned(TILED, request(width=1024, height=512, frames=33))[Phase.DECODE].work_gib
    assert large == pytest.approx(0.5 + 1.25 * piece)
    small = planned(TILED, request())[Phase.DECODE].work_gib
    assert small == 64 * 64 * 17 * 100 / 2**30 < 0.5


def test_what_is_drawn_in_tiles_is_joined_in_the_hosts_memory_and_leaves_the_device_in_pieces() -> None:
    wanted = request(width=2048, height=1024, frames=257)
    film = 3 * 2048 * 1024 * 257 * 2 / 2**30
    decode = planned(TILED, wanted)[Phase.DECODE]
    assert decode.work_gib == pytest.approx(0.5 + 1.25 * film * 64 / 257)
    assert decode.host_gib == 3.25 * film
    [_, _, alone] = phases(wanted, CARD, draw(wanted, CARD), NOTHING, TILED, one=True)
    assert alone.work_gib == 3.25 * film + KERNELS_GIB


def test_a_side_of_tiles_that_was_counted_for_itself_goes_by_that() -> None:
    wanted = request(width=1024, height=512, frames=33)
    card = replace(CARD, cost=replace(CARD.cost, tiles_gib={TILED.tiling: 0.125}))
    usual, counted = (phases(wanted, one, draw(wanted, one), NOTHING, TILED)[2].work_gib for one in (CARD, card))
    assert usual - counted == pytest.approx(0.5 - 0.125)


def test_what_a_token_takes_in_32_bits_may_be_counted() -> None:
    card = replace(CARD, cost=replace(CARD.cost, widened=1.75))
    rungs = (BF16_PHASE, FP32_PHASE)
    narrow, wide = (phases(request(), card, draw(request(), card), NOTHING, rung)[1].work_gib for rung in rungs)
    assert wide == 1.75 * narrow


def test_twice_the_precision_is_twice_the_memory() -> None:
    narrow, wide = (planned(rung, request(width=512, height=512)) for rung in (BF16_PHASE, FP32_PHASE))
    for phase in Phase:
        assert wide[phase].weights_gib == 2 * narrow[phase].weights_gib
        assert wide[phase].work_gib == pytest.approx(2 * narrow[phase].work_gib)


def test_encoding_does_no_work_that_was_measured() -> None:
    assert planned(BF16_PHASE, request())[Phase.ENCODE].work_gib == 0.0


def test_ltx_2b_weighs_what_is_published() -> None:
    found = of_ltx(BF16_PHASE)
    assert found[Phase.ENCODE].weights_gib == pytest.approx(8.87, abs=0.005)
    assert found[Phase.DENOISE].weights_gib == pytest.approx(3.58, abs=0.01)
    assert found[Phase.DECODE].weights_gib == pytest.approx(1.03, abs=0.005), "without its encoder"


def test_ltx_2b_works_on_the_published_number_of_tokens() -> None:
    found = of_ltx(BF16_PHASE)
    assert found[Phase.DENOISE].work_gib == pytest.approx(2 * 6144 * 64.5 / 2**20, rel=0.03)
    assert found[Phase.DECODE].work_gib == pytest.approx(768 * 512 * 121 * 100 / 2**30, rel=0.03)
    assert of_ltx(TILED)[Phase.DECODE].work_gib == pytest.approx(
        cards.card("ltx-video-2b-0.9.5").cost.tile_gib + 1.25 * 768 * 512 * 64 * 6 / 2**30
    )


def test_the_canvas_is_weighed_not_the_request() -> None:
    wanted, large = request(), Canvas(width=128, height=64, frames=17)
    (_, denoise, _) = phases(wanted, CARD, large, NOTHING, BF16_PHASE)
    assert denoise.work_gib == 2 * planned(BF16_PHASE, wanted)[Phase.DENOISE].work_gib


@pytest.mark.parametrize(("name", "passes"), [("ltx-2-19b-dev-x2", 1), ("ltx-video-13b-0.9.7-dev-x2", 2)])
def test_two_stages_need_what_the_larger_of_them_needs_and_a_draft_what_the_first_does(name: str, passes: int) -> None:
    """Guidance takes two passes at once: in the first of a quarter of the tokens, in the second where it is guided."""
    card = cards.card(name)
    (wanted,), _ = settle({}, card, Subject(mode=Mode.T2V, prompt="x"), fresh_seed=1)
    canvas = draw(wanted, card)
    tokens = ((canvas.frames - 1) // 8 + 1) * (canvas.width // 64) * (canvas.height // 64)
    works = {}
    for known in (card, first_stage(card)):
        half = canvas if known is card else replace(canvas, width=canvas.width // 2, height=canvas.height // 2)
        [drawn] = [one for one in phases(wanted, known, half, NOTHING, BF16_PHASE) if one.phase is Phase.DENOISE]
        works[known.refine is None] = drawn.work_gib
    assert works[False] == pytest.approx(passes * tokens * card.cost.token_kib / 2**20)
    assert works[True] == pytest.approx(2 * tokens * card.cost.token_kib / 4 / 2**20)


STREAMED = Rung(precision=Precision.BF16, placement=Placement.STREAM)
STACKED = replace(
    CARD,
    components=tuple(
        replace(part, stacked=0.75, block=2**30 * 3 // 4 // 8, layers=8, blocks=0.5)
        if part.name in ("transformer", "text_encoder")
        else part
        for part in CARD.components
    ),
)
"""Its transformer: 2 GiB at bf16, of which 8 blocks are 1.5; its text encoder: 4 GiB."""


def stacked(rung: Rung) -> tuple[PhasePlan, ...]:
    return phases(request(), STACKED, draw(request(), STACKED), NOTHING, rung)


@pytest.mark.parametrize(
    ("resident", "gib"), [(0, 0.5 + 2 * 0.1875), (1, 0.5 + 3 * 0.1875), (5, 0.5 + 7 * 0.1875), (6, 2.0), (8, 2.0)]
)
def test_streamed_blocks_weigh_what_stays_and_two_on_their_way(resident: int, gib: float) -> None:
    [_, denoise, _] = stacked(replace(STREAMED, resident=resident))
    assert denoise.weights_gib == gib
    assert denoise.host_gib == 2.0


def test_a_text_encoder_is_streamed_too_and_a_decoder_is_not() -> None:
    encode, _, decode = stacked(replace(STREAMED, resident=4))
    assert encode.weights_gib == 4.0 * 0.25 + 2 * 0.1875
    assert (encode.host_gib, decode.weights_gib, decode.host_gib) == (4.0, 1.0, 1.0)


def test_blocks_from_disk_pass_through_the_hosts_memory_one_by_one() -> None:
    encode, denoise, _ = stacked(replace(STREAMED, placement=Placement.DISK))
    assert encode.host_gib == encode.weights_gib == 4.0 * 0.25 + 2 * 0.1875
    assert denoise.host_gib == denoise.weights_gib


def test_quantized_blocks_are_streamed_in_their_small_form() -> None:
    [_, denoise, _] = stacked(replace(STREAMED, precision=Precision.INT8))
    linear = 0.5 / 0.75
    assert denoise.weights_gib == pytest.approx(0.5 + 2 * 0.1875 * (linear * 0.5 + (1 - linear)))
    assert denoise.host_gib == 2.0 * 0.75


def test_what_is_quantized_and_read_from_disk_was_one_block_as_it_is_at_the_first_start() -> None:
    half = 2**28
    parts = tuple(replace(part, stacked=1.0, blocks=1.0, block=half, layers=4) for part in STACKED.components)
    card, rung = (
        replace(STACKED, components=parts),
        replace(STREAMED, precision=Precision.NF4, placement=Placement.DISK),
    )
    held = {}
    for one in (False, True):
        [_, denoise, _] = phases(request(), card, draw(request(), card), NOTHING, rung, one=one)
        held[one] = (denoise.weights_gib, denoise.host_gib)
    block = half * 2 / 2**30
    assert held == {False: (pytest.approx(2 * block * 0.5625 / 2), block), True: (block, block)}


def test_on_a_processor_the_libraries_that_hold_weights_in_less_take_a_little_too() -> None:
    def works(rung: Rung, one: bool) -> list[float]:
        made = phases(request(), STACKED, draw(request(), STACKED), NOTHING, rung, one=one)
        return [phase.work_gib for phase in made]

    for rung in (replace(BF16_PHASE, precision=Precision.NF4), replace(BF16_PHASE, encoder=Precision.INT8)):
        assert works(rung, one=True) == pytest.approx([gib + SHRUNK_GIB for gib in works(BF16_PHASE, one=True)])
        assert works(rung, one=False) == works(BF16_PHASE, one=False)


def test_a_text_encoder_may_be_held_in_less_than_the_rest() -> None:
    encode, denoise, _ = stacked(replace(BF16_PHASE, encoder=Precision.INT8))
    assert (encode.weights_gib, denoise.weights_gib) == (3.0, 2.0)
    encode, denoise, _ = stacked(replace(BF16_PHASE, precision=Precision.NF4, encoder=Precision.BF16))
    assert encode.weights_gib == 4.0
    assert denoise.weights_gib == 2**30 * (0.5 * 0.5625 + 0.5 * 2) / 2**30


def test_passes_in_turn_take_the_memory_of_one() -> None:
    at_once = planned(BF16_PHASE, request())[Phase.DENOISE].work_gib
    assert planned(replace(BF16_PHASE, turns=True), request())[Phase.DENOISE].work_gib == at_once / 2


def test_a_phase_on_the_processor_takes_nothing_of_the_card() -> None:
    encode, denoise, decode = stacked(replace(STREAMED, host=(Phase.DECODE,)))
    assert (decode.weights_gib, decode.work_gib) == (0.0, 0.0)
    assert decode.host_gib > 1.0
    assert encode.weights_gib > 0 < denoise.weights_gib


def test_pictures_among_the_latents_take_what_was_measured_with_them() -> None:
    pictured = request(keyframes=(Keyframe(picture=Path("a.png")),))
    for kib, least in ((0.0, 64), (96.0, 96)):
        card = replace(CARD, cost=replace(CARD.cost, pictured_kib=kib))
        for wanted, each in ((request(), 64), (pictured, least)):
            [_, denoise, _] = phases(wanted, card, draw(wanted, card), NOTHING, BF16_PHASE)
            assert denoise.work_gib == 2 * 3 * 2 * 2 * each / 2**20
        card = replace(card, cost=replace(card.cost, picture_bytes=1e6))
        [_, denoise, _] = phases(pictured, card, draw(pictured, card), NOTHING, BF16_PHASE)
        assert denoise.work_gib == 64 * 64 * 1e6 / 2**30
