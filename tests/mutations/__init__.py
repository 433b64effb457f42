"""Deliberately broken variants of the product, each of which the suite must catch."""
