"""No hidden product leaks: random shops, and every door asked."""

import random

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.template import Context, Template
from rest_framework.filters import SearchFilter
from rest_framework.serializers import ModelSerializer
from rest_framework.test import APIClient, APIRequestFactory
from rest_framework.viewsets import ReadOnlyModelViewSet

from similar_products.rest_framework.photos import remember
from similar_products.rest_framework.views import SimilarProductsMixin
from tests.catalogues import CATALOGUES, ENCODER, Catalogue, Item, Picture, at_angle
from tests.profiles import often

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

TAG = "{% load similar_products %}{% similar_products product limit=9 as found %}{{ found }}"
WORLDS = often(500, nightly=5_000)
WORLDS_PER_CATALOGUE = 25
"""A world is who may be seen. Its vectors are those of 24 others: filling and emptying an index takes long."""

hidden: set[int] = set()
"""The keys of this world's hidden products."""


def not_hidden(products, request):
    """Return what may be seen: staff sees all."""
    is_staff = request is not None and getattr(request, "user", None) is not None and request.user.is_staff
    return products if is_staff else products.exclude(pk__in=hidden)


def everything(products, request, target):
    """Return all there is, hidden or not, as a careless shop would."""
    rows = products.model._base_manager.order_by("-pk")
    kind = random.Random(len(hidden)).choice(["list", "queryset", "keys"])
    return {"list": list(rows), "queryset": rows, "keys": [row.pk for row in rows]}[kind]


def filled(rng: random.Random, seed: int) -> tuple[Catalogue, list[Item]]:
    """Return products at random places, some of them without a vector, or of another encoder."""
    catalogue = CATALOGUES[rng.choice(sorted(CATALOGUES))]
    numbers = [0, 1, 1, 1, 2] if catalogue.several else [0, 1, 1, 1, 1]
    items = [
        Item(
            f"<{seed}.{number}>",
            [
                Picture(at_angle(rng.random()), rng.choice([ENCODER] * 5 + ["older"]), rng.random() < 0.1)
                for _ in range(rng.choice(numbers))
            ],
        )
        for number in range(rng.randint(2, 12))
    ]
    catalogue.fill(items)
    return catalogue, items


@pytest.fixture
def configure(settings):
    settings.ROOT_URLCONF = "tests.api"
    settings.REST_FRAMEWORK = {
        **settings.REST_FRAMEWORK,
        "DEFAULT_THROTTLE_RATES": {"similar_products": None, "similar_products_search": None},
    }
    # Changed in place: hundreds of assignments would nest as deep, and reading a setting goes through all of them.
    settings.SIMILAR_PRODUCTS = app = {**settings.SIMILAR_PRODUCTS}
    cache.clear()

    def do(catalogue: Catalogue, *, has_fallback: bool) -> None:
        label = catalogue.model._meta.label
        rules = {"VISIBLE": f"{__name__}.not_hidden"}
        if has_fallback:
            rules["FALLBACK"] = f"{__name__}.everything"
        if catalogue is CATALOGUES["companions of pictures"]:
            rules["THROUGH"] = "photos__look"
        app.update(API={"MODEL": label}, PRODUCTS={label: rules})

    return do


def own_view(catalogue: Catalogue):
    """Return a shop's own ViewSet, of any model."""
    meta = type("Meta", (), {"model": catalogue.model, "fields": ("id", "name")})
    attributes = {
        "queryset": catalogue.model._default_manager.all(),
        "serializer_class": type("Serializer", (ModelSerializer,), {"Meta": meta}),
        "filter_backends": (SearchFilter,),
        "search_fields": ("name",),
    }
    view = type("ViewSet", (SimilarProductsMixin, ReadOnlyModelViewSet), attributes)
    return view.as_view({"get": "similar"})


def query(rng: random.Random, items: list[Item]) -> str:
    exclude = rng.choice(["", f"&exclude={rng.choice(items).row.pk}"])
    return f"?limit={rng.choice([1, 3, 12, 100])}&diversity={rng.choice([0, 0, 0.5])}{exclude}"


def shown_by(catalogue: Catalogue, items: list[Item], rng: random.Random) -> list[str]:
    """Return what every door says that may not say anything of a hidden product."""
    client = APIClient()
    shown = []
    for anchor in rng.sample(items, rng.choice([1, 1, 2])):
        door = rng.choice(["similar", "fragment", "own", "tag"])
        url = f"/api/products/{anchor.row.pk}/similar/{'fragment/' if door == 'fragment' else ''}"
        if door == "tag":
            shown.append(Template(TAG).render(Context({"product": anchor.row})))
            assert anchor.row.pk not in hidden or shown[-1] == "[]"
            continue
        if door == "own":
            search = rng.choice(["", "&search=1", "&search=%3C"])
            request = APIRequestFactory().get("/" + query(rng, items) + search)
            answer = own_view(catalogue)(request, pk=anchor.row.pk).render()
        else:
            answer = client.get(url + query(rng, items))
        assert answer.status_code == (404 if anchor.row.pk in hidden else 200)
        shown.append(answer.content.decode())
    key = remember(at_angle(rng.random()))
    answer = client.post("/api/products/search/" + query(rng, items), {"key": key}, format="json")
    assert answer.status_code == 200
    return [*shown, answer.content.decode()]


def test_hidden_products__leak_through_no_door(configure):
    staff = APIClient()
    staff.force_authenticate(User.objects.create(username="staff", is_staff=True))
    seen = seen_by_staff = 0
    for seed in range(WORLDS):
        rng = random.Random(seed)
        if seed % WORLDS_PER_CATALOGUE == 0:
            catalogue, items = filled(rng, seed)
            names = {item.row.pk: item.name for item in items}
        hidden.clear()
        hidden.update(rng.sample(sorted(names), rng.randint(0, len(names))))
        configure(catalogue, has_fallback=rng.random() < 0.5)
        for text in shown_by(catalogue, items, rng):
            text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;lt;", "<").replace("&amp;gt;", ">")
            leaked = [name for pk, name in names.items() if pk in hidden and name in text]
            assert not leaked, f"World {seed} of {catalogue.model.__name__}: {leaked} in {text}"
            seen += sum(name in text for name in names.values())
        if seed % 10 == 0:
            answer = staff.post("/api/products/search/?limit=100", {"key": remember(at_angle(0.5))}, format="json")
            seen_by_staff += sum(names[pk] in answer.content.decode() for pk in hidden)
    assert min(seen, seen_by_staff * 10) > WORLDS
