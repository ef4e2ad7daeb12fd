"""The catalogue page: what is embedded, and on demand what looks alike or is in the wrong category.

What counts rows is worked out at once. What compares products asks the vector index about one block of them at a time,
so that a page of a catalogue of any size takes the time of its block.
"""

import logging
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import psycopg
from django.contrib.postgres.expressions import ArraySubquery
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.core.paginator import Page, Paginator
from django.db import OperationalError, connections, transaction
from django.db.models import Count, F, Model, OuterRef, QuerySet, Value
from django.db.models.functions import JSONObject
from django.db.models.lookups import IsNull
from django.http import HttpRequest
from django.utils.translation import gettext
from pgvector.django import CosineDistance

from ..catalogue.labels import collect_values, field_at_end, read_texts
from ..conf import get_settings
from ..embedding.index_build import has_index
from ..embedding.states import REASONS, count_pictures, is_in, last_embedded, pictures_with_states
from ..query import all_rows
from ..search.bands import get_bands
from ..search.hnsw_index import half, index_name
from ..search.placement import EncoderOf, IsCurrent, dimensions_of, get_placement
from ..search.scan import ScanSettings, similarity_at
from .filters import PARAMETER, value_of
from .showing import Card, ProductAdmin, find_encoder, make_card

logger = logging.getLogger(__name__)

BLOCK = 50
"""Number of products that one page compares with all others: among 100,000, on two busy cores, in 3 seconds."""
NEIGHBOURS = 10
MIN_NEIGHBOURS = 5
"""Minimum number of neighbours for a majority."""
SECONDS = 10
"""PostgreSQL ends a statement of this page that takes longer: without its index a block scans the table 50 times."""
LOOKS = ("duplicates", "categories")


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A product near another one: its key, the greatest similarity of their pictures in 0..1, and which these are."""

    key: Hashable
    similarity: float
    own_image: str
    image: str


@dataclass(frozen=True, slots=True)
class Group:
    """The key of a product of the block, the neighbours found for it, and a sentence where there is more to say."""

    key: Hashable
    neighbours: list[Neighbour]
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A ``Group`` as the page shows it."""

    product: Card
    others: list[Card]
    sentence: str


@dataclass(frozen=True, slots=True)
class Look:
    """What was found in one block; ``problem`` is a sentence where it could not be looked at."""

    name: str
    page: Page[Any] | None = None
    findings: list[Finding] = field(default_factory=list)
    problem: str = ""


class PageProblem(Exception):
    """Something is missing, or took too long; the sentence says what."""


def describe(model_admin: ProductAdmin, request: HttpRequest, category: str) -> dict[str, Any]:
    """Return what the catalogue page shows; see its template. What goes wrong becomes a sentence in it.

    ``category`` is the path of the field with a product's category, or ''.
    """
    products = model_admin.get_queryset(request)
    products = products.using(products.db)  # of several replicas one for the whole page
    holder = get_placement(products.model).holder
    encoder, problem = find_encoder()
    context: dict[str, Any] = {
        "encoder": encoder,
        "encoder_problem": problem,
        "dimensions": dimensions_of(holder),
        "holder": holder._meta.label,
        "index_name": index_name(holder),
        "last_embedded": last_embedded(holder, products.db),
        "category": category,
        "compared": BLOCK,
        "neighbours": NEIGHBOURS,
    }
    if encoder is None:
        return context
    try:
        with _limit_time(products.db):
            context |= _count(products, encoder.name)
            context["has_index"] = has_index(holder, products.db)
    except PageProblem as error:
        return context | {"count_problem": str(error)}
    name = request.GET.get("look", "")
    if name in LOOKS:
        try:
            with _limit_time(products.db):
                context["look"] = _look(model_admin, request, products, encoder.name, name, category)
        except (ImproperlyConfigured, FieldDoesNotExist, PageProblem) as error:
            context["look"] = Look(name, problem=str(error))
    return context


