"""The documents say what the code does: generated ones do not drift, and every example in them runs."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import ANSWER
from tests.left import draft, leave
from tests.media.drawn import shape, write
from tests.stored import like
from tools import docs

ROOT = Path(docs.__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize(("name", "make"), [("commands.md", docs.commands), ("models.md", docs.models)])
def test_a_generated_document_is_fresh(name: str, make: object) -> None:
    assert callable(make)
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == make(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def _examples() -> list[tuple[str, str]]:
    """The vidgen commands in the shell blocks of pages that people write."""
    found = []
    for page in PAGES:
        if page.name in {"commands.md", "models.md"}:
            continue
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            found += [(page.name, line) for line in block.splitlines() if line.startswith("vidgen ")]
    return found


@pytest.mark.parametrize(("page", "line"), _examples())
def test_every_example_in_the_documents_runs(
    page: str, line: str, vidgen: ANSWER, picture: Path, request: pytest.FixtureRequest
) -> None:
    """Those for a model that is not here are planned; the others are made, in one step. Downloads have a hub."""
    words = shlex.split(line.split(" #")[0])[1:]
    Path("last.png").write_bytes(picture.read_bytes())
    if words[0] in {"show", "sheet"}:
        assert vidgen("t2v", "a red circle", "--steps", "1", "-o", words[1]).code == 0
    if words[0] == "diff":
        for name in words[1:3]:
            write(Path(name), shape())
    if words[0] in {"resume", "decode"}:
        leave(Path(words[1]))
    for file in (word for before, word in pairwise(words) if before == "--gguf"):
        like(Path(file.rpartition("=")[2]), words[words.index("--model") + 1])
    if words[0] == "finalize":
        draft(Path(words[1]))
    if words[0] in {"download", "cache"}:
        request.getfixturevalue("hub")
        assert vidgen("download", "ltx-video-2b").code == 0
    if words[0] in {"t2v", "i2v", "keyframe"}:
        elsewhere = any(word.startswith("ltx-video") for word in words)
        words = ["plan", *words] if elsewhere else [*words, "--steps", "1"]
    answer = vidgen(*words)
    assert answer.code == 0, answer.err
