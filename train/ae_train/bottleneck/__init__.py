"""Bottlenecks: what happens to the code between encoder and decoder, one file each."""

from __future__ import annotations

from ae_train.bottleneck.plain import Plain

# A new bottleneck is one file with a class like Plain, its line here, and its word in recipe.py.
BOTTLENECKS = {"plain": Plain}
