"""The error tree: every error is of kairos and of the fitting built-in, whatever a driver raised."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from kairos import exceptions
from kairos.exceptions import KairosException, UnknownOutcome, unknown_outcome

BUILTINS = {
    "InvalidValue": ValueError,
    "InvalidType": TypeError,
    "InvalidInterval": ValueError,
    "MissingStep": (ValueError, KeyError),
    "UnknownInterval": KeyError,
    "UnknownTransform": (ValueError, KeyError),
    "TooManyBuckets": ValueError,
    "UnsupportedClient": ImportError,
    "UnsupportedType": NotImplementedError,
    "DamagedData": ValueError,
    "UnknownOutcome": Exception,
}


def test_every_error_is_listed() -> None:
    classes = {
        name
        for name, its in vars(exceptions).items()
        if isinstance(its, type) and issubclass(its, KairosException)
    }
    assert classes == {"KairosException", *BUILTINS}


@pytest.mark.parametrize("name", BUILTINS)
def test_error(name: str) -> None:
    error = getattr(exceptions, name)("what is 'wrong'\nand where")
    assert isinstance(error, KairosException)
    builtins = BUILTINS[name]
    for builtin in builtins if isinstance(builtins, tuple) else (builtins,):
        assert isinstance(error, builtin)
    # KeyError alone would show the repr.
    assert str(error) == "what is 'wrong'\nand where"
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is type(error)
    assert copied.args == error.args


class Demanding(ConnectionError):
    """An error of a driver, whose constructor wants more than a message."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code

    def __str__(self) -> str:
        """Tell the code as well."""
        return f"{self.args[0]} ({self.code})"


class Slotted(Exception):
    """An error that keeps its attributes in slots."""

    __slots__ = ("code",)


@pytest.mark.parametrize(
    "error",
    [
        Demanding("gone", code=5),
        KeyError("gone"),
        OSError(104, "gone"),
        TimeoutError("gone"),
        Slotted("gone"),
    ],
)
def test_unknown_outcome(error: Any) -> None:
    unknown = unknown_outcome(error, "an insert")
    assert isinstance(unknown, UnknownOutcome)
    assert isinstance(unknown, type(error))
    assert type(unknown).__name__ == f"UnknownOutcome{type(error).__name__}"
    assert str(unknown).startswith("the answer to an insert was lost, so it was applied once or not at all:")
    assert "gone" in str(unknown)
    assert getattr(unknown, "code", 5) == getattr(error, "code", 5)
    assert type(unknown_outcome(error, "another")) is type(unknown)
    # Told once is enough.
    assert unknown_outcome(unknown, "all of it") is unknown
    copied = pickle.loads(pickle.dumps(unknown))
    assert type(copied) is type(unknown)
    assert (str(copied), copied.__dict__) == (str(unknown), unknown.__dict__)


class Last(Exception):
    """An error that nothing may derive from."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        raise TypeError("nothing derives from Last")


def test_unknown_outcome_of_a_class_that_nothing_derives_from() -> None:
    unknown = unknown_outcome(Last("gone"), "an insert")
    assert type(unknown) is UnknownOutcome
    assert str(unknown).endswith(": gone")
