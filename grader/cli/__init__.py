"""The command `grader`: thin commands over the library.

Nothing heavy is imported before a command needs it, so that `grader --help` answers at once.
"""

from __future__ import annotations

import sys

from grader.errors import GraderError


def main() -> None:
    """Entry point: runs the command; an error the library raised on purpose is one line, not a traceback."""
    from grader.cli.app import app

    try:
        app()
    except GraderError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except BrokenPipeError:
        # The reader of a pipe (head, less) went away: not our error. Nothing more can be written, so end quietly.
        sys.stderr.close()
        raise SystemExit(141) from None
