"""The ``glassformer`` command: runs the chosen command and turns every error into one line and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence

from glassformer.core.errors import DivergedError, GlassformerError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit code: 0 done, 1 failed, 2 wrong input, 3 diverged, 130 interrupted."""
    tokens, debug = split_debug(sys.argv[1:] if arguments is None else arguments)
    if not debug:
        quiet_libraries()
    try:
        from glassformer import commands

        code = commands.dispatch(tokens)
        flush()
    except SystemExit:
        raise
    except BaseException as error:  # a panic inside tokenizers or safetensors is no Exception
        code = report(error, debug)
    return code


def split_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Take the global ``--debug`` out of the arguments; after ``--`` it is text like any other."""
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    options, rest = list(arguments[:end]), list(arguments[end:])
    return [token for token in options if token != "--debug"] + rest, "--debug" in options


def quiet_libraries() -> None:
    """Keep other libraries' warnings from the user, unless Python was started with -W."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def report(error: BaseException, debug: bool) -> int:
    """Say on stderr what went wrong, in one line (with the traceback if asked); returns the exit code."""
    if isinstance(error, BrokenPipeError):  # the reader, such as `head`, has seen enough
        drop_output()
        return 1
    if debug:
        traceback.print_exception(error)
    message, code = describe(error)
    drop_output()
    print(f"glassformer: {' '.join(message.split())}", file=sys.stderr)
    return code


def describe(error: BaseException) -> tuple[str, int]:
    """The line for a person, and the exit code."""
    match error:
        case KeyboardInterrupt():
            return "interrupted", 130
        case DivergedError():
            return str(error), 3
        case GlassformerError():
            return str(error), 2
        case OSError() if error.strerror:
            return f"{error.filename}: {error.strerror}" if error.filename else error.strerror, 1
        case MemoryError():
            return "out of memory · choose a smaller model, batch or context", 1
    return f"{type(error).__name__}: {error} · run again with --debug for the traceback", 1


def flush() -> None:
    """Write out what stdout still holds, so that a full disk or a closed pipe is reported and not lost."""
    if sys.stdout is not None:
        sys.stdout.flush()


def drop_output() -> None:
    """Send what cannot be written to stdout nowhere; without this the interpreter complains once more when it ends."""
    try:
        flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
