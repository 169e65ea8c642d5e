"""Values as MongoDB holds them: keys of subdocuments, text that the original escaped, dates and numbers."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from math import isfinite
from typing import Any, Final

import bson
from bson import CodecOptions
from bson.datetime_ms import DatetimeMS
from bson.errors import BSONError, InvalidDocument
from bson.int64 import Int64

from .exceptions import DamagedData, InvalidType, InvalidValue
from .types import LIMIT

EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


def as_date(seconds: int) -> datetime | DatetimeMS:
    """Return Unix seconds as BSON's date, which reaches further than Python's.

    :raises InvalidValue: when even that does not reach so far.
    """
    try:
        return EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        milliseconds = seconds * 1000
        if -LIMIT <= milliseconds < LIMIT:
            return DatetimeMS(milliseconds)
        raise InvalidValue(f"timestamp {seconds} is out of the range of MongoDB's dates") from None


def as_number(stored: Any) -> int | float:
    """Return a stored number as an int where it is whole, else as a float.

    :raises DamagedData: when it is no finite number.
    """
    kind = type(stored)
    if kind is int or kind is Int64:
        return int(stored)
    if kind is float and isfinite(stored):
        return int(stored) if stored.is_integer() else float(stored)
    raise DamagedData(f"a number was expected, not {stored!r}")


def as_plain(value: Any) -> Any:
    """Return a str, int or float of the exact type for one of a subclass, all else as it is."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    return float(value) if isinstance(value, float) else value


def check_text(value: str) -> str:
    """Return a string that can be encoded.

    :raises InvalidValue: when it holds surrogates.
    """
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidValue(f"{value!r} cannot be encoded: {error}") from error
    return value


def copy_value(value: Any, options: CodecOptions[Any]) -> Any:
    """Return a value as it would be read back; the caller may change the original before it is sent.

    :raises InvalidType: when BSON has no type for it, or for a part of it.
    :raises InvalidValue: when BSON's type cannot hold it.
    """
    try:
        return bson.decode(bson.encode({"value": value}, False, options), options)["value"]
    except (InvalidDocument, TypeError) as error:
        raise InvalidType(f"MongoDB cannot hold {value!r}: {error}") from error
    except (BSONError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidValue(f"MongoDB cannot hold {value!r}: {error}") from error


def _as_float(text: str) -> float | str:
    """Return the float that a text is the usual spelling of, today or in Python 2, or the text itself."""
    try:
        number = float(text)
    except ValueError:
        return text
    return number if text in (repr(number), f"{number:.12g}", f"{number:.12g}.0") else text


class Codec:
    """Turn text into keys of subdocuments and back, without two texts ever sharing a key.

    A '.' becomes the escape character, as the original wrote it. What the original could not write is
    marked by a second character and a letter: both characters themselves, NUL, a leading '$' and the
    empty text.

    :param escape: the escape character.
    """

    def __init__(self, escape: str) -> None:
        second = "\ufffe" if escape != "\ufffe" else "\uffff"
        self.escape, self._second = escape, second
        self._plain = {escape: f"{second}e", second: f"{second}s"}
        self._codes = self._plain | {".": escape, "\0": f"{second}0"}
        self._dollar, self._empty = f"{second}d", f"{second}n"
        self._texts = {code: text for text, code in self._codes.items()}
        self._texts |= {self._dollar: "$", self._empty: ""}
        self._marks = re.compile(f"[{re.escape(escape)}{second}]")
        self._special = re.compile(f"[.\0{re.escape(escape)}{second}]")
        self._code = re.compile(f"{second}[esd0n]|{re.escape(escape)}")

    def key(self, text: str) -> str:
        """Return the key that stands for a text."""
        if self._special.search(text):
            text = self._special.sub(lambda match: self._codes[match[0]], text)
        if not text:
            return self._empty
        return self._dollar + text[1:] if text[0] == "$" else text

    def text(self, key: str) -> str:
        """Return the text that a key stands for."""
        if self._second in key:
            return self._code.sub(lambda match: self._texts[match[0]], key)
        return key.replace(self.escape, ".")

    def value(self, text: str) -> str:
        """Return a text as a value that reads back as itself, not as what the original escaped."""
        if self._marks.search(text):
            return self._marks.sub(lambda match: self._plain[match[0]], text)
        return text

    def restored(self, value: Any) -> Any:
        """Return a value as it was before it was stored.

        The original stored floats as text with the '.' escaped, and escaped it in other text too.
        """
        if type(value) is Int64:
            return int(value)
        if type(value) is not str or not self._marks.search(value):
            return value
        text = self.text(value)
        return _as_float(text) if self.escape in self._code.findall(value) else text
