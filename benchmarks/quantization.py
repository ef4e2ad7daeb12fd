"""What 8 bits cost: precision@10 by category of the model given and of the same in 8 bits, every product a query.

``quantize_encoder`` calibrates on several numbers of the catalogue's pictures, ``evaluate_similarity --compare``
measures each file. Exit code 1 where one loses more than half a point.
"""

import io
import json
import sys
import tempfile
from pathlib import Path

from benchmarks import bench

MAX_LOSS = 0.005


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--samples", type=int, nargs="+", default=[100, 200, 400], help="Pictures to calibrate on.")
    arguments = parser.parse_args()
    if not arguments.model:
        parser.error("--model is needed: the model in the package has no 8 bits.")
    rows = []
    losses = []
    with bench.shop(arguments.model), tempfile.TemporaryDirectory() as folder:
        from django.core.management import call_command

        call_command("import_products", str(arguments.folder))
        call_command("embed_products", "shop_demo.Product")
        for sample in arguments.samples:
            file = Path(folder, f"{sample}.tflite")
            call_command("quantize_encoder", "shop_demo.Product", output=file, sample=sample)
            out = io.StringIO()
            compare = {"compare": str(file), "by": "category", "as_json": True}
            call_command("evaluate_similarity", "shop_demo.Product", **compare, stdout=out)
            found = [one["labels"]["precision"] for one in json.loads(out.getvalue())["encoders"]]
            losses.append(found[0] - found[1])
            rows.append((f"{sample:,}", *(f"{one:.4f}" for one in found), f"{100 * losses[-1]:.2f}"))
    print(bench.table(rows, ("calibrated on", "the model", "in 8 bits", "points lost")))
    if max(losses) > MAX_LOSS:
        sys.exit(f"More than {100 * MAX_LOSS:g} points are lost.")


if __name__ == "__main__":
    main()
