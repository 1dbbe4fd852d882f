"""The `cvtl` command: finds the verb, runs it, and turns errors into a paragraph and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from io import TextIOWrapper
from types import FrameType
from typing import Any

from cvtl import __version__
from cvtl.errors import CvtlError, CvtlWarning, ExitCode, UsageError
from cvtl.verbs import verbs

VERBS = {
    "run": "run weights over pictures: one row for each of them",
    "merge": "join the shards of a run",
    "train": "train a plugin on a data set",
    "eval": "measure weights or predictions against a data set",
    "diagnose": "tell from a training's curves what it suffers from",
    "explain": "show where in a picture the evidence for a class lies",
    "serve": "serve weights as a web page and to programs",
    "plugins": "list the plugins and their state",
    "backbones": "list the networks that plugins can be built on, or look into one",
    "info": "show what a weights file holds",
    "weights": "write weights of other tools as files of cvtl's",
    "cache": "show or empty the cache of what backbones saw in pictures",
    "doctor": "look over this installation",
}

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO)
_HELP = """\
usage: cvtl VERB ...

Computer-vision plugins for people with few labels and messy pictures.

verbs:
{verbs}

examples:
  # the built-in weights on a built-in picture
  cvtl run detect
  # a folder of pictures
  cvtl run detect --weights cars.safetensors photos/
  # a detector from folders of crops
  cvtl train windows crops/
  # how good it is, with intervals
  cvtl eval cars.safetensors data/
  # what a verb can do
  cvtl VERB --help

options:
  -h, --help   show this and stop
  --version    show the version and stop
  --debug      with any verb: show where in the code an error came from
  --offline    with any verb: download nothing; what is missing is an error
               that says where to put it
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one `cvtl` command.

    Args:
        arguments: the words behind `cvtl`; by default the process's.

    Returns:
        The exit code: 0 all well, 1 failed, 2 wrong usage, 3 done with some bad inputs, 130 and 143 interrupted.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # File names may hold what the terminal's encoding does not.
            stream.reconfigure(errors="backslashreplace")
    # What is wrong with a picture is said by its row or finding.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    show_others = warnings.showwarning
    warnings.showwarning = partial(_show_warning, show_others)
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        if "--offline" in arguments:
            from cvtl.download import OFFLINE_VARIABLE

            os.environ[OFFLINE_VARIABLE] = "1"
        code = _dispatch([word for word in arguments if word not in ("--debug", "--offline")])
        sys.stdout.flush()
        return code
    except CvtlError as error:
        return _fail(str(error), error.exit_code, debug=debug)
    except KeyboardInterrupt:
        return _fail("interrupted.", ExitCode.INTERRUPTED, debug=debug)
    except _TerminatedError:
        return _fail("terminated.", ExitCode.TERMINATED, debug=debug)
    except SystemExit as leaving:
        if isinstance(leaving.code, str):
            return _fail(leaving.code, ExitCode.FAILED, debug=debug)
        return leaving.code or ExitCode.OK
    except BrokenPipeError:
        # Whoever read our output has left, as `head` does.
        _drop_output()
        return ExitCode.FAILED
    except OSError as error:
        return _fail(_describe(error), ExitCode.FAILED, debug=debug)
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return _fail(f"this should not have happened: {text}. Please report it with --debug.", 1, debug=debug)
    finally:
        signal.signal(signal.SIGTERM, previous)
        warnings.showwarning = show_others


def _show_warning(others: Callable[..., None], message: Warning | str, category: type[Warning], *where: Any) -> None:
    """Our own warnings are for users, who have no use for file and line."""
    if issubclass(category, CvtlWarning):
        sys.stderr.write(f"cvtl: note: {message}\n")
    else:
        others(message, category, *where)


def _dispatch(arguments: list[str]) -> int:
    verb = arguments[0] if arguments else "--help"
    if verb in ("-h", "--help"):
        every = VERBS | {spec.name: spec.summary for spec in verbs().usable() if spec.name not in VERBS}
        width = max(map(len, every))
        listing = "\n".join(f"  {name:{width}}  {summary}" for name, summary in every.items())
        sys.stdout.write(_HELP.format(verbs=listing))
        return ExitCode.OK
    if verb == "--version":
        sys.stdout.write(f"cvtl {__version__}\n")
        return ExitCode.OK
    if verb in VERBS:
        return int(import_module(f"cvtl.cli.{verb}").main(arguments[1:]))
    if verb in verbs().names():
        return int(verbs().get(verb).function()(arguments[1:]))
    raise UsageError(
        f"there is no verb '{verb}'", hint=f"The verbs are {', '.join([*VERBS, *verbs().names()])}; see cvtl --help"
    )


class _TerminatedError(SystemExit):
    """SIGTERM arrived."""


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise _TerminatedError(ExitCode.TERMINATED)


def _describe(error: OSError) -> str:
    if error.filename is None and error.errno in _FULL:
        _drop_output()
        return f"cannot write to standard output: {error.strerror}. Free some space, or send it elsewhere."
    return f"cannot use '{error.filename}': {error.strerror}." if error.filename else f"{error.strerror or error}."


def _drop_output() -> None:
    """Keep Python from trying to write, and complaining, once more when it exits."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int, *, debug: bool) -> int:
    from cvtl.terminal import printable

    if debug:
        traceback.print_exc()
    sys.stderr.write(f"cvtl: {printable(message)}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
