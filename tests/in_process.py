"""The decoder without its child process: the same readers, quicker to start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.errors import UserError
from core.progress import Progress, silent
from core.readers.child import check
from core.readers.decoder import no_leak
from core.readers.item import Item, Part
from core.readers.registry import READERS, scan_file
from core.types import Volume
from core.workspace import Workspace


class InProcess:
    """Stands for `core.readers.decoder.Decoder`."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def scan(self, path: Path) -> list[Item]:
        return [Item.from_json(item.to_json()) for item in scan_file(path, self.workspace.pseudonym)]

    def scan_all(self, paths: Sequence[Path], progress: Progress = silent) -> list[list[Item] | UserError]:
        return [self._scanned(path) for path in paths]

    def _scanned(self, path: Path) -> list[Item] | UserError:
        try:
            return self.scan(path)
        except UserError as error:
            return error

    def check(self, paths: Sequence[Path], texts: Sequence[str]) -> dict[str, int]:
        return no_leak(check([str(path) for path in paths], texts))

    def read(self, parts: Sequence[Part], modality: str) -> Volume:
        return READERS[parts[0][1].reader].read(parts, modality)
