"""The model in the package against the large one it learned from: match quality and pictures a second, in one run.

The pictures are those of ../shared (or of the environment variable SIMILAR_PRODUCTS_SHARED) that no training has
seen, and the demo's drawn catalogue. Both models get them through the same gate, each at its own size.
"""

import argparse
import os
import statistics
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import bench

SHARED = Path(os.environ.get("SIMILAR_PRODUCTS_SHARED", Path(__file__).parents[2] / "shared"))
DRAWN_PRODUCTS = 260
"""As many as seed_shop draws."""
BATCH = 32
Classes = NDArray[np.int64]


def main() -> None:
    arguments = _arguments()
    from django.conf import settings

    settings.configure()  # the encoder and the gate for pictures read settings; the defaults will do

    from similar_products.encoders import TFHubEncoder
    from similar_products.encoders.tfhub import EMBEDDED_HANDLE
    from training.measure import nearest, precision

    images, teacher_folder = arguments.shared / "images", arguments.teacher
    needed = (images / "clothing" / "validation", images / "furniture", teacher_folder)
    if missing := [str(folder) for folder in needed if not folder.is_dir()]:
        print(f"Skipped: there is no {' and no '.join(missing)}.")
        return

    student = TFHubEncoder(arguments.model or EMBEDDED_HANDLE)
    teacher = TFHubEncoder(teacher_folder)
    for encoder in (student, teacher):
        encoder.prepare(print)
    print(f"student {student.name}, teacher {teacher.name}\n")
    rows = []

    def add(subject: str, small: float, large: float, wanted: str, *, digits: int = 3) -> None:
        ratio = small / large
        rows.append((subject, f"{small:,.{digits}f}", f"{large:,.{digits}f}", f"{ratio:.3f}", wanted))

    clothing, classes = _labelled(images / "clothing" / "validation")
    small, large = (_vectors(encoder, clothing) for encoder in (student, teacher))
    add("clothing validation, P@10", precision(small, classes), precision(large, classes), "0.95 of it")

    furniture, classes = _labelled(images / "furniture", without="objects")
    small, large = (_vectors(encoder, furniture) for encoder in (student, teacher))
    add("furniture, six folders, P@10", precision(small, classes), precision(large, classes), "0.85 of it")
    pairs = zip(nearest(small), nearest(large), strict=True)
    common = statistics.mean(len(np.intersect1d(mine, its)) / 10 for mine, its in pairs)

    drawn, classes = _drawn()
    small, large = (_vectors(encoder, drawn) for encoder in (student, teacher))
    add("drawn catalogue, P@10 by category", precision(small, classes), precision(large, classes), "0.90 itself")

    if not arguments.without_speed:
        speed = _pictures_per_second([student, teacher], furniture, arguments.rounds)
        add("pictures a second on one core", speed[0], speed[1], "3 x", digits=0)

    print(bench.table(rows, ("", "student", "teacher", "ratio", "at least")))
    print(f"\nOf the teacher's ten nearest among furniture, {common:.3f} are among the student's ten.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=SHARED, help="Folder with images and models.")
    parser.add_argument(
        "--teacher",
        type=Path,
        default=SHARED / "models" / "mobilenet_v2_100_224_feature_vector",
        help="Folder of the SavedModel to compare with.",
    )
    parser.add_argument("--model", help="Another .tflite file or SavedModel in place of the one in the package.")
    parser.add_argument("--rounds", type=int, default=9, help="Rounds of the measurement of speed (9).")
    parser.add_argument("--without-speed", action="store_true", help="Leave the speed out, as on a busy machine.")
    return parser.parse_args()


def _labelled(folder: Path, *, without: str = "") -> tuple[list[bytes], Classes]:
    """Return the pictures in the folders of ``folder`` and for each the number of its folder."""
    files = [file for file in bench.pictures_below(folder) if file.parent.name != without]
    return [file.read_bytes() for file in files], _numbered([file.parent.name for file in files])


def _drawn() -> tuple[list[bytes], Classes]:
    from shop_demo.drawing import DrawnProduct

    products = [DrawnProduct(number) for number in range(DRAWN_PRODUCTS)]
    return [product.picture() for product in products], _numbered([product.category for product in products])


def _numbered(names: list[str]) -> Classes:
    return np.unique(names, return_inverse=True)[1]


def _pixels(encoder, pictures: list[bytes]) -> NDArray[np.uint8]:
    from similar_products.pictures.gate import load_pixels

    return np.stack([load_pixels(picture, encoder.image_size) for picture in pictures])


def _vectors(encoder, pictures: list[bytes]) -> NDArray[np.float32]:
    pixels = _pixels(encoder, pictures)
    return np.concatenate([encoder.encode(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)])


def _pictures_per_second(encoders: list, pictures: list[bytes], rounds: int) -> list[float]:
    """Return the median rate of each encoder, in rounds by turns so that a busy moment meets all of them."""
    batches = 4
    pixels = [_pixels(encoder, pictures[: batches * BATCH]) for encoder in encoders]
    rates: list[list[float]] = [[] for _ in encoders]
    for turn in range(rounds + 1):
        for encoder, all_of_them, found in zip(encoders, pixels, rates, strict=True):
            parts = np.split(all_of_them, batches)
            took = sum(bench.seconds(partial(encoder.encode, part)) for part in parts)
            if turn:  # the first opens the model
                found.append(len(all_of_them) / took)
    return [statistics.median(found) for found in rates]


if __name__ == "__main__":
    main()
