import re

import pytest
from django.contrib.auth.models import User

from similar_products import tasks
from similar_products.admin import actions
from similar_products.embedding import embed
from similar_products.encoders import ColorHistogramEncoder, EncoderError
from tests.admin.pages import (
    EMBED,
    EVERY_PLACEMENT,
    MODELS,
    RETRY,
    list_url,
    said,
    shirts_in_each_state,
    staff_with,
)
from tests.catalogues import CATALOGUES
from tests.drawn_pictures import picture_bytes, picture_file
from tests.models import Chair, ChairPhoto, RugPhoto, Shirt

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.urls("tests.admin_site"),
    pytest.mark.usefixtures("fresh_indexes"),
]


def act(client, action, products, **data):
    model = type(products[0])
    keys = [product.pk for product in products]
    return client.post(list_url(model), {"action": action, "_selected_action": keys, **data}, follow=True)


def damage(shirt):
    """Make a shirt's picture one that cannot be read, and find that out."""
    with Shirt.objects.get(pk=shirt.pk).image.open("wb") as file:
        good, cut = picture_bytes("red", "lime"), b"\x89PNG\r\n\x1a\n"
        file.write(cut)
    embed(Shirt.objects.filter(pk=shirt.pk), retry_delays=())
    return good


def mend(shirt, good):
    with Shirt.objects.get(pk=shirt.pk).image.open("wb") as file:
        file.write(good)


def test_embed__inline_embeds_what_is_pending(admin_client, colored):
    response = act(admin_client, EMBED, colored[:2])
    assert said(response) == "2 pictures are ready, 0 failed, 0 are pending."
    assert {shirt.name for shirt in Shirt.objects.ready()} == {"a", "b"}


def test_embed__says_how_many_failed_and_does_not_retry_them(admin_client, colored):
    good = damage(colored[0])
    mend(colored[0], good)
    response = act(admin_client, EMBED, colored)
    assert re.fullmatch(r"2 pictures are ready, 1 failed \(\w+ 1\), 0 are pending\.", said(response))


def test_retry__inline_embeds_what_failed_and_nothing_else(admin_client, colored):
    good = damage(colored[0])
    assert Shirt.objects.failed().get() == colored[0]
    mend(colored[0], good)
    response = act(admin_client, RETRY, colored)
    assert said(response) == "1 picture is ready, 0 failed, 2 are pending."
    assert Shirt.objects.ready().get() == colored[0]


@EVERY_PLACEMENT
def test_actions__work_in_every_placement(admin_client, placement):
    model = MODELS[placement]
    if placement in ("product", "companion"):
        product = model.objects.bulk_create([model(name="a", image=picture_file("red", "lime"))])[0]
    else:
        product = model.objects.create(name="a")
        photos = ChairPhoto if model is Chair else RugPhoto
        relation = "chair" if model is Chair else "rug"
        photos._base_manager.bulk_create([photos(**{relation: product}, image=picture_file("red", "lime"))])
    holder = CATALOGUES[placement].holder
    assert said(act(admin_client, EMBED, [product])) == "1 picture is ready, 0 failed, 0 are pending."
    assert holder.embeddings.ready().count() == 1
    holder.embeddings.update(embedding=None, embedding_error="truncated")
    assert said(act(admin_client, RETRY, [product])) == "1 picture is ready, 0 failed, 0 are pending."
    assert holder.embeddings.ready().count() == 1


queued = []


def enqueue(model_label, pk, using):
    queued.append((model_label, pk, using))


def enqueue_nothing(model_label, pk, using):
    raise ConnectionError("the queue is down")


