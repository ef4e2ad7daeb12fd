"""Pages of the admin, and products to look at on them."""

import re
from html import unescape

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.test import Client

from tests.catalogues import CATALOGUES, ENCODER, Item, Picture, at_angle
from tests.models import Chair, Rug, Shirt, Vase

MODELS = {"product": Shirt, "companion": Vase, "pictures": Chair, "companions of pictures": Rug}


EVERY_PLACEMENT = pytest.mark.parametrize("placement", MODELS)


EMBED, RETRY = "similar_products_embed", "similar_products_retry"


def fill(placement, number, start=0):
    items = [Item(f"item {start + index:02}", [Picture(at_angle((start + index) / 100))]) for index in range(number)]
    CATALOGUES[placement].fill(items)
    return [item.row for item in items]


def list_url(model):
    return f"/admin/tests/{model._meta.model_name}/"


def change_url(product):
    return f"{list_url(type(product))}{product.pk}/change/"


def photo_url(product):
    return f"{list_url(type(product))}{product.pk}/similar-products/"


def text(response):
    """Return what a person reads on a page, in one line."""
    body = re.sub(r"<(script|style).*?</\1>", " ", response.content.decode(), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def states_in(html):
    return re.findall(r"similar-products-state--(\w+)", html)


def said(response):
    return " ".join(str(message) for message in get_messages(response.wsgi_request))


def staff_with(*codenames):
    user = User.objects.create_user("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def shirts_in_each_state():
    return Shirt.objects.bulk_create(
        [
            Shirt(name="ready", image="a.png", embedding=at_angle(0), embedding_source=f"{ENCODER}|a.png"),
            Shirt(name="pending", image="b.png"),
            Shirt(name="stale", image="c.png", embedding=at_angle(0), embedding_source=f"{ENCODER}|old.png"),
            Shirt(name="cut", image="d.png", embedding_source=f"{ENCODER}|d.png", embedding_error="truncated"),
            Shirt(name="gone", image="e.png", embedding_source=f"{ENCODER}|e.png", embedding_error="missing_file"),
            Shirt(name="none"),
        ]
    )
