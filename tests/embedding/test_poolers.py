"""Behind a pooler in transaction mode: similar_to works, and leaves nothing behind on the server's connection."""

import getpass
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from similar_products.search.scan import ScanSettings
from tests.catalogues import CATALOGUES, Item, Picture, at_angle
from tests.models import Shirt

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed"),
]


@pytest.fixture
def pooler():
    """Run pgbouncer with one server connection for everybody; return the parameters of a connection through it."""
    # A folder of its own rather than pytest's, which nobody but its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="similar-products-pooler-"))
    parameters = connection.get_connection_params()
    server = " ".join(f"{key}={parameters[key]}" for key in ("host", "port", "user", "dbname") if parameters.get(key))
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(
        f"[databases]\nshop = {server}\n"
        f"[pgbouncer]\nunix_socket_dir = {folder}\nlisten_port = 6432\nlisten_addr =\nauth_type = any\n"
        "pool_mode = transaction\ndefault_pool_size = 1\nserver_reset_query =\n"
    )
    as_user = []
    if os.geteuid() == 0:  # which pgbouncer refuses to be
        folder.chmod(0o755)
        shutil.chown(folder, "nobody")
        as_user = ["-u", "nobody"]
    process = subprocess.Popen(
        [str(PGBOUNCER), *as_user, str(configuration)], stderr=subprocess.PIPE, text=True, cwd=folder
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "process up" in line:
            break
    else:
        pytest.fail(f"pgbouncer did not start: {''.join(lines)}")
    yield {"host": str(folder), "port": 6432, "dbname": "shop", "user": getpass.getuser()}
    process.terminate()
    process.communicate(timeout=30)
    shutil.rmtree(folder)


def test_pooler__in_transaction_mode_keeps_no_setting_of_ours(pooler, settings):
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "EF_SEARCH": 77}
    CATALOGUES["product"].fill(items := [Item(f"item {n}", [Picture(at_angle(n / 10))]) for n in range(5)])
    statement, parameters = Shirt.objects.similar_to(items[0].row)[:3].query.sql_with_params()
    with (
        psycopg.connect(**pooler, autocommit=True, prepare_threshold=None) as first,
        psycopg.connect(**pooler, autocommit=True, prepare_threshold=None) as second,
    ):
        server = first.execute("SELECT pg_backend_pid()").fetchone()
        assert second.execute("SELECT pg_backend_pid()").fetchone() == server  # the two share it
        for _ in range(3):
            assert len(psycopg.ClientCursor(first).execute(statement, parameters).fetchall()) == 3
            assert second.execute("SHOW hnsw.ef_search").fetchone() == ("40",)
            assert second.execute("SHOW hnsw.iterative_scan").fetchone() == ("off",)


def test_pooler__the_settings_are_in_force_within_the_statement(pooler):
    calls = ScanSettings(77).extra["template"]
    with psycopg.connect(**pooler, autocommit=True) as client:
        client.execute("SELECT '[1]'::vector")  # which loads pgvector, and so its settings
        row = client.execute(f"SELECT {calls}, current_setting('hnsw.ef_search')").fetchone()
        assert row is not None
        assert row[1] == "77"
        assert client.execute("SHOW hnsw.ef_search").fetchone() == ("40",)
