from django.db import models

from similar_products.models import VisuallySimilarModel


class Plate(VisuallySimilarModel):
    name = models.CharField(max_length=50)
    image = models.ImageField(upload_to="packages")
