"""The operators that a graph may hold, one module a family: what is admitted is in OPERATORS."""

from ae_runtime.graphs.operators import elementwise, images, products, reductions, shapes
from ae_runtime.graphs.operators.op import Call, Op

__all__ = ["OPERATORS", "Call", "Op"]

# ae_export checks against this same table. A new operator must not end a process by a signal,
# whatever its attributes.
OPERATORS: dict[str, Op] = {
    **elementwise.OPERATORS,
    **products.OPERATORS,
    **images.OPERATORS,
    **reductions.OPERATORS,
    **shapes.OPERATORS,
}
