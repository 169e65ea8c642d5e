"""The errors that kairos raises by itself.

Each derives from :class:`KairosException` and from the built-in that fits it, so both
``except KairosException`` and ``except ValueError`` do what they say. Errors of the drivers (a refused
connection, a read-only replica) are not wrapped; see :class:`UnknownOutcome` for the one exception.
"""

from __future__ import annotations

from typing import Any, Final


class KairosException(Exception):
    """Be the base of every error that kairos raises by itself."""

    # KeyError would print the repr of the message.
    __str__ = Exception.__str__


class InvalidValue(KairosException, ValueError):
    """Tell that an argument has a value that cannot be used; nothing was written."""


class InvalidType(KairosException, TypeError):
    """Tell that an argument is of a type that cannot be used, or unknown; nothing was written."""


class InvalidInterval(InvalidValue):
    """Tell that the configuration of an interval cannot be used."""


class MissingStep(InvalidInterval, KeyError):
    """Tell that the configuration of an interval has no ``step``."""


class UnknownInterval(KairosException, KeyError):
    """Tell that an interval is not part of this series."""


class UnknownTransform(InvalidValue, KeyError):
    """Tell that no type has a transform of that name."""


class TooManyBuckets(InvalidValue):
    """Tell that a range holds too many buckets to be built in memory at once."""


class UnsupportedClient(KairosException, ImportError):
    """Tell that a client or URL belongs to no known backend, or that its driver is missing."""


class UnsupportedType(KairosException, NotImplementedError):
    """Tell that the backend has no such type of series, or the store lacks an ability."""


class DamagedData(KairosException, ValueError):
    """Tell that what lies in the store is not what a series of this type keeps there."""


class UnknownOutcome(KairosException):
    """Tell that a write was sent and its answer was lost: it was applied once, or not at all.

    kairos never repeats such a write by itself, since that could count it twice. What is raised derives
    from the driver's own error as well, so handlers of that one still work. A caller who must know may
    repeat the insert under the same ``id``.
    """

    def __reduce__(self) -> Any:
        # Classes that were made on the way are made again in the process that the error goes to.
        kind = type(self)
        if kind is UnknownOutcome:
            return super().__reduce__()
        return _blend, (kind.__bases__[1], *self.args, self.__dict__)


#: A driver's class to the one of errors that are both that and an :class:`UnknownOutcome`.
_BLENDS: Final[dict[type[BaseException], type[UnknownOutcome]]] = {}


def _blend_of(kind: type[BaseException]) -> type[UnknownOutcome]:
    """Return the class of errors that are both an :class:`UnknownOutcome` and of a driver's class."""
    found = _BLENDS.get(kind)
    if found is None:
        try:
            found = type(f"UnknownOutcome{kind.__name__}", (UnknownOutcome, kind), {})
        except TypeError:  # there are classes that nothing may derive from
            found = UnknownOutcome
        _BLENDS[kind] = found
    return found


def _blend(kind: type[BaseException], message: str, state: dict[str, Any]) -> UnknownOutcome:
    # The constructors of drivers differ in what they demand; handlers of their errors read the attributes.
    both = _blend_of(kind)
    mixed = both.__new__(both, message)
    mixed.__dict__.update(state)
    mixed.args = (message,)
    return mixed


def unknown_outcome(error: BaseException, what: str) -> UnknownOutcome:
    """Make an error that is both an :class:`UnknownOutcome` and of the driver's own class.

    :param error: what the driver raised.
    :param what: the work whose outcome is unknown, for the message.
    :returns: an exception to be raised ``from error``.
    """
    if isinstance(error, UnknownOutcome):
        return error
    message = f"the answer to {what} was lost, so it was applied once or not at all: {error}"
    return _blend(type(error), message, error.__dict__)
