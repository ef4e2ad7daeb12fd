"""The API under load: answers, latency and memory of a real gunicorn while uploads saturate it.

Clients in processes of their own upload photos over HTTP without a pause, a tenth of them hostile: a truncated JPEG,
text, a PNG of 49 megapixels, an empty file, 11 MB, a wrong field, a region that is none. Beside them one asks for
``similar/`` and one for its fragment, 50 ms after each answer. Each request is a connection of its own and, by its
X-Forwarded-For, comes from another address: the throttles are on as delivered, and none of them answers. After a 503
a client waits for as long as Retry-After says.

The model is open in each worker before anything is measured. Memory is the resident memory of the workers with their
decoder processes, the median over a few seconds. Exit code 1 where an answer is not 2xx, 4xx or 503, where a worker
has ended, where p95 of ``similar/`` is above 150 ms, or where memory grew by more than a tenth after the first 10 s.
"""

import argparse
import http.client
import io
import itertools
import multiprocessing
import os
import random
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from tqdm import tqdm

from benchmarks import bench

HOST = "127.0.0.1"
HOSTILE_EVERY = 10
READ_PAUSE = 0.05
MAX_MILLISECONDS = 150
"""p95 of ``similar/`` while uploads saturate."""
MAX_GROWTH = 1.1
WARM_SECONDS = 10.0
BOUNDARY = "f2b1c0ffee"
LOST = 0
"""Instead of a status: the connection ended before an answer could be read."""

SETTINGS = """
from benchmarks.settings import *

SIMILAR_PRODUCTS["API"]["MAX_INFERENCES"] = {}
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: ``kind`` of the request, status, milliseconds, and the body where it is not allowed."""

    kind: str
    status: int
    took: float
    body: str = ""

    @property
    def is_allowed(self) -> bool:
        if self.status == LOST:  # the server refuses without reading, which may cut off its own answer
            return self.kind == "11 MB"
        return 200 <= self.status < 300 or 400 <= self.status < 500 or self.status == 503


def main() -> None:
    arguments = _arguments()
    pictures = [path.resolve() for path in bench.pictures_below(arguments.folder)][: arguments.products]
    with bench.shop(arguments.model), tempfile.TemporaryDirectory(prefix="similar-products-load-") as folder:
        from django.core.files import File

        from shop_demo.bulk import create_products
        from shop_demo.models import Category, Product

        category = Category.objects.create(name="all", slug="all")
        create_products(
            Product(name=str(number), category=category, price=1, stock=1, image=File(path.open("rb"), name=path.name))
            for number, path in enumerate(pictures)
        )
        bench.run_django("embed_products", "shop_demo.Product")
        keys = list(Product.objects.ready().values_list("pk", flat=True))
        with served(Path(folder), arguments) as (port, workers, log):
            warm_up(port, workers, pictures)
            pids = {worker.pid for worker in workers}
            context = multiprocessing.get_context("spawn")
            # Readers and uploads in different processes: an upload must not make a reader's clock wait.
            with ProcessPoolExecutor(1, context) as readers, ProcessPoolExecutor(1, context) as uploads:
                readers.submit(os.getpid).result()
                uploads.submit(os.getpid).result()
                alone = readers.submit(read, port, keys, min(10.0, arguments.seconds / 4)).result()
                started = time.monotonic()
                reading = readers.submit(read, port, keys, arguments.seconds)
                uploading = uploads.submit(upload, port, pictures, arguments.seconds, arguments.clients)
                memory = watch(workers, started, arguments.seconds, [reading, uploading])
                answers = [*reading.result(), *uploading.result()]
                elapsed = time.monotonic() - started
            survivors = {worker.pid for worker in workers if worker.is_running()}
            tail = log.read_text(errors="replace")[-4_000:]
    print(
        f"\n{len(keys):,} products; {arguments.workers} workers of {arguments.threads} threads; {arguments.clients} "
        f"uploading clients for {arguments.seconds:g} s, {os.cpu_count()} processors for the server and the clients\n"
    )
    wrong = report(answers, alone, elapsed)
    wrong += report_memory(memory, arguments.seconds)
    if survivors != pids:
        wrong.append(f"{len(pids - survivors)} of {len(pids)} workers ended. The server's log ends with:\n{tail}")
    if wrong:
        sys.exit("\n" + "\n".join(wrong))


