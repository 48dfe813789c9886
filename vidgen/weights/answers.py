"""The hub's refusals, and no answer at all: asked again where that may help, else said in a sentence."""

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event as Flag
from typing import TypeVar

from vidgen.core.errors import OutputRefused, Refusal, TryLater, UsageRefused, WeightsRefused
from vidgen.weights import place

T = TypeVar("T")

PASSING = (408, 429, 500, 502, 503, 504)
"""Answers that may be another one soon."""

TOLD_S = 5.0
"""A wait of so many seconds is told of."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How often to try, and how many seconds to wait between: twice as long each time, or as long as the hub says."""

    tries: int = 5
    first_s: float = 1.0
    longest_s: float = 120.0

    def wait_s(self, tried: int, said_s: float | None) -> float:
        """Seconds to wait after the try number `tried`."""
        return said_s if said_s is not None else min(self.first_s * 2 ** (tried - 1), self.longest_s)


PATIENCE = Patience()


class Dropped(Exception):  # noqa: N818 - not an error: nobody wants the work any longer
    """Raised in the midst of work that was stopped."""


def _unheard(sentence: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """The line to the hub: `stop` ends every wait on it, and `tell` hears why a long one is waited."""

    stop: Flag = field(default_factory=Flag)
    tell: Callable[[str], None] = _unheard


class Asker:
    """Asks for one repository, again and again where that may help."""

    def __init__(self, repository: str, revision: str, line: Line) -> None:
        self.repository, self.revision, self.line = repository, revision, line
        self._tried = 0

    def ask(self, question: Callable[[], T]) -> T:
        """The answer to `question`; a Refusal when there is none to be had."""
        while True:
            try:
                return question()
            except Exception as error:
                self.again(error)

    def again(self, error: Exception) -> None:
        """Wait until it is worth asking again; the Refusal that `error` means when it is not."""
        self._tried += 1
        said = _said_s(error)
        wait = PATIENCE.wait_s(self._tried, said)
        if not _passes(error) or self._tried >= PATIENCE.tries or wait > PATIENCE.longest_s:
            raise refusal(error, self.repository, self.revision, wait if said is not None else 0.0) from error
        if wait >= TOLD_S:
            status = _status(error)
            state = f"is busy ({status})" if status else "does not answer"
            self.line.tell(f"the hub {state}: waiting {wait:.0f} s")
        if self.line.stop.wait(wait):
            raise Dropped from error

    def heartened(self) -> None:
        """Something came: the count of tries begins anew."""
        self._tried = 0


def _status(error: Exception) -> int:
    from huggingface_hub.errors import HfHubHTTPError

    return error.response.status_code if isinstance(error, HfHubHTTPError) else 0


def _passes(error: Exception) -> bool:
    """Whether the next try may end otherwise."""
    from httpx2 import TransportError, UnsupportedProtocol  # what the library's own session raises

    broken = isinstance(error, TransportError) and not isinstance(error, UnsupportedProtocol)
    return broken or _status(error) in PASSING


def _said_s(error: Exception) -> float | None:
    """The seconds that the hub asks to wait, in a header of its own or in Retry-After, as a number or a date."""
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

    if not isinstance(error, HfHubHTTPError) or _status(error) not in PASSING:
        return None
    headers = error.response.headers
    limit = parse_ratelimit_headers(headers)
    if _status(error) == 429 and limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    said = headers.get("Retry-After", "").strip()
    if said.isdigit():
        return float(said)
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def refusal(error: Exception, repository: str, revision: str, wait_s: float = 0.0) -> Exception:
    """What `error` means, with one thing to do; `error` itself when hub, network and disk have no part in it."""
    from httpx2 import HTTPError, InvalidURL
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    match error:
        case Refusal() | Dropped():
            return error
        case OfflineModeIsEnabled():
            return Offline(f"HF_HUB_OFFLINE is set, so {repository} cannot be fetched", "unset HF_HUB_OFFLINE")
        case HfHubHTTPError():
            return _answered(error, repository, revision, wait_s)
        case HTTPError() | InvalidURL():
            return _unreached(error)
        case HFValidationError():
            return UsageRefused(f"{repository!r} is not the name of a repository", "mend it in the model's card")
        case OSError():
            return _unwritten(error)
        case _:
            return error


class Offline(WeightsRefused):
    """The network was forbidden."""


def _answered(error: Exception, repository: str, revision: str, wait_s: float) -> Refusal:
    """The refusal for an answer of the hub."""
    from huggingface_hub import errors, get_token

    page, known = f"{_endpoint()}/{repository}", get_token() is not None
    status = _status(error)
    match error:
        case errors.GatedRepoError() if known:
            said = f"{repository} is gated, and the account of your token has not been let in"
            return WeightsRefused(said, f"accept its licence at {page}, then type the same command again")
        case errors.GatedRepoError():
            said = f"{repository} is gated: its licence has to be accepted at {page}"
            return WeightsRefused(said, "accept it there, log in so: hf auth login, then type the same command again")
        case errors.RevisionNotFoundError():
            said = f"{repository} has no revision {revision or 'main'}"
            return WeightsRefused(said, f"see {page}/commits/main, and mend revision in the model's card")
        case errors.RemoteEntryNotFoundError():
            said = f"a file that {repository} lists is not there"
            return WeightsRefused(said, "its maker has changed it just now: type the same command again")
        case errors.DisabledRepoError():
            return WeightsRefused(f"the hub has closed {repository}", "choose another model: vidgen models")
        case errors.RepositoryNotFoundError() if status != 401:
            said = f"there is no {repository} on the hub, or not for everybody"
            return WeightsRefused(said, f"look at {page}; if it is private, log in so: hf auth login")
    if status == 401 and not known:
        said = f"there is no {repository} on the hub, or only for those who are logged in"
        return WeightsRefused(said, f"look at {page}; if it is there, log in so: hf auth login")
    if status == 401:
        return WeightsRefused("the hub does not accept your token", "log in again so: hf auth login; or unset HF_TOKEN")
    if status == 403:
        return WeightsRefused(f"your token may not read {repository}", "log in with one that may: hf auth login")
    if status == 429:
        later = f"in {wait_s:.0f} seconds" if wait_s else "in some minutes"
        return TryLater("the hub has been asked too often from here (429)", f"type the same command again {later}")
    if status in PASSING:
        return TryLater(f"the hub is not well ({status})", "type the same command again later: what came stays")
    return WeightsRefused(f"the hub refuses {repository} ({status})", f"look at {page}")


def _unreached(error: Exception) -> Refusal:
    """The refusal for no answer at all."""
    from httpx2 import InvalidURL, TimeoutException, UnsupportedProtocol

    if isinstance(error, InvalidURL | UnsupportedProtocol):
        return UsageRefused(f"HF_ENDPOINT is no address: {_endpoint()!r}", "give it as https://..., or unset it")
    how = "does not answer in time" if isinstance(error, TimeoutException) else "cannot be reached"
    said = f"the hub at {_endpoint()} {how}"
    return TryLater(said, "look at the network, then type the same command again: what came stays")


def _unwritten(error: OSError) -> Refusal:
    """The refusal for a cache that cannot be written."""
    if error.errno in FULL:
        said = f"the disk of {place.root()} is full"
        return OutputRefused(said, "make room (vidgen cache), then type the same command again: what came stays")
    said = f"cannot write in {place.root()}: {error.strerror or error}"
    return OutputRefused(said, "set HF_HOME to a folder that you may write in")


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT
