"""The command line: `python -m core VERB`. One JSON object on stdout with --json, everything else on stderr.

Exit codes: 0 done; 2 the user can mend it (with {"error": {"code", "message"}}); 1 a bug.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.exceptions import TyperException

from core.commands import archive, arena, data, runs, search, uncertainty
from core.errors import UserError
from core.workspace import plain

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
app.add_typer(data.verbs)
app.add_typer(runs.verbs)
app.add_typer(search.verbs)
app.add_typer(uncertainty.verbs)
app.add_typer(arena.verbs)
app.add_typer(archive.verbs)

NO_ROOM = {errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR}


def main(arguments: Sequence[str]) -> int:
    """Run one verb; see the top of this file for what is printed where."""
    as_json = "--json" in arguments
    stdout = os.dup(1)
    if arguments and "--help" not in arguments:
        os.dup2(2, 1)  # whatever a library prints cannot reach stdout
    code, answer = _answer(arguments or ["--help"])
    sys.stdout.flush()
    if answer is not None and (as_json or code == 0):
        indent = None if as_json else 2
        os.write(stdout, (json.dumps(plain(answer), indent=indent, allow_nan=False) + "\n").encode())
    if code == 2 and not as_json and answer is not None:
        sys.stderr.write(f"{answer['error']['message']} ({answer['error']['code']})\n")
    return code


def _answer(arguments: Sequence[str]) -> tuple[int, Any]:
    """The exit code and the object to print, if any."""
    try:
        result = app(list(arguments), prog_name="python -m core", standalone_mode=False)
    except UserError as error:
        return 2, {"error": {"code": error.code, "message": str(error)}}
    except TyperException as error:
        return 2, {"error": {"code": "USAGE", "message": error.format_message()}}
    except Exception as bug:
        if isinstance(bug, OSError) and bug.errno in NO_ROOM:
            message = f"The workspace or output cannot be written: {os.strerror(bug.errno)}. Choose another place."
            return 2, {"error": {"code": "STORAGE", "message": message}}
        logging.getLogger("core").exception("This is a bug")
        return 1, {"error": {"code": "BUG", "message": "Something went wrong inside the program; see the log above."}}
    return (result, None) if isinstance(result, int) else (0, result)  # --help: 0, Ctrl-C: 130


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    sys.exit(main(sys.argv[1:]))
