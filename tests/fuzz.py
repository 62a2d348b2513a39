"""Leads that go where models break: beside every threshold, missing, infinite, unseen, empty and huge."""

import numpy as np
import pyarrow as pa

from serving.compiled.description import CategoryInput, Compiled

ODD = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324, -1.0]
ODD_WORDS = ["", " ", "Atlantis", "null", "__unknown", "\u00e9\u00df\u4e2d\U0001f680", "x" * 20_000]


def fuzzed_leads(compiled: Compiled, rows: int, seed: int = 0) -> pa.Table:
    """`rows` leads of a compiled model's fields; a tenth of all values is missing, a tenth is odd."""
    rng, offset, columns = np.random.default_rng(seed), 0, {}
    trees = compiled.trees
    for source in compiled.description.inputs:
        if isinstance(source, CategoryInput):
            words = np.array([*source.labels, *(f"{w} " for w in source.labels)], object)
            found = rng.choice(words, rows, p=None)
            odd = rng.choice(np.array(ODD_WORDS, object), rows, p=[0.19, *[0.16] * 5, 0.01])
            columns[source.name] = _mixed(rng, found, odd, pa.string())
        else:
            asked = trees.threshold[(trees.slot == offset) & (trees.left >= 0) & (trees.set_of < 0)]
            edges = np.array([*asked, *(e for e in source.edges if np.isfinite(e)), 1.0])
            near = np.concatenate([edges, np.nextafter(edges, np.inf), np.nextafter(edges, -np.inf)])
            spread = rng.normal(edges.mean(), 2 * np.abs(edges).max() + 1, rows)
            found = np.where(rng.random(rows) < 0.7, rng.choice(near, rows), spread)
            columns[source.name] = _mixed(rng, found, rng.choice(np.array(ODD), rows), pa.float64())
        offset += source.width
    return pa.table(columns)


def _mixed(rng: np.random.Generator, usual: np.ndarray, odd: np.ndarray, kind: pa.DataType) -> pa.Array:
    drawn = rng.random(len(usual))
    # From pandas=False: NaN stays a value of its own, apart from null.
    return pa.array(np.where(drawn < 0.1, odd, usual), kind, mask=drawn > 0.9, from_pandas=False)
