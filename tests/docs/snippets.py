"""The fenced blocks of README.md and of docs/."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^(?P<fence>```+)(?P<language>\w*)$\n(?P<text>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^(?:# |\{# )(?P<name>[\w./]+\.\w+)(?P<below>, below your \w+)?(?: #\})?$")


class Block(NamedTuple):
    """A block as it stands on its page, with the number of its first fence's line."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def first_line(self) -> str:
        return self.text.partition("\n")[0]

    @property
    def file(self) -> str:
        """The file that the first line says to write, or nothing."""
        found = _FILE.match(self.first_line)
        return found["name"] if found else ""

    @property
    def is_added(self) -> bool:
        """Whether the file's other lines stay: below your model, or in the settings."""
        found = _FILE.match(self.first_line)
        return bool(found and (found["below"] or self.file.endswith("settings.py")))


def read_blocks(page: Path) -> Iterator[Block]:
    """Give the blocks of a page in its order; raise ``ValueError`` for a fence that none of them explains."""
    text = page.read_text()
    fences = 0
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page.relative_to(ROOT).as_posix(), line, found["language"], found["text"])
        fences += 2
    if fences != len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE)):
        raise ValueError(f"{page.name} has a fence that is indented, unknown or not closed")


BLOCKS = [block for page in PAGES for block in read_blocks(page)]
