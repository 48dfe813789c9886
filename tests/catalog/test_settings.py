"""Settings: the order of the layers, and what none of them may say."""

from pathlib import Path
from typing import Any

import pytest

from tests.values import CARD, says
from vidgen.catalog import settings
from vidgen.cli.options import MANNERS
from vidgen.core import words
from vidgen.core.errors import UsageRefused
from vidgen.core.request import Mode
from vidgen.planning.settle import Subject, settle

ORDER = ("flag", "preset", "environment", "project", "user", "card")


def user(text: str) -> None:
    settings.user_file().parent.mkdir(parents=True, exist_ok=True)
    settings.user_file().write_text(text, encoding="utf-8")


def project(text: str) -> None:
    Path("vidgen.toml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("highest", range(len(ORDER)))
def test_the_highest_layer_that_says_something_is_heard(highest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    said = ORDER[highest:]
    if "user" in said:
        user("steps = 4")
    if "project" in said:
        project("steps = 3")
    if "environment" in said:
        monkeypatch.setenv("VIDGEN_STEPS", "2")
    found = settings.layers({"steps": "0007" if "flag" in said else None})
    preset: dict[str, Any] = {"steps": 1} if "preset" in said else {}
    (request,), origins = settle(
        settings.with_preset(found, preset), CARD, Subject(mode=Mode.T2V, prompt="x"), fresh_seed=1
    )
    assert request.steps == (7, 1, 2, 3, 4, 20)[highest]
    assert {setting.origin for setting in origins if setting.name == "steps"} == {ORDER[highest]}


def test_nothing_said_is_nothing_found() -> None:
    assert settings.layers({}) == {"flag": {}, "environment": {}, "project": {}, "user": {}}


def test_the_first_layer_with_a_key_gives_it_with_its_name() -> None:
    found: settings.Layers = {"flag": {}, "project": {"model": "a"}, "user": {"model": "b"}}
    assert settings.first(found, "model", "auto") == ("a", "project")
    assert settings.first(found, "preset", "") == ("", "built in")


@pytest.mark.parametrize("write", [user, project])
def test_an_unknown_setting_is_refused_with_its_file(write: Any) -> None:
    write("stpes = 3")
    with pytest.raises(UsageRefused) as refused:
        settings.layers({})
    says(refused, 2, ".toml: unknown setting 'stpes'; did you mean steps?", "mend it")


@pytest.mark.parametrize("write", [user, project])
def test_a_broken_file_is_refused_by_name(write: Any) -> None:
    write("steps = ")
    with pytest.raises(UsageRefused) as refused:
        settings.layers({})
    says(refused, 2, ".toml is not valid TOML")


def test_a_project_may_not_say_where_files_go() -> None:
    project('output = "/etc/passwd"')
    with pytest.raises(UsageRefused) as refused:
        settings.layers({})
    says(refused, 2, "vidgen.toml may not set output", str(settings.user_file()))


def test_a_user_may_say_where_files_go() -> None:
    user('output = "~/clips/"')
    assert settings.layers({})["user"] == {"output": "~/clips/"}


def test_an_unknown_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDGEN_STPES", "3")
    with pytest.raises(UsageRefused) as refused:
        settings.layers({})
    says(refused, 2, "VIDGEN_STPES is not a setting; did you mean steps?", "unset VIDGEN_STPES")


def test_an_option_of_one_run_is_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDGEN_SKIP_EXISTING", "1")
    with pytest.raises(UsageRefused) as refused:
        settings.environment()
    says(refused, 2, "VIDGEN_SKIP_EXISTING is not a setting, but an option", "and give --skip-existing")


def test_the_options_of_one_run_are_those_of_the_command_line() -> None:
    assert set(words.OPTIONS) == set(MANNERS)


@pytest.mark.parametrize("name", ["VIDGEN_DEBUG", "VIDGEN_FAMILIES", "VIDGENSTEPS", "MY_VIDGEN_STEPS"])
def test_a_variable_that_is_no_setting_of_ours_says_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert settings.environment() == {}


def test_an_empty_variable_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDGEN_STEPS", "")
    assert settings.environment() == {}


def test_another_file_may_be_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    user("steps = 4")
    Path("other.toml").write_text("fps = 12", encoding="utf-8")
    monkeypatch.setenv("VIDGEN_CONFIG", "other.toml")
    assert settings.layers({})["user"] == {"fps": 12}


def test_another_file_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDGEN_CONFIG", "gone.toml")
    with pytest.raises(UsageRefused) as refused:
        settings.layers({})
    says(refused, 2, "VIDGEN_CONFIG names gone.toml", "unset VIDGEN_CONFIG")


def test_no_users_file_is_wanted_when_it_is_the_null_device(monkeypatch: pytest.MonkeyPatch) -> None:
    user("steps = 4")
    monkeypatch.setenv("VIDGEN_CONFIG", "/dev/null")
    assert settings.layers({})["user"] == {}
