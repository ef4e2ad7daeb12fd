"""What a page of the demo shop is made of, and what it asks the database."""

from html.parser import HTMLParser

from django.db import connection
from django.test.utils import CaptureQueriesContext


class Elements(HTMLParser):
    """The start tags of a page."""

    def __init__(self, response):
        super().__init__()
        self.found = []
        self.feed(response.content.decode())

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def named(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def queries_of(client, address):
    with CaptureQueriesContext(
        connection,
    ) as captured:
        response = client.get(address)
    assert response.status_code == 200
    # Savepoints come from the test's own transaction.
    return [query["sql"] for query in captured if "SAVEPOINT" not in query["sql"]]
