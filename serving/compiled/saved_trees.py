"""The trees of a saved forest as columns: Spark's three forms of a split become two, with the same branches."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc

from serving.compiled.description import Trees
from serving.compiled.errors import CannotCompile
from serving.compiled.inputs import Input
from serving.compiled.saved_stages import SavedStage

LINKS: dict[str, Literal["votes", "logistic"]] = {
    "RandomForestClassificationModel": "votes",
    "DecisionTreeClassificationModel": "votes",
    "GBTClassificationModel": "logistic",
}
THRESHOLD = -1


def read_trees(stage: SavedStage, inputs: Sequence[Input]) -> Trees:
    """The trees of a fitted forest on a vector of these inputs; CannotCompile for more than two labels."""
    classes, slots = stage.about.get("numClasses", 2), sum(i.width for i in inputs)
    if classes != 2:
        raise CannotCompile(f"{stage.kind} {stage.uid} tells {classes} labels apart; compiled scoring knows two.")
    if stage.about.get("numFeatures", slots) != slots:
        raise CannotCompile(
            f"{stage.kind} {stage.uid} reads {stage.about['numFeatures']} slots of a vector of {slots}."
        )
    if stage.params.get("thresholds"):
        raise CannotCompile(f"{stage.kind} {stage.uid} has thresholds, which compiled scoring does not know.")
    nodes = _nodes(stage)
    sets: dict[tuple[int, ...], int] = {}
    for node in nodes:
        node["set_of"] = _set_of(node["split"], sets)
    boosted = LINKS[stage.kind] == "logistic"
    leaves = [_leaf(node, boosted) for node in nodes]
    return Trees(
        roots=np.array([i for i, node in enumerate(nodes) if node["root"]], np.int32),
        slot=np.array([node["split"]["featureIndex"] for node in nodes], np.int32),
        threshold=np.array([_threshold(node["split"]) for node in nodes], np.float64),
        set_of=np.array([node["set_of"] for node in nodes], np.int32),
        left=np.array([node["left"] for node in nodes], np.int32),
        right=np.array([node["right"] for node in nodes], np.int32),
        leaf0=np.array([zero for zero, _ in leaves], np.float64),
        leaf1=np.array([one for _, one in leaves], np.float64),
        count=np.array([node["rawCount"] for node in nodes], np.float64),
        sets=_padded(list(sets)),
    )


def _nodes(stage: SavedStage) -> list[dict[str, Any]]:
    """Every node in the order of its tree and id, children by their place in this list."""
    single = stage.kind.startswith("DecisionTree")
    table = stage.table()
    if single:
        data, tree = table.to_pylist(), [0] * table.num_rows
    else:
        data, tree = table.column("nodeData").to_pylist(), table.column("treeID").to_pylist()
    weights = [1.0] if single else _weights(stage)
    order = sorted(range(len(data)), key=lambda i: (tree[i], data[i]["id"]))
    place = {(tree[i], data[i]["id"]): p for p, i in enumerate(order)}
    nodes = []
    for i in order:
        node, of = data[i], tree[i]
        inner = node["leftChild"] >= 0
        at = (place[of, node["leftChild"]], place[of, node["rightChild"]]) if inner else (-1, -1)
        nodes.append({**node, "root": node["id"] == 0, "left": at[0], "right": at[1], "weight": weights[of]})
    return nodes


def _weights(stage: SavedStage) -> list[float]:
    table = stage.table("treesMetadata")
    names = table.column_names
    ordered = table.take(pc.sort_indices(table, sort_keys=[(names[0], "ascending")]))
    return [float(w) for w in ordered.column(names[-1]).to_pylist()]


def _threshold(split: dict[str, Any]) -> float:
    inner = split["featureIndex"] >= 0 and split["numCategories"] == THRESHOLD
    return float(split["leftCategoriesOrThreshold"][0]) if inner else math.nan


def _set_of(split: dict[str, Any], sets: dict[tuple[int, ...], int]) -> int:
    """The number of a split's set of values that go left; -1 for a threshold.

    Spark keeps the smaller side of a split. A value of neither side, such as a missing one, falls on the other:
    left where the left side is the larger one.
    """
    count = split["numCategories"]
    if split["featureIndex"] < 0 or count == THRESHOLD:
        return -1
    listed = {int(v) for v in split["leftCategoriesOrThreshold"]}
    rest = len(listed) > count // 2
    row = (*(int(v in listed) for v in range(count)), int(rest))
    return sets.setdefault(row, len(sets))


def _padded(rows: list[tuple[int, ...]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Rows of equal length: behind the values of a row stands its answer to any other value, to the last column."""
    width = max((len(r) for r in rows), default=1)
    return np.array([[*r[:-1], *[r[-1]] * (width - len(r) + 1)] for r in rows], np.bool_).reshape(len(rows), width)


def _leaf(node: dict[str, Any], boosted: bool) -> tuple[float, float]:
    """What a leaf adds for label 0 and for label 1; NaN for a node inside a tree."""
    if node["left"] >= 0:
        return math.nan, math.nan
    if boosted:
        return 0.0, float(node["prediction"]) * node["weight"]
    stats = node["impurityStats"]
    total = sum(stats)
    return (stats[0] / total, stats[1] / total) if total else (0.0, 0.0)
