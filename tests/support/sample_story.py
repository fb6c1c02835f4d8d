"""A sample batch read as its YAML stands, in exact decimals, with the checks that every story must pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from suyuan.trace.naming import Names
from suyuan.trace.record import References, normalise, validate
from suyuan.trace.template import Templates, load_templates

Row = dict[str, Any]
SAMPLES = Path(__file__).resolve().parents[2] / "sample_batches"
NAMES = Names("trace.example.cn")
_USCC = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class _ExactLoader(yaml.SafeLoader):
    """YAML whose numbers stay as they are written: no binary fractions."""


def _decimal(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Decimal:
    return Decimal(str(loader.construct_scalar(node)))


_ExactLoader.add_constructor("tag:yaml.org,2002:float", _decimal)


def read(path: Path) -> Any:
    """The YAML of `path`, decimals exact."""
    return yaml.load(path.read_text(encoding="utf-8"), _ExactLoader)


def uscc_is_valid(code: str) -> bool:
    """GB 32100-2015: the 18th character closes the weighted sum of the first 17 modulo 31."""
    if len(code) != 18 or set(code) - set(_USCC):
        return False
    weighted = sum(_USCC.index(character) * pow(3, place, 31) for place, character in enumerate(code[:17]))
    return (weighted + _USCC.index(code[17])) % 31 == 0


def organisation_code_is_valid(code: str) -> bool:
    """GB 11714 inside a USCC (characters 9 to 17): weights 3 7 9 10 5 8 4 2, modulo 11."""
    weights = (3, 7, 9, 10, 5, 8, 4, 2)
    rest = 11 - sum(int(character, 36) * weight for character, weight in zip(code[:8], weights, strict=True)) % 11
    return code[8] == {10: "X", 11: "0"}.get(rest, str(rest))


def gs1_check_digit_is_valid(digits: str) -> bool:
    """GS1 General Specifications 7.9: weights 3 and 1 alternating from the right, the last digit closes to 10."""
    return sum(int(digit) * (1, 3)[place % 2] for place, digit in enumerate(reversed(digits))) % 10 == 0


def person_is_valid(identifier: str) -> bool:
    """`P` and 16 Crockford characters."""
    return len(identifier) == 17 and identifier[0] == "P" and not set(identifier[1:]) - set(_CROCKFORD)


@dataclass(frozen=True)
class Story:
    """One directory of `sample_batches`."""

    family: str

    @property
    def folder(self) -> Path:
        return SAMPLES / self.family

    @cached_property
    def templates(self) -> Templates:
        return load_templates()

    @cached_property
    def batch(self) -> Row:
        return dict(read(self.folder / "batch.yaml"))

    @cached_property
    def actors(self) -> list[Row]:
        return list(read(self.folder / "actors.yaml"))

    @cached_property
    def credentials(self) -> list[Row]:
        return list(read(self.folder / "credentials.yaml"))

    @cached_property
    def records(self) -> list[Row]:
        return list(read(self.folder / "records.yaml"))

    def of(self, *stages: str) -> list[Row]:
        """The records of these stages, in order."""
        return [record for record in self.records if record["stage"] in stages]

    def only(self, stage: str) -> Row:
        """The one record of a stage."""
        (record,) = self.of(stage)
        return record

    def credentials_of(self, kind: str) -> list[Row]:
        return [credential for credential in self.credentials if credential["type"] == kind]

    def made(self, lot: str) -> Row:
        """The output row that made `lot`."""
        (row,) = [row for record in self.records for row in _outputs(record) if row["lot"] == lot]
        return row

    def normalised(self) -> Iterator[tuple[Row, Row]]:
        """Each record and its normalised form. Raises Refusal, also for a lot named before it is made."""
        lots: dict[str, str] = {}
        fresh = count()
        for record in self.records:
            raw = {key: value for key, value in record.items() if key not in ("by", "attachments")}
            refer = References(
                lot=lots.get,
                plot=partial(NAMES.plot, record["by"]),
                new_lot=partial(_new_lot, record["by"], fresh),
                event_id=lambda: "urn:uuid:019d0000-0000-7000-8000-000000000000",
            )
            stage = self.templates.stages[record["stage"]]
            normal = normalise(raw | {"backfilled": True}, stage, record["by"], NAMES, refer)
            lots |= {row["label"]: row["lot"] for row in normal.get("labels", ())}
            yield record, normal


def _new_lot(actor: str, fresh: Iterator[int]) -> str:
    return NAMES.lot(actor, f"{next(fresh):016d}")


def _outputs(record: Row) -> list[Row]:
    if "outputs" in record:
        return list(record["outputs"])
    return [record] if record["stage"] == "common.introduced" else []


def total(rows: list[Row]) -> Decimal:
    """The sum of the quantities of rows."""
    return sum((Decimal(row["quantity"]) for row in rows), Decimal(0))


def mass_kg(row: Row) -> Decimal:
    """A row's mass: its quantity in kilograms, or the net mass stated beside a number of pieces."""
    return Decimal(row["quantity"] if row["uom"] == "KGM" else row["net_mass_kg"])


