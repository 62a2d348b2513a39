"""The trees as an ONNX graph of doubles: the same branches and sums as Spark's."""

from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper

from serving.compiled.description import Compiled, Trees
from serving.compiled.layout import Layout

# TreeEnsemble of ai.onnx.ml 5 compares and adds doubles; its forerunners add in single precision.
OPSETS = [("ai.onnx.ml", 5), ("", 21)]
LEAF, AT_MOST, SUM, AS_IS = 1, 0, 1, 0


def export(compiled: Compiled, layout: Layout, label: int = 1) -> bytes:
    """The forest as ONNX: `columns` (double, leads x layout.width) -> `votes` (double, leads x 1) for a label.

    The columns are those of `layout`: numbers as they are, and 0 or 1 for a word or a set of buckets. Every test is
    `column <= threshold`; NaN fails it and goes right.
    """
    trees = compiled.trees
    inner = np.flatnonzero(trees.left >= 0)
    leaves = np.flatnonzero(trees.left < 0)
    place = np.empty(len(trees.left), np.int64)
    place[inner], place[leaves] = np.arange(len(inner)), np.arange(len(leaves))
    column, threshold, yes, no = _tests(trees, layout, inner)
    weights = (trees.leaf0 if label == 0 else trees.leaf1)[leaves]
    roots, lone = place[trees.roots], trees.roots[trees.left[trees.roots] < 0]
    # The operator has no tree of a lone leaf: such a one asks a question, and answers the same either way.
    roots[trees.left[trees.roots] < 0] = len(column) + np.arange(len(lone))
    column, threshold = np.append(column, 0 * lone), np.append(threshold, 0.0 * lone)
    yes, no = np.append(yes, lone), np.append(no, lone)
    node = helper.make_node(
        "TreeEnsemble",
        ["columns"],
        ["votes"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function=SUM,
        post_transform=AS_IS,
        tree_roots=roots.tolist(),
        nodes_modes=helper.make_tensor("modes", TensorProto.UINT8, [len(column)], [AT_MOST] * len(column)),
        nodes_featureids=column.tolist(),
        nodes_splits=helper.make_tensor("splits", TensorProto.DOUBLE, [len(column)], threshold.tolist()),
        nodes_truenodeids=place[yes].tolist(),
        nodes_trueleafs=(trees.left[yes] < 0).astype(int).tolist(),
        nodes_falsenodeids=place[no].tolist(),
        nodes_falseleafs=(trees.left[no] < 0).astype(int).tolist(),
        leaf_targetids=[0] * len(leaves),
        leaf_weights=helper.make_tensor("weights", TensorProto.DOUBLE, [len(leaves)], weights.tolist()),
    )
    model = _model(node, layout.width)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def _tests(trees: Trees, layout: Layout, inner: np.ndarray[Any, Any]) -> tuple[Any, Any, Any, Any]:
    """Column, threshold, and the nodes that follow where the test holds and where it does not, per inner node."""
    column, threshold, yes, no = [], [], [], []
    for i in inner.tolist():
        slot, of = int(trees.slot[i]), int(trees.set_of[i])
        left, right = int(trees.left[i]), int(trees.right[i])
        plain = (slot, -1) in layout.columns and (of < 0 or (slot, of) not in layout.columns)
        column.append(layout.columns[(slot, -1) if plain else (slot, of)])
        threshold.append(float(trees.threshold[i]) if of < 0 else 0.5)
        # An indicator is 1 for a member of the set; a word's column is 1 for the word, whichever side it goes to.
        goes_left_at_0 = of < 0 or (plain and bool(trees.sets[of][0]))
        yes.append(left if goes_left_at_0 else right)
        no.append(right if goes_left_at_0 else left)
    return np.array(column, np.int64), np.array(threshold), np.array(yes, np.int64), np.array(no, np.int64)


def _model(node: Any, width: int) -> ModelProto:
    graph = helper.make_graph(
        [node],
        "forest",
        [helper.make_tensor_value_info("columns", TensorProto.DOUBLE, [None, width])],
        [helper.make_tensor_value_info("votes", TensorProto.DOUBLE, [None, 1])],
    )
    opsets = [helper.make_opsetid(domain, number) for domain, number in OPSETS]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="lead-scoring")
