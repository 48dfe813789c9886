"""Names that lead elsewhere: templates, prompts in names, links, and what ffmpeg would take for an address."""

import json
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import ANSWER, Answer
from tests.faults import refused
from tests.faults.score import Scorecard, Trial, fault, rounds, some
from tests.faults.test_words import ODDITIES, chosen
from tests.loopback import Hub
from vidgen.studio.names import RESERVED

SLUG = fault("paths", 33, "a prompt used in a name", "one plain segment, in its folder, of 255 bytes at most")
MODEL = fault("paths", 33, "a model's name used in a name", "one plain segment, in its folder")
FIELD = fault("paths", 33, "a template that reaches into objects", "exit code 2, nothing is written")
NAME = fault("paths", 33, "a name that is hostile", "exit code 2 or 6, or exactly that file and its record")
ADDRESS = fault(
    "paths", 34, "an output that ffmpeg would take for an address", "refused, or a file; nothing is fetched or sent"
)
READ = fault("paths", 34, "a clip whose name is an address", "exit code 3; nothing is fetched")
PLAYLIST = fault("paths", 34, "a playlist or script called .mp4", "exit code 3; nothing it names is opened")
OUTPUT_LINK = fault("paths", 40, "a link at the output", "what it leads to is as it was")
PART_LINK = fault("paths", 40, "a link at the working folder", "nothing is written where it leads")
SIDE_LINK = fault("paths", 40, "a link at the record beside", "what it leads to is as it was")
FOLDER_LINK = fault(
    "paths", 40, "an output folder that is a link", "the clip is there; its other files are as they were"
)
HUB_NAME = fault("paths", 40, "a repository called after another folder", "refused; nothing outside the cache")

TINY = ("--size", "32x32", "--frames", "1", "--steps", "1", "--seed", "1", "-q")


def planned(vidgen: ANSWER, prompt: str, template: str, *more: str) -> tuple[Answer, str]:
    """Where a clip would go."""
    answer = vidgen("plan", "t2v", "--json", "-o", template, *more, "--", prompt)
    return answer, json.loads(answer.out)["output"] if answer.code == 0 else ""


def segment(trial: Trial, name: str) -> None:
    """Assert that a name is one plain segment of a path on any system."""
    if Path(name).name != name or set(name) & set('/\\\0:*?"<>|') or name.split(".mp4")[0] == "..":
        trial.silent(f"{name!r} is no plain name")
    assert len(name.encode()) <= 255
    assert name.isprintable()
    assert name.split(".")[0].lower() not in RESERVED
    assert not name.startswith(("-", ".", " ", "~"))


HOSTILE = (
    *("../../etc/passwd", "/etc/passwd", "..\\..\\windows", "C:\\evil", "C:evil", "\\\\server\\share", "~root", "~"),
    *("con", "CON.mp4", "nul", "LPT1", "aux.tar.gz", ".", "..", "...", ".hidden", "-rf", "--help", "a/b", "%d", "%00"),
    *("{seed}", "{0}", "{slug.__class__}", "$HOME", "`id`", "concat:a|b", "http://127.0.0.1:1/x", "file:x", "x" * 300),
    *("é" * 300, "圆" * 300, "a\nb", "a\tb", "\u202egnp.exe", "a\u0000"[:1], "\x1b[31m", "|tee x", "x.mp4/../../y"),
)


def test_a_prompt_in_a_name(card: Scorecard, vidgen: ANSWER) -> None:
    chance = random.Random(33)
    prompts = [*HOSTILE, *(text for text in ODDITIES if text.strip())]
    for prompt in [*some(3, prompts), *(chosen(chance) for _ in rounds(2, 40))]:
        with card.round(SLUG) as trial, refused.nothing_written():
            answer, name = planned(vidgen, prompt, "{slug}.mp4")
            if answer.code:
                refused.check(trial, answer, (2, 3))
            else:
                segment(trial, name)


def test_a_models_name_in_a_name(card: Scorecard, vidgen: ANSWER, twin: Path) -> None:
    names = ("..x", "con", "a b", "-x", "é", "a\nb", "%d", "x" * 200, "{seed}", "\u202ex", "~", "a|b", "a:b", ".x.")
    for name in some(2, names):
        shutil.copytree(twin, name)
        with card.round(MODEL) as trial, refused.nothing_written():
            answer, output = planned(vidgen, "x", "{model}.mp4", "--model", f"./{name}", "--size", "32x32")
            if answer.code:
                refused.check(trial, answer, (2, 4))
            else:
                segment(trial, output)


def test_a_template_that_reaches_into_objects(card: Scorecard, vidgen: ANSWER) -> None:
    fields = (
        *("{slug.__class__}", "{slug[0]}", "{0}", "{}", "{seed!r}", "{seed:>99999999}", "{seed:{slug}}", "{prompt}"),
        *("{output}", "{seed.real}", "{date:%Y/%m}", "{__import__}", "{", "}", "{seed", "seed}", "{{seed}", "{seed}}"),
        *("{ seed}", "{seed }", "{SEED}", "{\n}", "{model.repository}"),
    )
    for field in some(5, fields):
        with card.round(FIELD) as trial, refused.nothing_written():
            refused.check(trial, vidgen("t2v", "x", "-o", f"{field}.mp4"), 2)


