"""Tables: a TOML file is read strictly, or refused with the file and the key by name."""

from pathlib import Path

import pytest

from tests.values import says
from vidgen.catalog.tables import LARGEST, Table, load
from vidgen.core.errors import UsageRefused


def test_a_file_is_read() -> None:
    Path("a.toml").write_text('name = "é"\n[grid]\nsize = 32\n', encoding="utf-8")
    assert load(Path("a.toml")) == {"name": "é", "grid": {"size": 32}}


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"name = ", "is not valid TOML"),
        (b"name = 1\nname = 2\n", "is not valid TOML"),
        (b'name = "\xff"\n', "is not valid TOML"),
        (b"a = " + b"[" * 100_000, "is not valid TOML"),
        (b"\x00", "is not valid TOML"),
        (b"#" * (LARGEST + 1), "is larger than 1 MiB"),
    ],
)
def test_a_file_that_is_no_toml_is_refused_by_name(content: bytes, wrong: str) -> None:
    Path("a.toml").write_bytes(content)
    with pytest.raises(UsageRefused) as refused:
        load(Path("a.toml"))
    says(refused, 2, "a.toml", wrong)


def test_a_file_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(UsageRefused) as refused:
        load(Path("gone.toml"))
    says(refused, 2, "gone.toml cannot be read: No such file")


def test_a_whole_number_will_do_for_a_broken_one() -> None:
    taken = Table({"scale": 3}, "a.toml").take("scale", float)
    assert (taken, type(taken)) == (3.0, float)


@pytest.mark.parametrize(
    ("value", "kind", "wrong"),
    [
        ("3", int, "= '3' is not of type int"),
        (True, int, "= True is not of type int"),
        (True, float, "= True is not of type float"),
        (1, bool, "= 1 is not of type bool"),
        (1, str, "= 1 is not of type str"),
        ({}, list, "= {} is not of type list"),
        (None, str, "is missing"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_key(value: object, kind: type[object], wrong: str) -> None:
    values = {} if value is None else {"rank": value}
    with pytest.raises(UsageRefused) as refused:
        Table(values, "a.toml [grid]").take("rank", kind)
    says(refused, 2, f"a.toml [grid]: rank {wrong}", f"give rank a value of type {kind.__name__}")


def test_a_list_of_strings_holds_nothing_else() -> None:
    with pytest.raises(UsageRefused) as refused:
        Table({"aliases": ["a", 1]}, "a.toml").texts("aliases")
    says(refused, 2, "a.toml: aliases is not a list of strings", 'aliases = ["one", "two"]')


def test_a_key_that_nobody_took_is_refused_with_the_nearest_known_one() -> None:
    table = Table({"titel": "x"}, "a.toml")
    table.take("title", str, "")
    with pytest.raises(UsageRefused) as refused:
        table.finish()
    says(refused, 2, "a.toml: unknown key 'titel'; did you mean title?")


def test_the_rest_may_be_taken_whole() -> None:
    table = Table({"a": 1, "b": 2}, "a.toml")
    table.take("a", int)
    assert table.rest() == {"b": 2}
    table.finish()
