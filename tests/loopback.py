"""A hub on this machine: what downloads use of the Hugging Face Hub's API, with faults that can be switched on.

Large files are served from a second port by redirect, as the real hub serves them from another host.
"""

import json
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.repository import COMMIT as COMMIT
from tests.repository import LARGE, branch, sibling
from tests.repository import MODEL as MODEL
from tests.repository import REPOSITORY as REPOSITORY
from tests.repository import SISTER as SISTER
from tests.repository import UNWANTED as UNWANTED
from tests.repository import etag as etag
from tests.repository import pipeline as pipeline
from tests.repository import tensors as tensors

CANARY = "hf_canarycanarycanarycanarycanarycana"
ROOT = Path(__file__).parents[1]


@dataclass(slots=True)
class Fault:
    """What goes wrong with the requests whose path contains `at`, `times` times: a status, or a fault in the body.

    `kind`: "cut" after `after` bytes, "stall" there for `seconds`, "flip" a bit there, "short" or "long" by 100 bytes,
    "whole" instead of the part that was asked for.
    """

    kind: str = ""
    at: str = ""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 10**9
    after: int = 0
    seconds: float = 30.0


@dataclass(slots=True)
class Asked:
    """One request that came."""

    method: str
    path: str
    range: str
    authorised: bool
    large: bool