@contextmanager
def _limit_time(using: str) -> Iterator[None]:
    """Let no statement take longer than ``SECONDS``; raise ``PageProblem`` where one does."""
    try:
        with transaction.atomic(using=using), connections[using].cursor() as cursor:
            cursor.execute("SELECT current_setting('statement_timeout')")
            before = cursor.fetchone()[0]
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{SECONDS}s"])
            yield
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [before])
    except OperationalError as error:
        if not isinstance(error.__cause__, psycopg.errors.QueryCanceled):
            raise
        logger.warning("The catalogue page gave up after %d seconds.", SECONDS)
        sentence = gettext(
            "This took longer than %(seconds)d seconds and was stopped. Is the vector index there, and the table "
            "analyzed?"
        )
        raise PageProblem(sentence % {"seconds": SECONDS}) from error


def _count(products: QuerySet[Model], encoder_name: str) -> dict[str, Any]:
    """Return how many products and pictures are in which state, in a fixed number of queries."""
    model, using = products.model, products.db
    placement = get_placement(model)
    keys = products.order_by().values("pk")
    pictures = pictures_with_states(model, encoder_name).using(using).filter(pk__in=keys)
    counts = pictures.aggregate(
        pictures=Count("pk"),
        with_picture=Count("pk", distinct=True),
        ready_products=Count("pk", filter=is_in("ready"), distinct=True),
    )
    states = count_pictures(pictures)
    total = products.order_by().count()
    rows: Any = all_rows(placement.holder, using)
    vectors = rows.filter(embedding__isnull=False, **{f"{placement.owner}__in": keys}).annotate(
        encoder=EncoderOf("embedding_source")
    )
    current = vectors.filter(IsCurrent("embedding_source", F("encoder"), placement.holder_image))
    others = current.exclude(encoder=encoder_name).values_list("encoder").annotate(number=Count("pk"))
    return {
        **counts,
        **states,
        "products": total,
        "without_picture": total - counts["with_picture"],
        "percent": 100 * counts["ready_products"] // total if total else 0,
        "several": placement.several,
        "failures": [
            {"code": code, "number": number, "reason": REASONS.get(code, ""), "query": _query("failed", code)}
            for code, number in states["codes"].items()
        ],
        "queries": {state: _query(state) for state in ("ready", "pending", "failed", "no_picture")},
        "other_encoders": list(others.order_by("-number", "encoder")),
    }


def _query(state: str, code: str = "") -> str:
    return urlencode({PARAMETER: value_of(state, code)})


def _look(
    model_admin: ProductAdmin,
    request: HttpRequest,
    products: QuerySet[Model],
    encoder_name: str,
    name: str,
    category: str,
) -> Look:
    ready = pictures_with_states(products.model, encoder_name).using(products.db).filter(is_in("ready"))
    compared = products.filter(pk__in=ready.values("pk")).order_by("pk")
    page = Paginator(compared.values_list("pk", flat=True), BLOCK).get_page(request.GET.get("page"))
    keys = list(page.object_list)
    if name == "duplicates":
        groups = _find_duplicates(products, keys, encoder_name)
    else:
        groups = _find_misplaced(products, keys, encoder_name, category)
    by_key = products.in_bulk([*{key for group in groups for key in _keys_of(group)}])  # that this person may see
    findings = []
    for group in groups:
        cards = [
            make_card(model_admin, request, by_key[each.key], each.image, each.similarity)
            for each in group.neighbours
            if each.key in by_key
        ]
        if cards and group.key in by_key:
            own = make_card(model_admin, request, by_key[group.key], group.neighbours[0].own_image)
            findings.append(Finding(own, cards, group.sentence))
    return Look(name, page, findings)


def _keys_of(group: Group) -> list[Hashable]:
    return [group.key, *(each.key for each in group.neighbours)]


def _find_duplicates(products: QuerySet[Model], keys: list[Hashable], encoder_name: str) -> list[Group]:
    """Return the products of the block that are near-duplicates of others, by the bands of the encoder."""
    bands = get_bands(encoder_name)
    if bands is None:
        sentence = gettext(
            "The encoder %(encoder)s has not been calibrated, so it is not known from which similarity on two pictures "
            "are near-duplicates: run calibrate_similarity."
        )
        raise PageProblem(sentence % {"encoder": encoder_name})
    groups: list[Group] = []
    shown: set[Hashable] = set()
    for key, neighbours in find_neighbours(products, keys, encoder_name, NEIGHBOURS).items():
        group = Group(key, [each for each in neighbours if each.similarity >= bands.near_duplicate])
        if group.neighbours and key not in shown:
            groups.append(group)
            shown.update(_keys_of(group))
    return groups


