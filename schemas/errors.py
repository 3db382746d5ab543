"""Every error the project raises on purpose, and the exit code each one ends the command line with.

    ForgetlessError            1  failed
    ├── UsageError             2  bad usage or recipe (also a ValueError)
    │   ├── RecipeError
    │   └── TemplateError         a chat template that cannot be cut
    ├── StoreError             1  a store that cannot be read or written
    ├── ModelError             4  model files that cannot be loaded
    ├── EngineError            4  an engine that died and could not be brought back
    └── DiskFullError          5  no space left

A failure that concerns one record is data (a rejected row), never one of these.
"""

DONE, FAILED, BAD_USAGE, TOO_MANY_REJECTS, ENGINE, DISK = 0, 1, 2, 3, 4, 5


class ForgetlessError(Exception):
    """What went wrong, which one, and the way out."""

    exit_code = FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} → {self.hint}" if self.hint else self.message


class UsageError(ForgetlessError, ValueError):
    """The request itself is wrong; nothing was done."""

    exit_code = BAD_USAGE


class RecipeError(UsageError):
    """A recipe that cannot be run; nothing was done."""


class TemplateError(UsageError):
    """A chat template from which pre-query or turn spans cannot be derived."""


class StoreError(ForgetlessError):
    """A store that is not one, is newer than this program, is in use, or is damaged."""


class ModelError(ForgetlessError):
    """Model files that cannot be loaded."""

    exit_code = ENGINE


class EngineError(ForgetlessError):
    """An engine that could not be started, or kept dying."""

    exit_code = ENGINE


class DiskFullError(ForgetlessError):
    """No space left on the disk; everything committed is kept."""

    exit_code = DISK
