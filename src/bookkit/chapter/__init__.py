"""A new chapter: ``python -m bookkit.chapter NAME TITLE``, from the files in ``templates/``."""