def day(record: Row) -> date:
    """The day of a record, at its place."""
    return datetime.fromisoformat(record["time"]).date()


# ------------------------------------------------------------ what holds for every story


def check_templates(story: Story) -> None:
    """Every record is valid under its template, by somebody whose role may record it."""
    roles = {actor["id"]: set(actor["roles"]) for actor in story.actors}
    for record, normal in story.normalised():
        stage = story.templates.stages[record["stage"]]
        assert [str(fault) for fault in validate(normal, stage, NAMES)] == [], record
        assert roles[record["by"]] & set(stage.roles), record
        for partner in ("sender", "receiver", "on_behalf_of"):
            assert record.get(partner, record["by"]) in roles, record


def check_actors(story: Story) -> None:
    """Codes have right check characters, names say that they are fictitious."""
    assert len({actor["id"] for actor in story.actors}) == len(story.actors)
    for actor in story.actors:
        assert actor["name"]["zh"].endswith("(虚构)") and actor["name"]["en"].endswith("(fictitious)")
        if actor["kind"] == "person":
            assert person_is_valid(actor["id"])
        else:
            assert uscc_is_valid(actor["id"]) and organisation_code_is_valid(actor["id"][8:17]), actor["id"]
            assert actor["id"][8:12] == "MAXX"


def check_credentials(story: Story) -> None:
    """Each credential is issued by a role that may, plots hold about the area they are registered with."""
    roles = {actor["id"]: set(actor["roles"]) for actor in story.actors}
    wanted = {
        "plot": "authority", "licence": "authority", "area_quota": "authority", "backfill": "authority",
        "lab_accreditation": "accreditor", "production_area": "certifier",
    }  # fmt: skip
    assert len({(row["issuer"], row["id"]) for row in story.credentials}) == len(story.credentials)
    for row in story.credentials:
        assert row["actor"] in roles
        if row["type"] == "product":
            assert row["issuer"] == row["actor"]
        else:
            assert wanted[row["type"]] in roles[row["issuer"]]
        if row["type"] == "plot":
            assert row["details"]["fictitious"] is True
            assert abs(polygon_area_mu(row["details"]["polygon"]) / row["details"]["area_mu"] - 1) < Decimal("0.02")
        if row["type"] == "product":
            assert gs1_check_digit_is_valid(row["product"]) and len(row["product"]) == 14


def polygon_area_mu(ring: list[list[Decimal]]) -> Decimal:
    """The area of a small ring of longitude, latitude; a degree of latitude is 110.85 km in Zunyi."""
    cosine = Decimal("0.8838")  # of 27.9 degrees
    flat = [(lon * Decimal(111320) * cosine, lat * Decimal(110850)) for lon, lat in ring]
    sides = zip(flat, [*flat[1:], flat[0]], strict=True)
    doubled = sum((x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in sides), Decimal(0))
    return abs(doubled) / 2 / (Decimal(2000) / 3)


def check_backfill(story: Story) -> None:
    """Every recording actor may record later for every day it does."""
    assert story.batch["backfilled"] is True
    for record in story.records:
        periods = [row["details"] for row in story.credentials_of("backfill") if row["actor"] == record["by"]]
        assert any(period["from"] <= record["time"][:10] <= period["until"] for period in periods), record


def check_order(story: Story) -> None:
    """Records follow each other in time, all with the offset of China."""
    times = [datetime.fromisoformat(record["time"]) for record in story.records]
    assert times == sorted(times)
    assert {time.utcoffset() for time in times} == {timedelta(hours=8)}


