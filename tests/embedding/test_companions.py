import pytest
from django.core.files.storage import default_storage

from similar_products.embedding import embed
from similar_products.embedding.companions import create_companions, get_hops
from tests.models import PageLook, Shirt, Vase, VaseLook

pytestmark = pytest.mark.django_db


def test_embed__companion(picture):
    Vase.objects.bulk_create(Vase(name=str(number), image=f"{number}.png") for number in range(2))
    Vase.objects.bulk_create([Vase(name="no picture")])
    default_storage.save("0.png", picture)
    assert create_companions(VaseLook, "default") == 2
    assert create_companions(VaseLook, "default") == 0
    report = embed(VaseLook.objects.pending())
    assert (report.embedded, report.failed) == (1, {"missing_file": 1})
    assert VaseLook.objects.ready().get().vase.name == "0"
    assert create_companions(Shirt, "default") == 0


def test_hops__lead_from_the_vector_to_the_picture():
    hops = [(hop.path, hop.field.name) for hop in get_hops() if hop.holder is PageLook]
    assert hops == [("", "page"), ("page", "cover"), ("page__cover", "file")]
    assert [hop.path for hop in get_hops() if hop.holder is Shirt] == [""]
