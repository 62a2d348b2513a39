"""A forest whose splits on codes of 0 and 1 compare numbers, in as few objects as it has different ones, for scoring.

Spark ML's own splits look each code up in a set of boxed numbers: a quarter of what Java computed for an event in
real-time mode, most of it waits for memory (docs/decisions/0063-a-small-batch-is-planning.md).
"""

import logging
from collections.abc import Sequence

from pyspark.ml.classification import RandomForestClassificationModel
from pyspark.sql import SparkSession

from features.java_source import new_instance

NAME = "CodeSplits"
SOURCE = """
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.spark.ml.classification.DecisionTreeClassificationModel;
import org.apache.spark.ml.classification.RandomForestClassificationModel;
import org.apache.spark.ml.param.ParamMap;
import org.apache.spark.ml.tree.CategoricalSplit;
import org.apache.spark.ml.tree.ContinuousSplit;
import org.apache.spark.ml.tree.InternalNode;
import org.apache.spark.ml.tree.LeafNode;
import org.apache.spark.ml.tree.Node;
import org.apache.spark.ml.tree.Split;
import org.apache.spark.mllib.tree.impurity.ImpurityCalculator;

public class CodeSplits {
  private final Map shared = new HashMap();
  private Set places;

  public Object compared(Object model, List codes) {
    RandomForestClassificationModel forest = (RandomForestClassificationModel) model;
    DecisionTreeClassificationModel[] trees = (DecisionTreeClassificationModel[]) forest.trees();
    DecisionTreeClassificationModel[] made = new DecisionTreeClassificationModel[trees.length];
    places = new HashSet(codes);
    for (int i = 0; i < trees.length; i++) {
      Node root = compared(trees[i].rootNode());
      made[i] = new DecisionTreeClassificationModel(
          trees[i].uid(), root, trees[i].numFeatures(), trees[i].numClasses());
    }
    return forest.copyValues(
        new RandomForestClassificationModel(forest.uid(), made, forest.numFeatures(), forest.numClasses()),
        ParamMap.empty());
  }

  private Node compared(Node node) {
    if (!(node instanceof InternalNode)) return (Node) one(key((LeafNode) node), node);
    InternalNode inner = (InternalNode) node;
    Node left = compared(inner.leftChild()), right = compared(inner.rightChild());
    Split split = inner.split();
    if (split instanceof CategoricalSplit && places.contains(Integer.valueOf(split.featureIndex()))) {
      boolean zero = false, one = false;
      double[] toTheLeft = ((CategoricalSplit) split).leftCategories();
      for (int i = 0; i < toTheLeft.length; i++) {
        zero |= toTheLeft[i] == 0;
        one |= toTheLeft[i] == 1;
      }
      if (zero != one) split = new ContinuousSplit(split.featureIndex(), 0.5);
      if (one && !zero) {
        Node other = left;
        left = right;
        right = other;
      }
    }
    return new InternalNode(
        inner.prediction(), inner.impurity(), inner.gain(), left, right, (Split) one(split, split),
        inner.impurityStats());
  }

  private Object one(Object key, Object made) {
    Object before = shared.putIfAbsent(key, made);
    return before == null ? made : before;
  }

  private static Object key(LeafNode leaf) {
    ImpurityCalculator counts = leaf.impurityStats();
    return Arrays.asList(new Object[] {
      leaf.prediction(), leaf.impurity(), counts.rawCount(), counts.getClass(), Arrays.toString(counts.stats())});
  }
}
"""

log = logging.getLogger(__name__)


def with_compared_codes(
    spark: SparkSession, forest: RandomForestClassificationModel, codes: Sequence[int]
) -> RandomForestClassificationModel:
    """A forest of the same scores; `codes` are the slots of its vector that hold 0 or 1 and nothing else.

    Where a split sends 1 to the left, its branches change places. Equal splits are one object, and so are equal leaves.
    `forest` itself where it writes the numbers of its leaves, or where this Spark has its trees otherwise.
    """
    if not codes or forest.getLeafCol():
        return forest
    try:
        made = new_instance(spark, NAME, SOURCE).compared(forest._java_obj, [*codes])
    except Exception as error:
        log.debug("the forest is left as it is: %s", error)
        return forest
    twin = forest.copy()
    twin._java_obj = made
    return twin
