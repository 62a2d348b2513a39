"""What a benchmark prints and keeps: a table in Markdown, the same numbers in JSON, and the machine they are of."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.targets import target_rows

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("pyspark", "mlflow", "pyarrow", "onnxruntime", "scikit-learn", "numpy")


@dataclass(frozen=True)
class Spread:
    """Quantiles of a set of durations, in ms, and how many there were."""

    p50: float
    p95: float
    p99: float
    max: float
    n: int

    @classmethod
    def of(cls, milliseconds: Sequence[float] | npt.NDArray[np.float64]) -> "Spread":
        """Quantiles by linear interpolation; NaN where there is no duration."""
        values = np.asarray(milliseconds, float)
        if not len(values):
            return cls(*[float("nan")] * 4, 0)
        p50, p95, p99 = np.quantile(values, [0.5, 0.95, 0.99])
        return cls(float(p50), float(p95), float(p99), float(values.max()), len(values))


@dataclass(frozen=True)
class Table:
    """Rows of one table; every row has the same keys. `title` says what is measured and in what unit."""

    title: str
    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        """The table as Markdown."""
        columns = list(self.rows[0])
        lines = [f"| {' | '.join(columns)} |", f"|{'|'.join('---' for _ in columns)}|"]
        lines += [f"| {' | '.join(cell(row[c]) for c in columns)} |" for row in self.rows]
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([f"### {self.title}", "", *lines, *([""] if notes else []), *notes]) + "\n"


def cell(value: Any) -> str:
    """A value as it stands in a table: three significant digits, thousands apart."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def machine() -> dict[str, str]:
    """What the numbers are of: processor, cores, memory, versions, date."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "memory": f"{pages / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "date": datetime.now(UTC).date().isoformat(),
    }


def publish(name: str, tables: Sequence[Table], raw: Mapping[str, Any]) -> None:
    """Print the tables, and keep them as results/NAME.md and results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    kept = {"machine": machine(), "tables": [asdict(table) for table in tables], "raw": raw}
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1, default=str) + "\n", encoding="utf-8")
    print(render(name))


def render(name: str) -> str:
    """Write results/NAME.md from results/NAME.json: its tables, the targets of that part, and the machine."""
    kept = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    tables = [Table(**table) for table in kept["tables"]]
    if held := target_rows(name, {table.title: table.rows for table in tables}):
        tables.append(Table("Targets", held))
    said = ", ".join(f"{k} {v}" for k, v in kept["machine"].items())
    leads = f" on {kept['raw']['leads']}" if "leads" in kept["raw"] else ""
    text = "\n".join([*(table.markdown() for table in tables), f"One run{leads}: {said}.\n"])
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    return text
