import socket
import stat

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from shop_demo.management.commands.demo import PASSWORD_FILE, ensure_admin
from shop_demo.models import Product


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    settings.BASE_DIR = tmp_path
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_demo__sets_the_shop_up_once(folder, capsys, client):
    call_command("demo", port=8123, serve=False)
    first = capsys.readouterr().out
    password = (folder / PASSWORD_FILE).read_text().strip()
    assert Product.objects.ready().count() == Product.objects.count() == 260
    assert client.login(username="admin", password=password)
    assert client.get("/admin/").status_code == 200
    assert "http://127.0.0.1:8123/\n" in first
    assert f"user admin, password {password}\n" in first
    product = Product.objects.first()
    assert 'class="similar-products"' in client.get(product.get_absolute_url()).content.decode()

    call_command("demo", port=8123, serve=False)
    assert f"user admin, password {password}\n" in capsys.readouterr().out
    assert Product.objects.count() == 260
    assert get_user_model().objects.count() == 1


@pytest.mark.django_db
class TestEnsureAdmin:
    def test_password__readable_by_its_owner_alone(self, folder):
        ensure_admin(folder / PASSWORD_FILE)
        assert stat.S_IMODE((folder / PASSWORD_FILE).stat().st_mode) == 0o600

    def test_password__another_in_each_shop(self, folder):
        passwords = {ensure_admin(folder / name) for name in ("one", "two")}
        assert all(len((folder / name).read_text().strip()) == 16 for name in ("one", "two"))
        assert len(passwords) == 2

    def test_password__of_an_admin_who_was_there_is_kept(self, folder):
        get_user_model().objects.create_superuser("admin", password="my own")
        told = ensure_admin(folder / PASSWORD_FILE)
        assert get_user_model().objects.get().check_password("my own")
        assert told == "not known here: set one with manage.py changepassword admin"


@pytest.mark.django_db
def test_demo__port_that_is_taken_refused_at_once():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CommandError, match=f"Port {port} cannot be served on 127.0.0.1: .* such as --port"):
            call_command("demo", port=port)
    assert not Product.objects.exists()
