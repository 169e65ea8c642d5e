"""Which backend serves which client: by the client's top-level module, or by the scheme of a URL.

Backends are named as text (``'package.module:Class'``) and imported when a client or URL of theirs
arrives, so no driver is imported before it is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module
from typing import Any, Final

from .exceptions import InvalidValue, UnsupportedClient

#: Top-level module of a client, or scheme of a URL, to the backend class.
_BACKENDS: Final[dict[str, str]] = {}
_ENTRY_POINTS: Final = "kairos.backends"


def register_backend(key: str, target: str) -> None:
    """Let a backend serve clients of a module, or URLs of a scheme.

    :param key: the top-level module of the client's class (or of one of its bases), or the scheme.
    :param target: ``'package.module:Class'``; the class derives from :class:`kairos.Backend`. It is
        imported when the first such client or URL arrives.
    :raises InvalidValue: when the key is taken by another backend, or the target is not of that form.

    A distribution may do the same without code, by an entry point in the group ``kairos.backends`` whose
    name is the key and whose value is the target.
    """
    if not re.fullmatch(r"[\w.]+:\w+", target):
        raise InvalidValue(f"backend {target!r} is not of the form 'package.module:Class'")
    if _BACKENDS.setdefault(key, target) != target:
        raise InvalidValue(f"backend {target!r}: {key!r} is already served by {_BACKENDS[key]!r}")


for _key in ("redis", "rediss", "unix", "valkey", "valkeys", "redis+cluster", "rediss+cluster"):
    register_backend(_key, "kairos.redis_backend:RedisBackend")
for _key in ("redis+sentinel", "rediss+sentinel", "valkey+cluster", "valkeys+cluster"):
    register_backend(_key, "kairos.redis_backend:RedisBackend")
for _key in ("pymongo", "mongodb", "mongodb+srv"):
    register_backend(_key, "kairos.mongo_backend:MongoBackend")
register_backend("sqlalchemy", "kairos.sql_backend:SqlBackend")

#: Every URL with a scheme of nobody else's may be one of SQLAlchemy's many dialects.
_ANY_URL: Final = "kairos.sql_backend:SqlBackend"

#: What to install for each backend that kairos brings.
_EXTRAS: Final = {
    "kairos.redis_backend": "redis",
    "kairos.mongo_backend": "mongo",
    "kairos.sql_backend": "sql",
}
_SUPPORTED: Final = (
    "supported are clients of redis, valkey, pymongo (MongoClient, Database) and SQLAlchemy (Engine), and "
    "URLs such as redis://, valkey://, mongodb://, sqlite://, postgresql+psycopg:// and mysql+pymysql://"
)


#: Whether the entry points of installed distributions have been added to the backends.
_scanned = False


def hide_password(url: str) -> str:
    """Return a URL that is fit for a message: a password may hold any sign, and lie in the query too."""
    url = re.sub(r"//.*@", "//***@", url, flags=re.DOTALL)
    return re.sub(r"([?&][\w.-]+=)[^&]*", r"\1***", url)


def _scan() -> None:
    """Add the backends of installed distributions, once; what was registered by code goes before."""
    global _scanned
    from importlib.metadata import entry_points  # slow to import, and seldom needed

    for point in entry_points(group=_ENTRY_POINTS):
        _BACKENDS.setdefault(point.name, point.value)
    _scanned = True


def _find(keys: Iterable[str]) -> str | None:
    """Return the target of the first key that has one."""
    for key in keys:
        if key not in _BACKENDS and not _scanned:
            _scan()
        if key in _BACKENDS:
            return _BACKENDS[key]
    return None


def find_backend(client: Any) -> type[Any]:
    """Return the backend class for a client or a URL.

    :raises UnsupportedClient: when there is none, or its driver cannot be imported.
    """
    if isinstance(client, str):
        scheme, separator, _ = client.partition("://")
        shown = repr(hide_password(client))
        target = (_find([scheme.lower()]) or _ANY_URL) if separator else None
    else:
        shown = f"a client of type {type(client).__module__}.{type(client).__qualname__}"
        target = _find(kind.__module__.partition(".")[0] for kind in type(client).__mro__)
    if target is None:
        raise UnsupportedClient(f"{shown} is not supported: {_SUPPORTED}")
    module, _, name = target.partition(":")
    try:
        backend: type[Any] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        extra = _EXTRAS.get(module)
        hint = f"pip install kairos[{extra}]" if extra else f"it is served by {target}"
        raise UnsupportedClient(
            f"{shown} needs what is missing ({error}): {hint}; {_SUPPORTED}"
        ) from error
    return backend
