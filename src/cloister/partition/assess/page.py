"""The assessment as one HTML file: nothing is fetched, nothing runs, everything in it is escaped.

Names of layers come from the model and are words of somebody else. The page's own policy allows
pictures that stand in it and the one style sheet, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import Final

from cloister.partition.assess.attack import Examples
from cloister.partition.assess.order import default_objection, little_saved
from cloister.partition.assess.page_curves import curves_of, strongest
from cloister.partition.assess.page_cuts import cuts_of
from cloister.partition.assess.page_parts import escaped, mark, strips, table
from cloister.partition.report import LeakageReport, Measure

__all__ = ["page"]

_SECTIONS: Final = (
    ("depth", "By depth"),
    ("cuts", "Each cut"),
    ("model", "The model's side"),
    ("defences", "Defences"),
    ("limits", "What this does not say"),
    ("facts", "What was run"),
)


def page(
    report: LeakageReport,
    pictures: Mapping[str, Examples],
    remarks: Mapping[str, Sequence[str]],
    skipped: Mapping[str, str],
    *,
    stopped: bool = False,
) -> bytes:
    """Return the page, UTF-8.

    Args:
        report: What it is about.
        pictures: By names such as `cut/3/decoder/queries`; what is missing is not shown.
        remarks: Sentences of attacks, by names such as `cut/3`.
        skipped: Cuts that cannot be, and why.
        stopped: A person ended it; where it is not finished all the same, time ran out.
    """
    style = resources.files(__package__).joinpath("page.css").read_text()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'"
    title = f"What the cuts of {report.model.name} leak"
    links = "".join(f'<a href="#{name}">{words}</a>' for name, words in _SECTIONS)
    body = "".join(
        (
            '<a class="skip" href="#depth">To the curves</a>',
            '<header><p class="eyebrow">Leakage of a model in parts</p>',
            f"<h1>{escaped(title)}</h1>",
            f'<nav aria-label="Parts of this page">{links}</nav></header><main>',
            _answer(report, stopped=stopped),
            _section("depth", curves_of(report)),
            _section("cuts", cuts_of(report, pictures, remarks, skipped)),
            _section("model", _pairs(report, pictures)),
            _section("defences", _defences(report, pictures)),
            _section("limits", _notes(report)),
            _section("facts", _facts(report, stopped=stopped)),
            "</main>",
        )
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy, quote=True)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<link rel="icon" href="data:,">'
        f"<title>{escaped(title)}</title><style>{style}</style></head><body>{body}</body></html>\n"
    ).encode()


def _section(name: str, inner: str) -> str:
    words = dict(_SECTIONS)[name]
    return (
        f'<section id="{name}" aria-labelledby="h-{name}"><h2 id="h-{name}">{words}</h2>'
        f"{inner}</section>"
    )


def _answer(report: LeakageReport, *, stopped: bool) -> str:
    """The recommended cut and why, or why there is none."""
    counts = {
        verdict: sum(cut.verdict == verdict for cut in report.cuts)
        for verdict in ("safe", "undecided", "unsafe")
    }
    tally = " ".join(f"{mark(v, f'{n} {v}')}" for v, n in counts.items() if n)
    cut = None if report.recommended is None else report.cut(report.recommended)
    unfinished = _unfinished(report, stopped=stopped)
    if cut is None:
        reason = (
            "No cut was assessed."
            if not report.cuts
            else "No cut passed: every one that was assessed leaks, or could not be judged."
        )
        yet = " yet" if unfinished else ""
        return (
            '<section class="card answer none" aria-label="The answer"><div>'
            f"<h2>No cut is recommended{yet}</h2>{unfinished}<p>{reason} Serve the whole model "
            "inside the enclave, which is the default, assess with a larger budget, or try a "
            "defence.</p></div>"
            f"<dl><dt>cuts</dt><dd>{tally or 'none'}</dd></dl></section>"
        )
    share = cut.front_ms / cut.whole_ms if cut.whole_ms else 0.0
    pixels = 1
    for size in report.sample.shape:
        pixels *= size
    got = strongest(cut)
    rows = (
        ("crosses", f"{cut.values:,} numbers, of {pixels:,} in an image"),
        ("front", f"{cut.front_ms:.3g} ms of {cut.whole_ms:.3g} ms, {100 * share:.0f} %"),
        ("best attack", "none" if got is None else f"{got[0]:.2f} of the way, {escaped(got[1])}"),
        ("cuts", tally),
    )
    facts = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    saved = little_saved(report)
    little = "" if saved is None else f"<p><strong>{escaped(saved)}</strong></p>"
    refused = default_objection(report)
    which = "It is the cheapest cut that is safe and passes the default thresholds."
    if refused is not None:
        which = (
            "It is the cheapest cut that is safe; no safe cut passes the default thresholds, so a "
            f"server needs thresholds of your own. Here: {escaped(refused)}."
        )
    return (
        '<section class="card answer safe" aria-label="The answer"><div>'
        f"<h2>Cut at {cut.position}</h2>"
        f"{unfinished}{little}<p>{which} {escaped(cut.because)}</p>"
        f'<p class="quiet">What crosses: {_names(cut.tensors)}. '
        f'<a href="#cut-{cut.position}">All of its numbers</a></p></div><dl>{facts}</dl></section>'
    )


def _unfinished(report: LeakageReport, *, stopped: bool) -> str:
    """Whether it came to its end, and what kept it from that."""
    if report.budget.complete:
        return ""
    why = "Somebody stopped it" if stopped else f"Its {report.budget.seconds} s ran out"
    return (
        f"<p><strong>{why} before everything that was asked for was run.</strong> What follows is "
        "of the part that was, and a package is refused until the rest is done: --resume goes on "
        "from here.</p>"
    )


def _names(tensors: Sequence[str]) -> str:
    shown = ", ".join(f"<code>{escaped(name)}</code>" for name in tensors[:6])
    return shown + (f" and {len(tensors) - 6} more" if len(tensors) > 6 else "")  # noqa: PLR2004  # as many as fit a line


def _pairs(report: LeakageReport, pictures: Mapping[str, Examples]) -> str:
    if not report.pairs:
        return '<p class="quiet">No copies of the model were made; the notes below say why.</p>'
    made = [
        '<p class="quiet">Somebody who has the exposed part\'s weights asks a few hundred '
        "questions and trains a copy; so does somebody without any weights. With all weights "
        f"fidelity is 1, and guessing gets "
        f"{report.noise.get('fidelity', 0.0):.2f}.</p>"
    ]
    rows = [
        (
            f"{pair.front}",
            "the end" if pair.back is None else f"{pair.back}",
            _mean(pair.measures, "knock-off", "weights", "fidelity"),
            _mean(pair.measures, "knock-off", "queries", "fidelity"),
            _mean(pair.measures, "knock-off", "weights", "accuracy"),
            _mean(pair.measures, "synthesis", "weights", "accuracy"),
            _mean(pair.measures, "synthesis", "weights", "reidentified"),
        )
        for pair in report.pairs
    ]
    heads = (
        "exposed from",
        "to",
        "fidelity, with weights",
        "without any",
        "accuracy of the copy",
        "synthesised classes recognised",
        "told apart",
    )
    made.append(table("Copies and synthesised classes", heads, rows, numbers=range(2, 7)))
    shown = 0
    for pair in report.pairs:
        end = "end" if pair.back is None else pair.back
        examples = pictures.get(f"pair/{pair.front}/{end}/synthesis/weights")
        if examples is not None and shown < 4:  # noqa: PLR2004  # a few say it
            shown += 1
            made.append(
                f"<h3>Classes synthesised with what is exposed from {pair.front} to {end}</h3>"
                + strips(
                    examples,
                    first="mean image of each class",
                    second="made to please the exposed part",
                    about=f"exposed from {pair.front} to {end}",
                )
            )
    return "".join(made)


def _mean(measures: Sequence[Measure], attack: str, knows: str, metric: str) -> str:
    found = [m for m in measures if (m.attack, m.knows, m.metric) == (attack, knows, metric)]
    return f"{found[0].mean:.2f}" if found else ""


def _defences(report: LeakageReport, pictures: Mapping[str, Examples]) -> str:
    if not report.defences:
        return '<p class="quiet">None was tried.</p>'
    rows, shown = [], []
    for each in report.defences:
        gains = [m for m in each.measures if (m.attack, m.metric) == ("decoder", "ssim-gain")]
        found = [m for m in each.measures if (m.attack, m.metric) == ("decoder", "reidentified")]
        before = _before(report, each.position)
        rows.append(
            (
                each.name,
                f"{each.position}",
                f"{each.parameter:.3g}",
                f"{each.accuracy_before:.3f}",
                f"{each.accuracy_after:.3f}",
                before,
                f"{gains[0].worst_decile:.2f}" if gains else "",
                f"{found[0].mean:.2f}" if found else "",
            )
        )
        examples = pictures.get(f"defence/{each.position}/{each.name}/decoder/queries")
        if examples is not None:
            shown.append(
                f"<h3>The decoder against {escaped(each.name)}</h3>"
                + strips(examples, about=f"{each.name} at {each.position}")
            )
    heads = (
        "defence",
        "cut",
        "strength",
        "accuracy before",
        "after",
        "decoder before",
        "after",
        "re-identified",
    )
    return (
        '<p class="quiet">Each is attacked by a decoder that was trained with the defence in '
        "place. Of the decoder: the worst tenth's way from the mean image to the original.</p>"
        + table("Defences and their cost", heads, rows, numbers=range(1, 8))
        + "".join(shown)
    )


def _before(report: LeakageReport, position: int) -> str:
    cut = report.cut(position)
    found = [
        m
        for m in (() if cut is None else cut.measures)
        if (m.attack, m.knows, m.metric) == ("decoder", "queries", "ssim-gain")
    ]
    return f"{found[0].worst_decile:.2f}" if found else ""


def _notes(report: LeakageReport) -> str:
    return (
        '<ul class="notes">'
        + "".join(f"<li>{escaped(note)}</li>" for note in report.notes)
        + "</ul>"
    )


def _facts(report: LeakageReport, *, stopped: bool) -> str:
    sample = report.sample
    made = datetime.fromtimestamp(report.made, UTC).strftime("%d %B %Y, %H:%M UTC")
    rows = (
        ("model", f"{escaped(report.model.name)}, {report.model.format}"),
        ("its SHA-256", f"<code>{report.model.sha256.hex()}</code>"),
        ("sample", f"{sample.images} images, {sample.held_out_images} attacked, held out"),
        ("its SHA-256", f"<code>{sample.sha256.hex()}</code>"),
        ("public images", f"{sample.proxy_images}"),
        ("their SHA-256", f"<code>{sample.proxy_sha256.hex()}</code>"),
        ("image", " x ".join(map(str, sample.shape))),
        ("budget", f"{report.budget.seconds} s, {_finished(report, stopped=stopped)}"),
        ("seed", f"{report.seed}"),
        ("made", f"{made}, by {escaped(report.tool)}"),
    )
    facts = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    metrics = sorted(set(report.identity) | set(report.noise))
    ends = table(
        "Ends of the scale, by metric: the image itself, and white noise",
        ("metric", "identity", "noise"),
        [
            (
                name,
                *(
                    f"{end[name]:.3g}" if name in end else ""
                    for end in (report.identity, report.noise)
                ),
            )
            for name in metrics
        ],
        numbers=range(1, 3),
    )
    return f'<div class="card"><dl>{facts}</dl></div>{ends}'


def _finished(report: LeakageReport, *, stopped: bool) -> str:
    if report.budget.complete:
        return "all of it was done"
    return "stopped by somebody before its end" if stopped else "which ran out"
