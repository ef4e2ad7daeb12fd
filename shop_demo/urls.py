from django.conf import settings
from django.conf.urls.static import static
from django.contrib import admin
from django.urls import include, path

from . import views

handler404 = "shop_demo.views.not_found"
handler500 = "shop_demo.views.server_error"

urlpatterns = [
    path("", views.product_list, name="product-list"),
    path("categories/<str:slug>/", views.product_list, name="category"),
    path("products/<int:pk>/", views.product_detail, name="product"),
    path("search/", views.visual_search, name="visual-search"),
    path("api/", include("similar_products.rest_framework.urls")),
    path("admin/", admin.site.urls),
    *static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT),
]
