"""The header of a GGUF file: as the library that writes them has it, and refused when it is damaged."""

import struct
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from tests import stored
from vidgen.core.gguf import TYPES, header

FILE = Path("x.gguf")


def written() -> bytes:
    """A file with facts of every kind and tensors of up to five sides."""
    writer = gguf.GGUFWriter(FILE, "wan")
    writer.add_uint32("general.quantization_version", 2)
    writer.add_float32("a.float", 0.5)
    writer.add_bool("a.bool", True)
    writer.add_array("a.list", [1, 2, 3])
    writer.add_array("a.vocabulary", ["one", "two", "three"])
    for name, sides in (("blocks.0.weight", (3, 64)), ("patch.weight", (2, 3, 1, 2, 2)), ("bias", (5,))):
        values = np.ones(sides, dtype=np.float32)
        if len(sides) == 2:
            kind = gguf.GGMLQuantizationType.Q4_0
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return FILE.read_bytes()


def test_the_types_are_those_of_the_library() -> None:
    assert dict(TYPES) == {kind.value: (kind.name, *gguf.GGML_QUANT_SIZES[kind]) for kind in gguf.GGMLQuantizationType}


def test_the_header_is_what_the_library_reads() -> None:
    written()
    found, reader = header(FILE), gguf.GGUFReader(FILE)
    assert {
        name: (tensor.kind, tensor.shape, tensor.begin, tensor.end - tensor.begin)
        for name, tensor in found.tensors.items()
    } == {
        each.name: (each.tensor_type.name, tuple(reversed(each.shape.tolist())), each.data_offset, each.n_bytes)
        for each in reader.tensors
    }
    assert found.facts["general.architecture"] == "wan"
    assert found.facts["general.quantization_version"] == 2
    assert (found.facts["a.float"], found.facts["a.bool"]) == (0.5, True)
    assert "a.list" not in found.facts


def test_a_file_that_ends_before_its_tensors_do_is_refused_wherever_it_ends() -> None:
    whole = written()
    end = max(tensor.end for tensor in header(FILE).tensors.values())
    for length in range(0, end, 7):
        FILE.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut short|should have|no GGUF"):
            header(FILE)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\3\4 and so on", "no GGUF file"),
        (b"GGUF" + struct.pack("<I", 1), "version 1"),
        (b"GGUF" + struct.pack(">I", 3), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 2**63), "cut short"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**63), "cut short"),
        (b"GGUF" + struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"a", 77), "damaged"),
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"a", 9, 8, 2**62), "cut short"),
        (b"GGUF" + struct.pack("<IQQQ1sI", 3, 1, 0, 1, b"a", 99), "99 sides"),
        (b"GGUF" + struct.pack("<IQQQ1sIQIQ", 3, 1, 0, 1, b"a", 1, 32, 500, 0), "type 500"),
        (b"GGUF" + struct.pack("<IQQQ1sIQIQ", 3, 1, 0, 1, b"a", 1, 31, 2, 0), "whole number of pieces"),
        (b"GGUF" + struct.pack("<IQQQ1sIQIQ", 3, 1, 0, 1, b"a", 1, 2**62, 0, 0), "should have"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q17sII", 17, b"general.alignment", 4, 3), "alignment"),
    ],
)
def test_what_is_damaged_or_made_to_mislead_is_refused(content: bytes, said: str) -> None:
    FILE.write_bytes(content)
    with pytest.raises(ValueError, match=said):
        header(FILE)


def test_two_tensors_of_one_name_are_refused() -> None:
    one = struct.pack("<Q1sIQIQ", 1, b"a", 1, 1, 0, 0)
    FILE.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2, 0) + one + one + bytes(64))
    with pytest.raises(ValueError, match="one name"):
        header(FILE)


def test_it_is_read_without_the_libraries_that_use_it() -> None:
    stored.write(FILE, {"blocks.0.weight": torch.ones(2, 32)})
    told = "import sys; from pathlib import Path; from vidgen.core.gguf import header; header(Path('x.gguf'))"
    code = f"{told}; sys.exit(bool({{'gguf', 'numpy', 'torch'}} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
