"""Visually similar products for Django shops, on PostgreSQL and pgvector alone."""

__version__ = "0.1.0"
