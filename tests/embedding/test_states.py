"""Whatever happens in whatever order: no row is lost, and no wrong vector is served."""

from typing import Any

import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from similar_products.embedding import embed
from similar_products.embedding.rows import Row
from similar_products.embedding.run import PictureEncoder
from similar_products.embedding.writer import VectorWriter
from similar_products.encoders import get_encoder
from similar_products.pictures.gate import ImageRejected, load_stored_pixels
from similar_products.search.placement import get_placement
from tests.drawn_pictures import picture_bytes
from tests.models import Shirt
from tests.profiles import often

COLORS = st.sampled_from(["red", "lime", "blue"])
ENCODERS = st.sampled_from(["old", "new"])


class OverwritingStorage(InMemoryStorage):
    """Keeps the name and replaces the bytes, as S3 does unless told otherwise."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name

    def _save(self, name: str, content: Any) -> str:
        if self.exists(name):
            self.delete(name)
        return super()._save(name, content)


def picture(first: str, second: str, name: str) -> ContentFile:
    return ContentFile(picture_bytes(first, second, size=(16, 16)), name)


class Shop(RuleBasedStateMachine):
    """A shop that saves, replaces, deletes and updates while workers embed, crash and change their encoder."""

    loaded = Bundle("loaded")
    claimed = Bundle("claimed")
    storage: OverwritingStorage
    choose_encoder: Any

    def __init__(self) -> None:
        super().__init__()
        Shirt.objects.all().delete()
        self.choose_encoder("old")
        self.number = 0

    def any_row(self, which: int) -> Shirt | None:
        rows = list(Shirt.objects.order_by("pk"))
        return rows[which % len(rows)] if rows else None

    @rule(first=COLORS, second=COLORS)
    def save_a_new_product(self, first, second):
        self.number += 1
        Shirt.objects.create(name=str(self.number), image=picture(first, second, f"own{self.number}.png"))

    @rule()
    def save_a_product_without_picture(self):
        Shirt.objects.create(name="none")

    @rule()
    def save_a_product_with_a_damaged_picture(self):
        self.number += 1
        Shirt.objects.create(name="bad", image=ContentFile(b"damaged", f"bad{self.number}.png"))

    @rule(which=st.integers(0, 2), first=COLORS, second=COLORS)
    def replace_the_picture(self, which, first, second):
        if row := self.any_row(which):
            self.number += 1
            row.image = picture(first, second, f"own{self.number}.png")
            row.save()

    @rule(which=st.integers(0, 2), first=COLORS, second=COLORS)
    def replace_the_bytes_under_the_same_name(self, which, first, second):
        if (row := self.any_row(which)) and row.image:
            row.image = picture(first, second, row.image.name.removeprefix("shirts/"))
            row.save()

    @rule(which=st.integers(0, 2))
    def remove_the_picture(self, which):
        if row := self.any_row(which):
            row.image = ""
            row.save()

    @rule(which=st.integers(0, 2))
    def update_the_picture_in_bulk(self, which):
        if row := self.any_row(which):
            self.number += 1
            self.storage.save(name := f"bulk{self.number}.png", picture("red", "navy", name))
            Shirt.objects.filter(pk=row.pk).update(image=name)

    @rule(target=loaded, which=st.integers(0, 2), everything=st.booleans())
    def load_a_product(self, which, everything):
        row = self.any_row(which)
        if row is None:
            return multiple()
        return Shirt.objects.defer(None).get(pk=row.pk) if everything else row

    @rule(row=consumes(loaded), price=st.integers(0, 99))
    def save_a_product_loaded_long_ago(self, row, price):
        row.price = price
        row.save()

    @rule(which=st.integers(0, 2))
    def delete_a_product(self, which):
        if row := self.any_row(which):
            row.delete()

    @rule(name=ENCODERS)
    def change_the_encoder(self, name):
        self.choose_encoder(name)

    @rule(target=claimed, size=st.integers(1, 4))
    def a_worker_reads_and_encodes(self, size):
        encoder = get_encoder()
        rows = [
            Row(*values)
            for values in Shirt.objects.pending().order_by("pk").values_list("pk", "image", "embedding_source")[:size]
        ]
        return encoder.name, PictureEncoder(get_placement(Shirt), encoder).encode(rows)

    @rule(work=consumes(claimed))
    def a_worker_writes(self, work):
        name, results = work
        VectorWriter(get_placement(Shirt), "default", name).write(results)

    @rule(work=consumes(claimed))
    def a_worker_dies(self, work):
        pass

    @rule()
    def sweep(self):
        embed(Shirt.objects.pending(), retry_delays=[])
        assert not Shirt.objects.pending().exists()

    @invariant()
    def every_row_is_in_one_state(self):
        states = [Shirt.objects.ready(), Shirt.objects.pending(), Shirt.objects.failed()]
        keys = [pk for rows in states for pk in rows.values_list("pk", flat=True)]
        assert sorted(keys) == sorted(Shirt.objects.with_picture().values_list("pk", flat=True))
        assert all(Shirt.objects.failed().values_list("embedding_error", flat=True))

    @invariant()
    def every_ready_vector_is_of_the_present_picture(self):
        encoder = get_encoder()
        for row in Shirt.objects.ready().defer(None):
            expected = encoder.encode(load_stored_pixels(self.storage, row.image.name, encoder.image_size)[None])[0]
            assert np.allclose(row.embedding, expected, atol=1e-6), row.embedding_source
            assert abs(np.linalg.norm(row.embedding) - 1) < 1e-5

    @invariant()
    def every_failed_picture_is_a_bad_one(self):
        for row in Shirt.objects.failed():
            with pytest.raises(ImageRejected):
                load_stored_pixels(self.storage, row.image.name, 32)

    @invariant()
    def only_ready_rows_of_the_same_encoder_are_served(self):
        target = Shirt.objects.ready().first()
        if target:
            served = set(Shirt.objects.similar_to(target)[:50])
            assert served == set(Shirt.objects.ready()) - {target}


@pytest.mark.django_db
@pytest.mark.slow
def test_states__hold_in_any_order(monkeypatch):
    from django.conf import settings as django_settings

    storage = OverwritingStorage()
    field = Shirt._meta.get_field("image")
    monkeypatch.setattr(field, "storage", storage)
    monkeypatch.setattr(Shop, "storage", storage, raising=False)

    def choose(name: str) -> None:
        encoder = {"BACKEND": "tests.counting.NamedEncoder", "OPTIONS": {"name": name}}
        monkeypatch.setattr(django_settings, "SIMILAR_PRODUCTS", {"ENCODER": encoder, "REFUSE_BLANK": False})

    monkeypatch.setattr(Shop, "choose_encoder", staticmethod(choose), raising=False)
    run_state_machine_as_test(
        Shop,
        settings=settings(
            max_examples=often(25, nightly=1_000),
            stateful_step_count=30,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
