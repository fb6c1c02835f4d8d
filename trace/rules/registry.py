"""All rules there are: every module of this folder that has a list `RULES`."""

from __future__ import annotations

import hashlib
import inspect
import pkgutil
from collections.abc import Iterable
from functools import cache
from importlib import import_module

from . import __name__ as package
from . import __path__ as places
from .limits import Limits, load_limits
from .rule import Rule, in_order


@cache
def load_rules() -> tuple[Rule, ...]:
    """Every rule, in the order in which they are judged. Raises ValueError for a parameter that nobody declares."""
    modules = sorted(info.name for info in pkgutil.iter_modules(places))
    found = [rule for name in modules for rule in getattr(import_module(f"{package}.{name}"), "RULES", ())]
    declared = load_limits().names
    for rule in found:
        if unknown := set(rule.parameters) - declared:
            raise ValueError(f"rule {rule.id} reads parameters that no file declares: {sorted(unknown)}")
    return tuple(in_order(found))


def digest_of(rules: Iterable[Rule], limits: Limits) -> str:
    """SHA-256 over the rules' source and all parameters: when it changes, everything is judged again."""
    digest = hashlib.sha256(limits.digest.encode())
    own = {f"{package}.{info.name}" for info in pkgutil.iter_modules(places)}  # rules share what other modules know
    reckoning = {f"{package.rpartition('.')[0]}.{name}" for name in ("balance", "alcohol")}
    for name in sorted(own | reckoning | {rule.check.__module__ for rule in rules}):
        digest.update(inspect.getsource(import_module(name)).encode())
    for rule in rules:
        declared = (rule.id, rule.scope, rule.stages, rule.parameters, rule.credentials, rule.follows)
        digest.update(repr((*declared, rule.after_quarantine, rule.zh, rule.en)).encode())
    return digest.hexdigest()