def _arguments() -> argparse.Namespace:
    parser = bench.parser(__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="For how long clients upload (60).")
    parser.add_argument("--products", type=int, default=500, help="Products in the shop, at most (500).")
    parser.add_argument("--clients", type=int, default=8, help="Clients that upload at once (8).")
    parser.add_argument("--workers", type=int, default=2, help="gunicorn's (2).")
    parser.add_argument("--threads", type=int, default=2, help="gunicorn's, of each worker (2).")
    parser.add_argument("--max-inferences", type=int, help='SIMILAR_PRODUCTS["API"]["MAX_INFERENCES"] (the app\'s).')
    return parser.parse_args()


@contextmanager
def served(folder: Path, arguments: argparse.Namespace) -> Iterator[tuple[int, list[psutil.Process], Path]]:
    """Serve the benchmark's shop while the block runs; yield the port, the workers and the log."""
    from django.db import connection

    root, log = Path(__file__).parents[1], folder / "gunicorn.log"
    settings = "benchmarks.settings"
    if arguments.max_inferences:
        (folder / "api_load_settings.py").write_text(SETTINGS.format(arguments.max_inferences))
        settings = "api_load_settings"
    command = (
        f"gunicorn shop_demo.wsgi --workers {arguments.workers} --threads {arguments.threads} --bind {HOST}:0 "
        "--graceful-timeout 5"
    )
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", *command.split()],
            cwd=root,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": settings,
                "PYTHONPATH": f"{folder}{os.pathsep}{root}",
                "BENCHMARK_DATABASE_NAME": connection.settings_dict["NAME"],
            },
            stdout=output,
            stderr=output,
        )
    try:
        port = _wait_until_ready(server, log)
        yield port, psutil.Process(server.pid).children(), log
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_until_ready(server: "subprocess.Popen[bytes]", log: Path) -> int:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        text = log.read_text()
        if found := re.search(rf"Listening at: http://{re.escape(HOST)}:(\d+)", text):
            answer = ask(int(found[1]), "ready", "GET", "/api/products/0/similar/")
            if answer.status == 404:
                return int(found[1])
        time.sleep(0.2)
    sys.exit(f"gunicorn does not serve:\n{log.read_text()}")


def warm_up(port: int, workers: list[psutil.Process], pictures: list[Path]) -> None:
    """Search until each worker has answered a search: it has a decoder process then, and its model open."""
    body, content_type = form(("image", "photo.jpg", pictures[0].read_bytes()))
    deadline = time.monotonic() + 180
    with ThreadPoolExecutor(4) as clients:
        while not all(worker.children() for worker in workers):
            if time.monotonic() > deadline:
                sys.exit("Not every worker has answered a search within three minutes.")
            asked = [
                clients.submit(ask, port, "photo", "POST", "/api/products/search/", body, content_type)
                for _ in range(4 * len(workers))
            ]
            for answer in asked:
                if answer.result().status not in (200, 503):
                    sys.exit(f"The first searches were answered {answer.result()}.")


def ask(port: int, kind: str, method: str, path: str, body: bytes = b"", content_type: str = "") -> Answer:
    """Send one request from an address that no other has, and return the answer."""
    headers = {"X-Forwarded-For": ".".join(str(random.randint(1, 254)) for _ in range(4))}
    if content_type:
        headers["Content-Type"] = content_type
    client = http.client.HTTPConnection(HOST, port, timeout=60)
    started = time.perf_counter()
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # a body is refused while it still comes
            client.request(method, path, body or None, headers)
        response = client.getresponse()
        status, text = response.status, response.read()
        wait = response.headers.get("Retry-After", "")
    except (OSError, http.client.HTTPException) as error:
        status, text, wait = LOST, repr(error).encode(), ""
    finally:
        client.close()
    answer = Answer(kind, status, (time.perf_counter() - started) * 1000, text.decode(errors="replace"))
    if status in (429, 503):
        time.sleep(float(wait or 0))
    return Answer(kind, status, answer.took) if answer.is_allowed else answer


