"""The database backend that Django loads for the engine ``shop_demo.embedded_postgres``."""

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.postgresql import base, client

from .server import EmbeddedServer, get_server


def _server(settings_dict: dict[str, Any]) -> EmbeddedServer:
    if not settings_dict["HOST"]:
        raise ImproperlyConfigured(
            'With the engine shop_demo.embedded_postgres, DATABASES[...]["HOST"] must name the data folder.'
        )
    return get_server(settings_dict["HOST"])


class DatabaseClient(client.DatabaseClient):
    """``manage.py dbshell`` with the ``psql`` of the wheel."""

    @classmethod
    def settings_to_cmd_args_env(
        cls, settings_dict: dict[str, Any], parameters: Iterable[str]
    ) -> tuple[list[str], dict[str, str] | None]:
        """Return the command line and environment of psql, having started or joined the server.

        Raises ImproperlyConfigured where the server cannot be started.
        """
        server = _server(settings_dict)
        address = {name.upper(): value for name, value in server.join().items()}
        arguments, environment = super().settings_to_cmd_args_env({**settings_dict, **address}, parameters)
        return [str(server.psql), *arguments[1:]], environment


class DatabaseWrapper(base.DatabaseWrapper):
    """Connections to the embedded server, which is started or joined with the first of them."""

    client_class = DatabaseClient

    def get_connection_params(self) -> dict[str, Any]:
        """Return the parameters of a connection, having started or joined the server.

        Raises ImproperlyConfigured where the server cannot be started.
        """
        return {**super().get_connection_params(), **_server(self.settings_dict).join()}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a new connection, starting the server anew where it has died since this process joined it.

        Raises ImproperlyConfigured where the server cannot be started.
        """
        try:
            return super().get_new_connection(conn_params)
        except self.Database.OperationalError:
            address = _server(self.settings_dict).join(verify=True)
            return super().get_new_connection({**conn_params, **address})
