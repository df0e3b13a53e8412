"""Networks: encoder and decoder in scaled space, one file each."""

from __future__ import annotations

from ae_train.arch.dense import Dense

# A new network is one file with a class like Dense, its line here, and its word in recipe.py.
ARCHS = {"dense": Dense}
