"""What is claimed about speed and quality, runnable: ``python -m benchmarks.NAME --help``.

Each takes pictures from a folder of one's own and the model from ``--model`` or ``SIMILAR_PRODUCTS_MODEL``,
and works in a database and a media folder that it makes and removes.
"""
