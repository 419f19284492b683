"""What tells one content of a file from another, for caches: the same for every hard link of it."""

from __future__ import annotations

from pathlib import Path


def file_stamp(path: Path) -> str:
    """Changes when the file is written anew; all visitors' links to one file have the same."""
    found = path.stat()
    return f"{found.st_dev}-{found.st_ino}-{found.st_mtime_ns}-{found.st_size}"
