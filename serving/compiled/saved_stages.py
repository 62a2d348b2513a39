"""Spark ML's saved form, read without Spark: the stages of a pipeline, their settings and their Parquet data."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from serving.compiled.errors import CannotCompile

_NUMBERS = {"NaN": math.nan, "Inf": math.inf, "-Inf": -math.inf}


@dataclass(frozen=True)
class SavedStage:
    """One stage of a saved pipeline: its class without the package, its settings, and its folder."""

    kind: str
    uid: str
    params: dict[str, Any]
    about: dict[str, Any]
    folder: Path

    def table(self, part: str = "data") -> pa.Table:
        """A Parquet folder of the stage's data."""
        return pq.read_table(self.folder / part)

    def row(self) -> dict[str, Any]:
        """The one row of the stage's data."""
        return dict(self.table().to_pylist()[0])

    def columns(self, single: str, several: str) -> list[str]:
        """Names of input or output columns, whichever of the two settings the stage was given."""
        if self.params.get(several):
            return list(self.params[several])
        return [self.params[single]] if self.params.get(single) else []

    def demand(self, param: str, expected: Any, why: str) -> None:
        """CannotCompile where a setting is not the one that the compiled form means."""
        found = self.params.get(param)
        if found != expected:
            raise CannotCompile(
                f"{self.kind} {self.uid} has {param}={found!r}; compiled scoring needs {expected!r}, {why}."
            )


def read_stages(folder: Path) -> list[SavedStage]:
    """The stages of a saved PipelineModel, nested ones in their place; CannotCompile where it is none."""
    return list(_stages(folder))


def _stages(folder: Path) -> Iterator[SavedStage]:
    about = _metadata(folder)
    kind = str(about["class"]).rsplit(".", 1)[-1]
    params = {k: number_or_self(v) for k, v in {**about.get("defaultParamMap", {}), **about["paramMap"]}.items()}
    if kind != "PipelineModel":
        yield SavedStage(kind, about["uid"], params, about, folder)
        return
    uids = params["stageUids"]
    for index, uid in enumerate(uids):
        yield from _stages(folder / "stages" / f"{index:0{len(str(len(uids)))}d}_{uid}")


def _metadata(folder: Path) -> dict[str, Any]:
    parts = sorted((folder / "metadata").glob("part-*"))
    if not parts:
        raise CannotCompile(f"{folder} holds no saved Spark ML model: it has no metadata.")
    return dict(json.loads("".join(p.read_text(encoding="utf-8") for p in parts).splitlines()[0]))


def number_or_self(value: Any) -> Any:
    """Spark writes numbers that JSON lacks as words; lists are looked through."""
    if isinstance(value, list):
        return [number_or_self(v) for v in value]
    return _NUMBERS.get(value, value) if isinstance(value, str) else value
