"""Cards: every one that we ship, whatever can be wrong with one, and folders of weights that bring their own."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.values import says
from vidgen.catalog import cards
from vidgen.core.card import Guidance, ModelCard, Phase, Refine
from vidgen.core.errors import UsageRefused, WeightsRefused
from vidgen.core.request import Mode
from vidgen.planning.settle import Subject, settle

SHIPPED = sorted(cards.OWN.glob("*.toml"))

TEXT = """
title = "Sketch"
summary = "Nobody's model."
family = "ltx"
rank = 7
tokens = 128
negative = true
aliases = ["sk"]

[weights]
repository = "someone/sketch"

[grid]
size = 32
frames = 8

[components.vae]
kind = "AutoencoderKLLTXVideo"
parameters = 5

[ways.t2v]
pipeline = "LTXPipeline"
decode = ["vae"]

[schedule]
guidance = "classifier-free"

[defaults]
size = "64x64"
frames = 17
fps = "8"
steps = 20
guidance_scale = 3
"""


def written(text: str = TEXT, name: str = "sketch.toml") -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_card_settles_a_request_of_its_own_defaults(path: Path) -> None:
    card = cards.card(path.stem)
    (request,), _ = settle({}, card, Subject(mode=Mode.T2V, prompt="x"), fresh_seed=1)
    assert request.model == path.stem
    assert request.width % card.grid.size == request.height % card.grid.size == 0
    assert (request.frames - 1) % card.grid.frames == 0


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_way_of_a_shipped_card_uses_components_that_it_has_and_none_is_idle(path: Path) -> None:
    card = cards.card(path.stem)
    held = {name for way in card.ways.values() for names in way.phases.values() for name in names}
    assert held == {component.name for component in card.components}
    assert all(way.phases[phase] for way in card.ways.values() for phase in Phase)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_way_with_pictures_takes_at_least_one(path: Path) -> None:
    ways = cards.card(path.stem).ways
    assert {mode: way.keyframes > 0 for mode, way in ways.items()} == {mode: mode is not Mode.T2V for mode in ways}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_distilled_card_fixes_its_steps_or_falling_timesteps_and_defaults_to_them(path: Path) -> None:
    """In each of its stages."""
    card = cards.card(path.stem)
    times = card.schedule.timesteps
    assert bool(times or card.schedule.steps) == (card.schedule.guidance is Guidance.DISTILLED)
    assert not card.schedule.steps or card.defaults["steps"] in card.schedule.steps
    assert not card.schedule.steps or card.defaults["guidance_scale"] == 1.0
    for walk in (times, card.refine.timesteps if card.refine else ()):
        assert list(walk) == sorted(walk, reverse=True)
    assert not times or (card.defaults["steps"], card.defaults["guidance_scale"]) == (len(times), 1.0)


def test_no_two_shipped_cards_share_a_name_an_alias_or_a_pipeline_served() -> None:
    known = [cards.read(path) for path in SHIPPED]
    names = [name for card in known for name in (card.name, *card.aliases)]
    serves = [(pipeline, *sorted(card.index.items())) for card in known for pipeline in card.serves]
    assert len(set(names)) == len(names)
    assert len(set(serves)) == len(serves)


def test_the_best_model_comes_first_and_the_toy_last() -> None:
    ranks = [card.rank for card in cards.cards().values()]
    assert ranks == sorted(ranks, reverse=True)
    assert list(cards.cards())[-1] == cards.BUILT_IN


def test_the_built_in_model_lives_in_the_package() -> None:
    assert cards.card("pocket").folder == cards.OWN.parent.parent / "pocket"


def test_a_card_is_read_whole() -> None:
    card = cards.read(written())
    assert (card.name, card.family, card.rank, card.aliases) == ("sketch", "ltx", 7, ("sk",))
    assert card.component("vae").parameters == 5
    assert card.ways[Mode.T2V].phases == {Phase.ENCODE: (), Phase.DENOISE: (), Phase.DECODE: ("vae",)}
    assert card.schedule.decode_noise_scale is None
    assert card.defaults["guidance_scale"] == 3.0


def test_a_card_says_what_it_knows_only_when_it_knows_little() -> None:
    assert cards.read(written()).knows == ""
    assert cards.read(written(TEXT.replace("rank = 7", 'rank = 7\nknows = "lines"'))).knows == "lines"
    assert [card.name for card in cards.cards().values() if card.knows] == [cards.BUILT_IN]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_card_says_where_its_values_are_from(path: Path) -> None:
    card = cards.card(path.stem)
    wanted = {"parameters", "schedule", "clip"}
    wanted |= {"negative"} if card.defaults["negative"] else set()
    wanted |= {"limits"} if card.longest or any(card.largest) else set()
    wanted |= {name for name in ("good_at", "licence") if getattr(card, name)}
    assert set(card.sources) == wanted
    assert path.stem == cards.BUILT_IN or all(place.startswith("https://") for place in card.sources.values())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_cards_own_clip_is_within_what_it_says_is_most(path: Path) -> None:
    card = cards.card(path.stem)
    (request,), _ = settle({}, card, Subject(mode=Mode.T2V, prompt="x"), fresh_seed=1)
    assert request.frames <= (card.longest or request.frames)
    assert not any(card.largest) or request.width * request.height <= card.largest[0] * card.largest[1]


def test_a_part_of_another_repository_is_a_share_of_its_own() -> None:
    card = cards.card("framepack")
    assert card.repositories == (
        "hunyuanvideo-community/HunyuanVideo",
        "lllyasviel/FramePackI2V_HY",
        "lllyasviel/flux_redux_bfl",
    )
    shares = [card.share(repository) for repository in card.repositories]
    assert [part.name for part in shares[1].components] == ["transformer"]
    assert sorted(part.name for share in shares for part in share.components) == sorted(p.name for p in card.components)
    pinned = replace(card, revision="a" * 40)
    assert [pinned.share(repository).revision for repository in card.repositories] == ["a" * 40, "", ""]


def test_a_card_says_how_its_second_stage_goes() -> None:
    assert cards.read(written()).refine is None
    text = '[refine]\nupscaler = "vae"\nsteps = 10\nstrength = 0.4\nguided = true\nadain = 1\ntone_map = 0.6\n'
    found = cards.read(written(TEXT + text)).refine
    assert found == Refine(upscaler="vae", steps=10, strength=0.4, guided=True, adain=1.0, tone_map=0.6)
    assert found.walked == 4
    assert Refine(upscaler="vae", timesteps=(1000.0, 909.0, 725.0, 421.0), strength=0.999).walked == 3


@pytest.mark.parametrize(
    "fault", ["", "steps = 2\nstrength = 0.4", "steps = 2\ntimesteps = [900.0, 500.0]", "timesteps = []"]
)
def test_a_second_stage_that_walks_no_step_or_two_schedules_is_refused(fault: str) -> None:
    with pytest.raises(UsageRefused) as refused:
        cards.read(written(f'{TEXT}[refine]\nupscaler = "vae"\n{fault}\n'))
    says(refused, 2, "sketch.toml [refine]", "timesteps, or steps and a strength")


@pytest.mark.parametrize("names", ['upscaler = "larger"', 'upscaler = "vae"\nlora = "larger"'])
def test_a_second_stage_by_a_component_that_the_card_does_not_have_is_refused(names: str) -> None:
    with pytest.raises(UsageRefused) as refused:
        cards.read(written(f"{TEXT}[refine]\n{names}\nsteps = 2\n"))
    says(refused, 2, "sketch.toml [refine]: no component is called 'larger'")


def test_settings_of_a_family_are_kept_as_they_are() -> None:
    assert cards.read(written(TEXT + "[settings]\nshift = 7\n")).settings == {"shift": 7}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('title = "Sketch"', "", ("sketch.toml: title is missing", "give title a value of type str")),
        ("parameters = 5", 'at = "../else"', ("at = '../else' is no sub-folder", "name one, or . for the top")),
        ("[weights]", "[sources]\nspeed = 'x'\n\n[weights]", ("[sources]: unknown key 'speed'", "remove it")),
        ("rank = 7", 'rank = "7"', ("sketch.toml: rank = '7'", "type int")),
        ("tokens = 128", "tokens = 1.5", ("sketch.toml: tokens = 1.5", "type int")),
        ("negative = true", "negative = 1", ("sketch.toml: negative = 1", "type bool")),
        ("rank = 7", "rank = 7\nspeed = 9", ("sketch.toml: unknown key 'speed'",)),
        ("size = 32", "size = 32\nframe = 4", ("sketch.toml [grid]: unknown key 'frame'; did you mean frames?",)),
        ("frames = 8", "", ("sketch.toml [grid]: frames is missing",)),
        ("parameters = 5", "params = 5", ("[components.vae]: unknown key 'params'; did you mean parameters?",)),
        ("parameters = 5", 'half = "fp8"', ("[components.vae]: no format of 16 bits is called fp8", "bf16 or fp16")),
        (
            "parameters = 5",
            'file = "../x.safetensors"',
            ("[components.vae]: file = '../x.safetensors' is none of weights",),
        ),
        ("parameters = 5", 'file = "x.py"', ("[components.vae]: file = 'x.py' is none of weights",)),
        ("parameters = 5", "marks = 3", ("[components.vae]: marks = 3", "type bool")),
        ('kind = "AutoencoderKLLTXVideo"', "", ("sketch.toml [components.vae]: kind is missing",)),
        ("[ways.t2v]", "[ways.t3v]", ("no mode is called t3v", "t2v, i2v, keyframe")),
        ('decode = ["vae"]', "decode = [1]", ("decode is not a list of strings",)),
        ('"classifier-free"', '"strong"', ("no guidance is called strong", "classifier-free, distilled, embedded")),
        ('repository = "someone/sketch"', 'repo = "x"', ("sketch.toml [weights]: unknown key 'repo'",)),
        ('fps = "8"', "fps = 8", ("sketch.toml [defaults]: fps = 8", "type str")),
        ('title = "Sketch"', "title =", ("sketch.toml is not valid TOML",)),
        ("rank = 7", "rank = 7\nknows = true", ("sketch.toml: knows = True", "type str")),
        ('title = "Sketch"', "#" * (1 << 20), ("sketch.toml is larger than 1 MiB",)),
    ],
)
def test_a_card_with_a_fault_is_refused_with_the_file_and_the_key(old: str, new: str, said: tuple[str, ...]) -> None:
    assert old in TEXT
    with pytest.raises(UsageRefused) as refused:
        cards.read(written(TEXT.replace(old, new)))
    says(refused, 2, *said)


@pytest.mark.parametrize("family", ["os.path", "...os", "../evil", "", "ltx\\n"])
def test_a_family_is_the_plain_name_of_a_module(family: str) -> None:
    text = (cards.OWN / "pocket.toml").read_text().replace('family = "ltx"', f'family = "{family}"')
    Path("odd.toml").write_text(text)
    with pytest.raises(UsageRefused) as refused:
        cards.read(Path("odd.toml"))
    says(refused, 2, "odd.toml", "is no name of a family", "ltx")


def test_an_alias_is_another_name() -> None:
    assert cards.card("ltx-video-2b") is cards.card("ltx-video-2b-0.9.5")


def test_an_unknown_model_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageRefused) as refused:
        cards.card("poket")
    says(refused, 2, "unknown model 'poket'; did you mean pocket?", "vidgen models")


@pytest.mark.parametrize("name", ["", "x" * 5000, "\0", "\ud800", "*", "😀"])
def test_a_name_that_no_model_has_is_a_refusal_whatever_it_is(name: str) -> None:
    with pytest.raises(UsageRefused):
        cards.card(name)


def test_a_path_where_no_folder_is_is_refused_as_one() -> None:
    with pytest.raises(WeightsRefused) as refused:
        cards.card("./weights")
    says(refused, 4, "./weights is not a folder", "model_index.json")


def test_a_folder_beside_us_does_not_hide_a_model_of_that_name() -> None:
    Path("pocket").mkdir()
    assert cards.card("pocket").rank == 0
    assert cards.card("pocket").folder != Path("pocket")


def indexed(content: object, folder: str = "weights") -> str:
    Path(folder).mkdir()
    text = content if isinstance(content, str) else json.dumps(content)
    (Path(folder) / "model_index.json").write_text(text, encoding="utf-8")
    return f".{os.sep}{folder}"


@pytest.mark.parametrize(
    ("pipeline", "model", "keyframes"),
    [("LTXPipeline", "ltx-video-2b-0.9.0", False), ("LTXConditionPipeline", "ltx-video-2b-0.9.5", True)],
)
def test_a_folder_of_weights_is_served_by_the_card_of_its_pipeline(pipeline: str, model: str, keyframes: bool) -> None:
    found = cards.card(indexed({"_class_name": pipeline}))
    assert (found.name, found.folder, found.aliases) == ("weights", Path("weights"), ())
    assert (found.grid, found.schedule) == (cards.card(model).grid, cards.card(model).schedule)
    assert (Mode.KEYFRAME in found.ways) is keyframes


def test_a_folders_own_classes_and_sizes_count_not_the_cards() -> None:
    kinds = {"_class_name": "LTXPipeline", "tokenizer": ["transformers", "T5TokenizerFast"], "vae": [None, None]}
    found = cards.card(indexed(kinds))
    assert found.component("tokenizer").kind == "T5TokenizerFast"
    assert found.component("vae").kind == "AutoencoderKLLTXVideo"
    assert {component.parameters for component in found.components} == {0}


def test_what_else_an_index_says_tells_cards_of_one_pipeline_apart(added: Path) -> None:
    for name, index in (
        ("plain", ""),
        ("split", "index = { ratio = 0.5 }"),
        ("other", "index = { ratio = 0.5, wide = true }"),
    ):
        text = TEXT.replace("[weights]", f'[weights]\nserves = ["SketchPipeline"]\n{index}').replace(
            'aliases = ["sk"]', ""
        )
        written(text.replace('title = "Sketch"', f'title = "{name}"'), f"added/{name}.toml")
    says = {"_class_name": "SketchPipeline"}
    assert cards.card(indexed(says, "a")).title == "plain"
    assert cards.card(indexed({**says, "ratio": 0.5}, "b")).title == "split"
    assert cards.card(indexed({**says, "ratio": 0.5, "wide": True, "vae": [1]}, "c")).title == "other"
    assert cards.card(indexed({**says, "ratio": 0.9}, "d")).title == "plain"


def test_a_folder_named_by_a_dot_is_called_by_its_real_name(monkeypatch: pytest.MonkeyPatch) -> None:
    indexed({"_class_name": "LTXPipeline"}, "mine")
    monkeypatch.chdir("mine")
    assert cards.card(".").name == "mine"
    written(TEXT, "card.toml")
    assert (cards.card(".").name, cards.card(".").title) == ("mine", "Sketch")


def test_a_folder_with_its_own_card_is_what_that_card_says() -> None:
    folder = indexed({"_class_name": "NobodysPipeline"})
    written(TEXT, "weights/card.toml")
    found = cards.card(folder)
    assert (found.name, found.title, found.folder) == ("weights", "Sketch", Path("weights"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"_class_name": "StableDiffusionPipeline"}, "a StableDiffusionPipeline, which no card serves"),
        ({"_class_name": ["os", "system"]}, "which no card serves"),
        ({"vae": []}, "is not a pipeline's index"),
        ([], "is not a pipeline's index"),
        ("null", "is not a pipeline's index"),
        ("version https://git-lfs.github.com/spec/v1", "is not a pipeline's index"),
        ("", "is not a pipeline's index"),
    ],
)
def test_a_folder_that_is_no_pipeline_of_ours_is_refused(content: object, said: str) -> None:
    with pytest.raises(WeightsRefused) as refused:
        cards.card(indexed(content))
    says(refused, 4, "weights", said)


def test_a_folder_without_an_index_is_refused() -> None:
    Path("weights").mkdir()
    with pytest.raises(WeightsRefused) as refused:
        cards.card("./weights")
    says(refused, 4, "weights has no model_index.json", "a Diffusers pipeline")


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = Path("added").absolute()
    folder.mkdir()
    monkeypatch.setenv("VIDGEN_FAMILIES", str(folder))
    cards.cards.cache_clear()
    return folder


def test_a_folder_of_families_adds_cards(added: Path) -> None:
    written(TEXT, "added/sketch.toml")
    assert cards.card("sk").title == "Sketch"
    assert cards.card("pocket").name == "pocket"


def test_an_added_card_takes_the_place_of_ours_whatever_its_rank(added: Path) -> None:
    written(TEXT.replace("rank = 7", "rank = 99"), "added/pocket.toml")
    assert cards.card("pocket").title == "Sketch"


def test_weights_of_an_added_card_may_lie_beside_it(added: Path) -> None:
    written(TEXT.replace('repository = "someone/sketch"', 'folder = "weights"'), "added/sketch.toml")
    assert cards.card("sketch").folder == added / "weights"


def test_cards_are_looked_for_once() -> None:
    first: ModelCard = cards.card("pocket")
    assert cards.card("pocket") is first


def test_a_copy_of_the_built_in_model_is_served_by_its_card() -> None:
    pocket = cards.card("pocket")
    assert pocket.folder is not None
    shutil.copytree(pocket.folder, "copy")
    found = cards.card("./copy")
    assert (found.name, found.grid, found.defaults) == ("copy", pocket.grid, pocket.defaults)


def test_a_share_is_between_nothing_and_all() -> None:
    text = (cards.OWN / "pocket.toml").read_text(encoding="utf-8").replace("blocks = 0.8", "blocks = 1.8")
    Path("odd.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageRefused) as refused:
        cards.read(Path("odd.toml"))
    says(refused, 2, "odd.toml", "is no share")
