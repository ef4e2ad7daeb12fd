"""The encoder's model in 8 bits: calibrated on the catalogue, an encoder of its own, compared before it is used."""

import io
import json
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command

from similar_products.encoders import TFHubEncoder
from tests.drawn_pictures import picture_file
from tests.models import Shirt

pytestmark = pytest.mark.django_db

COLORS = ("tomato", "navy", "gold", "teal", "pink", "olive")


@pytest.fixture
def model(settings, monkeypatch, tmp_path) -> Path:
    """A SavedModel that is the encoder of the settings, and a catalogue with one picture that cannot be used."""
    pytest.importorskip("tensorflow")
    from tests.saved_models import save_feature_model

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = save_feature_model(tmp_path / "model", dimensions=1280, size=32)
    settings.SIMILAR_PRODUCTS = {"EMBED_ON_SAVE": "off", "ENCODER": {"OPTIONS": {"handle": str(folder)}}}
    for number, color in enumerate(COLORS):
        image = default_storage.save("shirts/q.png", picture_file(color, COLORS[number - 1], COLORS[number - 2]))
        Shirt.objects.create(name=color, color=str(number % 2), image=image)
    Shirt.objects.bulk_create([Shirt(name="gone", image="shirts/gone.png"), Shirt(name="no picture")])
    return folder


def run(*arguments: str, **options) -> str:
    out = io.StringIO()
    call_command("quantize_encoder", *arguments, stdout=out, **options)
    return out.getvalue()


def refusal(*arguments: str) -> tuple[str, int]:
    with pytest.raises(CommandError) as caught:
        run(*arguments)
    return str(caught.value), caught.value.returncode


@pytest.mark.slow
def test_quantize_encoder__writes_an_encoder_that_can_be_compared(model, tmp_path):
    file = tmp_path / "small.tflite"
    text = run("tests.Shirt", output=file)
    name = TFHubEncoder(model).name
    first, second, third, fourth = text.splitlines()
    assert first == f"Quantising {name}, calibrated on 6 pictures."
    start = f"Written to {file}: 0.1 MB; the mean cosine of its vectors to the model's is "
    assert second.startswith(start)
    assert 0.97 < float(second.removeprefix(start)[:5]) <= 1
    assert third == (f"What that costs: python manage.py evaluate_similarity tests.Shirt --by FIELD --compare {file}")
    assert fourth == (
        "To use it, set SIMILAR_PRODUCTS = {'ENCODER': {'BACKEND': 'similar_products.encoders.TFHubEncoder', "
        f"'OPTIONS': {{'handle': '{file}'}}}}}} and run embed_products."
    )

    Shirt.objects.filter(name="gone").delete()
    call_command("embed_products", "tests.Shirt", verbosity=0)
    out = io.StringIO()
    call_command("evaluate_similarity", "tests.Shirt", compare=str(file), by="color", as_json=True, stdout=out)
    found = json.loads(out.getvalue())["encoders"]
    assert [one["encoder"] for one in found] == [name, TFHubEncoder(file).name]
    assert all(0 <= one["labels"]["precision"] <= 1 for one in found)


def test_quantize_encoder__needs_a_model_that_tensorflow_reads(settings, tmp_path):
    settings.SIMILAR_PRODUCTS = {}
    sentence, code = refusal("tests.Shirt", f"--output={tmp_path / 'small.tflite'}")
    assert sentence == (
        f"The encoder {TFHubEncoder().name} cannot be quantised: only what TensorFlow reads can, so set the encoder to "
        "a TF-Hub model, a SavedModel or a Keras model first. The model in the package gains nothing."
    )
    assert code == 2


@pytest.mark.slow
def test_quantize_encoder__mistakes_are_one_sentence_and_write_nothing(model, tmp_path):
    file = tmp_path / "small.tflite"
    assert refusal("tests.Shirt", f"--output={tmp_path / 'small.bin'}") == (
        f"'{tmp_path / 'small.bin'}' does not end in .tflite; name a file that does.",
        2,
    )
    Shirt.objects.exclude(name="gone").delete()
    assert refusal("tests.Shirt", f"--output={file}") == (
        "tests.Shirt has no picture that can be used; calibrating needs some, and 200 are enough.",
        2,
    )
    assert not file.exists()
