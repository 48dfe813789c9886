"""Refusals: the exit codes that the documentation promises."""

import pytest

from vidgen.core import errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.UsageRefused, 2),
        (errors.InputRefused, 3),
        (errors.WeightsRefused, 4),
        (errors.DoesNotFit, 5),
        (errors.OutputRefused, 6),
        (errors.ChecksFailed, 7),
        (errors.SomeJobsFailed, 8),
        (errors.TryLater, 75),
        (errors.Stopped, 130),
    ],
)
def test_each_refusal_has_its_own_exit_code(kind: type[errors.Refusal], code: int) -> None:
    refusal = kind("what is wrong", "what to do")
    assert (refusal.exit_code, str(refusal), refusal.remedy) == (code, "what is wrong", "what to do")


def test_a_stop_by_sigterm_ends_as_shells_have_it() -> None:
    assert errors.Stopped("stopped", "", signal_number=15).exit_code == 143


def test_the_docstring_draws_every_refusal_with_its_code() -> None:
    lines = [line.split("──")[1].split() for line in (errors.__doc__ or "").splitlines() if "──" in line]
    drawn = {name: code for name, code, *_ in lines}
    every = [kind for child in errors.Refusal.__subclasses__() for kind in (child, *child.__subclasses__())]
    kinds = [kind for kind in every if kind.__module__ == errors.__name__]
    assert drawn == {kind.__name__: str(kind.code) for kind in kinds}
