"""What the hub has of a repository: one question, asked before anything moves."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vidgen import __version__
from vidgen.core.card import ModelCard
from vidgen.core.errors import TryLater, WeightsRefused
from vidgen.weights.answers import Asker, Line
from vidgen.weights.place import is_hash
from vidgen.weights.wanted import File, wanted

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

NEAR = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """The files of a repository that a model needs, at one commit; `others` are what else it has."""

    repository: str
    revision: str
    commit: str
    gated: bool
    files: tuple[File, ...]
    others: tuple[File, ...] = ()


def listing(card: ModelCard, line: Line) -> Listing:
    """What of `card` is on the hub; a Refusal when the hub does not say."""
    info = Asker(card.repository, card.revision, line).ask(lambda: _info(card))
    commit = str(info.sha or "")
    files = [_file(entry) for entry in info.siblings or ()]
    if not re.fullmatch("[0-9a-f]{40}", commit):
        raise _no_hub()
    needed = wanted(card, files)
    return Listing(
        repository=card.repository,
        revision=card.revision or "main",
        commit=commit,
        gated=bool(info.gated),
        files=tuple(_sound(file, card) for file in needed),
        others=tuple(file for file in files if file not in needed and is_hash(file.etag)),
    )


def headers() -> dict[str, str]:
    """What goes with every request: who asks, and the token of HF_TOKEN or `hf auth login`."""
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    said = build_hf_headers(library_name="vidgen", library_version=__version__)
    return {**said, "Accept-Encoding": "identity"}


def exposed() -> str:
    """A sentence, when a token would travel unencrypted."""
    from huggingface_hub import constants, get_token

    address = urlsplit(constants.ENDPOINT)
    if address.scheme == "https" or address.hostname in NEAR or get_token() is None:
        return ""
    return f"your token goes unencrypted to {address.hostname}: HF_ENDPOINT does not begin with https"


def discreet() -> None:
    """Ask the library to fetch nothing of its own: it would look up a list of programs that may be calling it."""
    from huggingface_hub import constants
    from huggingface_hub.utils import logging

    constants.HF_HUB_DISABLE_TELEMETRY = True
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]


def _info(card: ModelCard) -> "ModelInfo":
    from huggingface_hub import HfApi, constants

    discreet()
    api = HfApi(endpoint=constants.ENDPOINT, library_name="vidgen", library_version=__version__)
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    try:
        return api.model_info(card.repository, revision=card.revision or None, files_metadata=True, timeout=timeout)
    except (ValueError, TypeError, KeyError) as error:
        if _ours(error):
            raise
        raise _no_hub() from error


def _ours(error: Exception) -> bool:
    """Whether the library itself refuses, and not Python: its refusals are ValueErrors too."""
    return type(error).__module__.startswith("huggingface_hub") or type(error).__module__.startswith("httpx")


def _no_hub() -> TryLater:
    from huggingface_hub import constants

    said = f"{constants.ENDPOINT} does not answer as a hub does"
    return TryLater(said, "look at HF_ENDPOINT, and whether this network wants you to log in first")


def _file(entry: "RepoSibling") -> File:
    """A file as the hub lists it: large ones have a sha256, small ones git's hash."""
    size, etag = (entry.lfs.size, entry.lfs.sha256) if entry.lfs else (entry.size, entry.blob_id)
    return File(name=entry.rfilename, size=size if isinstance(size, int) else -1, etag=str(etag or ""))


def _sound(file: File, card: ModelCard) -> File:
    """The file, if the hub tells what it needs to be checked by."""
    if file.size < 0 or not is_hash(file.etag):
        raise WeightsRefused(
            f"the hub gives no size or hash of {file.name} in {card.repository}, so it could not be checked",
            "look at HF_ENDPOINT: the Hugging Face Hub itself gives both",
        )
    return file
