"""What the commands write: tables, and files that are written whole or not at all."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..catalogue.neighbours import CatalogueError
from ..catalogue.sheets import plain


def table(rows: Sequence[Sequence[object]]) -> str:
    """Return rows of cells as lines of text, the first column to the left and the others to the right.

    Names that people gave may move a terminal's cursor or hide a line: of such characters none is left.
    """
    texts = [[_visible(str(cell)) for cell in row] for row in rows]
    first, *widths = (max(map(len, column)) for column in zip(*texts, strict=True))
    return "\n".join(
        "  ".join([name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))]).rstrip()
        for name, *cells in texts
    )


def _visible(text: str) -> str:
    indent = text[: len(text) - len(text.lstrip(" "))]
    return indent + plain(text)


def writable_file(path: Path, suffix: str = "") -> Path:
    """Return ``path``, checked before the work is done; raise ``CatalogueError`` where it cannot be written."""
    if suffix and path.suffix.lower() != suffix:
        raise CatalogueError(f"{str(path)!r} does not end in {suffix}; name a file that does.")
    try:
        if not path.parent.is_dir():
            raise CatalogueError(f"{path} cannot be written: there is no folder {path.parent}; create it first.")
        if path.is_dir():
            raise CatalogueError(f"{path} is a folder; name a file.")
        if path.exists() and not path.is_file():
            raise CatalogueError(f"{path} is no ordinary file; name another.")
        _partial(path).exists()  # whose name is longer
    except OSError as error:
        raise CatalogueError(f"{path} cannot be written: {error.strerror}; name another file.") from error
    if not os.access(path.parent, os.W_OK):
        raise CatalogueError(f"{path} cannot be written: nothing may be written in {path.parent}; name another file.")
    return path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield the name of a file that takes the place of ``path`` when the block ends well, and else goes away."""
    target = path.resolve()  # of a link: what it leads to
    partial = _partial(target)
    try:
        yield partial
        partial.replace(target)
    except OSError as error:
        raise CatalogueError(f"{path} cannot be written: {error.strerror or error}; name another file.") from error
    finally:
        partial.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    target = path.resolve()
    return target.with_name(f".{target.name}.{os.getpid()}.partial")


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Write each file whole, or none at all. Raises ``CatalogueError`` where that fails."""
    with ExitStack() as files:
        for path, data in contents.items():
            files.enter_context(whole_file(path)).write_bytes(data)
