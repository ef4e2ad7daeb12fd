import pytest

from tests.counting import Watched


@pytest.fixture
def watched(settings, monkeypatch):
    settings.SIMILAR_PRODUCTS = {"ENCODER": {"BACKEND": "tests.counting.Watched"}}
    monkeypatch.setattr(Watched, "batches", [])
    return Watched
