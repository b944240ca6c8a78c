"""The file operations that a run depends on: each is one method, so that a test can make any of them fail."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from glassformer.core.files import sync


class Files:
    """The real file system."""

    def make_folder(self, folder: Path) -> None:
        """Make a folder and those above it."""
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, file: Path, content: bytes) -> None:
        """Write a whole file; it is on the disk when this returns."""
        with file.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())

    def call(self, save: Callable[[Path], object], folder: Path) -> None:
        """Let something else write files into a folder; they are not known to be on the disk."""
        save(folder)

    def sync(self, path: Path) -> None:
        """Make sure that a file, or the names in a folder, are on the disk."""
        sync(path)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file or folder another name; a file that has it is replaced."""
        os.replace(old, new)

    def link(self, old: Path, new: Path) -> None:
        """A second name for a file, or a copy where the file system has no such thing."""
        try:
            os.link(old, new)
        except OSError:
            shutil.copyfile(old, new)

    def remove_file(self, file: Path) -> None:
        """Remove a file that may not exist."""
        file.unlink(missing_ok=True)

    def remove_folder(self, folder: Path) -> None:
        """Remove a folder with all that is in it."""
        shutil.rmtree(folder)

    def replace_file(self, file: Path, content: bytes) -> None:
        """Write a file so that its old or its new content is there, whatever happens."""
        staging = file.with_name(f".{file.name}.staging")
        self.write(staging, content)
        self.rename(staging, file)
        self.sync(file.parent)
