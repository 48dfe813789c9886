"""Every test runs in an empty folder, with nobody's configuration, no network and no cache but its own."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from tests import loopback, twins
from vidgen.catalog import cards
from vidgen.weights.answers import Patience

ANSWER = Callable[..., "Answer"]


def pytest_configure() -> None:
    """Begun in the background, a process is deaf to some signals, and so is all that it begins: the tests send them."""
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)


class Answer(NamedTuple):
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder, a home and an environment of the test's own."""
    for name in list(os.environ):
        if name.startswith(("VIDGEN_", "HF_")):
            monkeypatch.delenv(name)
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("VIDGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("vidgen.probe.host.halves", lambda: True)
    cards.cards.cache_clear()
    yield
    cards.cards.cache_clear()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[loopback.Hub]:
    """A hub on this machine with one small model, which this process takes for the only one there is."""
    from huggingface_hub import close_session

    with loopback.running() as served:
        for name, value in served.constants(tmp_path).items():
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setattr("vidgen.weights.answers.PATIENCE", Patience(first_s=0.01))
        yield served
        close_session()


@pytest.fixture
def vidgen(capfd: pytest.CaptureFixture[str]) -> ANSWER:
    """Runs a command line in this process: `vidgen("t2v", "a red circle").code`."""
    from vidgen.cli.app import start

    def run(*words: str) -> Answer:
        capfd.readouterr()
        code = start(words)
        out, err = capfd.readouterr()
        return Answer(code, out, err)

    return run


@pytest.fixture(scope="session")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LTX pipeline with random weights, as an ordinary folder."""
    return twins.ltx(tmp_path_factory.mktemp("twin") / "ltx")


@pytest.fixture
def picture() -> Path:
    """A picture in this folder: red on blue, 80x60."""
    image = Image.new("RGB", (80, 60), "blue")
    image.paste("red", (10, 20, 30, 40))
    path = Path("first.png")
    image.save(path)
    return path
