"""What the Diffusers families share: the parts of a model, held in memory for as long as the plan says.

Knows no family: which classes there are, a family says in its own table.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import safe_open

from vidgen.backends import blame, fit, gguf, quantize, quiet, store, streaming, turns
from vidgen.backends.fit import UNREADABLE
from vidgen.backends.loras import wearing as wearing
from vidgen.backends.port import Tensors, exhausted
from vidgen.backends.readers import KINDS as KINDS
from vidgen.backends.readers import PLACES
from vidgen.backends.readers import Kind as Kind
from vidgen.backends.readers import Reader as Reader
from vidgen.backends.readers import bare_encoder as bare_encoder
from vidgen.backends.readers import encoder as encoder
from vidgen.backends.readers import light as light
from vidgen.backends.readers import model as model
from vidgen.backends.readers import tokenizer as tokenizer
from vidgen.backends.waiting import Place, Shelf, brought
from vidgen.core.card import Phase
from vidgen.core.conflicts import conflict
from vidgen.core.errors import UsageRefused, WeightsRefused
from vidgen.core.machine import Device
from vidgen.core.plan import Job, Placement, Precision

DTYPES = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16}
"""What is computed in."""

BY_BLOCK = (Placement.STREAM, Placement.DISK)


class Parts:
    """The components of one model: each loaded when a phase first needs it, dropped when the plan says so."""

    def __init__(self, job: Job, kinds: Mapping[str, Kind]) -> None:
        if job.weights.folder is None:
            raise WeightsRefused(
                f"the weights of {job.card.name} are not here",
                f"see how to fetch them: vidgen models show {job.card.name}",
            )
        self.rung = job.plan.rung
        self.device = job.plan.machine.device
        if found := conflict(self.rung, self.device):
            raise UsageRefused(f"{found.what}: {found.why}", "leave --offload and --precision to the plan")
        self._machine = job.plan.machine
        self._placement = self.rung.placement
        if self._placement is Placement.STREAM and self.rung.host and self.device is Device.CPU:
            self._placement = Placement.PHASE  # at home, blocks would only go from the memory where they are to itself
        held = job.card.ways[job.request.mode].phases
        self._reading, self._decoding = held[Phase.ENCODE], frozenset(held[Phase.DECODE])
        self._used = sorted({name for names in held.values() for name in names})
        self.dtype = DTYPES[self.rung.precision.computed]
        self._card, self._weights = job.card, job.weights
        self._kinds = {**KINDS, **kinds}
        self._held: dict[str, Any] = {}
        self._halves: set[str] = set()
        for component in job.card.components:
            if component.stored:
                gguf.check(component.name, component.stored, self.skeleton(component.name))

    def hold(self, names: Sequence[str]) -> dict[str, Any]:
        """The components called `names`, on the device; by phase, every other one is let go of first.

        By phase, too, what only decodes has no encoder. What is a file of its own is not held but worn.
        """
        names = [name for name in names if not self._card.component(name).file]
        by_phase, decoding = self.rung.placement is not Placement.RESIDENT, self._decoding.issuperset(names)
        if by_phase:
            unfit = set() if decoding else self._halves
            self._drop([name for name in self._held if name not in names or name in unfit])
        for name in names:
            if name not in self._held:
                self._held[name] = self._load(name, half=by_phase and decoding)
        return {name: self._held[name] for name in names}

    def skeleton(self, name: str) -> Any:
        """The component called `name` without its weights: they take no memory and no time."""
        kind, folder = self._kind(name), self._place(name)
        known = quiet.found(kind.module, kind.instead or self._card.component(name).kind)
        try:
            with quiet.hushed(), torch.device("meta"):
                return kind.bare(known, folder)
        except UNREADABLE as error:
            raise blame.refused(name, folder, kind.card, error, weights=kind.weighs) from error

    def tensors(self, name: str, keys: Sequence[str]) -> dict[str, torch.Tensor]:
        """Those called `keys` of the component called `name`, on the CPU, without the rest of its weights."""
        folder, found = self._place(name), dict[str, torch.Tensor]()
        try:
            for file in sorted(folder.glob("*.safetensors")):
                with safe_open(file, framework="pt") as weights:
                    for key in set(keys) & set(weights.keys()):
                        found[key] = weights.get_tensor(key).to(self.dtype)
            return {key: found[key] for key in keys}
        except UNREADABLE as error:
            raise blame.refused(name, folder, self._kind(name).card, error) from error

    def file(self, name: str) -> Path:
        """The file that the component called `name` is."""
        return self._weights.file(self._card.component(name))

    def close(self) -> None:
        """Let go of every component."""
        self._drop(list(self._held))

    def _place(self, name: str) -> Path:
        """The folder of a component."""
        return self._weights.of(name)

    def _kind(self, name: str) -> Kind:
        wanted = self._card.component(name).kind
        if wanted not in self._kinds:
            raise WeightsRefused(
                f"{name} of {self._card.name} is a {wanted}, which family {self._card.family} does not load",
                f"use one of {', '.join(sorted(self._kinds))} in the model's card",
            )
        return self._kinds[wanted]

    def _load(self, name: str, *, half: bool) -> Any:
        streams = self._placement in BY_BLOCK and self._stacked(name)
        part = self._by_block(name) if streams else self._made(name)
        if not isinstance(part, torch.nn.Module):
            return part
        part.requires_grad_(False).eval()
        if half and self._card.component(name).decoder:
            _emptied(part.get_submodule("encoder"))
            self._halves.add(name)
        if self.rung.turns and name.startswith("transformer"):
            turns.in_turn(part)
        return part if streams else part.to(self.device.value)

    def _by_block(self, name: str) -> Any:
        """The component with its blocks where they wait: each of them read into memory in its turn, or in its file."""
        disk, device, stay = self._placement is Placement.DISK, self.device.value, self._resident(name)
        waits = Shelf if disk else partial(brought, device=device)
        if self._quantizes(name):
            if disk:
                store.afford(sum(map(self._copy, self._used)))
            part, kept = self._quantized(name, needed=disk)
            if kept:
                streaming.from_kept(part, kept, waits, device, stay)
                return part
        elif not self._card.component(name).stored and (disk or self._kind(name).read in PLACES):
            with self._blamed(name):
                part = self._bare(name)
                streaming.from_files(part, self._places(name, part), waits, device, stay)
            return part
        else:
            part = self._made(name)
        streaming.from_memory(part, device, stay)
        return part

    def _places(self, name: str, part: Any) -> Mapping[str, Place]:
        """Where each weight of a component is that has none yet."""
        kind, folder, wanted = self._kind(name), self._place(name), self._card.component(name).kind
        if kind.read not in PLACES:
            raise UsageRefused(
                f"{name} of {self._card.name} cannot come from its files by block: its family reads it its own way",
                "leave --offload and --precision to the plan",
            )
        known = quiet.found(kind.module, kind.instead or wanted)
        blame.same_class(name, folder / kind.card, wanted)
        with quiet.quickly():
            places, report = PLACES[kind.read](known, part, folder, self._dtype(name))
        fit.refuse(name, folder, report)
        return places

    def _stacked(self, name: str) -> bool:
        """Whether a component is mostly repeated blocks: text encoders, what connects them, and transformers are."""
        return self._kind(name).read is encoder or name.startswith(("transformer", "connectors"))

    def _resident(self, name: str) -> int:
        return self.rung.resident if name.startswith("transformer") else 0

    def _made(self, name: str) -> Any:
        """The component at its precision, on the CPU."""
        if stored := self._card.component(name).stored:
            return gguf.read(name, stored, self._place(name), self._bare(name), self._dtype(name))
        return self._quantized(name, needed=False)[0] if self._quantizes(name) else self._read(name)

    def _quantizes(self, name: str) -> bool:
        component = self._card.component(name)
        return self._precision(name).quantized and component.blocks > 0 and not component.stored

    def _quantized(self, name: str, *, needed: bool) -> tuple[Any, quantize.Kept]:
        """The component at its precision, and where its tensors are kept, which may be `needed`."""
        whole = quantize.Whole(
            folder=self._place(name), bare=lambda: self._bare(name), places=lambda part: self._places(name, part)
        )
        with self._blamed(name):
            return quantize.quantized(whole, self._scheme(name), self.device.value, needed=needed)

    def _scheme(self, name: str) -> quantize.Scheme:
        return quantize.scheme(self._precision(name), self._machine)

    def _copy(self, name: str) -> float:
        """Bytes that will be kept of a component on the disk, and are not yet."""
        if not self._quantizes(name):
            return 0.0
        how = self._scheme(name)
        with self._blamed(name):
            return store.wanted(self._place(name), how.precision, how.mark, self._card.component(name).blocks)

    def _bare(self, name: str) -> Any:
        """The component without weights, but with all that is computed and not loaded."""
        kind = self._kind(name)
        known = quiet.found(kind.module, kind.instead or self._card.component(name).kind)
        usual = torch.get_default_dtype()
        torch.set_default_dtype(self._dtype(name))
        try:
            with quiet.hushed(), init_empty_weights(include_buffers=False):
                return kind.bare(known, self._place(name))
        finally:
            torch.set_default_dtype(usual)

    def _precision(self, name: str) -> Precision:
        """The format of a component: text encoders may have one of their own."""
        if name in self._reading and self._kind(name).read is encoder:
            return self.rung.encoder or self.rung.precision
        return self.rung.precision

    def _read(self, name: str) -> Any:
        kind, folder, wanted = self._kind(name), self._place(name), self._card.component(name).kind
        known = quiet.found(kind.module, kind.instead or wanted)
        blame.same_class(name, folder / kind.card, wanted)
        with self._blamed(name), quiet.quickly():
            part, report = kind.read(known, folder, self._dtype(name))
        fit.refuse(name, folder, report)
        return part

    @contextmanager
    def _blamed(self, name: str) -> Iterator[None]:
        """What libraries raise while it lasts is the fault of a file of the component; but memory that ran out."""
        kind, folder = self._kind(name), self._place(name)
        try:
            yield
        except UNREADABLE as error:
            if exhausted(error):
                raise
            raise blame.refused(name, folder, kind.card, error, weights=kind.weighs) from error

    def _dtype(self, name: str) -> torch.dtype:
        """What a component is held and computed in: its makers' choice where it is not the plan's."""
        component = self._card.component(name)
        dtype = torch.float32 if component.wide else DTYPES[self._precision(name).computed]
        return torch.float16 if dtype is torch.bfloat16 and component.half == "fp16" else dtype

    def _drop(self, names: Sequence[str]) -> None:
        for name in names:
            part = self._held.pop(name)
            if bringing := streaming.stream(part):
                bringing.close()
            self._halves.discard(name)
            if isinstance(part, torch.nn.Module):
                _emptied(part)
        if names and self.device is Device.CUDA:
            torch.cuda.empty_cache()


def _emptied(part: torch.nn.Module) -> None:
    """Free the weights of a model now: models hold themselves in cycles, and a collection may be long in coming."""
    for module in part.modules():
        module._parameters.clear()
        module._buffers.clear()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """While it lasts, noise that a model draws past its generator comes from `seed`; afterwards nothing has changed."""
    with quiet.hushed(), torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def on_disk(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """The tensors as an artefact: on the CPU and contiguous."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
