"""Requests and answers of the API."""

import numpy as np
from django.core.files.uploadedfile import SimpleUploadedFile

from similar_products.encoders import get_encoder
from similar_products.pictures.gate import load_pixels
from tests.catalogues import ENCODER
from tests.drawn_pictures import picture_bytes
from tests.models import Shirt


def similar(product, tail: str = "") -> str:
    return f"/api/products/{product.pk}/similar/{tail}"


def names(answer) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [result["product"]["name"] for result in answer.json()["results"]]


def photo(*colors: str, **options) -> SimpleUploadedFile:
    return SimpleUploadedFile("photo.png", picture_bytes(*colors, **options), "image/png")


def colored_shirt(*colors: str, **fields) -> Shirt:
    """Return a shirt whose vector is that of a picture in ``colors``."""
    encoder = get_encoder()
    (embedding,) = encoder.encode(load_pixels(picture_bytes(*colors), encoder.image_size)[np.newaxis])
    name = " ".join(colors)
    made = Shirt.objects.bulk_create(
        [Shirt(name=name, image=f"{name}.png", embedding=embedding, embedding_source=f"{ENCODER}|{name}.png", **fields)]
    )
    shirt: Shirt = Shirt.objects.get(pk=made[0].pk)
    return shirt


def odd(data: bytes) -> dict:
    return {"image": SimpleUploadedFile("photo.jpg", data)}
