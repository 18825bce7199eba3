"""`cloister`: builds the command tree and turns errors into exit statuses."""

from __future__ import annotations

import sys

import typer

from cloister import __version__
from cloister.cli import doctor, init, keyservice, measure, policy, query, run, volume
from cloister.cli.console import fail, lines, note
from cloister.cli.demo import command as demo
from cloister.errors import CloisterError

__all__ = ["app", "main"]

app = typer.Typer(
    name="cloister",
    help="Machine learning on machines that their user does not trust.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.command)
app.command("doctor")(doctor.command)
app.command("init")(init.command)
app.command("measure")(measure.command)
app.command("run")(run.command)
app.command("query")(query.command)
app.add_typer(keyservice.app, name="keyservice")
app.add_typer(policy.app, name="policy")
app.add_typer(volume.app, name="volume")


def _print_version(value: bool) -> None:
    if value:
        lines(__version__)
        raise typer.Exit


_VERSION = typer.Option(
    False, "--version", callback=_print_version, is_eager=True, help="Print the version."
)


@app.callback()
def _root(version: bool = _VERSION) -> None:  # its callback prints
    """Machine learning on machines that their user does not trust."""


def main() -> None:
    """Run the command line; every error of ours ends in its own exit status."""
    try:
        app()
    except CloisterError as error:
        sys.exit(fail(error, as_json="--json" in sys.argv[1:]))
    except KeyboardInterrupt:
        note("interrupted")
        sys.exit(130)
