"""embed_products as processes of their own: killed, stopped, several at once, with a database that restarts."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from django.core.files.storage import default_storage
from django.db import OperationalError, connection

from similar_products.embedding import embed
from similar_products.embedding.writer import ROWS_PER_TRANSACTION
from tests.counting import Watched
from tests.drawn_pictures import picture_file
from tests.models import Shirt
from tests.profiles import often

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

COMMAND = (sys.executable, "-m", "django", "embed_products", "tests.Shirt")
BATCH = 16


def add_shirts(count: int) -> None:
    name = default_storage.save("shirts/crash.png", picture_file("tomato", "navy"))
    Shirt.objects.bulk_create(Shirt(name=str(number), image=name) for number in range(count))


class Processes:
    """Starts embed_products on the test's database, with an encoder that counts what it encodes."""

    def __init__(self, counted: Path) -> None:
        self.counted = counted
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.counting_settings",
            "TEST_DATABASE_NAME": connection.settings_dict["NAME"],
            "COUNTED_PICTURES": str(counted),
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def encoded(self) -> int:
        return sum(map(int, self.counted.read_text().split())) if self.counted.exists() else 0


@pytest.fixture
def processes(tmp_path) -> Processes:
    return Processes(tmp_path / "counted")


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> bool:
    """Wait for the condition while the process runs; return whether it came before the process ended."""
    deadline = time.monotonic() + 60
    while process.poll() is None:
        if condition():
            return True
        assert time.monotonic() < deadline, "neither the condition nor the end of the process came"
    return condition()


def test_four_processes__embed_each_row_exactly_once(processes):
    count = often(400, nightly=2_000)
    add_shirts(count)
    running = [processes.start() for _ in range(4)]
    outputs = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0] * 4, outputs
    assert Shirt.objects.ready().count() == count
    assert processes.encoded() == count


def test_kill__at_any_moment_loses_nothing_and_repeats_two_batches_at_most(processes):
    """One batch is being written while the next is being encoded: these two are what a kill costs."""
    count, kills = 500, 0
    add_shirts(count)
    choice = random.Random(5)
    for _ in range(often(5, nightly=50)):
        ready = Shirt.objects.ready().count()
        goal = min(ready + choice.randint(0, 2 * BATCH), count)
        process = processes.start(f"--batch-size={BATCH}")
        if wait_until(lambda goal=goal: Shirt.objects.ready().count() >= goal, process):
            process.kill()
        kills += process.wait(60) == -signal.SIGKILL
        process.communicate()
        if goal == count:
            Shirt.objects.filter(pk__in=Shirt.objects.values("pk")[:count]).update(embedding_source="")
            processes.counted.unlink(missing_ok=True)
            kills = 0
        states = [Shirt.objects.ready(), Shirt.objects.pending(), Shirt.objects.failed()]
        assert sum(rows.count() for rows in states) == count
    last = processes.start()
    assert last.wait(120) == 0, last.communicate()
    last.communicate()
    assert Shirt.objects.ready().count() == count
    assert count <= processes.encoded() <= count + kills * 2 * BATCH


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal__finishes_the_batch_says_so_and_exits_3(processes, number):
    add_shirts(500)
    process = processes.start(f"--batch-size={BATCH}")
    assert wait_until(lambda: Shirt.objects.ready().exists(), process)
    process.send_signal(number)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 3, error
    assert "Interrupted. What is embedded stays; run the command again to go on." in error
    ready = Shirt.objects.ready().count()
    assert f"tests.Shirt: {ready:,} embedded in " in out
    assert processes.encoded() == ready < 500


def test_database_restart__does_not_end_the_run(processes):
    """Killing a backend makes the postmaster end all connections and recover, as an immediate restart does."""
    add_shirts(500)
    with connection.cursor() as cursor:
        cursor.execute("CHECKPOINT")  # recovery replays what came after it: seconds where a whole suite did
    process = processes.start(f"--batch-size={BATCH}")
    for number in range(often(2, nightly=10)):
        if not wait_until(lambda number=number: _ready_on_a_new_connection() >= (number + 1) * 2 * BATCH, process):
            break
        _crash_the_server()
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert "does not answer" in error
    connection.close()
    assert Shirt.objects.ready().count() == 500


def _ready_on_a_new_connection() -> int:
    try:
        return Shirt.objects.ready().count()
    except OperationalError:
        connection.close()
        return 0


def _parameters() -> dict[str, str]:
    return {**connection.get_connection_params(), "context": None, "cursor_factory": None}


def _crash_the_server() -> None:
    """Kill a backend; return when the postmaster has ended the others, ours among them."""
    victim = psycopg.connect(**_parameters())
    os.kill(victim.info.backend_pid, signal.SIGKILL)
    with pytest.raises(OperationalError), connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(60)")
    connection.close()
    victim.close()


def test_save__waits_for_no_inference(settings, monkeypatch):
    """While a row's picture is in the encoder nothing holds the row: it can be locked at once."""
    settings.SIMILAR_PRODUCTS = {"ENCODER": {"BACKEND": "tests.counting.Watched"}, "REFUSE_BLANK": False}
    add_shirts(3)
    locked = []

    def encode(self, pixels):
        with psycopg.connect(**_parameters()) as other:
            locked.append(len(other.execute("SELECT id FROM tests_shirt FOR UPDATE NOWAIT").fetchall()))
        return features(self, pixels)

    features = Watched.features
    monkeypatch.setattr(Watched, "features", encode)
    assert embed(Shirt.objects.pending()).embedded == 3
    assert locked == [3]
    assert ROWS_PER_TRANSACTION == 16
