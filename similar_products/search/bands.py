"""Words for a similarity. What 0.9 means differs from encoder to encoder, so each has bands of its own."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy

from ..conf import get_settings

SHIPPED = Path(__file__).parent / "bands.json"
"""The bands of the encoders we know, in the format that ``calibrate_similarity --output`` writes.

A new encoder gets its shipped bands by running that command with this file as the output, on pictures of
several kinds; ``measured`` then says which.
"""
NAMES = ("near_duplicate", "very_similar", "similar")
WORDS = {
    "near-duplicate": gettext_lazy("near-duplicate"),
    "very similar": gettext_lazy("very similar"),
    "similar": gettext_lazy("similar"),
    "weak": gettext_lazy("weak"),
}
"""What ``Bands.word`` returns, each with the text to show in the language of the page."""


@dataclass(frozen=True, slots=True)
class Bands:
    """The least cosine similarity, in 0..1, of each word, in strictly descending order.

    Raises ``ValueError`` with a sentence where the numbers are not of that kind.
    """

    near_duplicate: float
    very_similar: float
    similar: float

    def __post_init__(self) -> None:
        for name in NAMES:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ValueError(f"{name} is {value!r}; valid are numbers from 0 to 1.")
        if not self.near_duplicate > self.very_similar > self.similar:
            raise ValueError(
                "near_duplicate, very_similar and similar must descend, and are "
                f"{self.near_duplicate}, {self.very_similar} and {self.similar}."
            )

    def word(self, similarity: float) -> str:
        """Return one of the stable codes "near-duplicate", "very similar", "similar" and "weak".

        They are the keys of ``WORDS``, which has the translated texts.
        """
        if similarity >= self.near_duplicate:
            return "near-duplicate"
        if similarity >= self.very_similar:
            return "very similar"
        return "similar" if similarity >= self.similar else "weak"


def get_bands(encoder_name: str) -> Bands | None:
    """Return the bands of the encoder of that name, or ``None`` where nobody has calibrated it.

    The file named by ``SIMILAR_PRODUCTS["BANDS"]`` comes first and is read anew when it changes; then what we
    ship. Raises ``ImproperlyConfigured`` where that file is missing, unreadable or wrong.
    """
    path = get_settings().bands
    if path is not None:
        where = f"SIMILAR_PRODUCTS['BANDS'] is {str(path)!r}"
        try:
            own = read_bands(path)
        except FileNotFoundError:
            raise ImproperlyConfigured(
                f"{where}, which does not exist; run calibrate_similarity to write it, or leave BANDS out for the "
                "shipped bands."
            ) from None
        except (OSError, ValueError) as error:
            raise ImproperlyConfigured(
                f"{where}, which cannot be used: {_sentence(error)} Correct it, or move it away and run "
                "calibrate_similarity."
            ) from error
        if encoder_name in own:
            return own[encoder_name]
    return read_bands(SHIPPED).get(encoder_name)


def read_bands(path: Path) -> Mapping[str, Bands]:
    """Return the bands in the JSON file ``path`` by the encoder's name.

    Raises ``OSError`` where it cannot be read and ``ValueError`` with a sentence where it says something else.
    """
    state = path.stat()
    return _read(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=8)
def _read(path: Path, modified: int, size: int) -> Mapping[str, Bands]:
    return {name: _bands_of(name, entry) for name, entry in _load(path).items()}


def write_bands(path: Path, encoder_name: str, bands: Bands, *, measured: str = "") -> None:
    """Write the bands of one encoder into the JSON file ``path``, whole or not at all; the others stay.

    ``measured`` says in a sentence what the numbers stand on. Raises ``OSError`` where the file cannot be
    written and ``ValueError`` where what is there is no such file.
    """
    entries: dict[str, Any] = {}
    if path.exists():
        read_bands(path)
        entries = _load(path)
    entries[encoder_name] = {
        **{name: getattr(bands, name) for name in NAMES},
        **({"measured": measured} if measured else {}),
    }
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(json.dumps(entries, indent=4, sort_keys=True) + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _load(path: Path) -> dict[str, Any]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"It is not JSON: {error}.") from error
    except UnicodeDecodeError as error:
        raise ValueError("It is not text in UTF-8.") from error
    if not isinstance(entries, dict):
        raise ValueError("It must be an object with an entry for each encoder's name.")
    return entries


def _bands_of(encoder_name: str, entry: Any) -> Bands:
    valid = f"near_duplicate, very_similar and similar, and may have the text measured, not {entry!r}"
    if not isinstance(entry, dict) or {*entry} - {"measured"} != {*NAMES}:
        raise ValueError(f"The entry {encoder_name!r} must have {valid}.")
    try:
        return Bands(**{name: entry[name] for name in NAMES})
    except ValueError as error:
        raise ValueError(f"In the entry {encoder_name!r} {error}") from error


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror or type(error).__name__}."
    return str(error)
