"""Rates of requests."""

import pytest

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_indexes")]


def test_throttle__is_on_by_default(client, shirts):
    url = f"/own/shirts/{shirts[0].pk}/similar/?limit=1"
    statuses = [client.get(url).status_code for _ in range(121)]
    assert statuses == [200] * 120 + [429]
    answer = client.get(url)
    assert answer.json()["code"] == "throttled"
    assert 0 < int(answer["Retry-After"]) <= 60
    assert client.get("/own/shirts/").status_code == 200


def test_throttle__of_photos_is_another(client, monkeypatch):
    statuses = [client.post("/api/products/search/", {"key": "a"}, format="json").status_code for _ in range(21)]
    assert statuses == [410] * 20 + [429]
    assert client.get("/api/products/0/similar/").status_code == 404


def test_throttle__rates_are_the_shops(client, staff, rates):
    rates(similar_products="2/min", similar_products_search=None)
    assert [client.get("/api/products/0/similar/").status_code for _ in range(3)] == [404, 404, 429]
    assert [client.get("/api/products/0/similar/fragment/").status_code for _ in range(1)] == [429]
    assert staff.get("/api/products/0/similar/").status_code == 404  # each user by himself
    assert {client.post("/own/shirts/search/").status_code for _ in range(30)} == {400}
