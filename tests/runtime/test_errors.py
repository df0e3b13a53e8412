"""The tree of errors is the one that is drawn, and each is also the builtin named beside it."""

from __future__ import annotations

import builtins
import inspect
import pickle
import re

import pytest

from ae_runtime import errors

LINE = re.compile(r"^(?P<indent>[│├└─ ]*)(?P<name>[A-Z]\w+)(?: +(?P<builtin>[A-Z]\w+Error))?")
CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind)
    and kind.__module__ == errors.__name__
    and kind is not errors.DataWarning  # no error
}


def drawn() -> dict[str, tuple[str | None, str | None]]:
    """Name -> (the class above it, the builtin beside it), read off the drawing."""
    tree: dict[str, tuple[str | None, str | None]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").split("\n\n")[1].splitlines():
        found = LINE.match(line)
        assert found, line
        depth = len(found["indent"]) // 4
        above[depth:] = [found["name"]]
        tree[found["name"]] = (above[depth - 1] if depth else None, found["builtin"])
    return tree


def test_every_error_is_drawn() -> None:
    assert set(drawn()) == set(CLASSES)
    assert len(CLASSES) >= 18


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_is_where_it_is_drawn(name: str) -> None:
    kind = CLASSES[name]
    parent, builtin = drawn()[name]
    if parent is None:
        assert kind is errors.AeError
        assert kind.__bases__ == (Exception,)
        return
    assert kind.__bases__[0] is CLASSES[parent]
    assert builtin is not None
    assert issubclass(kind, getattr(builtins, builtin))


@pytest.mark.parametrize("name", CLASSES)
def test_exit_codes(name: str) -> None:
    kind = CLASSES[name]
    assert kind.exit_code == (1 if issubclass(kind, errors.WorkFailed) else 2)


@pytest.mark.parametrize("name", CLASSES)
def test_messages_are_kept(name: str) -> None:
    error = CLASSES[name]("x.npy: what was wrong")
    assert str(error) == "x.npy: what was wrong"  # OSError with one argument does not add to it
    again = pickle.loads(pickle.dumps(error))  # from a worker process
    assert (type(again), str(again)) == (type(error), str(error))
