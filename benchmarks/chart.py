"""Draw results as a chart: how long others take for what kairos does, on one scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import log10
from typing import Final

from .harness import Figures, Result, Role

_ROW: Final = 18
_LEFT: Final = 250
_RIGHT: Final = 30
_TOP: Final = 64
_WIDTH: Final = 900
#: The scale reaches from a fraction of kairos's time to a multiple of it.
_LEAST: Final = 0.1
_MOST: Final = 1000.0
_TICKS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

_COLOURS: Final[dict[Role, str]] = {
    "optimum": "#1f6fb4",
    "instead": "#2c8a4b",
    "original": "#c2452d",
}
_LABELS: Final[dict[Role, str]] = {
    "optimum": "best code by hand, same client",
    "instead": "whisper, rrdtool, sqlite3",
    "original": "the original kairos",
}


def _x(ratio: float) -> float:
    """Return where a multiple of kairos's time lies."""
    share = log10(min(max(ratio, _LEAST), _MOST) / _LEAST) / log10(_MOST / _LEAST)
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _mark(role: Role, x: float, y: float, title: str) -> str:
    colour = _COLOURS[role]
    shapes = {
        "optimum": f'<circle cx="{x:.1f}" cy="{y}" r="5"',
        "instead": f'<path d="M{x:.1f} {y - 6} l6 6 l-6 6 l-6 -6 z"',
        "original": f'<rect x="{x - 4.5:.1f}" y="{y - 4.5}" width="9" height="9"',
    }
    return f'{shapes[role]} fill="{colour}"><title>{escape(title)}</title></{shapes[role].split()[0][1:]}>'


def _others(result: Result) -> Iterator[tuple[Role, Figures]]:
    if result.optimum is not None:
        yield "optimum", result.optimum
    for figures in result.figures.values():
        if figures.contender.role in ("instead", "original"):
            yield figures.contender.role, figures


def chart(results: Sequence[Result]) -> str:
    """Return a chart as SVG: a row for each job, a mark for each other one, kairos as the line at 1."""
    shown = [result for result in results if any(True for _ in _others(result))]
    height = _TOP + _ROW * len(shown) + 30
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    title = "Time that others take, as a multiple of kairos's time for the same job"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="16" font-size="13" fill="#222222">{title}</text>',
    ]
    x: float = _LEFT
    for role, label in _LABELS.items():
        parts.append(_mark(role, x + 5, 32, label))
        parts.append(f'<text x="{x + 16}" y="36" fill="#222222">{escape(label)}</text>')
        x += 210
    bottom = _TOP + _ROW * len(shown)
    for tick in _TICKS:
        colour, width = ("#222222", 1.5) if tick == 1 else ("#dddddd", 1)
        parts.append(
            f'<path d="M{_x(tick):.1f} {_TOP - 8} V{bottom}" stroke="{colour}" stroke-width="{width}"/>'
        )
        parts.append(
            f'<text x="{_x(tick):.1f}" y="{_TOP - 12}" text-anchor="middle" fill="#555555">{tick:g}x</text>'
        )
    for index, result in enumerate(shown):
        y = _TOP + _ROW * index + _ROW // 2
        parts.append(
            f'<text x="{_LEFT - 10}" y="{y + 4}" text-anchor="end" fill="#222222">'
            f"{escape(result.job.name)}</text>"
        )
        for role, figures in _others(result):
            ratio = 1 / result.kairos.ratio(figures).median
            title = f"{result.job.name}: {figures.contender.what}, {ratio:.2f}x"
            parts.append(_mark(role, _x(ratio), y, title))
    note = "right of the line: slower than kairos; marks at the edge lie beyond it"
    parts.append(f'<text x="{_LEFT}" y="{bottom + 20}" fill="#555555">{note}</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"