@pytest.fixture
def no_inference(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("inference in the request")

    monkeypatch.setattr(ColorHistogramEncoder, "features", fail)


@pytest.mark.usefixtures("no_inference")
def test_embed__with_a_queue_enqueues_and_never_embeds(
    admin_client, change, colored, django_capture_on_commit_callbacks
):
    change(EMBED_ON_SAVE="tests.admin.test_actions.enqueue")
    queued.clear()
    with django_capture_on_commit_callbacks(execute=True):
        response = act(admin_client, EMBED, colored[:2])
    assert said(response) == "0 pictures are ready, 0 failed, 2 are pending. 2 were handed to the queue."
    assert sorted(queued) == sorted(("tests.Shirt", str(shirt.pk), "default") for shirt in colored[:2])


@pytest.mark.usefixtures("no_inference")
def test_retry__with_a_queue_makes_failed_ones_pending_first(admin_client, change, django_capture_on_commit_callbacks):
    change(EMBED_ON_SAVE="tests.admin.test_actions.enqueue")
    queued.clear()
    shirts = shirts_in_each_state()
    with django_capture_on_commit_callbacks(execute=True):
        response = act(admin_client, RETRY, shirts)
    assert said(response) == "1 picture is ready, 0 failed, 4 are pending. 2 were handed to the queue."
    assert sorted(int(pk) for _, pk, _ in queued) == sorted(
        shirt.pk for shirt in shirts if shirt.name in ("cut", "gone")
    )
    assert not Shirt.objects.exclude(embedding_error="").exists()


@pytest.mark.django_db(transaction=True)
def test_embed__queue_that_is_down_is_said(admin_client, change, colored, caplog):
    change(EMBED_ON_SAVE="tests.admin.test_actions.enqueue_nothing")
    response = act(admin_client, EMBED, colored)
    assert said(response) == (
        "0 pictures are ready, 0 failed, 3 are pending. An error stopped it, and the rest stays pending; the log says "
        "why."
    )
    assert "the queue is down" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_embed__more_than_a_request_takes_is_left(admin_client, change, colored, monkeypatch):
    change(EMBED_ON_SAVE="tests.admin.test_actions.enqueue")
    queued.clear()
    monkeypatch.setattr(actions, "MAX_QUEUED", 2)
    assert "2 were handed to the queue. There were too many" in said(act(admin_client, EMBED, colored))
    assert len(queued) == 2
    change(EMBED_ON_SAVE="inline")
    monkeypatch.setattr(actions, "MAX_QUEUED", 1_000)
    monkeypatch.setattr(actions, "INLINE_SECONDS", -1)
    assert said(act(admin_client, EMBED, colored)).startswith(
        "0 pictures are ready, 0 failed, 3 are pending. There were too many"
    )


def test_retry__with_a_queue_hands_over_after_the_commit(change, django_capture_on_commit_callbacks):
    change(EMBED_ON_SAVE="tests.admin.test_actions.enqueue")
    queued.clear()
    shirts_in_each_state()
    with django_capture_on_commit_callbacks() as callbacks:
        assert actions.embed_products(Shirt.objects.all(), retry_failed=True).queued == 2
    assert (queued, len(callbacks)) == ([], 2)


@pytest.mark.usefixtures("no_inference")
def test_actions__off_leaves_it_to_the_command(admin_client, change):
    change(EMBED_ON_SAVE="off")
    response = act(admin_client, RETRY, shirts_in_each_state())
    assert said(response) == (
        '1 picture is ready, 0 failed, 4 are pending. EMBED_ON_SAVE is "off": what is pending is embedded by the next '
        "run of embed_products."
    )


class ReadsElsewhere:
    def db_for_read(self, model, **hints):
        return "replica"


@pytest.mark.usefixtures("no_inference")
def test_actions__read_and_write_where_is_written(change, settings, django_capture_on_commit_callbacks):
    change(EMBED_ON_SAVE="tests.admin.test_actions.enqueue")
    queued.clear()
    shirts = shirts_in_each_state()
    settings.DATABASE_ROUTERS = [ReadsElsewhere()]
    with django_capture_on_commit_callbacks(execute=True):
        outcome = actions.embed_products(Shirt.objects.filter(name__in=["cut", "gone"]), retry_failed=True)
    assert (outcome.pending, outcome.queued) == (2, 2)
    assert sorted(queued) == sorted(
        ("tests.Shirt", str(shirt.pk), "default") for shirt in shirts if shirt.name in ("cut", "gone")
    )


def test_embed__encoder_that_fails_is_said(admin_client, colored, monkeypatch):
    def fail(*args, **kwargs):
        raise EncoderError("The model is gone; copy it anew.")

    monkeypatch.setattr(ColorHistogramEncoder, "features", fail)
    assert said(act(admin_client, EMBED, colored)) == (
        "0 pictures are ready, 0 failed, 3 are pending. The model is gone; copy it anew."
    )


def test_embed__encoder_that_cannot_be_made_is_said(admin_client, colored, change):
    change(ENCODER={"BACKEND": "no.such.Encoder"})
    assert "cannot be imported" in said(act(admin_client, EMBED, colored))


def test_actions__all_of_a_filtered_list(admin_client, colored):
    good = damage(colored[0])
    mend(colored[0], good)
    url = f"{list_url(Shirt)}?similar_products_state=failed"
    data = {"action": RETRY, "_selected_action": [colored[0].pk], "select_across": "1"}
    assert said(admin_client.post(url, data, follow=True)) == "1 picture is ready, 0 failed, 0 are pending."


@pytest.mark.parametrize("action", [EMBED, RETRY])
def test_actions__need_the_permission_to_change(colored, action):
    client = staff_with("view_shirt")
    assert action not in client.get(list_url(Shirt)).content.decode()
    act(client, action, colored)
    assert Shirt.objects.pending().count() == 3
    assert f'value="{action}"' in staff_with_change().get(list_url(Shirt)).content.decode()


def staff_with_change():
    User.objects.all().delete()
    return staff_with("view_shirt", "change_shirt")


def test_actions__ask_what_a_save_asks():
    assert actions.embed_or_enqueue is tasks.embed_or_enqueue
