"""Train the small model that the app ships: python -m training.distil --hours 1.5 --output FILE."""

import argparse
import os
import time
from pathlib import Path

SHARED = Path(os.environ.get("SIMILAR_PRODUCTS_SHARED", Path(__file__).parents[2] / "shared"))
ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Distil a small MobileNetV2 from a large one on pictures without labels. A run that was stopped "
        "goes on from its last checkpoint.",
    )
    parser.add_argument("--images", type=Path, default=SHARED / "images", help="Folder of the picture sets.")
    parser.add_argument(
        "--teacher",
        type=Path,
        default=SHARED / "models" / "mobilenet_v2_100_224_feature_vector",
        help="Folder of the teacher's SavedModel.",
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / ".cache" / "training" / "model.tflite", help="File for the model."
    )
    parser.add_argument("--work", type=Path, default=ROOT / ".cache" / "training", help="Targets, checkpoint and log.")
    parser.add_argument("--crop-minutes", type=float, default=20, help="Most minutes to spend on them (20).")
    parser.add_argument("--hours", type=float, default=1.5, help="Hours of training, the teacher's part not counted.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--export-only", action="store_true", help="Export the checkpoint as it is.")
    arguments = parser.parse_args()

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Off by default on processors without AVX-512, where it still made 139 samples a second of 97.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    from django.conf import settings

    settings.configure()  # the encoder and the decoder read settings; the defaults will do

    from .export import export
    from .loop import Trainer, averaged_student, predictor
    from .measure import labelled_pictures, pixels_of, precision
    from .model import STUDENT
    from .targets import load, prepare

    if arguments.export_only:
        export(averaged_student(STUDENT, arguments.work), STUDENT, arguments.output)
        return
    files = prepare(
        arguments.work / "targets",
        arguments.images,
        arguments.teacher,
        size=STUDENT.size,
        seed=arguments.seed,
        until=time.monotonic() + arguments.crop_minutes * 60,
    )
    if not files:
        parser.error(f"--crop-minutes {arguments.crop_minutes:g} is over before the first file of crops; give more.")
    trainer = Trainer(STUDENT, load(files), arguments.work, seconds=arguments.hours * 3600, seed=arguments.seed)
    trainer.resume()
    # Clothing that is never trained on: a monitor, which nothing in the script reacts to.
    unseen, classes = labelled_pictures(arguments.images / "clothing" / "validation")
    pictures = pixels_of(unseen, STUDENT.size)
    if trainer.train(lambda student: {"clothing_precision": precision(predictor(student)(pictures), classes)}):
        export(trainer.average, STUDENT, arguments.output)


if __name__ == "__main__":
    main()