def read(port: int, keys: list[int], seconds: float) -> list[Answer]:
    """Ask for similar products and for the fragment of them, from a client each, and return the answers."""

    def client(kind: str) -> list[Answer]:
        choice = random.Random(kind)
        answers: list[Answer] = []
        while time.monotonic() < end:
            answers.append(ask(port, kind, "GET", f"/api/products/{choice.choice(keys)}/{kind}?limit=12"))
            time.sleep(READ_PAUSE)
        return answers

    end = time.monotonic() + seconds
    with ThreadPoolExecutor(2) as clients:
        return [answer for answers in clients.map(client, ("similar/", "similar/fragment/")) for answer in answers]


def upload(port: int, pictures: list[Path], seconds: float, clients: int) -> list[Answer]:
    """Send photos from so many clients without a pause, each tenth hostile, and return the answers."""

    def client(number: int) -> list[Answer]:
        turns = itertools.cycle(hostile[number % len(hostile) :] + hostile[: number % len(hostile)])
        choice = random.Random(number)
        answers: list[Answer] = []
        for turn in itertools.count(number):
            if time.monotonic() >= end:
                return answers
            if turn % HOSTILE_EVERY:
                photo = choice.choice(pictures).read_bytes()
                kind, (body, content_type) = "photo", form(("image", "photo.jpg", photo))
            else:
                kind, body, content_type = next(turns)
            answers.append(ask(port, kind, "POST", "/api/products/search/?limit=12", body, content_type))
        raise AssertionError

    hostile = list(hostile_uploads(pictures[0].read_bytes()))
    end = time.monotonic() + seconds
    with ThreadPoolExecutor(clients) as pool:
        return [answer for answers in pool.map(client, range(clients)) for answer in answers]


