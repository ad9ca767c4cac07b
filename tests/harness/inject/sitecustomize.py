"""Python imports this by itself where it is on the path: wraps the program's named steps.

The program itself knows nothing of it.  Its supervisor imports this once; its children inherit the
hook by fork, and import what is wrapped for themselves.
"""

from __future__ import annotations

import functools
import importlib.machinery
import inspect
import os
import sys
import types
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

from harness.inject.steering import Moment, Steering


class Hook(MetaPathFinder):
    """Loads modules as ever, then wraps the steps in them."""

    def __init__(self, steering: Steering) -> None:
        self._steering = steering
        self._steps: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for number, step in enumerate(steering.steps):
            module, _, name = step.partition(":")
            self._steps[module].append((number, name))

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Find one of the modules in question, to be wrapped once it was executed."""
        if fullname not in self._steps:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def execute_and_wrap(module: types.ModuleType) -> None:
            execute(module)
            for number, name in self._steps[fullname]:
                self._wrap(module, number, name)

        spec.loader.exec_module = execute_and_wrap  # type: ignore[method-assign]  # of this one module
        return spec

    def _wrap(self, module: types.ModuleType, number: int, name: str) -> None:
        *outer, last = name.split(".")
        owner = functools.reduce(getattr, outer, module)
        found = inspect.getattr_static(owner, last)
        if isinstance(found, classmethod | staticmethod):
            setattr(owner, last, type(found)(self._steered(found.__func__, number)))
        else:
            setattr(owner, last, self._steered(found, number))

    def _steered(self, function: Callable[..., Any], number: int) -> Callable[..., Any]:
        meet = self._steering.meet
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def waits(*args: Any, **kwargs: Any) -> Any:
                meet(number, Moment.BEFORE)
                result = await function(*args, **kwargs)
                meet(number, Moment.AFTER)
                return result

            return waits

        @functools.wraps(function)
        def plain(*args: Any, **kwargs: Any) -> Any:
            meet(number, Moment.BEFORE)
            result = function(*args, **kwargs)
            meet(number, Moment.AFTER)
            return result

        return plain


if "STEERED_BY" in os.environ:
    sys.meta_path.insert(0, Hook(Steering(Path(os.environ["STEERED_BY"]))))
