"""Pins and hides: what a shop's people say about the lists of similar products. An app of its own, and optional."""
