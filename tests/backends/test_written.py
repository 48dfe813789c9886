"""A file that is written tensor by tensor is like any other, and no file before its end."""

from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from vidgen.backends.written import KINDS, Writing
from vidgen.core.headers import header


def odd(seed: int) -> dict[str, torch.Tensor]:
    """A tensor of each kind of number, none of a round number of bytes."""
    numbers = torch.arange(7) + seed
    return {f"{seed}.{name}": numbers.to(dtype)[: 3 + number % 4] for number, (dtype, name) in enumerate(KINDS.items())}


def test_what_was_written_is_read_by_the_library_where_its_numbers_can_lie(tmp_path: Path) -> None:
    path, wanted = tmp_path / "a.safetensors", dict[str, torch.Tensor]()
    with Writing(path, 3 * len(KINDS)) as file:
        for seed in range(3):
            tensors = {**dict(reversed(odd(seed).items())), f"{seed}.scalar": torch.tensor(seed)}
            file.add(tensors, {f"said {seed}": "so"})
            wanted |= tensors
    found = {name: tensor for name, tensor in load_file(path).items() if name in wanted}
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name].float(), wanted[name].float()) for name in wanted)
    assert all(found[name].dtype is wanted[name].dtype for name in wanted)
    known = header(path)
    assert known.facts == {f"said {seed}": "so" for seed in range(3)}
    assert all(known.tensors[name].begin % tensor.itemsize == 0 for name, tensor in wanted.items())


def test_only_what_lies_between_tensors_is_there_besides(tmp_path: Path) -> None:
    even = {"a": torch.zeros(8), "b": torch.zeros(4, dtype=torch.int8)}
    with Writing(tmp_path / "a.safetensors", 2) as file:
        file.add(even, {})
    assert load_file(tmp_path / "a.safetensors").keys() == even.keys()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_what_was_not_finished_is_no_file_of_tensors(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with suppress(error):
        interrupted(path, error)
    with pytest.raises(SafetensorError), safe_open(path, framework="pt"):
        pass
    with pytest.raises(ValueError, match="Expecting value"):
        header(path)


def interrupted(path: Path, error: type[BaseException]) -> None:
    with Writing(path, 1) as file:
        file.add({"a": torch.ones(1000)}, {})
        raise error


def test_more_than_there_is_room_for_in_the_header_is_an_error_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has room for"), Writing(tmp_path / "a.safetensors", 0) as file:
        file.add({"a": torch.ones(1)}, {"long": "x" * 5000})


def test_it_is_as_the_library_writes_it_but_for_the_order(tmp_path: Path) -> None:
    tensors = {"b": torch.rand(3, 5), "a": torch.rand(2).bfloat16()}
    save_file(tensors, tmp_path / "theirs.safetensors")
    with Writing(tmp_path / "ours.safetensors", 2) as file:
        file.add(tensors, {})
    ours, theirs = (load_file(tmp_path / f"{name}.safetensors") for name in ("ours", "theirs"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
