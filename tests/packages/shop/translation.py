from modeltranslation.translator import TranslationOptions, register

from .models import Pan


@register(Pan)
class PanTranslation(TranslationOptions):
    fields = ("name", "image")
