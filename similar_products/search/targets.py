"""What products are compared with: products, pictures and vectors, as expressions of SQL."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from numbers import Real
from typing import IO, Any, TypeAlias

import numpy as np
from django.db import models
from django.db.models import Avg, Case, Count, F, FloatField, Func, OuterRef, Subquery, Sum, TextField, Value, When
from django.db.models.functions import Cast, Coalesce, NullIf
from django.db.models.lookups import IsNull
from numpy.typing import NDArray
from pgvector import HalfVector, Vector
from pgvector.django import HalfVectorField, VectorField

from ..encoders import EncoderError, get_encoder
from ..encoders.base import MIN_NORM
from ..pictures.gate import load_pixels
from .expressions import Independent, Written
from .placement import EncoderOf, IsCurrent, Placement, dimensions_of

Products: TypeAlias = models.Model | Iterable[models.Model] | Mapping[models.Model, float]
"""One product, several, a queryset of them, or several with a weight each."""
Target: TypeAlias = Products | IO[bytes] | bytes | NDArray[np.floating[Any]] | Sequence[float] | Vector | HalfVector
"""Products, a picture as bytes or an open file, or a vector of the encoder in the settings."""


DISTANCE = FloatField()

VECTOR = "(SELECT _vector FROM {rows} AS target WHERE _owner = {key})"
ENCODER = "(SELECT _encoder FROM {rows} AS target WHERE _owner = {key})"
"""Of one product: written out, since nothing but its key differs from page to page."""


class Once(Func):
    """A subquery that depends on nothing: PostgreSQL works it out before the scan, and once.

    Left bare, a vector fetched from another row would be fetched, and cast, again for every row it is compared with.
    """

    template = "(SELECT %(expressions)s)"


class Normalized(Func):
    """A vector at norm 1. Where it has none it becomes NULL, which compares with nothing."""

    function = "l2_normalize"


class Zeros(Func):
    arity = 0

    def __init__(self, dimensions: int) -> None:
        super().__init__(template=f"array_fill(0, ARRAY[{dimensions:d}])::vector", output_field=VectorField())


class Scaled(Func):
    """A vector times a number; pgvector multiplies vectors element by element only."""

    def __init__(self, vector: Any, factor: Any, dimensions: int) -> None:
        super().__init__(
            vector,
            factor,
            template=f"(%(expressions)s::real, ARRAY[{dimensions:d}])::vector)",
            arg_joiner=" * array_fill(",
            output_field=VectorField(),
        )


class Minus(Func):
    template = "(%(expressions)s)"
    arg_joiner = " - "
    output_field = VectorField()


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a queryset is compared with, in expressions worked out once.

    ``vector`` is a halfvec for the index, or a vector in full precision for an exact search; ``encoder`` the name of
    its encoder; ``condition`` holds where there is something to compare with. ``products`` has the primary keys of the
    target's products, or is the queryset of them; empty for a picture or a vector.
    """

    placement: Placement
    vector: Any
    encoder: Any
    condition: Any
    products: "Sequence[Any] | models.QuerySet[Any]"
    is_exact: bool
    tops_up: bool = True
    """Whether a page that comes short is asked for again, of all rows."""

    def path(self, field: str) -> str:
        """Return the path to a field of the row that matched.

        Where a product may have several it is an alias: a filter over the relation, after similar_to, is another join.
        """
        return f"_similar_{field}" if self.placement.several else self.placement.from_product(field)

    def cast(self, embedding: str) -> Any:
        """Return the column at the path ``embedding`` as what ``vector`` is compared with."""
        if self.is_exact:
            return F(embedding)
        # Read by PostgreSQL, it is the expression that the index stands on.
        return Written(f"{{embedding}}::halfvec({dimensions_of(self.placement.holder):d})", embedding=embedding)

    def distance(self, embedding: str) -> Written:
        """Return the cosine distance, 0..2, of the column at the path ``embedding``."""
        return Written(
            "({column} <=> {vector})", column=self.cast(embedding), vector=self.vector, output_field=DISTANCE
        )


