"""A forest whose splits on codes of 0 and 1 compare numbers, for scoring.

Spark ML's own look each code up in a set of boxed numbers: a quarter of what Java computed for an event in real-time
mode (docs/decisions/0063-a-small-batch-is-planning.md).
"""

import logging
from collections.abc import Sequence

from pyspark.ml.classification import RandomForestClassificationModel
from pyspark.sql import SparkSession

from features.java_source import new_instance

NAME = "CodeSplits"
SOURCE = """
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.spark.ml.classification.DecisionTreeClassificationModel;
import org.apache.spark.ml.classification.RandomForestClassificationModel;
import org.apache.spark.ml.param.ParamMap;
import org.apache.spark.ml.tree.CategoricalSplit;
import org.apache.spark.ml.tree.ContinuousSplit;
import org.apache.spark.ml.tree.InternalNode;
import org.apache.spark.ml.tree.Node;
import org.apache.spark.ml.tree.Split;

public class CodeSplits {
  public Object compared(Object model, List codes) {
    RandomForestClassificationModel forest = (RandomForestClassificationModel) model;
    DecisionTreeClassificationModel[] trees = (DecisionTreeClassificationModel[]) forest.trees();
    DecisionTreeClassificationModel[] made = new DecisionTreeClassificationModel[trees.length];
    Set places = new HashSet(codes);
    for (int i = 0; i < trees.length; i++) {
      Node root = compared(trees[i].rootNode(), places);
      made[i] = new DecisionTreeClassificationModel(
          trees[i].uid(), root, trees[i].numFeatures(), trees[i].numClasses());
    }
    return forest.copyValues(
        new RandomForestClassificationModel(forest.uid(), made, forest.numFeatures(), forest.numClasses()),
        ParamMap.empty());
  }

  private static Node compared(Node node, Set places) {
    if (!(node instanceof InternalNode)) return node;
    InternalNode inner = (InternalNode) node;
    Node left = compared(inner.leftChild(), places), right = compared(inner.rightChild(), places);
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
        inner.prediction(), inner.impurity(), inner.gain(), left, right, split, inner.impurityStats());
  }
}
"""

log = logging.getLogger(__name__)


def with_compared_codes(
    spark: SparkSession, forest: RandomForestClassificationModel, codes: Sequence[int]
) -> RandomForestClassificationModel:
    """A forest of the same scores; `codes` are the slots of its vector that hold 0 or 1 and nothing else.

    Where a split sends 1 to the left, its branches change places. `forest` itself where this Spark has its trees
    otherwise.
    """
    if not codes:
        return forest
    try:
        made = new_instance(spark, NAME, SOURCE).compared(forest._java_obj, [*codes])
    except Exception as error:
        log.debug("the forest is left as it is: %s", error)
        return forest
    twin = forest.copy()
    twin._java_obj = made
    return twin
