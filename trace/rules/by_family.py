"""The generic rules under the names that each family gives them: T-PHI is `preharvest` for tea (`family_rule`).

A rule may hold for several families (T-PHI). A new family needs rows in `parameters/`, no code.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from .facts import Deed, Facts, Lot, PlotSeason
from .field import banned, preharvest, yields
from .laboratory import TESTED, limits_kept, moisture, standard_in_force
from .limits import Limits, Row, load_limits
from .origin import origin
from .rule import Finding, Rule, Scope

_FIELD = {"preharvest": preharvest, "banned": banned, "yield": yields}
_DEED = {"limits": limits_kept, "moisture": moisture, "standard": standard_in_force}
TITLES = {
    "preharvest": ("安全间隔期与使用次数", "Pre-harvest interval and number of uses"),
    "banned": ("禁用农药", "Banned pesticides"),
    "limits": ("检验结果与限量", "Results of tests against limits"),
    "yield": ("亩产上限", "What a mu can give"),
    "moisture": ("水分", "Moisture"),
    "origin": ("产地声称与地块来源", "Claims of origin against plots"),
    "standard": ("执行标准有效期", "Product standard in force"),
}
"""The generic rules there are, with what they look at."""
_PARAMETERS = {
    "preharvest": ("label_use", "longest_interval", "crop", "substance", "season"),
    "banned": ("banned", "crop", "substance", "season"),
    "limits": ("limit", "matrix", "substance", "family_rule"),
    "yield": ("harvest_bound", "made_bound"),
    "moisture": ("moisture_bound", "substance"),
    "origin": ("origin_area", "crop"),
    "standard": ("standard",),
}


def made_rule(row: Row) -> Rule:
    """The rule that a row of `family_rule` names. Raises ValueError for a check that nobody wrote."""
    check = str(row["check"])
    families = tuple(row["family"]) if isinstance(row["family"], list) else (str(row["family"]),)
    if check not in TITLES:
        raise ValueError(f"family_rule {row['id']}: there is no check {check!r}, but {sorted(TITLES)}")
    zh, en = TITLES[check]

    def on_field(season: PlotSeason, facts: Facts, limits: Limits) -> Iterator[Finding]:
        return _FIELD[check](season, facts, limits) if season.family in families else iter(())

    def on_deed(deed: Deed, facts: Facts, limits: Limits) -> Iterator[Finding]:
        return chain.from_iterable(_DEED[check](deed, facts, limits, family) for family in families)

    def on_lot(lot: Lot, facts: Facts, limits: Limits) -> Iterator[Finding]:
        deed = lot.making[-1] if lot.making else None
        if deed is None or deed.kind != "transform" or deed.family not in families:
            return iter(())
        return origin(deed, lot.subject, facts, limits, deed.family)

    scope: Scope
    look: Any
    stages = tuple(f"{family}.*" for family in families)
    if check in _FIELD:
        scope, look = "plot-season", on_field
    elif check in _DEED:
        scope, look = "deed", on_deed
        stages = {"limits": (TESTED,), "moisture": (*stages, TESTED)}.get(check, stages)
    else:
        scope, look = "lot", on_lot
    return Rule(
        str(row["id"]), scope, zh, en, look, stages, _PARAMETERS[check],
        ("plot", "product") if check == "origin" else ("plot",) if check == "yield" else (),
        follows=check == "origin",
    )  # fmt: skip


RULES = tuple(made_rule(row) for row in load_limits().rows("family_rule"))