def compare_with(
    model: type[models.Model],
    placement: Placement,
    target: Target,
    *,
    away_from: Products | None = None,
    is_exact: bool = False,
) -> Comparison | None:
    """Return what ``target`` and ``away_from`` come to, or ``None`` where no saved product is among the targets.

    A picture is encoded at once, with the caps of what anybody may have sent. Raises ``TypeError`` for a target that is
    none, ``ValueError`` for a vector that cannot be compared or a weight that is not positive, ``ImageRejected`` for a
    picture that cannot be used and ``EncoderError`` where it cannot be encoded.
    """
    dimensions = dimensions_of(placement.holder)
    wanted = _weights(model, target)
    aside = None if away_from is None else _weights(model, away_from)
    if away_from is not None and aside is None:
        raise TypeError(f"away_from takes {_kinds(model)}, not {type(away_from).__name__}.")
    products: Sequence[Any] | models.QuerySet[Any] = ()
    if wanted is None:
        values = _values(model, target, dimensions)
        vector: Any = Cast(Value(Vector(values).to_text()), VectorField(dimensions=dimensions))
        encoder: Any = Value(get_encoder().name)
    elif isinstance(wanted, dict) and not wanted:
        return None
    else:
        products = list(wanted) if isinstance(wanted, dict) else wanted
        vector, encoder = _of_products(model, placement, wanted)
    if aside is not None and not (isinstance(aside, dict) and not aside):
        # As far on the other side of the target as it is from what is not wanted: 2t - a, with both at norm 1.
        mean = Coalesce(_mean(placement, _rows(placement, aside), aside, encoder), Zeros(dimensions))
        vector = Minus(Scaled(Normalized(vector), Value(2.0), dimensions), mean)
    if is_exact:
        vector = Independent(Once(Normalized(vector), output_field=VectorField(dimensions=dimensions)))
    else:
        half = HalfVectorField(dimensions=dimensions)
        vector = Independent(Once(Cast(vector, half), output_field=half))
    condition = None if wanted is None else IsNull(vector, False)
    return Comparison(placement, vector, encoder, condition, products, is_exact)


def _of_products(
    model: type[models.Model], placement: Placement, products: "dict[Any, float] | models.QuerySet[Any]"
) -> tuple[Any, Any]:
    """Return vector and encoder of products by their own rows."""
    if not placement.several and isinstance(products, dict) and len(products) == 1:
        parts = {"rows": _current_rows(placement), "key": Value(next(iter(products)), model._meta.pk)}
        vector = Written(VECTOR, **parts, output_field=VectorField())
        return vector, Independent(Written(ENCODER, **parts, output_field=TextField()))
    rows = _rows(placement, products)
    # While a catalogue is embedded anew the targets may have vectors of two encoders. These cannot be mixed: the
    # encoder that has more of them is taken.
    current = rows.filter(IsCurrent("embedding_source", EncoderOf("embedding_source"), placement.holder_image))
    encoder = Subquery(
        current.values(encoder=EncoderOf("embedding_source"))
        .annotate(vectors=Count("*"))
        .order_by("-vectors", "encoder")
        .values("encoder")[:1]
    )
    majority = Independent(encoder)
    return _mean(placement, rows, products, majority), majority


def _current_rows(placement: Placement) -> Independent:
    """Return the subquery of what is compared with: owner, vector and encoder of each current row."""
    rows = placement.holder._base_manager.all()
    # What a shop's own base manager lets through may be another thing each time.
    return _current(rows, placement) if rows.query.where else _current_of_all(placement)


@cache
def _current_of_all(placement: Placement) -> Independent:
    return _current(models.QuerySet(placement.holder), placement)


def _current(rows: "models.QuerySet[Any]", placement: Placement) -> Independent:
    encoder = EncoderOf("embedding_source")
    current = rows.filter(IsCurrent("embedding_source", encoder, placement.holder_image), embedding__isnull=False)
    found = current.order_by().values(_owner=F(placement.owner), _vector=F("embedding"), _encoder=encoder)
    return Independent(found.query)


def _rows(placement: Placement, products: "dict[Any, float] | models.QuerySet[Any]") -> "models.QuerySet[Any]":
    if isinstance(products, dict) and len(products) == 1:
        owner = {placement.owner: next(iter(products))}
    else:
        owner = {f"{placement.owner}__in": list(products) if isinstance(products, dict) else products.values("pk")}
    return placement.holder._base_manager.filter(**owner, embedding__isnull=False).order_by()


def _mean(placement: Placement, rows: Any, products: "dict[Any, float] | models.QuerySet[Any]", encoder: Any) -> Any:
    """Return the weighted mean, at norm 1, of what the products' pictures come to; each product's own mean counts."""
    dimensions = dimensions_of(placement.holder)
    rows = rows.filter(IsCurrent("embedding_source", encoder, placement.holder_image))
    weights = set(products.values()) if isinstance(products, dict) else {1.0}
    is_one_product = isinstance(products, dict) and len(products) == 1
    if is_one_product or (len(weights) == 1 and not placement.several):
        mean: Any = Avg("embedding", output_field=VectorField())
    else:
        factor: Any = Value(1.0)
        if len(weights) > 1 and isinstance(products, dict):
            factor = Case(
                *(When(**{placement.owner: key}, then=Value(weight)) for key, weight in products.items()),
                output_field=FloatField(),
            )
        if placement.several:
            pictures = rows.filter(**{placement.owner: OuterRef(placement.owner)}).values(placement.owner)
            factor = factor / Cast(Subquery(pictures.annotate(pictures=Count("*")).values("pictures")), FloatField())
        mean = Sum(Scaled("embedding", factor, dimensions), output_field=VectorField())
    mean = NullIf(Normalized(mean, output_field=VectorField()), Zeros(dimensions))
    return Subquery(rows.values(one=Value(1)).annotate(mean=mean).values("mean"), output_field=VectorField())


