"""Shirts to embed, and the steps of embedding that tests look into."""

from django.core.files.storage import default_storage
from django.db.models import QuerySet

from tests.drawn_pictures import picture_file
from tests.models import Shirt


def add_shirts(count: int, **values: object) -> list[Shirt]:
    """Make shirts as a bulk import does, so that no signal embeds them."""
    name = default_storage.save("shirts/bulk.png", picture_file("tomato", "navy"))
    shirts = [Shirt(name=str(number), image=name, **values) for number in range(count)]
    return list(QuerySet[Shirt](Shirt).bulk_create(shirts))
