"""What makes files outlive a power cut where no database sees to it: their names, and emptiness.

`fsync` of a file keeps its content. That it has a name, has one no longer, or lies in a folder that
was made for it, is kept by `fsync` of the folder.
"""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Wait until the disk has a file as it is now, or the names in a folder.

    Raises:
        OSError: it is not there, or the disk failed.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder that is missing, for its owner only, and those it lies in.

    Raises:
        OSError: it cannot be made.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in reversed(missing):
        sync(folder.parent)