def check_mass_balance(story: Story, *, unbalanced: frozenset[str] = frozenset()) -> int:
    """Outputs and declared losses are the inputs of every transformation, exactly. Returns how many there were."""
    transformations = 0
    for record in story.records:
        if story.templates.stages[record["stage"]].kind != "transform" or record["stage"] in unbalanced:
            continue
        inputs = sum((mass_kg(row) for row in record["inputs"]), Decimal(0))
        outputs = sum((mass_kg(row) for row in record["outputs"]), Decimal(0))
        losses = sum((mass_kg(row) for row in record.get("losses", ())), Decimal(0))
        assert inputs == outputs + losses, record
        assert all(Decimal(row["quantity"]) > 0 for row in record.get("losses", ())), record
        transformations += 1
    return transformations


def dry_matter_kg(rows: list[Row]) -> Decimal:
    """The mass without water."""
    return sum((mass_kg(row) * (100 - row["moisture_percent"]) / 100 for row in rows), Decimal(0))


def check_dry_matter(story: Story) -> int:
    """Where a step states moisture, dry matter never grows (beyond 0.5 % of reading error). Returns how many did."""
    steps = 0
    for record in story.records:
        rows = [*record.get("inputs", ()), *record.get("outputs", ())]
        if "inputs" not in record or not all("moisture_percent" in row for row in rows):
            continue
        before, after = dry_matter_kg(record["inputs"]), dry_matter_kg(record["outputs"])
        assert after <= before * Decimal("1.005"), record
        assert after >= before * Decimal("0.94"), record
        steps += 1
    return steps


def check_custody(story: Story) -> dict[tuple[str, str], Decimal]:
    """Nobody uses, ships or sells more than they hold, nobody receives more than was sent. Returns what is left."""
    held: dict[tuple[str, str], Decimal] = {}
    road: dict[tuple[str, str, str], Decimal] = {}
    for record in story.records:
        kind, by = story.templates.stages[record["stage"]].kind, record["by"]
        for row in record.get("inputs", ()):
            held[row["lot"], by] = held.get((row["lot"], by), Decimal(0)) - row["quantity"]
        for row in _outputs(record):
            assert not any(lot == row["lot"] for lot, _ in held), f"{row['lot']} is made twice"
            held[row["lot"], by] = Decimal(row["quantity"])
        for row in record.get("lots", ()):
            lot = row["lot"]
            assert any(known == lot for known, _ in held), f"{lot} is named before it is made"
            if kind in ("ship", "sell"):
                held[lot, by] = held.get((lot, by), Decimal(0)) - row["quantity"]
                path = (lot, by, record["receiver"])
                road[path] = road.get(path, Decimal(0)) + row["quantity"]
            elif kind == "receive":
                held[lot, by] = held.get((lot, by), Decimal(0)) + row["quantity"]
                path = (lot, record["sender"], by)
                refused = sum((row.get(name, 0) for name in ("rejected", "damaged", "short")), Decimal(0))
                road[path] = road.get(path, Decimal(0)) - row["quantity"] - refused
            elif kind in ("withdraw", "retail"):
                held[lot, by] = held.get((lot, by), Decimal(0)) - row["quantity"]
        assert all(amount >= 0 for amount in [*held.values(), *road.values()]), record
    assert not any(road.values()), "something never arrived"
    return {key: amount for key, amount in held.items() if amount}


def check_files(story: Story) -> None:
    """Every attachment is there, small, and of the type its name says; every file is used."""
    named = {name for record in story.records for name in record.get("attachments", ())}
    assert named == {f"files/{path.name}" for path in (story.folder / "files").iterdir()}
    magic = {".jpg": b"\xff\xd8\xff", ".png": b"\x89PNG", ".pdf": b"%PDF"}
    for name in named:
        path = story.folder / name
        assert path.read_bytes().startswith(magic[path.suffix])
        assert path.stat().st_size <= (60_000 if path.suffix == ".pdf" else 40_000), name


def check_logistic_units(story: Story) -> None:
    """SSCCs have right check digits, are packed once and before they move, and hold what moves under them."""
    packed: dict[str, list[Row]] = {}
    for record in story.records:
        if "parent" in record:
            assert len(record["parent"]) == 18 and gs1_check_digit_is_valid(record["parent"])
            assert record["parent"] not in packed
            packed[record["parent"]] = record["lots"]
        units = record.get("logistic_units", ())
        assert set(units) <= set(packed), record
        if units and "document" in record:
            inside = [row for unit in units for row in packed[unit]]
            assert total(inside) == total(record["lots"]), record
