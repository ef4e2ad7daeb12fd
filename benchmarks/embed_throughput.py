"""embed_products against the loop of the 2019 original, same pictures, in one run; medians of several rounds.

The loop takes one picture at a time: read, decode, resize with padding, call MobileNetV2 1.0 in TensorFlow, save the
vector as text. Against it stand the same weights in LiteRT, the same in 8 bits (calibrated here on every fifteenth
picture), and the model in the package. Beside each stands the bound of a perfect pipeline,
1 / (1/decode + 1/encode + 1/index), each part measured alone on all cores; "index" is the build after the load of a
first fill.
"""

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import bench

CALIBRATION_STEP = 15


def original_loop(model: Any, pictures: list[Path], folder: Path) -> None:
    """Do as the walkthrough of 2019 did."""
    import tensorflow as tf

    for path in pictures:
        image = tf.io.decode_jpeg(tf.io.read_file(str(path)), channels=3)
        image = tf.image.resize_with_pad(image, 224, 224)
        image = tf.image.convert_image_dtype(image, tf.float32)[tf.newaxis, ...]
        np.savetxt(folder / f"{path.stem}.npz", np.squeeze(model(image)), delimiter=",")


def enlarged(pictures: list[Path], folder: Path, side: int) -> Iterator[Path]:
    """Yield copies of the pictures whose longest side is ``side`` pixels."""
    from PIL import Image

    for number, path in enumerate(pictures):
        with Image.open(path) as image:
            scale = side / max(image.size)
            size = (round(image.width * scale), round(image.height * scale))
            copy = folder / f"{number:05}.jpg"
            image.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(copy, quality=90)
        yield copy


def rate(pictures: list[Path], work: Callable[[], object]) -> float:
    """Return the number of pictures per second."""
    return len(pictures) / bench.seconds(work)


def measure(handle: str, pictures: list[Path]) -> dict[str, float]:
    """Return pictures per second of ``embed_products`` with a model, and of the parts of its bound."""
    from django.conf import settings
    from django.core.files.storage import FileSystemStorage
    from django.core.management import call_command

    from shop_demo.models import Category, Product
    from similar_products.embedding.index_build import build_index
    from similar_products.encoders import get_encoder, load_model
    from similar_products.pictures.cores import count_cores
    from similar_products.pictures.gate import load_stored_pixels

    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "ENCODER": {"OPTIONS": {"handle": handle}}}
    load_model()
    encoder, storage = get_encoder(), FileSystemStorage("/")
    field = Product._meta.get_field("image")
    stored, field.storage = field.storage, storage
    Product.objects.all().delete()
    category, _ = Category.objects.get_or_create(name="all", slug="all")
    Product.objects.bulk_create(
        Product(name=str(number), category=category, price=1, image=str(path)) for number, path in enumerate(pictures)
    )
    found = {"ours": rate(pictures, lambda: call_command("embed_products", "shop_demo.Product", verbosity=0))}
    assert Product.objects.ready().count() == len(pictures)
    found["index"] = rate(pictures, lambda: build_index(Product, "default"))
    field.storage = stored

    size, several = encoder.image_size, encoder.batch_size
    batch = np.random.default_rng(0).integers(0, 256, (several, size, size, 3), dtype=np.uint8)
    with ThreadPoolExecutor(count_cores()) as threads:
        decode = partial(load_stored_pixels, storage, size=size)
        found["decode"] = rate(pictures, lambda: list(threads.map(decode, map(str, pictures))))
        whole = pictures[: len(pictures) // several * several]
        batches = [batch] * (len(whole) // several)
        found["encode"] = rate(whole, lambda: list(threads.map(encoder.encode, batches)))
    found["bound"] = 1 / sum(1 / found[part] for part in ("decode", "encode", "index"))
    return found


def quantized(model: str, pictures: list[Path], folder: Path) -> str:
    """Return the path of the model in 8 bits."""
    from similar_products.encoders import TFHubEncoder
    from similar_products.encoders.conversion import quantize
    from similar_products.pictures.gate import load_pixels

    encoder = TFHubEncoder(model)
    pixels = np.stack([load_pixels(path.read_bytes(), encoder.image_size) for path in pictures[::CALIBRATION_STEP]])
    quantize(encoder, pixels, folder / "int8.tflite", print)
    return str(folder / "int8.tflite")


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--pictures", type=int, default=1_000, help="How many pictures (1000).")
    parser.add_argument("--side", type=int, default=1_600, help="Longest side of the enlarged copies (1600).")
    parser.add_argument("--rounds", type=int, default=3, help="Rounds of which the median counts (3).")
    arguments = parser.parse_args()
    if not arguments.model:
        parser.error("--model is needed: MobileNetV2 1.0 as a TF-Hub URL or SavedModel folder.")
    found = bench.pictures_below(arguments.folder)
    found = [path.resolve() for path in found if path.suffix.lower() in (".jpg", ".jpeg")]
    step = max(len(found) // arguments.pictures, 1)
    pictures = found[::step][: arguments.pictures]
    with bench.shop(arguments.model), tempfile.TemporaryDirectory() as name:
        from similar_products.encoders import TFHubEncoder
        from similar_products.encoders.tfhub import EMBEDDED_HANDLE

        folder = Path(name)
        large = list(enlarged(pictures, folder, arguments.side))
        small = f"{len(pictures):,} as they are"
        runs = [
            ("MobileNetV2 1.0", arguments.model, small, pictures),
            ("the same in 8 bits", quantized(arguments.model, pictures, folder), small, pictures),
            ("the model in the package", EMBEDDED_HANDLE, small, pictures),
            ("MobileNetV2 1.0", arguments.model, f"{arguments.side} px", large),
        ]
        loop = TFHubEncoder(arguments.model).read().function
        original_loop(loop, pictures[:20], folder)  # warm
        rows = []
        for model, handle, which, chosen in runs:
            rounds = [
                {**measure(handle, chosen), "loop": rate(chosen, partial(original_loop, loop, chosen, folder))}
                for _ in range(arguments.rounds)
            ]
            middle = {part: median(one[part] for one in rounds) for part in rounds[0]}
            times = median(one["ours"] / one["loop"] for one in rounds)
            of_bound = median(one["ours"] / one["bound"] for one in rounds)
            parts = (f"{middle[part]:,.0f}" for part in ("loop", "ours", "decode", "encode", "index", "bound"))
            rows.append((f"{model}, {which}", *parts, f"{times:.2f} x", f"{of_bound:.2f}"))
    print("Pictures per second:\n")
    header = ("", "2019 loop", "embed_products", "decode", "encode", "index", "bound", "of the loop", "of the bound")
    print(bench.table(rows, header))


if __name__ == "__main__":
    main()
