"""Similar products and search by photo over Django REST framework: optional, and imported by nothing else in the app.

A shop includes ``similar_products.rest_framework.urls``, or puts ``views.SimilarProductsMixin`` and
``views.VisualSearchMixin`` on a ViewSet of its own. docs/api.md has every parameter and code.
"""
