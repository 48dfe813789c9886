"""The hub refuses, stalls, cuts off, lies and goes away: what came stays, and is what the hub has."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.conftest import ANSWER, Answer
from tests.faults import refused
from tests.faults.score import Scorecard, Trial, fault, many, rounds, some
from tests.loopback import CANARY, COMMIT, MODEL, REPOSITORY, UNWANTED, Fault, Hub, etag
from tests.repository import LARGE, sibling
from tests.weights.test_fetch import right
from vidgen.weights.place import Place

TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"
AT = ("/api/models", "resolve", TRANSFORMER, "vae/config.json")
FETCH = ("download", MODEL, "-q")

SAID = "its documented exit code and a next step; what came stays, and the same command goes on"
STATUS = {
    status: fault("hub", 19 if status < 429 else 20, f"the hub answers {status}", SAID)
    for status in (400, 401, 403, 404, 408, 410, 418, 429, 451, 500, 502, 503, 504)
}
PASSES = fault("hub", 20, "the hub is not well a few times, then is", "asked again; the download ends right")
WAITS = fault("hub", 20, "the hub asks to wait longer than is sensible", "exit code 75 at once, and how long it is")
CUT = fault("hub", 21, "an answer cut off anywhere", "gone on with by Range; no byte comes twice")
LENGTH = fault("hub", 21, "an answer too short, too long, or the whole instead of a part", "the download ends right")
STALL = fault("hub", 21, "an answer that stalls", "asked again; the download ends right")
WIRE = fault("hub", 14, "a bit turned on the wire", "found by its hash, fetched again, never delivered")
ALWAYS = fault("hub", 14, "a bit turned on the wire each time", "exit code 4, never delivered")
DOWN = fault(
    "hub", 18, "no hub, or none allowed", "what is whole serves and is called old; else 75, or 4 when forbidden"
)
LIES = fault("hub", 40, "a hub that lies about names, sizes and hashes", "nothing outside the cache, nothing unchecked")
TOKEN = fault("hub", 22, "a token in the environment", "it goes to the hub alone, and is nowhere afterwards")


def expected(status: int) -> int:
    return 75 if status in (408, 429, 500, 502, 503, 504) else 4


def delivered(trial: Trial, hub: Hub, answer: Answer) -> None:
    """A download that ended well brought what the hub has."""
    assert answer.code == 0, answer.err
    if not right(hub):
        trial.silent("not what the hub has")


def fetched_of(hub: Hub, since: int) -> int:
    """Bytes of large files that were asked for, since so many requests."""
    wanted = [asked for asked in hub.asked[since:] if asked.large and asked.method == "GET"]
    files = {f"/{REPOSITORY}/{name}": len(data) for name, data in hub.files[REPOSITORY].items()}
    return sum(files[asked.path] - int(asked.range[6:-1] or 0) for asked in wanted)


def resumed(trial: Trial, hub: Hub, vidgen: ANSWER) -> None:
    """After a refusal the same command ends well, and asks for nothing that is here already."""
    large = sum(
        len(data) for name, data in hub.files[REPOSITORY].items() if name.endswith(LARGE) and name not in UNWANTED
    )
    kept = sum(path.stat().st_size for path in Place(REPOSITORY).blobs.glob("?" * 64 + "*"))
    since = len(hub.asked)
    delivered(trial, hub, vidgen(*FETCH))
    if fetched_of(hub, since) > large - kept:
        trial.lost(f"{fetched_of(hub, since)} bytes asked for, and {kept} of {large} were here")


def forget(hub: Hub) -> None:
    """An empty cache, a well hub."""
    shutil.rmtree(constants.HF_HUB_CACHE, ignore_errors=True)
    hub.faults, hub.served, hub.lies = [], 0, {}
    hub.asked.clear()


@pytest.mark.parametrize("status", STATUS)
def test_the_hub_refuses(status: int, card: Scorecard, hub: Hub, vidgen: ANSWER) -> None:
    for at in some(1, AT):
        forget(hub)
        with card.round(STATUS[status]) as trial:
            hub.faults = [Fault(at=at, status=status)]
            refused.check(trial, vidgen(*FETCH), expected(status))
            hub.faults = []
            resumed(trial, hub, vidgen)


def test_the_hub_is_not_well_a_few_times(card: Scorecard, hub: Hub, vidgen: ANSWER) -> None:
    cases = [(status, at, times) for status in (408, 429, 500, 502, 503, 504) for at in AT[::2] for times in (1, 4)]
    for status, at, times in some(4, cases):
        forget(hub)
        with card.round(PASSES) as trial:
            hub.faults = [Fault(at=at, status=status, times=times, headers={"Retry-After": "0"} if times > 1 else {})]
            delivered(trial, hub, vidgen(*FETCH))
            assert hub.faults[0].times == 0


def test_the_hub_asks_to_wait_for_long(card: Scorecard, hub: Hub, vidgen: ANSWER) -> None:
    for said in some(2, ("121", "3600", "99999999", "Fri, 01 Jan 2100 00:00:00 GMT")):
        for status in (429, 503):
            forget(hub)
            hub.faults = [Fault(at="/api/models", status=status, headers={"Retry-After": said})]
            with card.round(WAITS) as trial, refused.nothing_written():
                refused.check(trial, vidgen(*FETCH), 75)
                assert len(hub.asked) == 1


def test_an_answer_cut_off_anywhere(card: Scorecard, hub: Hub, vidgen: ANSWER) -> None:
    chance, hub.piece = random.Random(21), 1024
    for _ in rounds(2, 25):
        forget(hub)
        with card.round(CUT) as trial:
            after = sorted(chance.randrange(130_000) for _ in range(4))
            hub.faults = [Fault("cut", TRANSFORMER, after=place, times=1) for place in after]
            delivered(trial, hub, vidgen(*FETCH))
            if hub.served > hub.size():
                trial.lost(f"{hub.served} bytes of {hub.size()} were served")


@pytest.mark.parametrize("kind", ["short", "long", "whole", "stall"])
def test_an_answer_of_another_length(
    kind: str, card: Scorecard, hub: Hub, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
    for at in some(1, (TRANSFORMER, "vae/diff", "model-00001")):
        forget(hub)
        with card.round(STALL if kind == "stall" else LENGTH) as trial:
            hub.faults = [Fault("cut", at, after=20_000, times=1)] if kind == "whole" else []
            hub.faults.append(Fault(kind, at, after=20_000, times=1))
            delivered(trial, hub, vidgen(*FETCH))


def test_a_bit_turned_on_the_wire(card: Scorecard, hub: Hub, vidgen: ANSWER) -> None:
    chance = random.Random(14)
    names = sorted(set(hub.files[REPOSITORY]) - UNWANTED)
    for _ in rounds(2, 30):
        forget(hub)
        name = chance.choice(names)
        length = len(hub.files[REPOSITORY][name])
        with card.round(WIRE) as trial:
            hub.faults = [Fault("flip", name, after=chance.randrange(length), times=1)]
            delivered(trial, hub, vidgen(*FETCH))
            assert hub.served <= hub.size() + length + hub.piece


def test_a_bit_turned_each_time(card: Scorecard, hub: Hub, vidgen: ANSWER) -> None:
    for name in some(2, sorted(set(hub.files[REPOSITORY]) - UNWANTED)):
        forget(hub)
        with card.round(ALWAYS) as trial:
            hub.faults = [Fault("flip", name)]
            refused.check(trial, vidgen(*FETCH), 4, name)
            if Place(REPOSITORY).blob(etag(name, hub.files[REPOSITORY][name])).exists():
                trial.silent("it was delivered")


def _closed(hub: Hub, patch: pytest.MonkeyPatch) -> int:
    hub.close()
    return 75


def _forbidden(hub: Hub, patch: pytest.MonkeyPatch) -> int:
    patch.setattr(constants, "HF_HUB_OFFLINE", True)
    return 4


def _nonsense(hub: Hub, patch: pytest.MonkeyPatch) -> int:
    hub.faults = [Fault(at="/api/models", status=200)]
    return 75


def _nowhere(hub: Hub, patch: pytest.MonkeyPatch) -> int:
    patch.setattr(constants, "ENDPOINT", "http://no-such-host.invalid")
    return 75


@pytest.mark.parametrize("away", [_closed, _forbidden, _nonsense, _nowhere])
def test_no_hub(
    away: Callable[[Hub, pytest.MonkeyPatch], int],
    card: Scorecard,
    hub: Hub,
    vidgen: ANSWER,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert vidgen(*FETCH).code == 0
    code = away(hub, monkeypatch)
    with card.round(DOWN):
        answer = vidgen("download", MODEL)
        assert (answer.code, f"whole here, as of commit {COMMIT[:7]}" in answer.err) == (0, True), answer.err
    with card.round(DOWN) as trial:
        (Place(REPOSITORY).snapshot(COMMIT) / TRANSFORMER).unlink()
        refused.check(trial, vidgen(*FETCH), code, "lacks transformer/")
    with card.round(DOWN) as trial:
        shutil.rmtree(constants.HF_HUB_CACHE)
        refused.check(trial, vidgen(*FETCH), code, f"nothing of {MODEL} is here")


def _named(name: str) -> dict[str, object]:
    return {"rfilename": name, "size": 5, "blobId": "b" * 40, "lfs": None}


HOSTILE = (
    *("../evil.json", "/evil.json", "tokenizer/../../evil.json", "tokenizer/..", "tokenizer/../../../evil.json"),
    *("tokenizer/..\\..\\evil.json", "tokenizer/\x00.json", "tokenizer/" + "n" * 300 + ".json", "tokenizer/a\nb.json"),
    *("text_encoder/model-00001-of-00002.safetensors/../../evil", "C:\\evil.json", "tokenizer/.json", "~/evil.json"),
)


def test_a_hub_that_lies(card: Scorecard, hub: Hub, vidgen: ANSWER) -> None:
    commits: tuple[object, ...] = ("../../evil", "", None, "main", 7, "0" * 39, "g" * 40, COMMIT.upper(), "/evil")
    entries: tuple[object, ...] = (None, [], [_named("model_index.json")], "all", [None], [{}], {"a": 1})
    lies: list[dict[str, object]] = [{"siblings": [*_truth(hub), _named(name)]} for name in HOSTILE]
    lies += [{"siblings": [{**entry, **lie} for entry in _truth(hub)]} for lie in _false()]
    lies += [{"sha": commit} for commit in commits]
    lies += [{"siblings": said} for said in entries]
    for lie in some(4, lies):
        forget(hub)
        hub.lies = lie
        with card.round(LIES) as trial, refused.nothing_written():
            answer = vidgen(*FETCH)
            if answer.code:
                refused.check(trial, answer, (4, 6, 75))
            elif not {path.name for path in Path(constants.HF_HUB_CACHE).iterdir()} <= _own():
                trial.ran("a file beside the cache")


def _own() -> set[str]:
    return {f"models--{REPOSITORY.replace('/', '--')}", ".locks"}


def _truth(hub: Hub) -> list[dict[str, object]]:
    return [sibling(name, data) for name, data in hub.files[REPOSITORY].items()]


def _false() -> list[dict[str, object]]:
    small: list[dict[str, object]] = [{"size": -1}, {"size": None}, {"size": "many"}, {"blobId": "../../evil"}]
    large: list[tuple[object, object]] = [("../" * 9 + "evil", 9), ("0" * 64, -1), (None, None)]
    for sha, size in large:
        small.append({"lfs": {"sha256": sha, "size": size, "pointerSize": 1}})
    return [*small, {"blobId": ""}]


def test_a_token_is_nowhere_afterwards(
    card: Scorecard, hub: Hub, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    monkeypatch.setenv("VIDGEN_DEBUG", "1")
    hub.gated, hub.tokens = {REPOSITORY}, {CANARY}
    cases: list[list[Fault]] = [
        [],
        *([Fault(at=at, status=status)] for at in AT[:3] for status in (401, 403, 404, 418, 429, 503)),
    ]
    cases += [[Fault(kind, TRANSFORMER, after=5000)] for kind in ("cut", "flip")]
    for faults in cases if many() else cases[::4]:
        forget(hub)
        hub.faults = list(faults)
        with card.round(TOKEN) as trial:
            answers = [vidgen("download", MODEL, "--json", "--progress", "json")]
            answers += [vidgen("download", MODEL, more) for more in ("--dry-run", "--verify")]
            if CANARY in "".join(answer.out + answer.err for answer in answers):
                trial.ran("the token was said")
            if any(asked.authorised for asked in hub.asked if asked.large):
                trial.ran("the token went elsewhere")
            files = [path for path in Path.cwd().parent.rglob("*") if path.is_file()]
            if [path for path in files if CANARY.encode() in path.read_bytes()]:
                trial.ran("the token is in a file")
            assert answers[0].code in (0, 4, 75)
