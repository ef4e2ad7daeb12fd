"""Many products at once: all of them with their pictures, or neither rows nor files."""

from collections.abc import Iterable, Iterator
from itertools import islice

from django.db import transaction

from .models import Product

BATCH = 500


def create_products(products: Iterable[Product]) -> None:
    """Store the pictures and create the rows, in one transaction.

    Each product comes with its open picture, which is stored and closed before the next one is asked for.
    Whatever is raised meanwhile, Ctrl-C as well, takes back the files stored so far.
    """
    stored: list[str] = []
    storage = Product._meta.get_field("image").storage
    try:
        with transaction.atomic():
            # From the commit on the rows need the files, whatever interrupts this process then.
            transaction.on_commit(stored.clear)
            waiting = _with_stored_pictures(products, stored)
            while batch := list(islice(waiting, BATCH)):
                # Sends no signals, so embed_products is the one to embed them, many at once.
                Product.objects.bulk_create(batch)
    except BaseException:
        for name in stored:
            storage.delete(name)
        raise


def _with_stored_pictures(products: Iterable[Product], stored: list[str]) -> Iterator[Product]:
    for product in products:
        picture = product.image
        longest = picture.field.max_length
        name = picture.field.generate_filename(product, picture.name or "")
        # Known before it is stored: a full disk may leave a part of it.
        name = picture.storage.get_available_name(name, max_length=longest)
        stored.append(name)
        with picture.file as content:
            product.image = picture.storage.save(name, content, max_length=longest)
        yield product