def made(trial: Trial, vidgen: ANSWER, name: str) -> Answer:
    """A clip of that name: refused, or exactly there with its record, and nothing else is new or changed."""
    before = refused.census()
    answer = vidgen("t2v", "x", "--model", "pocket", *TINY, "-o", name)
    after = refused.census()
    new = {path for path in after if after[path] != before.get(path)}
    if answer.code:
        refused.check(trial, answer, (2, 6))
        assert not new, new
    elif {str(Path(path)) for path in new} != {str(Path(name)), f"{Path(name)}.json"}:
        trial.silent(f"{new} instead of {name}")
    for path in new:
        Path(path).unlink()
    return answer


NAMES = (
    *("CON.mp4", "nul.mp4", "C:x.mp4", "C:\\x.mp4", "%d.mp4", "%04d.mp4", "-x.mp4", "--overwrite.mp4", "~.mp4"),
    *("x" * 300 + ".mp4", "é" * 130 + ".mp4", "\0.mp4", "a\0b.mp4", "a\nb.mp4", "\x1b[31m.mp4", "a b.mp4", "'\".mp4"),
    *(".mp4", "..mp4", "...mp4", " .mp4", "x.mp4 ", "x.mp4.", "x..mp4", "x.mp4.part", "x.json", "x.mp4.json", ""),
    *("x.MP4", "*.mp4", "[a-z].mp4", "a;b.mp4", "a=b,c.mp4", "\\.mp4", "\u202e4pm.x.mp4", "\udcff.mp4", "$(id).mp4"),
    *("gone/../x.mp4", "x.mp4/", "/proc/x.mp4", "/dev/null", "/dev/full", "/dev/stdout"),
)


def test_a_name_that_is_hostile(card: Scorecard, vidgen: ANSWER) -> None:
    for name in some(2, NAMES):
        with card.round(NAME) as trial:
            made(trial, vidgen, name)


def addresses(host: str, end: str) -> list[str]:
    """What ffmpeg would open, or send to."""
    return [
        *(
            f"{scheme}://{host}/x{end}"
            for scheme in ("http", "https", "tcp", "udp", "ftp", "rtmp", "tls", "srt", "gopher")
        ),
        *(f"concat:http://{host}/x|y{end}", f"async:http://{host}/x{end}", f"cache:http://{host}/x{end}"),
        *(f"tee:x|http://{host}/x{end}", f"crypto:http://{host}/x{end}", f"subfile,,start,0,end,9,,:x{end}"),
        *(f"pipe:1{end}", f"file:x{end}", f"data:video/mp4;base64,x{end}", f"md5:x{end}", f"fd:1{end}", f"unix:x{end}"),
        f"hls+http://{host}/x{end}",
    ]


def test_an_output_that_is_an_address(card: Scorecard, hub: Hub, vidgen: ANSWER) -> None:
    for name in some(1, addresses(hub.endpoint.removeprefix("http://"), ".mp4")):
        with card.round(ADDRESS) as trial:
            made(trial, vidgen, name)
            if hub.asked:
                trial.ran(f"asked for {hub.asked[-1].path}")


@pytest.mark.parametrize("words", [["show"], ["sheet"], ["diff", "x.mp4"]], ids=["show", "sheet", "diff"])
def test_a_clip_whose_name_is_an_address(words: Sequence[str], card: Scorecard, hub: Hub, vidgen: ANSWER) -> None:
    Path("x.mp4").write_bytes(b"x")
    for name in some(2, addresses(hub.endpoint.removeprefix("http://"), ".mp4")):
        with card.round(READ) as trial, refused.nothing_written():
            refused.check(trial, vidgen(*words, name), 3)
            if hub.asked:
                trial.ran(f"asked for {hub.asked[-1].path}")


def playlists(host: str) -> Iterator[bytes]:
    secret = Path("secret.mp4").resolve()
    yield f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://{host}/x.ts\n#EXT-X-ENDLIST\n".encode()
    yield f"#EXTM3U\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode()
    yield f"ffconcat version 1.0\nfile http://{host}/x.mp4\n".encode()
    yield f"ffconcat version 1.0\nfile {secret}\n".encode()
    yield f"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\na=control:http://{host}/\n".encode()
    yield f"<?xml version='1.0'?><MPD><BaseURL>http://{host}/</BaseURL></MPD>".encode()
    yield f"[playlist]\nFile1=http://{host}/x.mp4\n".encode()
    yield f";FFMETADATA1\ncomment=http://{host}/\n".encode()
    yield f"<smil><video src='http://{host}/x'/></smil>".encode()
    yield f"#!/bin/sh\ntouch {refused.RAN}\n".encode()


