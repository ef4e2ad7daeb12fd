"""The Django admin of a shop: what is embedded, what is found, and why not.

``class ProductAdmin(SimilarProductsAdminMixin, admin.ModelAdmin)`` adds all of it to a product's admin, and
``PictureStateInlineMixin`` the state of each picture to the inline of a picture model.
"""

from .mixins import PictureStateInlineMixin, SimilarProductsAdminMixin

__all__ = ["PictureStateInlineMixin", "SimilarProductsAdminMixin"]
