"""`cloister`: builds the command tree and turns errors into exit statuses."""

from __future__ import annotations

import errno
import importlib
import sys
from collections.abc import Sequence
from typing import Any, Final

from cloister import __version__
from cloister.cli.console import fail, lines, note
from cloister.cli.loading import loading
from cloister.errors import CallerError, CloisterError, ConfigError, StorageFullError

with loading():
    import typer
    from typer.core import TyperGroup

__all__ = ["app", "main"]

_INTERRUPTED: Final = 130
# Of click, which typer carries within itself from some version on.
_UsageError: Final[type[Exception]] = typer.BadParameter.__bases__[0]

# A command's module is imported when it is named: `cloister run` does not wait for the others.
_COMMANDS: Final = {
    "demo": "cloister.cli.demo.command",
    "doctor": "cloister.cli.doctor",
    "init": "cloister.cli.init",
    "measure": "cloister.cli.measure",
    "run": "cloister.cli.run",
    "cluster": "cloister.cli.cluster",
    "render": "cloister.cli.render",
    "cleanroom": "cloister.cli.cleanroom",
    "model": "cloister.cli.model",
    "query": "cloister.cli.query",
    "serve": "cloister.cli.serve",
    "proxy": "cloister.cli.proxy",
    "keyservice": "cloister.cli.keyservice",
    "policy": "cloister.cli.policy",
    "secret": "cloister.cli.secret",
    "source": "cloister.cli.source",
    "token": "cloister.cli.token",
    "namespace": "cloister.cli.namespace",
    "key": "cloister.cli.key",
    "volume": "cloister.cli.volume",
    "audit": "cloister.cli.audit",
    "evidence": "cloister.cli.evidence",
    "endorsements": "cloister.cli.endorsements",
}


class _Commands(TyperGroup):
    """The command tree, made as far as it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # the base class names it
        """Return the names in the order of the help page."""
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  # likewise
        """Import a command or a group of them; None for a name that is none."""
        if cmd_name not in _COMMANDS:
            return None
        with loading():
            module = importlib.import_module(_COMMANDS[cmd_name])
        alone = typer.Typer(add_completion=False)
        if hasattr(module, "app"):
            alone.add_typer(module.app, name=cmd_name)
            return typer.main.get_group(alone).commands[cmd_name]
        alone.command(cmd_name)(module.command)
        return typer.main.get_command(alone)


app = typer.Typer(
    name="cloister",
    cls=_Commands,
    help="Machine learning on machines that their user does not trust.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    """Run the command line; every error ends in its own exit status, with `--json` as an object."""
    as_json = "--json" in _own_words(sys.argv[1:])
    try:
        status = app(standalone_mode=False, prog_name="cloister")
    except _UsageError as error:
        sys.exit(_refuse_usage(error, as_json=as_json))
    except CloisterError as error:
        sys.exit(fail(error, as_json=as_json))
    except OSError as error:
        sys.exit(fail(_from_system(error), as_json=as_json))
    except (KeyboardInterrupt, typer.Abort):
        note("interrupted")
        sys.exit(_INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


def _own_words(words: Sequence[str]) -> Sequence[str]:
    """Return the words before `--`: what follows belongs to another program."""
    return words[: words.index("--")] if "--" in words else words


def _refuse_usage(error: Any, *, as_json: bool) -> int:
    """Say how the command is used."""
    misuse = CallerError(error.format_message(), code="caller.misuse")
    if as_json:
        return fail(misuse, as_json=True)
    error.show()
    return misuse.exit_status


def _from_system(error: OSError) -> CloisterError:
    """Name what the system refused, where no command knew better."""
    place = error.filename if isinstance(error.filename, str) else "a file"
    said = f"{place}: {error.strerror or error}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StorageFullError(said, code="storage.full", hint="make room and try again")
    return ConfigError(said, code="config.file")