@pytest.mark.parametrize("words", [["show"], ["sheet"], ["diff", "y.mp4"]], ids=["show", "sheet", "diff"])
def test_a_playlist_that_is_called_a_clip(words: Sequence[str], card: Scorecard, hub: Hub, vidgen: ANSWER) -> None:
    Path("secret.mp4").write_bytes(b"secret")
    for content in some(2, list(playlists(hub.endpoint.removeprefix("http://")))):
        for suffix in some(1, (".mp4", ".mkv", ".webm")):
            Path(f"x{suffix}").write_bytes(content)
            with card.round(PLAYLIST) as trial, refused.nothing_written():
                refused.check(trial, vidgen(*words, f"x{suffix}"), 3)
                if hub.asked:
                    trial.ran(f"asked for {hub.asked[-1].path}")


MADE = ("t2v", "x", "--model", "pocket", *TINY, "-o", "x.mp4")


def elsewhere() -> Path:
    """A folder with somebody's files, where nothing may happen."""
    place = Path("elsewhere")
    place.mkdir()
    (place / "mine.mp4").write_bytes(b"mine")
    (place / "request.json").write_bytes(b"mine")
    return place


def content(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize("target", ["elsewhere/mine.mp4", "elsewhere", "elsewhere/new.mp4", "x.mp4", "/dev/null"])
def test_a_link_at_the_output(target: str, card: Scorecard, vidgen: ANSWER) -> None:
    place = elsewhere()
    before = content(place)
    Path("x.mp4").symlink_to(target)
    with card.round(OUTPUT_LINK) as trial, refused.nothing_written():
        if target == "elsewhere":  # a folder that is a link is a folder: the clip goes into it
            refused.check(trial, vidgen(*MADE[:-1], "x.mp4/mine.mp4"), 6)
        else:
            refused.check(trial, vidgen(*MADE), 6)
    with card.round(OUTPUT_LINK) as trial:
        answer = vidgen(*MADE, "--overwrite")
        assert "Traceback" not in answer.err
        if {path: data for path, data in content(place).items() if path in before} != before:
            trial.lost("what the link leads to has changed")


@pytest.mark.parametrize("target", ["elsewhere", "nowhere", "elsewhere/mine.mp4", "x.mp4.part"])
def test_a_link_at_the_working_folder(target: str, card: Scorecard, vidgen: ANSWER) -> None:
    place = elsewhere()
    before = content(place)
    Path("x.mp4.part").symlink_to(target)
    with card.round(PART_LINK) as trial:
        answer = vidgen(*MADE)
        assert "Traceback" not in answer.err
        assert answer.code in (0, 6), answer.err
        if content(place) != before:
            trial.lost(f"{sorted(content(place))}")


def test_a_link_at_the_record_beside(card: Scorecard, vidgen: ANSWER) -> None:
    place = elsewhere()
    before = content(place)
    for target in ("elsewhere/request.json", "elsewhere/new.json", "nowhere/x.json"):
        Path("x.mp4.json").unlink(missing_ok=True)
        Path("x.mp4.json").symlink_to(target)
        with card.round(SIDE_LINK) as trial:
            answer = vidgen(*MADE, "--overwrite")
            assert "Traceback" not in answer.err
            if content(place) != before:
                trial.lost("a file that was there is another")


def test_an_output_folder_that_is_a_link(card: Scorecard, vidgen: ANSWER) -> None:
    place = elsewhere()
    before = content(place)
    Path("clips").symlink_to("elsewhere")
    with card.round(FOLDER_LINK) as trial:
        answer = vidgen(*MADE[:-1], "clips")
        assert (answer.code, answer.out) == (0, "clips/x-1.mp4\n"), answer.err
        if {path: data for path, data in content(place).items() if path in before} != before:
            trial.lost("other files have changed")


def test_a_repository_that_is_called_after_another_folder(
    card: Scorecard, hub: Hub, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vidgen.catalog import cards

    text = (cards.OWN / "ltx-video-2b-0.9.5.toml").read_text()
    repository = next(line for line in text.splitlines() if line.startswith("repository"))
    Path("cards").mkdir()
    monkeypatch.setenv("VIDGEN_FAMILIES", "cards")
    names = (
        "../evil",
        "../../evil/x",
        "/etc",
        "a/../../b",
        "..",
        "a/b/c",
        "a--b/../c",
        "a/..",
        "-x/y",
        "a/b\\\\..",
        "~/x",
        "a b/c",
    )
    for name in some(3, names):
        said = text.replace(repository, f'repository = "{name}"').replace("aliases", "#").replace("serves", "#")
        Path("cards/evil.toml").write_text(said)
        cards.cards.cache_clear()
        for words in some(
            1, (["download", "evil"], ["download", "evil", "--verify"], ["cache", "rm", "evil", "--yes"])
        ):
            with card.round(HUB_NAME) as trial, refused.nothing_written():
                refused.check(trial, vidgen(*words), (2, 4, 75))
