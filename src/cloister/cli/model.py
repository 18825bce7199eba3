"""`cloister model`: measure what a cut of a model leaks, cut it, check a package."""

from __future__ import annotations

import typer

from cloister.cli import model_check, model_cut

__all__ = ["app"]

app = typer.Typer(
    help="Measure what a cut of a model leaks, cut what passes, check a package.",
    no_args_is_help=True,
)

app.command("cut")(model_cut.command)
app.command("check")(model_check.command)


@app.callback()
def _group() -> None:
    """Models in parts."""
