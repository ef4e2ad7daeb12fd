"""Rules of merchandising for the tests, and the products that they are about."""

from datetime import UTC, datetime, timedelta

from django.contrib.contenttypes.models import ContentType

from similar_products.merchandising.models import Rule
from similar_products.search.placement import root_of
from tests.catalogues import ENCODER, Catalogue, Item, Picture, along, at_angle
from tests.models import Lamp

DAY = timedelta(days=1)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def rule(action, product, other=None, place=None, start=None, end=None) -> Rule:
    return Rule(
        content_type=ContentType.objects.get_for_model(root_of(type(product))),
        product_key=str(product.pk),
        action=action,
        other_key="" if other is None else str(other.pk),
        place=place,
        start=start,
        end=end,
    )


def pin(product, other, place, **times) -> Rule:
    made = rule("pin", product, other, place, **times)
    made.save()
    return made


def hide(product, other=None, **times) -> Rule:
    made = rule("everywhere" if other is None else "hide", product, other, **times)
    made.save()
    return made


def fill(catalogue: Catalogue, number: int, without=()) -> list[Item]:
    """Make products at 0, 0.1, 0.2 ... radians; where there are several pictures, all but two have one far from all."""
    items = [
        Item(
            f"item {each:02}",
            []
            if each in without
            else [
                Picture(at_angle(each / 10)),
                *([Picture(along(each + 2))] if catalogue.several and each > 1 else []),
            ],
        )
        for each in range(number)
    ]
    catalogue.fill(items)
    return items


def numbers(found) -> list[int]:
    """Return the numbers of the products in a list; a pinned one's is negative."""
    return [-int(row.name[-2:]) if row.pinned else int(row.name[-2:]) for row in found]


def of_lamps():
    Lamp.objects.bulk_create(
        Lamp(code=f"a/{n}", image=f"{n}.png", embedding=at_angle(n / 10), embedding_source=f"{ENCODER}|{n}.png")
        for n in range(5)
    )
    return list(Lamp.objects.order_by("code"))
