"""Pieces that the parts of the page share: escaped words, tables, marks and strips of pictures."""

from __future__ import annotations

import html
from collections.abc import Collection, Sequence
from typing import Final

from cloister.partition.assess.attack import Examples
from cloister.partition.assess.png import data_url, strip
from cloister.partition.report import Measure

__all__ = ["escaped", "mark", "measures_table", "picture", "strips", "table"]

_SIDE: Final = 96
_SMALL: Final = 48
_SHOWN: Final = 8


def escaped(text: str) -> str:
    """Return words as text of the page, whatever they are; control characters are replaced."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return html.escape(plain, quote=True)


def mark(verdict: str, words: str) -> str:
    """Return words on the colour of a verdict."""
    return f'<span class="mark {escaped(verdict)}">{escaped(words)}</span>'


def table(
    caption: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: Collection[int] = (),
) -> str:
    """Return a table whose first column heads its rows; cells are escaped here."""
    top = "".join(
        f'<th scope="col"{" class=n" if i in numbers else ""}>{escaped(head)}</th>'
        for i, head in enumerate(heads)
    )
    lines = []
    for row in rows:
        cells = "".join(
            f"<td{' class=n' if i in numbers else ' class=words'}>{escaped(cell)}</td>"
            for i, cell in enumerate(row)
            if i
        )
        lines.append(f'<tr><th scope="row">{escaped(row[0])}</th>{cells}</tr>')
    return (
        f'<div class="scroll" tabindex="0"><table><caption>{escaped(caption)}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def measures_table(measures: Sequence[Measure], caption: str) -> str:
    """Return every number of a cut or a pair."""
    heads = (
        "attack",
        "knows",
        "metric",
        "worst tenth",
        "95 % interval",
        "mean",
        "examples",
        "steps",
        "",
    )
    rows = [
        (
            m.attack,
            m.knows,
            m.metric,
            f"{m.worst_decile:.3g}",
            f"{m.low:.3g} to {m.high:.3g}",
            f"{m.mean:.3g}",
            f"{m.examples}",
            f"{m.steps}",
            "" if m.complete else "cut short",
        )
        for m in measures
    ]
    return table(caption, heads, rows, numbers=range(3, 8))


def strips(
    examples: Examples,
    *,
    first: str = "originals",
    second: str = "reconstructions",
    about: str,
) -> str:
    """Return originals above what was made of them, each a picture with a text in its place."""
    return (
        '<div class="strips">'
        f'<span class="name">{escaped(first)}</span>{picture(examples.originals, first, about)}'
        f'<span class="name">{escaped(second)}</span>'
        f"{picture(examples.reconstructions, second, about)}</div>"
    )


def picture(images: object, what: str, about: str) -> str:
    """Return images side by side as one picture."""
    import numpy as np  # noqa: PLC0415  # typed as what examples hold

    shown = np.asarray(images)[:_SHOWN]
    drawn = strip(shown, side=_SIDE)
    small = "small " if max(shown.shape[1:3]) <= _SMALL else ""
    alt = escaped(f"{len(shown)} images, {what}: {about}")
    return (
        f'<img class="{small}n{len(shown)}" alt="{alt}" width="{drawn.shape[1]}" '
        f'height="{drawn.shape[0]}" loading="lazy" src="{data_url(drawn)}">'
    )
