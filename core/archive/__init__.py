"""A workspace or a run as one file, to keep, to mail, to go on with elsewhere: `pack` writes it, `take_in` reads it.

A plain zip with a list of its files and their SHA-256; it holds what was made, no logs, no secrets, no uploads.
"""

from core.archive.pack import pack_run, pack_workspace
from core.archive.take_in import take_in

__all__ = ["pack_run", "pack_workspace", "take_in"]