class Hub:
    """Repositories, what was asked of them, and the bytes that were served; `lies`: what it says of all instead.

    `served` counts all of them, `sent` those of each file, by its path.

    Before each piece of a body it calls `hold`, which may wait.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.commits: dict[str, str] = {}
        self.gated: set[str] = set()
        self.faults: list[Fault] = []
        self.lies: dict[str, object] = {}
        self.asked: list[Asked] = []
        self.served = 0
        self.sent: Counter[str] = Counter()
        self.piece, self.pace_s = 16 * 1024, 0.0
        self.hold: Callable[[], None] = lambda: None
        self.closed = False
        self.tokens: set[str] = set()
        self._lock = threading.Lock()
        self._servers = [_server(self, large=large) for large in (False, True)]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def elsewhere(self) -> str:
        return f"http://127.0.0.1:{self._servers[1].server_port}"

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def size(self, repository: str = REPOSITORY) -> int:
        """Bytes of the files that a model needs."""
        return sum(len(data) for name, data in self.files[repository].items() if name not in UNWANTED)

    def count(self, path: str, bytes_sent: int) -> None:
        with self._lock:
            self.served += bytes_sent
            self.sent[path] += bytes_sent

    def taken(self, path: str, *, body: bool) -> Fault | None:
        """The fault for this request, or for the body that answers it, if one is switched on."""
        with self._lock:
            for fault in self.faults:
                if fault.at in path and fault.times > 0 and bool(fault.kind) == body:
                    fault.times -= 1
                    return fault
        return None

    def constants(self, home: Path) -> dict[str, object]:
        """What the library has to believe, in this process, to talk to this hub and to know nobody's token."""
        return {
            "ENDPOINT": self.endpoint,
            "HUGGINGFACE_CO_URL_TEMPLATE": self.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_OFFLINE": False,
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_HUB_DOWNLOAD_TIMEOUT": 10,
        }

    def environment(self, cache: Path) -> dict[str, str]:
        """What a process needs to talk to this hub and no other."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "VIDGEN_"))}
        more = {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(cache), "PYTHONPATH": str(ROOT)}
        return {**kept, **more}


@contextmanager
def running(**repositories: dict[str, bytes]) -> Iterator[Hub]:
    """A hub with the usual repository."""
    hub = Hub()
    hub.files[REPOSITORY] = pipeline()
    hub.files.update(repositories)
    try:
        yield hub
    finally:
        hub.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def _server(hub: Hub, *, large: bool) -> _Server:
    handler = type("Handler", (_Handler,), {"hub": hub, "large": large})
    server = _Server(("127.0.0.1", 0), handler)
    threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    large: bool
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        pass

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        if self.hub.closed:
            self.close_connection = True
            return
        path = unquote(urlsplit(self.path).path)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        asked = Asked(self.command, path, self.headers.get("Range", ""), bool(token), self.large)
        self.hub.asked.append(asked)
        fault = self.hub.taken(path, body=False)
        if fault:
            self._refuse(fault.status, fault.headers)
        elif self.hub.tokens and token and token not in self.hub.tokens:
            self._refuse(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
        elif self.large:
            self._elsewhere(path)
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._info(found[1], found[2] or "main", known=bool(token))
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            self._json([branch(name, data) for name, data in self.hub.files[found[1]].items()])
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(found[1], found[2], found[3], token)
        else:
            self._refuse(404, {})

    def _refuse(self, status: int, headers: dict[str, str]) -> None:
        self._head(status, {"Content-Length": "0", **headers})

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _commit(self, repository: str) -> str:
        return self.hub.commits.get(repository, COMMIT)

    def _info(self, repository: str, revision: str, *, known: bool) -> None:
        if repository not in self.hub.files:
            self._refuse(404 if known else 401, {"X-Error-Code": "RepoNotFound"} if known else {})
            return
        if revision not in ("main", self._commit(repository)):
            self._refuse(404, {"X-Error-Code": "RevisionNotFound"})
            return
        siblings = [sibling(name, data) for name, data in self.hub.files[repository].items()]
        gated = "manual" if repository in self.hub.gated else False
        said = {"id": repository, "sha": self._commit(repository), "gated": gated, "siblings": siblings}
        self._json({**said, **self.hub.lies})

    def _json(self, said: object) -> None:
        body = json.dumps(said).encode()
        self._head(200, {"Content-Length": str(len(body)), "Content-Type": "application/json"})
        self.wfile.write(body)

    def _resolve(self, repository: str, revision: str, name: str, token: str) -> None:
        data = self.hub.files.get(repository, {}).get(name)
        if data is None or revision not in ("main", self._commit(repository)):
            self._refuse(404, {"X-Error-Code": "EntryNotFound"})
            return
        if repository in self.hub.gated and token not in self.hub.tokens:
            self._refuse(403, {"X-Error-Code": "GatedRepo"})
            return
        known = {"X-Repo-Commit": self._commit(repository), "ETag": f'"{etag(name, data)}"'}
        if name.endswith(LARGE):
            known |= {"X-Linked-Etag": known["ETag"], "X-Linked-Size": str(len(data)), "Content-Length": "0"}
            self._head(302, {**known, "Location": f"{self.hub.elsewhere}/{repository}/{name}"})
        else:
            self._body(data, known)

    def _elsewhere(self, path: str) -> None:
        _, owner, name, file = path.split("/", 3)
        self._body(self.hub.files[f"{owner}/{name}"][file], {"ETag": '"cdn"'})

    def _body(self, data: bytes, headers: dict[str, str]) -> None:
        """The bytes, or the part of them that was asked for, with whatever is to go wrong."""
        fault = self.hub.taken(unquote(urlsplit(self.path).path), body=True)
        kind, after = (fault.kind, fault.after) if fault else ("", -1)
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(found[1]) if found and kind != "whole" else 0
        if kind == "flip":
            data = data[:after] + bytes([data[after] ^ 1]) + data[after + 1 :]
        rest = {"short": data[begin:-100], "long": data[begin:] + b"x" * 100}.get(kind, data[begin:])
        part = {"Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"} if begin else {}
        self._head(206 if begin else 200, {**headers, **part, "Content-Length": str(len(rest))})
        if self.command == "GET":
            self._send(rest, kind, after, fault.seconds if fault else 0.0)

    def _send(self, data: bytes, kind: str, after: int, seconds: float) -> None:
        for begin in range(0, len(data), self.hub.piece):
            piece = data[begin : begin + self.hub.piece]
            if kind in ("cut", "stall") and begin + len(piece) > after:
                self.close_connection = True
                if kind == "stall":
                    time.sleep(seconds)
                return
            self.hub.hold()
            self.wfile.write(piece)
            self.hub.count(unquote(urlsplit(self.path).path), len(piece))
            if self.hub.pace_s:
                time.sleep(self.hub.pace_s)


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came"
        with suppress(InterruptedError):
            time.sleep(0.005)
