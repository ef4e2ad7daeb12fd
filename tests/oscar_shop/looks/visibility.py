def browsable(products, request):
    return products.browsable()
