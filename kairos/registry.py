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

#: What to install for a client of a module, or a URL of a scheme, by how its name begins.
_EXTRAS: Final = {
    "redis": "redis",
    "unix": "redis",
    "valkey": "valkey",
    "mongodb": "mongo",
    "pymongo": "mongo",
    "postgresql": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
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


def _shown(client: Any) -> str:
    """Return what a message says of a client or a URL."""
    if isinstance(client, str):
        return repr(hide_password(client))
    return f"a client of type {type(client).__module__}.{type(client).__qualname__}"


def _keys(client: Any) -> list[str]:
    """Return the keys by which a client or a URL may be registered, the most telling one first."""
    if isinstance(client, str):
        scheme, separator, _ = client.partition("://")
        return [scheme.lower()] if separator else []
    return [kind.__module__.partition(".")[0] for kind in type(client).__mro__]


def missing_driver(client: Any, error: Exception) -> UnsupportedClient:
    """Return the error for a client or a URL whose backend, or its driver, cannot be imported."""
    keys = _keys(client)
    served = _find(keys) or _ANY_URL
    if served.startswith("kairos."):
        extras = (extra for key in keys for start, extra in _EXTRAS.items() if key.startswith(start))
        hint = f"pip install kairos[{next(extras, 'sql')}]"
    else:
        hint = f"it is served by {served}"
    return UnsupportedClient(f"{_shown(client)} needs what is missing ({error}): {hint}; {_SUPPORTED}")


def find_backend(client: Any) -> type[Any]:
    """Return the backend class for a client or a URL.

    :raises UnsupportedClient: when there is none, or it cannot be imported.
    """
    keys = _keys(client)
    target = _find(keys)
    if target is None:
        if not keys or not isinstance(client, str):
            raise UnsupportedClient(f"{_shown(client)} is not supported: {_SUPPORTED}")
        target = _ANY_URL
    module, _, name = target.partition(":")
    try:
        backend: type[Any] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise missing_driver(client, error) from error
    return backend
