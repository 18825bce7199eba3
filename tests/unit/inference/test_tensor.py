"""Tensors from bytes and JSON, and what is refused."""

import numpy as np
import pytest

from cloister.errors import MalformedError
from cloister.inference.tensor import (
    DATATYPES,
    TensorSpec,
    datatype_of,
    from_binary,
    from_json,
    read_shape,
    require_fits,
    to_binary,
    to_json,
)


def spec(datatype: str, *shape: int) -> TensorSpec:
    return TensorSpec("t", datatype, shape)


@pytest.mark.spec("SRV-20")
@pytest.mark.parametrize("datatype", DATATYPES)
def test_datatypes_have_one_name_each(datatype: str) -> None:
    """A numpy type in either byte order is named, and its binary form is little-endian."""
    dtype = DATATYPES[datatype]
    assert datatype_of(dtype) == datatype
    assert datatype_of(dtype.newbyteorder(">")) == datatype
    array = np.array([0, 1], dtype=dtype.newbyteorder(">"))
    data = to_binary(array, datatype)
    again = from_binary(memoryview(data), spec=spec(datatype, 2), shape=(2,))
    assert again.tolist() == array.tolist()


@pytest.mark.spec("SRV-20")
@pytest.mark.parametrize("dtype", ["S4", "U4", "complex64", "O", "datetime64[s]"])
def test_other_types_are_not_supported(dtype: str) -> None:
    """Texts, objects and complex numbers have no place here."""
    with pytest.raises(MalformedError) as caught:
        datatype_of(np.dtype(dtype))
    assert caught.value.code == "model.malformed"


@pytest.mark.spec("SRV-21")
@pytest.mark.parametrize(
    "shape",
    [None, 3, "2", [1] * 9, [-1], [1.0], [True], ["1"], [2**31], [2**16, 2**16], {}],
)
def test_impossible_shapes_are_refused(shape: object) -> None:
    """Negative, huge, fractional and overlong shapes are no shapes."""
    with pytest.raises(MalformedError) as caught:
        read_shape(shape, name="t")
    assert caught.value.code == "message.malformed"


@pytest.mark.spec("SRV-21")
def test_only_what_the_model_takes_fits() -> None:
    """Datatype and every axis must be the model's; an open axis takes any size from one."""
    wanted = spec("FP32", -1, 8)
    require_fits(wanted, "FP32", (5, 8))
    for datatype, shape in [("FP64", (5, 8)), ("FP32", (0, 8)), ("FP32", (5, 7)),
                            ("FP32", (8,)), ("FP32", (1, 5, 8)), (None, (5, 8))]:  # fmt: skip
        with pytest.raises(MalformedError) as caught:
            require_fits(wanted, datatype, shape)
        assert caught.value.code == "message.malformed"


@pytest.mark.spec("SRV-22")
@pytest.mark.parametrize(
    ("datatype", "shape", "data"),
    [
        ("FP32", (2,), bytes(7)),
        ("FP32", (2,), bytes(9)),
        ("FP32", (1,), b""),
        ("BOOL", (2,), b"\x01\x02"),
    ],
)
def test_binary_data_of_another_length_is_refused(
    datatype: str, shape: tuple[int, ...], data: bytes
) -> None:
    """Neither padding nor cutting happens, and a BOOL is 0 or 1."""
    with pytest.raises(MalformedError) as caught:
        from_binary(memoryview(data), spec=spec(datatype, *shape), shape=shape)
    assert caught.value.code == "message.malformed"


@pytest.mark.spec("SRV-23")
def test_json_data_is_flat_or_of_the_shape() -> None:
    """Both spellings give one array."""
    for data in ([1, 2, 3, 4], [[1, 2], [3, 4]]):
        array = from_json(data, spec=spec("INT32", 2, 2), shape=(2, 2))
        assert array.tolist() == [[1, 2], [3, 4]]
        assert array.dtype == np.int32
    assert from_json([], spec=spec("INT32", 0, 2), shape=(0, 2)).shape == (0, 2)


@pytest.mark.spec("SRV-23")
@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("FP32", [1, 2, 3]),
        ("FP32", [1, 2, 3, 4, 5]),
        ("FP32", [[1, 2, 3], [4]]),
        ("FP32", [[1, 2], 3, 4]),
        ("FP32", [[1, 2], [[3], [4]]]),
        ("FP32", [[[1, 2], [3, 4]]]),
        ("FP32", {"0": 1}),
        ("FP32", "1234"),
        ("FP32", None),
        ("FP32", [1, 2, 3, "4"]),
        ("FP32", [1, 2, 3, None]),
        ("FP32", [1, 2, 3, True]),
        ("FP32", [1, 2, 3, 1e39]),
        ("FP32", [1, 2, 3, 10**400]),
        ("FP64", [1, 2, 3, float("inf")]),
        ("FP16", [1, 2, 3, 4]),
        ("INT32", [1, 2, 3, 4.0]),
        ("INT32", [1, 2, 3, 2**31]),
        ("UINT8", [1, 2, 3, -1]),
        ("UINT8", [1, 2, 3, 256]),
        ("BOOL", [True, False, True, 1]),
    ],
)
def test_json_data_that_is_not_the_tensor_is_refused(datatype: str, data: object) -> None:
    """Wrong count, shape, kind or range; nothing is rounded into place."""
    with pytest.raises(MalformedError) as caught:
        from_json(data, spec=spec(datatype, 2, 2), shape=(2, 2))
    assert caught.value.code == "message.malformed"


@pytest.mark.spec("SRV-23")
@pytest.mark.parametrize("data", [[[1]], [[]], [[[1]]], [1, [2]], [1, 2], []])
def test_one_number_has_no_lists_in_its_list(data: object) -> None:
    """A tensor without axes is one number in a flat list, and no other."""
    assert from_json([7], spec=spec("FP32"), shape=()).tolist() == 7
    with pytest.raises(MalformedError) as caught:
        from_json(data, spec=spec("FP32"), shape=())
    assert caught.value.code == "message.malformed"


@pytest.mark.spec("SRV-24")
@pytest.mark.parametrize(
    ("datatype", "values"), [("FP32", [np.nan]), ("FP64", [np.inf]), ("FP16", [1.0])]
)
def test_what_json_cannot_say_is_refused(datatype: str, values: list[float]) -> None:
    """Not finite, or of a type without a JSON form: binary is the way."""
    with pytest.raises(MalformedError) as caught:
        to_json(np.array(values, dtype=DATATYPES[datatype]), datatype, name="t")
    assert "binary_data" in caught.value.public


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype="<f4").reshape(2, 3),
        np.arange(6, dtype="<f4").reshape(2, 3).T,
        np.arange(6, dtype=">f4"),
        np.zeros((2, 0), "<f4"),
        np.array(3, "<f4"),
    ],
)
def test_a_tensor_is_copied_only_where_it_must_be(array: np.ndarray) -> None:
    """Row-major little-endian bytes, those of the array itself where it has them."""
    data = to_binary(array, "FP32")
    assert bytes(data) == np.asarray(array).astype("<f4").tobytes()
    whole = np.asarray(array)
    plain = whole.flags.c_contiguous and whole.dtype.isnative and whole.size > 0
    assert np.shares_memory(np.frombuffer(data, np.uint8), whole) == plain
