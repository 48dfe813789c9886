"""GGUF files on the command line: judged by their headers, planned by their bytes, recorded, gone on with by hash."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import stored
from tests.conftest import ANSWER
from tests.loopback import Hub
from tests.values import cuda
from vidgen.catalog import cards
from vidgen.core.card import Phase
from vidgen.core.errors import NotFinite, OutOfMemory, Refusal, WeightsRefused
from vidgen.core.plan import Job, Placement, Precision
from vidgen.core.request import Gguf
from vidgen.core.result import Event
from vidgen.core.words import ggufs
from vidgen.generate import prepare, run
from vidgen.planning import detours
from vidgen.planning.ladder import describe
from vidgen.studio.fingerprint import fingerprint, hash_of

SHORT: dict[str, Any] = {"prompt": "a red circle", "size": "32x32", "frames": 5, "steps": 2, "seed": 4}
TYPED = ("a red circle", "--size", "32x32", "--frames", "5", "--steps", "2", "--seed", "4", "-q")
HUNYUAN, WAN = "hunyuan-video", "wan-2.2-t2v-a14b"


def planned(model: str = "pocket", gguf: Any = "pocket.gguf", *, vram: float = 0, **words: Any) -> Job:
    machine = replace(cuda(vram), ram_gib=64.0) if vram else None
    [job] = prepare("t2v", model=model, gguf=gguf, machine=machine, **{**SHORT, **words})
    return job


def refused(code: int, *said: str, model: str = "pocket", gguf: Any = "pocket.gguf", **words: Any) -> None:
    """The refusal has this code and says this; what to do is in it."""
    with pytest.raises(Refusal) as refusal:
        planned(model, gguf, **words)
    assert refusal.value.exit_code == code, refusal.value.message
    whole = f"{refusal.value.message}\n{refusal.value.remedy}"
    assert all(each in whole for each in said), whole
    assert refusal.value.remedy


def full(file: str = "full.gguf", kind: str = "Q4_K", *, wide: int = 3072, blocks: int = 62) -> Path:
    """A header as large as that of HunyuanVideo, of matrices that are as large in all."""
    shapes: dict[str, tuple[int, ...]] = {"img_in.proj.weight": (wide, 16, 1, 2, 2), "img_in.proj.bias": (wide,)}
    for number in range(blocks):
        shapes[f"double_blocks.{number}.img_mlp.fc1.weight"] = (22 * wide, wide)
        shapes[f"double_blocks.{number}.img_attn_proj.bias"] = (wide,)
    return stored.sketch(Path(file), shapes, kind)


def test_a_clip_is_made_recorded_and_asked_for_again(vidgen: ANSWER) -> None:
    stored.pocket()
    made = vidgen("t2v", *TYPED, "--model", "pocket", "--gguf", "pocket.gguf", "-o", "a.mp4")
    assert (made.code, made.err) == (0, "")
    facts = json.loads(Path("a.mp4.json").read_text())
    [recorded] = facts["request"]["ggufs"]
    assert (recorded["path"], recorded["component"], len(recorded["sha256"])) == ("pocket.gguf", "transformer", 64)
    assert (facts["plan"]["gguf"], facts["plan"]["precision"]) == ("Q8_0", "bf16")
    assert facts["versions"]["gguf"]
    words = vidgen("show", "a.mp4", "--command").out
    assert "--gguf transformer=pocket.gguf --tiling off" in words
    assert "--precision" not in words
    plain = vidgen("t2v", *TYPED, "--model", "pocket", "--precision", "bf16", "-o", "b.mp4")
    assert plain.code == 0
    assert vidgen("diff", "a.mp4", "b.mp4", "--min-psnr", "30").code == 0
    assert vidgen("diff", "a.mp4", "b.mp4", "--min-psnr", "99").code == 7


def test_the_plan_names_the_file_and_its_type(vidgen: ANSWER) -> None:
    stored.pocket(kind="Q4_0")
    words = ("plan", "t2v", *TYPED[:-1], "--model", "pocket", "--gguf", "pocket.gguf")
    shown = vidgen(*words).out
    assert "gguf Q4_0, everything resident" in shown
    assert "pocket.gguf (Q4_0, 0.00 GiB)" in shown
    data = json.loads(vidgen(*words, "--json").out)
    assert data["ggufs"]["transformer"]["kind"] == "Q4_0"
    assert data["settings"]["gguf"] == {"value": "transformer=pocket.gguf", "origin": "flag"}


def test_wherever_settings_come_from_it_may_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    stored.pocket()
    monkeypatch.setenv("VIDGEN_GGUF", "pocket.gguf")
    assert planned(gguf=None).plan.rung.kind == "Q8_0"
    assert planned(gguf="").plan.rung.kind == ""
    monkeypatch.delenv("VIDGEN_GGUF")
    Path("vidgen.toml").write_text('gguf = ["transformer=pocket.gguf"]\n')
    assert planned(gguf=None).plan.rung.kind == "Q8_0"
    Path("vidgen.toml").write_text("gguf = 3\n")
    refused(2, "vidgen.toml says", "names no files", gguf=None)


def test_files_are_named_with_or_without_their_component() -> None:
    assert ggufs("a b.gguf") == (Gguf(path=Path("a b.gguf")),)
    assert ggufs(["x=1.gguf", "./x=1.gguf"]) == (
        Gguf(path=Path("1.gguf"), component="x"),
        Gguf(path=Path("x=1.gguf")),
    )
    assert ggufs([]) == ggufs("") == ggufs([""]) == ()


def test_what_is_no_file_is_refused_as_usage() -> None:
    refused(2, "absent.gguf is not there", gguf="absent.gguf")
    Path("folder.gguf").mkdir()
    refused(2, "folder.gguf is a folder", gguf="folder.gguf")


def test_what_goes_with_no_gguf_file_is_refused_as_usage() -> None:
    stored.pocket()
    refused(2, "precision int8 does not go with", "--precision auto", precision="int8")
    refused(2, "nothing says whose transformer", "--model NAME", model="auto")
    refused(2, "pocket has no vae", "--gguf transformer=FILE", gguf="vae=pocket.gguf")
    refused(2, "two GGUF files are given for transformer", gguf=["pocket.gguf", "pocket.gguf"])
    refused(2, "Diffusers reads no CogVideoXTransformer3DModel", model="cogvideox-2b", size="720x480", steps=50)
    full()
    refused(
        2,
        "blocks of a GGUF file from disk",
        "leave --offload",
        model=HUNYUAN,
        gguf="full.gguf",
        offload="disk",
        vram=24,
    )


def test_a_damaged_file_is_refused_in_a_sentence() -> None:
    Path("text.gguf").write_text("once upon a time there was a file")
    refused(4, "text.gguf cannot be read: it is no GGUF file", "fetch it again", gguf="text.gguf")
    whole = stored.pocket().read_bytes()
    Path("short.gguf").write_bytes(whole[: len(whole) // 2])
    refused(4, "short.gguf cannot be read: it has", "should have", gguf="short.gguf")
    Path("shorter.gguf").write_bytes(whole[:100])
    refused(4, "shorter.gguf cannot be read: it was cut short", gguf="shorter.gguf")


def test_a_file_of_something_else_is_refused_before_anything_is_loaded() -> None:
    tensors = {"token_embd.weight": torch.ones(4, 32), "blk.0.attn_q.weight": torch.ones(32, 32)}
    stored.write(Path("llama.gguf"), tensors, architecture="llama")
    refused(4, "holds a language model or an encoder (llama)", "text encoder comes with", gguf="llama.gguf")
    stored.write(Path("t5.gguf"), {"enc.blk.0.attn_q.weight": torch.ones(32, 32)}, architecture="t5encoder")
    refused(4, "an encoder (t5encoder)", gguf="t5.gguf")
    stored.pocket(Path("part.gguf"), facts={"split.count": 3})
    refused(4, "part.gguf is one of 3 parts", "llama-gguf-split --merge", gguf="part.gguf")
    stored.pocket(Path("wan.gguf"), architecture="wan")
    refused(4, "wan.gguf is of another model than pocket: of wan", gguf="wan.gguf")
    stored.pocket(Path("flux.gguf"), architecture="flux")
    refused(4, "of flux", gguf="flux.gguf")
    refused(4, "holds IQ3_S, which Diffusers cannot read", "Q8_0", gguf=full("iq.gguf", "IQ3_S"), model=HUNYUAN)


def test_a_file_of_another_size_says_what_differs() -> None:
    folder = cards.card("pocket").folder
    assert folder is not None
    tensors = stored.weights(folder / "transformer")
    fewer = {name: tensor for name, tensor in tensors.items() if not name.startswith("transformer_blocks.0.")}
    count = len({name.split(".")[1] for name in tensors if "blocks" in name})
    stored.write(Path("fewer.gguf"), fewer, architecture="pig")
    refused(4, f"it has {count - 1} blocks, and transformer of pocket has {count}", gguf="fewer.gguf")
    narrow = {name: torch.ones(*([64] * tensor.ndim)) for name, tensor in tensors.items() if tensor.ndim < 3}
    stored.write(Path("narrow.gguf"), narrow, architecture="pig")
    refused(4, "its blocks are 64 wide, and those of transformer of pocket 128", gguf="narrow.gguf")
    full("fewer-blocks.gguf", blocks=61)
    refused(4, "it has 61 blocks, and transformer of hunyuan-video has 62", gguf="fewer-blocks.gguf", model=HUNYUAN)


def test_a_file_is_planned_by_its_bytes_and_the_text_encoder_by_the_ladder() -> None:
    file = full()
    job = planned(HUNYUAN, file, vram=24, steps=50, size="1280x720", frames=129)
    denoise = next(phase for phase in job.plan.phases if phase.phase is Phase.DENOISE)
    held = job.card.component("transformer").stored
    assert held is not None
    assert held.held == pytest.approx(file.stat().st_size, rel=0.001)
    assert denoise.weights_gib < 8
    assert describe(job.plan.rung).startswith("gguf Q4_K, one phase at a time")
    assert (job.plan.rung.precision, job.plan.rung.encoder) == (Precision.BF16, Precision.BF16)
    small = planned(HUNYUAN, file, vram=8, steps=50, size="640x352", frames=65).plan
    assert small.rung.placement is Placement.STREAM
    assert 0 < small.rung.resident < 62
    assert small.peak_gib < 8
    assert any("gguf Q4_K" in sentence for sentence in small.passed_over)


def test_where_there_is_little_memory_the_text_encoder_is_quantized_and_the_file_stays() -> None:
    file, short = full(), {"size": "320x192", "frames": 9, "steps": 50}
    whole, phase, less = (
        planned(HUNYUAN, file, vram=vram, offload=offload, **short).plan.rung
        for vram, offload in ((40, "auto"), (24, "phase"), (12, "phase"))
    )
    assert (whole.placement, whole.encoder) == (Placement.RESIDENT, Precision.BF16)
    assert (phase.placement, phase.encoder) == (Placement.PHASE, Precision.BF16)
    assert (less.placement, less.encoder) == (Placement.PHASE, Precision.INT8)
    assert {each.kind for each in (whole, phase, less)} == {"Q4_K"}
    refused(5, "does not fit", model=HUNYUAN, gguf=file, vram=4, offload="none", **short)


def test_a_clip_that_does_not_fit_is_not_sent_to_another_model() -> None:
    file = full(kind="Q8_0")
    refused(5, "nearest that fits: --frames", model=HUNYUAN, gguf=file, vram=3, steps=50, size="640x352", frames=129)


@pytest.mark.parametrize(("named", "held"), [((), 0), (("transformer", "transformer_2"), 2), (("transformer_2",), 1)])
def test_of_two_transformers_each_may_come_from_a_file(named: tuple[str, ...], held: int) -> None:
    shapes = {f"blocks.{number}.ffn.0.weight": (13824 * 5, 5120) for number in range(40)}
    files = [f"{name}={stored.sketch(Path(f'{name}.gguf'), shapes, 'Q8_0', 'wan')}" for name in named]
    job = planned(WAN, files, vram=80, offload="phase", size="832x480", frames=81, steps=40)
    stored_, whole = (13824 * 5 * 5120 * 40 * size / 2**30 for size in (34 / 32, 2))
    denoise = next(phase for phase in job.plan.phases if phase.phase is Phase.DENOISE)
    assert sum(part.stored is not None for part in job.card.components) == held
    assert denoise.weights_gib == pytest.approx(held * stored_ + (2 - held) * whole, rel=0.03)
    assert job.plan.rung.kind == ("Q8_0" if held else "")
    refused(2, "has no transformer_3", "transformer_2=FILE", model=WAN, gguf="transformer_3=x.gguf")


def test_weights_that_the_file_replaces_are_not_missed(vidgen: ANSWER) -> None:
    folder = _without_transformer()
    stored.pocket()
    assert planned("./mine").weights.missing == ()
    assert [each for each in planned("./mine", "").weights.missing if each.startswith("transformer/")]
    made = vidgen("t2v", *TYPED, "--model", "./mine", "--gguf", "pocket.gguf", "-o", "a.mp4")
    assert (made.code, made.err) == (0, "")
    (folder / "transformer" / "config.json").unlink()
    assert planned("./mine").weights.missing == ("transformer/config.json",)


def _without_transformer() -> Path:
    """The built-in model in a folder, without the weights of its transformer."""
    source, folder = cards.card("pocket"), Path("mine")
    assert source.folder is not None
    for path in source.folder.rglob("*"):
        if path.is_file() and (path.parent.name, path.suffix) != ("transformer", ".safetensors"):
            to = folder / path.relative_to(source.folder)
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(path.read_bytes())
    (folder / "card.toml").write_text(Path(cards.__file__).with_name("models").joinpath("pocket.toml").read_text())
    return folder


def test_the_command_that_fetches_the_rest_leaves_the_transformer_out() -> None:
    job = planned(HUNYUAN, full("my file.gguf"), vram=24, size="320x192", frames=9, steps=50)
    with pytest.raises(Refusal, match="is not on this machine") as refusal:
        list(run([job]))
    assert refusal.value.remedy == "fetch it: vidgen download hunyuan-video --gguf 'transformer=my file.gguf'"


def test_a_download_leaves_out_what_the_file_replaces(hub: Hub, vidgen: ANSWER) -> None:
    words = ("download", "ltx-video-2b", "--gguf", str(stored.like(Path("x.gguf"), "ltx-video-2b")))
    listed = vidgen(*words, "--dry-run").out
    assert "transformer/config.json" in listed
    assert ".safetensors" in listed
    assert "transformer/diffusion_pytorch_model" not in listed
    done = vidgen(*words)
    assert (done.code, [each.path for each in hub.asked if "transformer/diffusion" in each.path]) == (0, [])
    assert "transformer/diffusion_pytorch_model" in vidgen("download", "ltx-video-2b", "--dry-run").out
    wrong = vidgen("download", "ltx-video-2b", "--gguf", "transformr=x.gguf")
    assert (wrong.code, "has no transformr" in wrong.err) == (2, True)


def test_where_memory_runs_out_the_file_stays_and_the_rest_makes_room() -> None:
    job = planned(HUNYUAN, full(), vram=80, size="320x192", frames=9, steps=50)
    tried, seen = {job.plan.rung}, []
    for phase in (Phase.DENOISE, Phase.DENOISE, Phase.ENCODE, Phase.ENCODE, Phase.ENCODE, Phase.ENCODE):
        moved = detours.detour(job, phase, OutOfMemory("denoise ran out of memory", "less"), frozenset(tried))
        if moved is None:
            break
        job = moved
        tried.add(job.plan.rung)
        seen.append(job.plan.rung)
    assert {rung.kind for rung in seen} == {"Q4_K"}
    assert {rung.precision for rung in seen} == {Precision.BF16}
    assert [rung.placement for rung in seen[:2]] == [Placement.PHASE, Placement.STREAM]
    assert seen[-1].encoder is not Precision.BF16
    assert Placement.DISK not in {rung.placement for rung in seen}
    assert "gguf Q4_K" in job.detours[-1]


def test_an_unfinished_clip_is_known_by_the_bytes_of_the_file() -> None:
    stored.pocket()
    plain, same, other = (
        fingerprint(planned(gguf=file)) for file in ("", "pocket.gguf", stored.pocket(Path("b.gguf")))
    )
    assert same == other
    assert plain != same
    assert fingerprint(planned(gguf=stored.pocket(Path("c.gguf"), "Q4_0"))) not in (plain, same)


def test_no_library_is_brought_for_a_header() -> None:
    stored.pocket()
    words = ["plan", "t2v", "a red circle", "--model", "pocket", "--gguf", "pocket.gguf"]
    told = f"import sys; from vidgen.cli.app import start; start({words})"
    code = f"{told}; print(*{{'torch', 'numpy', 'gguf'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


def test_a_file_that_changes_at_work_is_recorded_as_it_was_when_it_began() -> None:
    """It was read whole by then; and that it has gone is no reason to lose the clip."""
    file = stored.pocket()
    known = hash_of(file)

    def swapped(event: Event) -> None:
        if event.phase == "denoise" and event.done == 1:
            stored.pocket(Path("other.gguf"), "Q4_0").replace(file)

    def gone(event: Event) -> None:
        if event.phase == "denoise" and event.done == 1:
            file.unlink()

    for name, listen in (("swapped.mp4", swapped), ("gone.mp4", gone)):
        list(run([planned(output=name)], listen))
        [recorded] = json.loads(Path(f"{name}.json").read_text())["request"]["ggufs"]
        assert recorded["sha256"] == known
        known = hash_of(file) if file.exists() else ""


@pytest.mark.parametrize("spoilt", ["cut short", "gone"])
def test_a_file_that_changes_before_it_is_read_is_refused(spoilt: str) -> None:
    file = stored.pocket()
    job = planned(output="a.mp4")

    def spoil(event: Event) -> None:
        if event.phase == "load":
            file.write_bytes(file.read_bytes()[:-1000]) if spoilt == "cut short" else file.unlink()

    with pytest.raises(WeightsRefused, match="is not what it was"):
        list(run([job], spoil))


def test_values_that_are_not_finite_end_a_clip_of_a_damaged_file() -> None:
    """Nothing holds it in more than it has."""
    file = stored.pocket()
    file.write_bytes(file.read_bytes()[:-1_000_000] + b"\xff" * 1_000_000)
    with pytest.raises(NotFinite) as refusal:
        list(run([planned(output="a.mp4")]))
    assert "the GGUF file is damaged" in refusal.value.remedy


def test_a_limit_of_a_variable_beside_a_file_is_said_to_be_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    stored.pocket()
    monkeypatch.setenv("VIDGEN_PRECISION", "int8")
    refused(2, "VIDGEN_PRECISION says: precision int8 does not go with")
    monkeypatch.delenv("VIDGEN_PRECISION")
    monkeypatch.setenv("VIDGEN_OFFLOAD", "disk")
    refused(2, "VIDGEN_OFFLOAD says: blocks of a GGUF file from disk")