def hostile_uploads(picture: bytes) -> Iterator[tuple[str, bytes, str]]:
    """Yield kind, body and content type of what no honest client sends."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 255, (600, 800, 3), np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    whole = buffer.getvalue()
    yield "truncated JPEG", *form(("image", "photo.jpg", whole[: len(whole) // 2]))
    yield "text as .jpg", *form(("image", "photo.jpg", b"This is no picture.\n" * 500))
    yield "49-megapixel PNG", *form(("image", "photo.png", bomb(7_000)))
    yield "empty file", *form(("image", "photo.jpg", b""))
    yield "11 MB", *form(("image", "photo.jpg", picture + bytes(11 * 1024 * 1024)))
    yield "wrong field", *form(("picture", "photo.jpg", picture))
    yield "no region", *form(("image", "photo.jpg", picture), ("region", "", b"nan,0.5,1e999,-1"))


def bomb(side: int) -> bytes:
    """Return a PNG of ``side`` times ``side`` pixels in some kilobytes, whole and valid."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))

    deflate = zlib.compressobj(9)
    rows = b"".join(deflate.compress(bytes(side + 1)) for _ in range(side)) + deflate.flush()
    header = struct.pack("!IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def form(*parts: tuple[str, str, bytes]) -> tuple[bytes, str]:
    """Return a form of (field, file name or '', content) and its content type."""
    body = b""
    for field, name, content in parts:
        file = f'; filename="{name}"\r\nContent-Type: image/jpeg' if name else ""
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"{file}\r\n\r\n'.encode()
        body += content + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode(), f"multipart/form-data; boundary={BOUNDARY}"


def watch(
    workers: list[psutil.Process], started: float, seconds: float, work: "list[Future[list[Answer]]]"
) -> list[tuple[float, float]]:
    """Return (seconds since the start, megabytes of the workers and their decoders) until ``work`` is done."""
    samples = []
    with tqdm(total=round(seconds), unit=" s", desc="load", disable=None) as bar:
        while not all(each.done() for each in work):
            now = time.monotonic() - started
            samples.append((now, sum(_resident(worker) for worker in workers) / 1024**2))
            bar.update(min(round(now), bar.total) - bar.n)
            time.sleep(0.25)
    return samples


def _resident(worker: psutil.Process) -> int:
    total = 0
    try:
        for process in [worker, *worker.children(recursive=True)]:
            total += process.memory_info().rss
    except psutil.NoSuchProcess:
        pass  # a decoder process that is just replaced; a worker that has ended is told of by itself
    return total


def report(answers: list[Answer], alone: list[Answer], elapsed: float) -> list[str]:
    """Print what was answered and how fast, and return sentences about what should not be."""
    by_kind: dict[str, Counter[str]] = {}
    for answer in answers:
        by_kind.setdefault(answer.kind, Counter())[str(answer.status or "none")] += 1
    statuses = sorted({status for counts in by_kind.values() for status in counts})
    rows = [
        (kind, f"{counts.total():,}", *(f"{counts[status]:,}" if counts[status] else "" for status in statuses))
        for kind, counts in by_kind.items()
    ]
    print(bench.table(rows, ("request", "sent", *statuses)))
    times = {
        "similar/, no uploads": [answer.took for answer in alone if answer.kind == "similar/"],
        "similar/": [answer.took for answer in answers if answer.kind == "similar/"],
        "similar/fragment/": [answer.took for answer in answers if answer.kind == "similar/fragment/"],
        "search/, answered 200": [answer.took for answer in answers if answer.kind == "photo" and answer.status == 200],
    }
    rows = [
        (
            name,
            f"{len(taken):,}",
            *(f"{np.percentile(taken, part):.0f} ms" if taken else "" for part in (50, 95)),
            f"{max(taken, default=0):.0f} ms",
        )
        for name, taken in times.items()
    ]
    print()
    print(bench.table(rows, ("latency", "answers", "p50", "p95", "longest")))
    uploads = [answer for answer in answers if answer.kind not in ("similar/", "similar/fragment/")]
    found = times["search/, answered 200"]
    print(f"\nuploads a second: {len(uploads) / elapsed:.1f}, photos searched for: {len(found) / elapsed:.1f}")
    wrong = [
        f"{answer.kind} was answered {answer.status or 'nothing'}: {answer.body[:2_000]}"
        for answer in [*alone, *answers]
        if not answer.is_allowed
    ][:5]
    if not found:
        wrong.append("No photo was answered 200.")
    if (p95 := np.percentile(times["similar/"], 95)) > MAX_MILLISECONDS:
        wrong.append(f"p95 of similar/ is {p95:.0f} ms, more than {MAX_MILLISECONDS}.")
    return wrong


def report_memory(samples: list[tuple[float, float]], seconds: float) -> list[str]:
    """Print what the workers have after 10 s, or half of a shorter time, and at the end; return what is wrong."""
    warm, window = min(WARM_SECONDS, seconds / 2), min(5.0, seconds / 4)
    early = statistics.median(memory for at, memory in samples if warm <= at <= warm + window)
    late = statistics.median(memory for at, memory in samples if seconds - window <= at <= seconds)
    most = max(memory for _, memory in samples)
    rows: list[tuple[str, ...]] = [
        (f"after {warm:g} s", f"{early:,.0f} MB", ""),
        ("at the end", f"{late:,.0f} MB", f"{late / early:.3f}"),
        ("at most", f"{most:,.0f} MB", f"{most / early:.3f}"),
    ]
    print()
    print(bench.table(rows, ("memory of workers and decoders", "", "ratio")))
    if late / early > MAX_GROWTH:
        return [f"Memory at the end is {late / early:.3f} of that after {warm:g} s, more than {MAX_GROWTH}."]
    return []


if __name__ == "__main__":
    main()
