import os
import secrets
import socket
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

HOST = "127.0.0.1"
ADMIN = "admin"
PASSWORD_FILE = ".demo-admin-password"  # noqa: S105


class Command(BaseCommand):
    help = "Set the demo shop up, with its database, its products and their vectors, and serve it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="Port of the shop (8000).")
        parser.add_argument("--no-serve", action="store_false", dest="serve", help="Set up, and do not serve.")

    def handle(self, *, port: int, serve: bool, verbosity: int, **options: Any) -> None:
        if serve:
            _check_port(port)
        call_command("migrate", verbosity=min(verbosity, 1) - 1, interactive=False)
        password = ensure_admin(settings.BASE_DIR / PASSWORD_FILE)
        call_command("seed_shop", verbosity=verbosity)
        try:
            call_command("embed_products", verbosity=verbosity)
        except CommandError as error:
            if error.returncode != 1:  # 1: it ran, and some pictures failed
                raise
            self.stderr.write(str(error))
        address = f"http://{HOST}:{port}"
        self.stdout.write(f"Shop:  {address}/")
        self.stdout.write(f"Admin: {address}/admin/  user {ADMIN}, password {password}")
        if serve:
            self.stdout.flush()
            call_command("runserver", f"{HOST}:{port}", use_reloader=False)


def _check_port(port: int) -> None:
    """Find out now what ``runserver`` would say only after minutes of embedding."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise CommandError(
                f"Port {port} cannot be served on {HOST}: {error}. Name another one, such as --port 8001.",
                returncode=2,
            ) from error


def ensure_admin(file: Path) -> str:
    """Return the password of the user ``admin``, who is made with a random one where there is none."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        password = file.read_text(encoding="utf-8").strip()
    else:
        password = secrets.token_urlsafe(12)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(f"{password}\n")
    users = get_user_model().objects
    admin = users.filter(username=ADMIN).first()
    if admin is None:
        users.create_superuser(username=ADMIN, password=password)
    elif not admin.check_password(password):
        return f"not known here: set one with manage.py changepassword {ADMIN}"
    return password
