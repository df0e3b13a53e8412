"""From rows to trained weights, and how good these are."""
