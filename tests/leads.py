"""Small leads for tests: made by a rule, so that a forest has something to find."""

import random
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from features.contract import Contract, Kind
from features.contract_file import parse_yaml

SMALL = """
name: small-leads
score_at: browsing
nulls: ["", "Select"]
max_quarantined: 0.2
fields:
  - {name: LeadId, source: Lead Id, kind: id, known_at: capture}
  - {name: Number, source: Number, kind: order, known_at: capture}
  - {name: Bought, source: Bought, kind: label, known_at: outcome}
  - {name: Visits, source: Visits, kind: numeric, known_at: browsing, limits: {max: 1000}, buckets: [0, 2, 5, .inf]}
  - {name: Seconds, source: Seconds, kind: numeric, known_at: browsing}
  - {name: City, source: City, kind: category, known_at: capture}
  - {name: Tag, source: Tag, kind: category, known_at: contact}
feature_sets:
  leaky: [Visits, City, Tag]
"""


def small_contract() -> Contract:
    """A contract of seven fields; `leaky` holds one that is known too late."""
    return parse_yaml(SMALL, Contract, "small.yaml")


def small_rows(n: int, seed: int = 1) -> list[tuple]:
    """Rows (id, number, label, visits, seconds, city, tag): long visits from Mumbai convert more often."""
    rng = random.Random(seed)
    rows = []
    for i in range(n):
        visits, city = float(rng.randint(0, 8)), rng.choice(["Mumbai", "Pune", None])
        seconds = visits * rng.uniform(10, 100)
        bought = int(rng.random() < 0.1 + 0.06 * visits + (0.3 if city == "Mumbai" else 0))
        rows.append((f"lead-{i:05d}", float(i), bought, visits, seconds, city, "won" if bought else "open"))
    return rows


def small_leads(spark: SparkSession, n: int = 400, seed: int = 1) -> DataFrame:
    """Small leads as prepared data carries them."""
    kinds = {
        Kind.ID: "string",
        Kind.CATEGORY: "string",
        Kind.LABEL: "int",
        Kind.ORDER: "double",
        Kind.NUMERIC: "double",
    }
    schema = ", ".join(f"{f.name} {kinds[f.kind]}" for f in small_contract().kept)
    return spark.createDataFrame(small_rows(n, seed), schema)


def small_csv(path: Path, n: int = 400, seed: int = 1) -> Path:
    """Small leads as a CSV file."""
    lines = ["Lead Id,Number,Bought,Visits,Seconds,City,Tag"]
    lines += [",".join("" if v is None else str(v) for v in row) for row in small_rows(n, seed)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
