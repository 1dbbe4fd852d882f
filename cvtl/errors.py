"""Errors that a user can cause, each saying what happened, where, and what to do about it."""

from __future__ import annotations

from enum import IntEnum
from functools import partial
from typing import Any


class ExitCode(IntEnum):
    """What the `cvtl` command returns to the shell."""

    OK = 0
    FAILED = 1
    USAGE = 2
    SOME_BAD_INPUTS = 3
    INTERRUPTED = 130
    TERMINATED = 143


class CvtlError(Exception):
    """Base of every error that a user can cause.

    Args:
        what: what went wrong, naming the file or the option: one sentence without a full stop.
        hint: what to do about it: one sentence, or nothing where there is nothing to advise.

    Example:
        >>> str(CvtlError("cannot read 'w.safetensors': it is empty", hint="Copy the file again"))
        "cannot read 'w.safetensors': it is empty. Copy the file again."
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, what: str, *, hint: str = "") -> None:
        self.what = what.rstrip(".")
        self.hint = hint.rstrip(".")
        super().__init__(f"{self.what}. {self.hint}." if self.hint else f"{self.what}.")

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors of other processes arrive as they were."""
        return partial(type(self), hint=self.hint), (self.what,)


class UsageError(CvtlError):
    """The command or the call does not fit: unknown option, missing input, wrong task."""

    exit_code = ExitCode.USAGE


class OptionsError(UsageError):
    """A plugin's options are unknown or out of range."""


class SourceError(UsageError):
    """The input does not exist or holds no pictures."""


class DataError(CvtlError):
    """A data set cannot be read; the message names file and line where there are any."""


class WeightsError(CvtlError):
    """A weights file is missing, damaged, foreign, or does not fit the network."""


class PluginError(CvtlError):
    """A plugin is unknown, broken, or there twice."""


class OfflineError(CvtlError):
    """A file would have to be downloaded, and downloading is off or failed."""


class OutputError(CvtlError):
    """The results cannot be written: no space, no permission, or another run's folder."""


class MergeError(CvtlError):
    """Shards are missing, unfinished, or not of one run."""


class EngineError(CvtlError):
    """A run cannot be spread over processes or machines as it was asked for."""


class TooManyFailuresError(CvtlError):
    """More inputs were bad than `--max-failures` allows."""


class TrainingError(CvtlError):
    """Training cannot go on: the loss is not finite, or the memory does not suffice."""


class Interrupted(CvtlError):
    """The user or the system ended the work; what was done is kept.

    Args:
        what: what was interrupted, and how far it had come.
        hint: how to go on.
        exit_code: `INTERRUPTED` for Ctrl-C, `TERMINATED` for SIGTERM.
    """

    def __init__(self, what: str, *, hint: str = "", exit_code: ExitCode = ExitCode.INTERRUPTED) -> None:
        super().__init__(what, hint=hint)
        self.exit_code = exit_code


class CvtlWarning(UserWarning):
    """Something a user should know that does not stop the work."""
