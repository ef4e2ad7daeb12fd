"""Database engine ``shop_demo.embedded_postgres``: PostgreSQL with pgvector, without installing a server.

``DATABASES["default"]["HOST"]`` names the data folder; the server starts with the first connection.
"""