def _weights(model: type[models.Model], target: Any) -> "dict[Any, float] | models.QuerySet[Any] | None":
    """Return the weight of each saved product by its key, or a queryset of them; ``None`` for another kind of target.

    Raises ``TypeError`` for products of another model and ``ValueError`` for a weight that is none.
    """
    if isinstance(target, models.QuerySet):
        _refuse_another(model, target.model)
        return target if target.query.is_sliced else target.order_by()
    if isinstance(target, models.Model):
        pairs: list[tuple[Any, Any]] = [(target, 1.0)]
    elif isinstance(target, Mapping):
        pairs = list(target.items())
    elif isinstance(target, list | tuple | set | frozenset):
        pairs = [(product, 1.0) for product in target]
    else:
        return None
    if pairs and all(isinstance(product, Real) for product, _ in pairs):
        return None  # the numbers of a vector
    for product, weight in pairs:
        _refuse_another(model, product.__class__)  # of a lazy object: the class it stands for
        if isinstance(weight, bool) or not isinstance(weight, Real | Decimal) or not 0 < float(weight) < np.inf:
            raise ValueError(
                f"The weight of {product} is {weight!r}; valid are positive numbers. Products to move away from are "
                "given as away_from."
            )
    greatest = max((float(weight) for _, weight in pairs), default=1.0)
    return {product.pk: float(weight) / greatest for product, weight in pairs if product.pk is not None}


def _refuse_another(model: type[models.Model], given: type[Any]) -> None:
    if not issubclass(given, models.Model) or given._meta.concrete_model not in _relatives(model):
        raise TypeError(f"similar_to() on {model._meta.label} takes {_kinds(model)}, not {given.__name__}.")


def _kinds(model: type[models.Model]) -> str:
    return "one of its instances, several, a dict from instance to weight, or a queryset of them"


def _values(model: type[models.Model], target: Any, dimensions: int) -> NDArray[np.float32]:
    """Return float32 ``[dimensions]`` at norm 1 for a picture or a vector."""
    if isinstance(target, bytes) or hasattr(target, "read"):
        return _encoded(target)
    if isinstance(target, Vector | HalfVector):
        target = target.to_list()
    if not isinstance(target, np.ndarray | list | tuple):
        raise TypeError(
            f"similar_to() on {model._meta.label} takes {_kinds(model)}; or a picture as bytes or an open file, or a "
            f"vector; not {type(target).__name__}."
        )
    values = np.asarray(target, dtype=np.float64)
    if values.shape != (dimensions,):
        raise ValueError(
            f"The vector has the shape {values.shape}; {model._meta.label} is compared in {dimensions} dimensions."
        )
    norm = float(np.linalg.norm(values))
    if not np.isfinite(norm) or norm < MIN_NORM:
        raise ValueError(
            f"The vector has the norm {norm}, and so no direction; valid are finite vectors that are not 0."
        )
    return np.asarray(values / norm, dtype=np.float32)


def _encoded(picture: Any) -> NDArray[np.float32]:
    encoder = get_encoder()
    values: NDArray[np.float32] = encoder.encode(load_pixels(picture, encoder.image_size, public=True)[np.newaxis])[0]
    if not np.isfinite(values).all():
        raise EncoderError(f"The encoder {encoder.name} sees nothing in the picture; take another picture.")
    return values


def _relatives(model: type[models.Model]) -> set[Any]:
    """Return the concrete models that share their primary keys with ``model``: table parents and children.

    A child with a primary key of its own beside the link to its parent shares nothing.
    """
    concrete: Any = model._meta.concrete_model
    family, remaining = set(), [concrete]
    while remaining:
        member = remaining.pop()
        family.add(member)
        links = [(parent, link) for parent, link in member._meta.parents.items() if link is not None]
        links += [
            (relation.related_model, relation.field)
            for relation in member._meta.related_objects
            if getattr(relation, "parent_link", False)
        ]
        remaining += [relative for relative, link in links if link.primary_key and relative not in family]
    return family
