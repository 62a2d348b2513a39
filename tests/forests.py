"""Small forests made by a rule, without Spark, and Shapley values of them by enumeration of every set of fields."""

import random
from itertools import combinations
from math import factorial

import numpy as np
import pyarrow as pa

from features.contract import Kind
from serving.compiled.description import CategoryInput, Compiled, Description, NumericInput, Trees
from serving.compiled.scorer import CompiledScorer

WORDS = ("a", "b", "c")
INF = float("inf")
INPUTS = (
    *(NumericInput(name=f"N{i}", fill=0.5) for i in range(4)),
    NumericInput(name="B", fill=0.5, edges=(-INF, 0.3, 0.6, INF)),
    CategoryInput(name="C", labels=WORDS, slots=4),
    CategoryInput(name="D", labels=WORDS, slots=4),
)
NODE = {"slot": -1, "threshold": np.nan, "set_of": -1, "left": -1, "right": -1, "leaf0": np.nan, "leaf1": np.nan}


def random_forest(seed: int, trees: int = 3, depth: int = 6) -> Compiled:
    """A forest on seven fields: four numbers, one number in buckets, two words; tests and counts are drawn."""
    draw, nodes, roots = random.Random(seed), [], []

    def grow(left: int, count: float) -> int:
        number = len(nodes)
        nodes.append({**NODE, "count": count})
        if left == 0 or count < 2 or draw.random() < 0.1:
            vote = draw.random()
            nodes[number] |= {"leaf0": 1 - vote, "leaf1": vote}
            return number
        slot = draw.randrange(13)
        test = {"set_of": draw.randrange(4)} if slot == 4 else {"threshold": 0.5 if slot > 4 else draw.random()}
        part = draw.randint(1, int(count) - 1)
        nodes[number] |= {"slot": slot, **test, "left": grow(left - 1, part), "right": grow(left - 1, count - part)}
        return number

    for _ in range(trees):
        roots.append(grow(depth, 500.0))
    sets = np.array([[draw.random() < 0.5 for _ in range(6)] for _ in range(4)])
    whole = ("slot", "set_of", "left", "right")
    columns = {k: np.array([n[k] for n in nodes], np.int32 if k in whole else np.float64) for k in nodes[0]}
    return Compiled(
        Description(inputs=INPUTS, link="votes"), Trees(roots=np.array(roots, np.int32), sets=sets, **columns)
    )


def random_leads(rows: int, seed: int = 0) -> pa.Table:
    """Leads of `random_forest`, some answers missing or unknown."""
    draw = random.Random(seed)
    numbers = {f"N{i}": [draw.choice([draw.random(), None]) for _ in range(rows)] for i in range(4)}
    numbers["B"] = [draw.random() for _ in range(rows)]
    words = {n: [draw.choice([*WORDS, "z", None]) for _ in range(rows)] for n in ("C", "D")}
    return pa.table({n: pa.array(v, pa.float64()) for n, v in numbers.items()} | words)


def vector(lead: dict) -> list[float]:
    """The feature vector of a lead: 4 numbers, the bucket, and four indicators per word."""
    found = [0.5 if lead[f"N{i}"] is None else lead[f"N{i}"] for i in range(4)]
    found.append(float(sum(lead["B"] >= edge for edge in (0.3, 0.6))))
    for name in ("C", "D"):
        at = WORDS.index(lead[name]) if lead[name] in WORDS else 3
        found += [float(at == i) for i in range(4)]
    return found


def field_of(slot: int) -> str:
    """The field that fills a slot of `vector`."""
    return [*(i.name for i in INPUTS[:5]), *"CCCC", *"DDDD"][slot]


def enumerated(value, fields: list[str]) -> dict[str, float]:
    """Shapley values by definition: `value` takes a set of fields; every set of the others is gone through."""
    found = {}
    for field in fields:
        others = [f for f in fields if f != field]
        found[field] = sum(
            factorial(size) * factorial(len(others) - size) / factorial(len(fields))
            * (value({*chosen, field}) - value(set(chosen)))
            for size in range(len(others) + 1)
            for chosen in combinations(others, size)
        )  # fmt: skip
    return found


def expected(compiled: Compiled, slots: list[float], known: set[str]) -> float:
    """The forest's probability where only some fields are known; other tests go both ways, by the training counts."""
    trees = compiled.trees

    def walk(node: int) -> float:
        left, right = int(trees.left[node]), int(trees.right[node])
        if left < 0:
            return float(trees.leaf1[node])
        slot = int(trees.slot[node])
        if field_of(slot) in known:
            which = int(trees.set_of[node])
            goes = trees.sets[which][int(slots[slot])] if which >= 0 else slots[slot] <= trees.threshold[node]
            return walk(left if goes else right)
        return float(trees.count[left] * walk(left) + trees.count[right] * walk(right)) / float(trees.count[node])

    return sum(walk(int(root)) for root in trees.roots) / len(trees.roots)


def a_stump(fields, high: float = 0.75) -> CompiledScorer:
    """A model of these fields that asks one question, more than 600 seconds on the site, and then gives `high`."""
    inputs = tuple(
        NumericInput(name=f.name, fill=0.0, minimum=f.limits.min, maximum=f.limits.max)
        if f.kind is Kind.NUMERIC
        else CategoryInput(name=f.name, labels=("No", "Yes"), slots=3, max_length=f.max_length)
        for f in fields
    )
    place = [i.name for i in inputs].index("TotalBrowsingTime")
    slot = sum(i.width for i in inputs[:place])
    nan = float("nan")
    trees = Trees(
        roots=np.array([0], np.int32),
        slot=np.array([slot, -1, -1], np.int32),
        threshold=np.array([600.0, nan, nan]),
        set_of=np.full(3, -1, np.int32),
        left=np.array([1, -1, -1], np.int32),
        right=np.array([2, -1, -1], np.int32),
        leaf0=np.array([nan, 0.75, 1 - high]),
        leaf1=np.array([nan, 0.25, high]),
        count=np.array([2.0, 1.0, 1.0]),
        sets=np.zeros((0, 1), np.bool_),
    )
    return CompiledScorer(Compiled(Description(inputs=inputs, link="votes"), trees))
