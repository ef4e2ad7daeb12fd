"""Shirts to embed, and the steps of embedding that tests look into."""

from django.core.files.storage import default_storage

from tests.drawn_pictures import picture_file
from tests.models import Shirt


def add_shirts(count: int, **values) -> list[Shirt]:
    """Make shirts as a bulk import does, so that no signal embeds them."""
    name = default_storage.save("shirts/bulk.png", picture_file("tomato", "navy"))
    return Shirt.objects.bulk_create(Shirt(name=str(number), image=name, **values) for number in range(count))
