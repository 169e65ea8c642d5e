"""Package kairos: ``pip install .``, ``python -m build``."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent


def read_version() -> str:
    """Return the version that the package itself states."""
    source = (HERE / "kairos" / "__init__.py").read_text(encoding="utf-8")
    return str(re.findall(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)[0])


def read_requirements() -> dict[str, str]:
    """Return the lines of requirements.pip by the names of the distributions, in lower case."""
    lines = (HERE / "requirements.pip").read_text(encoding="utf-8").splitlines()
    return {re.split(r"[\[<>=]", line)[0].lower(): line for line in lines if line[0] != "#"}


drivers = read_requirements()
extras = {
    "redis": [drivers["redis"]],
    "valkey": [drivers["valkey"]],
    "mongo": [drivers["pymongo"]],
    "sql": [drivers["sqlalchemy"]],
    "postgresql": [drivers["sqlalchemy"], drivers["psycopg"]],
    "mysql": [drivers["sqlalchemy"], drivers["pymysql"]],
}
extras["all"] = sorted(set(chain.from_iterable(extras.values())))

setup(
    name="kairos",
    version=read_version(),
    description="Time series in Redis, MongoDB or a SQL database, with one API",
    long_description=(HERE / "README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    author="the kairos authors",
    license="BSD-3-Clause",
    license_files=["LICENSE.txt"],
    keywords="time series statistics redis mongodb sql rrd histogram gevent",
    packages=["kairos"],
    package_data={"kairos": ["py.typed"]},
    python_requires=">=3.10",
    extras_require=extras,
    zip_safe=False,
    classifiers=[
        "Development Status :: 5 - Production/Stable",
        "Intended Audience :: Developers",
        "License :: OSI Approved :: BSD License",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Database",
        "Topic :: System :: Monitoring",
        "Typing :: Typed",
    ],
)
