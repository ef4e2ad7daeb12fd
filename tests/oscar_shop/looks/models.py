from django.db import models

from similar_products.models import VisuallySimilarModel


class ProductImageLook(VisuallySimilarModel):
    similar_image = "image__original"

    image = models.OneToOneField("catalogue.ProductImage", on_delete=models.CASCADE, related_name="look")
