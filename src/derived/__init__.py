"""The book's own library: one module for each chapter, one function for each formula."""

from derived._validation import validation

__all__ = ["validation"]
