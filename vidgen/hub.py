"""Where a model's weights are: a folder, or the Hugging Face cache. Looks only; `weights/` fetches them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote

from vidgen.core.card import Component, ModelCard
from vidgen.core.headers import header
from vidgen.core.plan import Weights

INDEX = "*.safetensors.index.json"
SHARD = re.compile(r"[^/\\\0]+\.safetensors")
WEIGHTLESS: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("ByT5Tokenizer",): ("tokenizer_config.json",),
    ("Tokenizer", "TokenizerFast"): ("tokenizer.json", "spiece.model", "vocab.json"),
    ("Scheduler",): ("scheduler_config.json",),
    ("Processor", "Extractor"): ("preprocessor_config.json",),
    ("Guidance",): ("guider_config.json",),
}
"""How classes without weights are called, and the files of which one is there; ByT5 reads bytes by no vocabulary."""


NOTHING = Weights(folder=None, sizes={})


def find(card: ModelCard) -> Weights:
    """The files of `card` that are on this machine, and the names of those that are not."""
    folder = home(card)
    missing: list[str] = []
    sizes: dict[str, int] = {}
    apart: dict[str, Path] = {}
    for component in card.components:
        place = _place(component, card, folder)
        if component.optional and not (place and place.exists()):
            continue
        if place is None:
            missing.append(component.name)
            continue
        if folder is None or place != folder / component.name:
            apart[component.name] = place
        missing.extend(_missing(component, place))
        missing.extend(_damaged(component, place))
        files = [component.stored.path] if component.stored else _held(component, place)
        sizes[component.name] = sum(path.stat().st_size for path in files)
    return Weights(folder=folder, missing=tuple(missing), sizes=sizes, apart=apart)


def home(card: ModelCard) -> Path | None:
    """The folder of `card`, or the snapshot of its repository; an index is in it unless all parts are others'."""
    if card.folder is None and all(component.source for component in card.components):
        return snapshot(card.repository, card.revision)
    return card.folder or cached(card.repository, card.revision)


def cached(repository: str, revision: str) -> Path | None:
    """The snapshot of a pipeline's `repository` in the Hugging Face cache; None when there is none."""
    found = snapshot(repository, revision)
    return found if found and (found / "model_index.json").is_file() else None


def snapshot(repository: str, revision: str) -> Path | None:
    """The snapshot of any `repository` in the Hugging Face cache; None when there is none.

    The layout of the cache is documented and read here directly: the library's own look-up costs a fifth of a second.
    """
    from huggingface_hub import constants

    place = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    try:
        commit = (place / "refs" / (revision or "main")).read_text(encoding="utf-8").strip()
    except OSError:
        commit = revision
    found = place / "snapshots" / commit
    return found if repository and commit and found.is_dir() else None


def unweighed(card: ModelCard, weights: Weights = NOTHING) -> list[str]:
    """The parts whose weights nobody has counted and that are not here to be weighed."""
    ends = tuple(end for ends in WEIGHTLESS for end in ends)
    parts = (part for part in card.components if not part.parameters and not part.kind.endswith(ends))
    return [part.name for part in parts if not part.optional and not weights.sizes.get(part.name)]


def command(card: ModelCard, missing: Sequence[str] = ()) -> str:
    """The command that fetches what `card` needs, or mends what of it is damaged; none for a folder of one's own."""
    if not card.repository or card.folder is not None:
        return ""
    damaged = any(name.endswith(")") for name in missing)
    files = "".join(f" --gguf {quote(f'{part.name}={part.stored.path}')}" for part in card.components if part.stored)
    return f"vidgen download {'--repair ' if damaged else ''}{card.name}{files}"


def _place(component: Component, card: ModelCard, folder: Path | None) -> Path | None:
    """Where a component lies: in the repository that it is taken from, or in a folder that holds all of it."""
    if component.source and card.folder is None:
        apart = snapshot(component.source, "")
        return apart / (component.file or component.at or component.name) if apart else None
    named = component.name if component.source else component.at or component.name
    return folder / (component.file or named) if folder else None


def _missing(component: Component, place: Path) -> Iterator[str]:
    if component.file:
        yield from [component.file] if not place.is_file() else ()
        return
    for ends, names in WEIGHTLESS.items():
        if component.kind.endswith(ends):
            if not any((place / name).is_file() for name in names):
                yield f"{component.name}/{names[0]}"
            return
    if not (place / "config.json").is_file():
        yield f"{component.name}/config.json"
    if component.stored:
        return
    yield from _missing_shards(component, place)


def _missing_shards(component: Component, place: Path) -> Iterator[str]:
    for index in place.glob(INDEX):
        shards = _shards(index) or [f"{index.name} (cannot be read)"]
        yield from (f"{component.name}/{name}" for name in shards if not (place / name).is_file())
        return
    if not _held(component, place):
        yield f"{component.name}/*.safetensors"


def _damaged(component: Component, place: Path) -> Iterator[str]:
    for path in () if component.stored else _held(component, place):
        if not _whole(path):
            yield f"{component.file or f'{component.name}/{path.name}'} (damaged)"


def _held(component: Component, place: Path) -> list[Path]:
    """The weights of a component; a link whose file has gone from the cache is none."""
    return [path for path in ([place] if component.file else place.glob("*.safetensors")) if path.is_file()]


def _whole(path: Path) -> bool:
    """Whether a file of tensors is as long as its header says; its contents are checked when they are loaded."""
    try:
        header(path)
    except (OSError, ValueError):
        return False
    return True


def _shards(index: Path) -> list[str]:
    """The files that an index names; none when it is no index, or names what is no file of tensors beside it."""
    try:
        names = {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
        return sorted(names) if all(SHARD.fullmatch(name) for name in names) else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
