"""The steps of building something confined, each named, so that a failure says which it was."""

from __future__ import annotations

__all__ = ["Step", "StepError"]


class StepError(Exception):
    """A step failed; carries its name and errno to whoever asked for it."""

    def __init__(self, step: str, error: OSError) -> None:
        """Keep what the system said."""
        super().__init__(step)
        self.step = step
        self.number = error.errno or 0
        self.text = f"{error.strerror or error}" + (
            f" ({error.filename})" if error.filename else ""
        )


class Step:
    """Names the step that an `OSError` came from."""

    def __init__(self, name: str) -> None:
        """Name it."""
        self._name = name

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Turn an `OSError` into a `StepError`."""
        if isinstance(error, OSError):
            raise StepError(self._name, error) from error