def _find_misplaced(products: QuerySet[Model], keys: list[Hashable], encoder_name: str, path: str) -> list[Group]:
    """Return the products of the block more than half of whose neighbours are in one other category."""
    if not path:
        raise PageProblem(
            gettext('Name the field with the category in the admin: similar_products_category = "category".')
        )
    near = find_neighbours(products, keys, encoder_name, NEIGHBOURS)
    everybody = {*near, *(each.key for neighbours in near.values() for each in neighbours)}
    categories, names = _categories(products, path, everybody)
    found: list[tuple[int, Group]] = []
    for key, neighbours in near.items():
        known = [each for each in neighbours if categories[each.key]]
        if len(known) < MIN_NEIGHBOURS or not categories[key]:
            continue
        ((category, number),) = Counter(value for each in known for value in categories[each.key]).most_common(1)
        if category in categories[key] or 2 * number <= len(known):
            continue
        sentence = gettext("In %(own)s, but %(number)d of its %(among)d neighbours are in %(category)s.") % {
            "own": ", ".join(sorted(names[each] for each in categories[key])),
            "number": number,
            "among": len(known),
            "category": names[category],
        }
        alike = [each for each in known if category in categories[each.key]]
        found.append((number, Group(key, alike[:MIN_NEIGHBOURS], sentence)))
    return [group for _, group in sorted(found, key=lambda each: each[0], reverse=True)]


def find_neighbours(
    products: QuerySet[Model], keys: list[Hashable], encoder_name: str, k: int
) -> dict[Hashable, list[Neighbour]]:
    """Return the ``k`` nearest products of each product in ``keys`` that has a vector, the nearest first.

    ``products`` names model and database; the neighbours are not narrowed to it, which would lose the index.

    One query; the vector index is asked once for each picture of ``keys``. Of several pictures the best pair counts.
    The nearest in the index are taken as they come: few may be missed, and of hundreds of equal pictures others.
    """
    to_key = products.model._meta.pk.to_python
    best: dict[Hashable, dict[Hashable, Neighbour]] = {}
    for key, own_image, others in _nearest_pictures(products, keys, encoder_name, k):
        of_product = best.setdefault(key, {})
        for other in others:
            similarity = similarity_at(other["distance"])
            found = Neighbour(to_key(other["owner"]), similarity, own_image, other["image"])
            known = of_product.get(found.key)
            if known is None or known.similarity < similarity:
                of_product[found.key] = found
    return {key: sorted(best[key].values(), key=lambda each: -each.similarity)[:k] for key in keys if key in best}


def _nearest_pictures(products: QuerySet[Model], keys: list[Hashable], encoder_name: str, k: int) -> QuerySet[Any]:
    """Return for each picture of ``keys`` the product's key, its name, and the nearest pictures of other products."""
    placement = get_placement(products.model)
    holder, owner, image = placement.holder, placement.owner, placement.holder_image
    vector = half("embedding", dimensions_of(holder))
    is_current = IsCurrent("embedding_source", Value(encoder_name), image)
    rows: QuerySet[Any] = all_rows(holder, products.db).order_by()
    rows = rows.filter(is_current, embedding__isnull=False)
    near = (
        rows.filter(IsNull(ScanSettings(get_settings().ef_search), False))
        .exclude(**{owner: OuterRef("_owner")})
        .alias(_distance=CosineDistance(vector, OuterRef("_vector")))
        .order_by("_distance")
        .values(near=JSONObject(owner=F(owner), image=F(image), distance=F("_distance")))
    )
    several = 3 if placement.several else 1  # the pictures of one product may take several places
    compared = rows.filter(**{f"{owner}__in": keys}).alias(_owner=F(owner), _vector=vector)
    with_nearest: QuerySet[Any] = compared.annotate(similar_products_near=ArraySubquery(near[: several * k]))
    return with_nearest.values_list(F("_owner"), image, "similar_products_near")


def _categories(
    products: QuerySet[Model], path: str, keys: Iterable[Hashable]
) -> tuple[dict[Hashable, set[Hashable]], dict[Hashable, str]]:
    """Return the values of the field at ``path`` by product, and the text to show for each value."""
    field_at_end(products.model, path)  # raises a sentence where there is none
    values = collect_values(products, path, list(keys))
    return values, read_texts(products, path, set().union(*values.values()))
