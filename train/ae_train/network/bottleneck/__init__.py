"""Bottlenecks: what happens to the code between encoder and decoder, one file each."""

from __future__ import annotations

from importlib import import_module

from ae_train.network.bottleneck.plain import Plain
from ae_train.recipe import words_of

# A new bottleneck is a file with a class of its name like Plain, and its name in recipe.py.
BOTTLENECKS: dict[str, type[Plain]] = {
    name: getattr(import_module(f"ae_train.network.bottleneck.{name}"), name.capitalize())
    for name in words_of("bottleneck", "name")
}
