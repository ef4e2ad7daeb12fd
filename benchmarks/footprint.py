"""What the app weighs: installed alone in a fresh environment, by package; and a process until its first vector.

The process imports and sets up Django with this app alone, makes the encoder of the settings, the model in the package,
and encodes one picture. Time is from its start to the vector, the median of several processes after a first one;
memory is the most that it had resident.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import venv
from pathlib import Path

from benchmarks import bench

ROOT = Path(__file__).resolve().parents[1]
MEGABYTE = 1_000_000

SIZES = """
from importlib.metadata import distributions
for one in distributions():
    print(one.name, sum(file.locate().stat().st_size for file in one.files or () if file.locate().is_file()))
"""
FIRST_VECTOR = """
import resource, sys, time
from django.conf import settings
settings.configure(INSTALLED_APPS=["django.contrib.postgres", "similar_products"], SECRET_KEY="unused",
                   DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "unused"}})
import django
django.setup()
import numpy
from similar_products.encoders import get_encoder
encoder = get_encoder()
pixels = numpy.random.default_rng(0).integers(0, 256, (1, encoder.image_size, encoder.image_size, 3), numpy.uint8)
assert encoder.encode(pixels).shape == (1, encoder.dimensions)
assert "tensorflow" not in sys.modules
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=9, help="Processes of which the median counts (9).")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin", "python")
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--no-compile", str(ROOT), "psycopg[binary]"], check=True
        )

        # As in a shop: Python keeps what it has compiled.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

        def run(code: str) -> str:
            done = subprocess.run(
                [python, "-c", code], check=True, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment
            )
            return done.stdout

        sizes = dict(line.split() for line in run(SIZES).splitlines())
        run(FIRST_VECTOR)  # writes Python's compiled files
        peaks: list[float] = []
        took = [bench.seconds(lambda: peaks.append(int(run(FIRST_VECTOR)) / 1024)) for _ in range(arguments.processes)]
    ours = {name: int(size) / MEGABYTE for name, size in sizes.items() if name not in ("pip", "setuptools")}
    rows = [(name, f"{size:,.1f}") for name, size in sorted(ours.items(), key=lambda item: -item[1])]
    print(bench.table([*rows, ("all", f"{sum(ours.values()):,.1f}")], ("installed", "MB")))
    print(f"\nFirst vector after {statistics.median(took):.2f} s, {statistics.median(peaks):,.0f} MB")


if __name__ == "__main__":
    main()
