"""embed_products against the loop of the 2019 original, same pictures and weights, in one run.

The loop takes one picture at a time: read, decode, resize with padding, call the model, save the vector as
text. Beside both stands the bound of a perfect pipeline, 1 / (1/decode + 1/encode + 1/index), each part
measured alone on all cores. "Index" is the build after the load for a first fill, and the writing of the same
vectors into the live index for a run on a catalogue that has vectors already.
"""

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from pgvector import Vector

from benchmarks import bench


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


def measure(pictures: list[Path]) -> dict[str, float]:
    """Return pictures per second of the loop, of embed_products, and of the parts of the bound."""
    from django.core.files.storage import FileSystemStorage
    from django.core.management import call_command

    from shop_demo.models import Category, Product
    from similar_products.embedding.index_build import build_index
    from similar_products.embedding.rows import Row
    from similar_products.embedding.writer import Result, VectorWriter
    from similar_products.encoders import get_encoder
    from similar_products.pictures.gate import load_stored_pixels
    from similar_products.search.placement import get_placement

    encoder: Any = get_encoder()
    size = encoder.image_size
    encoder.encode(np.zeros((32, size, size, 3), np.uint8))  # opened and warm for both
    count = len(pictures)
    with tempfile.TemporaryDirectory() as texts:
        loop = bench.seconds(lambda: original_loop(encoder._open(), pictures, Path(texts)))

    storage = FileSystemStorage("/")
    field = Product._meta.get_field("image")
    stored, field.storage = field.storage, storage
    Product.objects.all().delete()
    category, _ = Category.objects.get_or_create(name="all", slug="all")
    Product.objects.bulk_create(
        Product(name=str(number), category=category, price=1, image=str(path)) for number, path in enumerate(pictures)
    )
    ours = bench.seconds(lambda: call_command("embed_products", "shop_demo.Product", verbosity=0))
    assert Product.objects.ready().count() == count
    index = bench.seconds(lambda: build_index(Product, "default"))
    Product.objects.update(embedding_source="")
    live = bench.seconds(lambda: call_command("embed_products", "shop_demo.Product", verbosity=0))
    assert Product.objects.ready().count() == count
    columns = Product.objects.values_list("pk", "image", "embedding_source", "embedding")
    results = [Result(Row(*row), Vector(vector), "") for *row, vector in columns]
    writer = VectorWriter(get_placement(Product), "default", encoder.name)
    index_live = bench.seconds(lambda: [writer.write(results[start : start + 32]) for start in range(0, count, 32)])
    field.storage = stored

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        decode = bench.seconds(
            lambda: list(threads.map(lambda path: load_stored_pixels(storage, str(path), size), pictures))
        )
    batch = np.random.default_rng(0).integers(0, 256, (encoder.batch_size, size, size, 3), dtype=np.uint8)
    encode = bench.seconds(lambda: [encoder.encode(batch) for _ in range(count // encoder.batch_size)])
    encode *= count / (count // encoder.batch_size * encoder.batch_size)
    return {
        "loop": count / loop,
        "ours": count / ours,
        "decode": count / decode,
        "encode": count / encode,
        "index": count / index,
        "bound": count / (decode + encode + index),
        "live": count / live,
        "live index": count / index_live,
        "live bound": count / (decode + encode + index_live),
    }


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--pictures", type=int, default=1_000, help="How many pictures (1000).")
    parser.add_argument("--side", type=int, default=1_600, help="Longest side of the enlarged copies (1600).")
    arguments = parser.parse_args()
    found = bench.pictures_below(arguments.folder)
    found = [path.resolve() for path in found if path.suffix.lower() in (".jpg", ".jpeg")]
    step = max(len(found) // arguments.pictures, 1)
    pictures = found[::step][: arguments.pictures]
    rows = []
    with bench.shop(arguments.model), tempfile.TemporaryDirectory() as folder:
        large = list(enlarged(pictures, Path(folder), arguments.side))
        for name, chosen in [("as they are", pictures), (f"{arguments.side} px", large)]:
            rate = measure(chosen)
            for run, ours, index, bound in [
                ("first fill", "ours", "index", "bound"),
                ("live index", "live", "live index", "live bound"),
            ]:
                rows.append(
                    (
                        f"{len(chosen):,} {name}, {run}",
                        *(f"{rate[key]:,.0f}" for key in ("loop", ours)),
                        f"{rate[ours] / rate['loop']:.2f} x",
                        *(f"{rate[key]:,.0f}" for key in ("decode", "encode", index, bound)),
                        f"{rate[ours] / rate[bound]:.2f}",
                    )
                )
    print("Pictures per second:\n")
    header = ("pictures", "2019 loop", "embed_products", "ratio", "decode", "encode", "index", "bound", "of bound")
    print(bench.table(rows, header))


if __name__ == "__main__":
    main()
