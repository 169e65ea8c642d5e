"""Keys, escaped text, dates and numbers as MongoDB holds them."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from bson import CodecOptions, ObjectId
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from hypothesis import given
from hypothesis import strategies as st

from kairos.exceptions import DamagedData, InvalidType, InvalidValue
from kairos.mongo_values import Codec, as_date, as_number, as_plain, check_text, copy_value

CODECS = [Codec("\uffff"), Codec("\ufffe"), Codec("_"), Codec("e")]

#: Texts in which all that has a meaning is frequent.
texts = st.text(
    st.one_of(st.sampled_from(".$\0\uffff\ufffeesd0n_5"), st.characters(exclude_categories=["Cs"])),
    max_size=12,
)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: ascii(codec.escape))
@given(texts)
def test_a_key_is_one_component_of_a_path_and_reads_as_its_text(codec: Codec, text: str) -> None:
    key = codec.key(text)
    assert key
    assert "." not in key
    assert "\0" not in key
    assert not key.startswith("$")
    assert codec.text(key) == text


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: ascii(codec.escape))
@given(st.lists(texts, unique=True, max_size=30))
def test_two_texts_never_share_a_key(codec: Codec, some: list[str]) -> None:
    assert len({codec.key(text) for text in some}) == len(some)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: ascii(codec.escape))
@given(texts)
def test_a_text_value_reads_as_itself(codec: Codec, text: str) -> None:
    assert codec.restored(codec.value(text)) == text


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("3", "3"),
        ("2.5", "2\uffff5"),
        ("a.b.c", "a\uffffb\uffffc"),
        ("café", "café"),
        ("a$b", "a$b"),
    ],
)
def test_what_the_original_could_write_is_written_alike(text: str, key: str) -> None:
    assert CODECS[0].key(text) == key


@pytest.mark.parametrize(
    ("stored", "value"),
    [
        ("2\uffff5", 2.5),
        ("-0\uffff125", -0.125),
        ("1\uffff5e-07", 1.5e-07),
        ("1\uffff5e+15", 1.5e15),
        ("3\uffff0", 3.0),
        ("0\uffff1", 0.1),
        ("123456789012\uffff0", 123456789012.0),
        # No float is spelled like these.
        ("01\uffff5", "01.5"),
        ("2\uffff50", "2.50"),
        ("1\uffff2\uffff3", "1.2.3"),
        ("a\uffffb", "a.b"),
        (" 2\uffff5", " 2.5"),
        # These were never escaped.
        ("2.5", "2.5"),
        ("1e+22", "1e+22"),
        ("", ""),
        (7, 7),
        (None, None),
    ],
)
def test_what_the_original_escaped_is_restored(stored: Any, value: Any) -> None:
    restored = CODECS[0].restored(stored)
    assert restored == value
    assert type(restored) is type(value)


def test_whole_numbers_of_64_bits_read_as_plain_ones() -> None:
    assert type(CODECS[0].restored(Int64(2**40))) is int
    assert type(as_number(Int64(2**40))) is int


@pytest.mark.parametrize(("stored", "number"), [(3, 3), (2.5, 2.5), (3.0, 3), (-1, -1)])
def test_numbers_are_whole_where_they_can_be(stored: Any, number: Any) -> None:
    assert as_number(stored) == number
    assert type(as_number(stored)) is type(number)


@pytest.mark.parametrize(
    "stored", ["3", None, True, float("nan"), float("inf"), [1], {"a": 1}, Decimal(1)]
)
def test_what_is_no_number_is_damage(stored: Any) -> None:
    with pytest.raises(DamagedData, match="a number was expected"):
        as_number(stored)


def test_dates_reach_beyond_python() -> None:
    assert as_date(0) == datetime(1970, 1, 1, tzinfo=timezone.utc)
    assert as_date(-1) == datetime(1969, 12, 31, 23, 59, 59, tzinfo=timezone.utc)
    assert as_date(10**12) == DatetimeMS(10**15)
    with pytest.raises(InvalidValue, match="out of the range"):
        as_date(10**17)


class _Color(str, Enum):
    RED = "red"


class _Level(int, Enum):
    HIGH = 3


@pytest.mark.parametrize(("value", "plain"), [(_Color.RED, "red"), (_Level.HIGH, 3), (1.5, 1.5)])
def test_subclasses_are_stored_as_what_they_are(value: Any, plain: Any) -> None:
    assert as_plain(value) == plain
    assert type(as_plain(value)) is type(plain)


def test_surrogates_are_no_text() -> None:
    assert check_text("é\uffff") == "é\uffff"
    with pytest.raises(InvalidValue, match="cannot be encoded"):
        check_text("\ud800")


OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions()


@pytest.mark.parametrize(
    "value", [{"a": [1, {"b": None}]}, ObjectId(), b"\xff", datetime(2020, 1, 1)]
)
def test_what_bson_holds_is_copied(value: Any) -> None:
    copy = copy_value(value, OPTIONS)
    assert copy == value
    assert copy is not value or not isinstance(value, dict)


@pytest.mark.parametrize("value", [object(), 1j, Decimal("1.5"), {1: 2}, [object()]])
def test_what_bson_has_no_type_for_is_refused(value: Any) -> None:
    with pytest.raises(InvalidType, match="MongoDB cannot hold"):
        copy_value(value, OPTIONS)


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize("value", [{"a": 2**63}, {"a": "\ud800"}, LOOP])
def test_what_bson_cannot_represent_is_refused(value: Any) -> None:
    with pytest.raises(InvalidValue, match="MongoDB cannot hold"):
        copy_value(value, OPTIONS)
