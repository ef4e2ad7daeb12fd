"""Labels of products: the values at the path of a field, as what products share and as a person reads them."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db.models import Field, ForeignObjectRel, Model, QuerySet
from django.db.models.constants import LOOKUP_SEP
from numpy.typing import NDArray

from ..query import all_rows
from .neighbours import Catalogue, CatalogueError, Positions
from .products import pages, read_products

ROWS_PER_FETCH = 2_000


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of the products of a catalogue, any number to each.

    ``positions``: int64 ``[labelled]``, ascending; ``codes``: int64, the labels of one after the other; ``starts``:
    int64 ``[labelled + 1]``, where each one's begin in ``codes``, and the number of codes.
    """

    positions: Positions
    codes: Positions
    starts: Positions

    def shared_with(self, product: int, products: int) -> NDArray[np.bool_]:
        """Return bool ``[products]``: who has a label of the product at this position."""
        place = int(np.searchsorted(self.positions, product))
        own = self.codes[self.starts[place] : self.starts[place + 1]]
        marks = np.zeros(int(self.codes.max()) + 1, bool)
        marks[own] = True
        shared = np.zeros(products, bool)
        shared[self.positions] = np.logical_or.reduceat(marks[self.codes], self.starts[:-1])
        return shared


def read_labels(products: QuerySet[Model], path: str, catalogue: Catalogue) -> Labels:
    """Return the values of ``read_values`` from each product of the catalogue, in one query.

    Raises ``CatalogueError`` where the path leads nowhere, or no two products share a label.
    """
    label = products.model._meta.label
    position_of = {owner: position for position, owner in enumerate(catalogue.owners.tolist())}
    code_of: dict[Hashable, int] = defaultdict(lambda: len(code_of))
    found = [(position_of[key], code_of[value]) for key, value in read_values(products, path) if key in position_of]
    if not found:
        raise CatalogueError(
            f"No product of {label} with a vector has a value in {path!r}; name a field that they have."
        )
    pairs = np.unique(np.array(found, np.int64), axis=0)
    if len(np.unique(pairs[:, 1])) == len(pairs):
        raise CatalogueError(f"No two products of {label} share a value in {path!r}; name a field that they share.")
    positions, starts = np.unique(pairs[:, 0], return_index=True)
    return Labels(positions, pairs[:, 1], np.append(starts, len(pairs)).astype(np.int64))


def read_label_texts(products: QuerySet[Model], path: str, keys: Sequence[Hashable]) -> dict[Hashable, str]:
    """Return the value of ``read_values`` from each product as a person reads it, by key; '' for none.

    Of several values it is the first in alphabetical order. Raises ``CatalogueError`` where the path leads nowhere.
    """
    values_of = collect_values(products, path, keys)
    text_of = read_texts(products, path, set().union(*values_of.values()))
    return {key: min(filter(None, map(text_of.__getitem__, values_of[key])), default="") for key in keys}


def read_values(
    products: QuerySet[Model], path: str, keys: Sequence[Hashable] | None = None
) -> Iterator[tuple[Hashable, Hashable]]:
    """Yield the key of a product and what the path leads to from it: of all ``products``, or those of ``keys``.

    Of a relation these are the keys of what is related. Null and empty text are no value; a relation to many rows and
    an array give several. Raises ``CatalogueError`` where the path leads nowhere.
    """
    # The key, whatever field the relation points to.
    column = f"{path}{LOOKUP_SEP}pk" if _related_model(products.model, path) else path
    for part in [products] if keys is None else [products.filter(pk__in=page) for page in pages(keys)]:
        try:
            rows = part.order_by().values_list("pk", column)
        except (FieldError, ValueError) as error:  # a ValueError: of what no name has, as a space
            raise CatalogueError(f"{path!r} is not a field of {products.model._meta.label}: {error}") from error
        for key, value in rows.iterator(chunk_size=ROWS_PER_FETCH) if keys is None else rows:
            yield from ((key, entry) for entry in _entries(value))


def collect_values(products: QuerySet[Model], path: str, keys: Sequence[Hashable]) -> dict[Hashable, set[Hashable]]:
    """Return what ``read_values`` yields by the key of the product, an empty set where that is nothing."""
    values_of: dict[Hashable, set[Hashable]] = defaultdict(set)
    for key, value in read_values(products, path, keys):
        values_of[key].add(value)
    return values_of


def _entries(value: object) -> Iterator[Hashable]:
    if isinstance(value, list | tuple | set):
        for entry in value:
            yield from _entries(entry)
    elif value is not None and value != "":
        yield value if isinstance(value, Hashable) else str(value)  # JSON


def read_texts(products: QuerySet[Model], path: str, values: Iterable[Hashable]) -> dict[Hashable, str]:
    """Return how a person reads each of ``values`` that ``read_values`` found at this path.

    That is the text of the related object, the name of a choice, or the value itself.
    """
    related = _related_model(products.model, path)
    names: Mapping[Hashable, object]
    if related:
        names = read_products(all_rows(related, products.db), sorted(values, key=str))
    else:
        names = dict(getattr(_field_or_none(products.model, path), "flatchoices", None) or ())
    return {value: str(names.get(value, value)) for value in values}


def field_at_end(model: type[Model], path: str) -> "Field[Any, Any] | ForeignObjectRel":
    """Return the last field of a path over relations; raise ``FieldDoesNotExist`` where there is none."""
    current: type[Model] | None = model
    field: Any = None
    for name in path.split(LOOKUP_SEP):
        if current is None:
            raise FieldDoesNotExist(f"{field} is no relation.")
        field = current._meta.pk if name == "pk" else current._meta.get_field(name)
        current = field.related_model
    found: Field[Any, Any] | ForeignObjectRel = field
    return found


def _field_or_none(model: type[Model], path: str) -> "Field[Any, Any] | ForeignObjectRel | None":
    """Return ``field_at_end``, or ``None`` where the path ends in a transform or an annotation."""
    try:
        return field_at_end(model, path)
    except FieldDoesNotExist:
        return None


def _related_model(model: type[Model], path: str) -> type[Model] | None:
    related = getattr(_field_or_none(model, path), "related_model", None)
    return related or None
