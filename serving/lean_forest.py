"""A loaded forest in fewer objects: equal leaves and splits are one, and inner nodes drop what only training reads.

Every executor of a stream gets and keeps all its objects (serving.tree_broadcast), and every task does where a forest
is not broadcast (docs/decisions/0063-a-small-batch-is-planning.md has the figures).
"""

import logging
from typing import Any

from pyspark.ml import PipelineModel
from pyspark.ml.classification import RandomForestClassificationModel
from pyspark.sql import SparkSession

from features.java_source import new_instance

NAME = "LeanForest"
SOURCE = f"""
import java.lang.reflect.Field;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.apache.spark.ml.classification.DecisionTreeClassificationModel;
import org.apache.spark.ml.classification.RandomForestClassificationModel;
import org.apache.spark.ml.tree.ContinuousSplit;
import org.apache.spark.ml.tree.InternalNode;
import org.apache.spark.ml.tree.LeafNode;
import org.apache.spark.mllib.tree.impurity.ImpurityCalculator;

public class {NAME} {{
  private final Map known = new HashMap();
  private final Field left, right, split, innerStats, leafStats;

  public {NAME}() throws Exception {{
    left = field(InternalNode.class, "leftChild");
    right = field(InternalNode.class, "rightChild");
    split = field(InternalNode.class, "split");
    innerStats = field(InternalNode.class, "impurityStats");
    leafStats = field(LeafNode.class, "impurityStats");
  }}

  public void share(RandomForestClassificationModel model) throws Exception {{
    Object[] trees = (Object[]) model.trees();
    for (int i = 0; i < trees.length; i++) {{
      Object root = ((DecisionTreeClassificationModel) trees[i]).rootNode();
      if (root instanceof InternalNode) shareBelow(root);
    }}
  }}

  private Object shared(Object node) throws Exception {{
    if (!(node instanceof LeafNode)) {{
      shareBelow(node);
      return node;
    }}
    LeafNode leaf = (LeafNode) node;
    ImpurityCalculator stats = (ImpurityCalculator) leafStats.get(node);
    return one(Arrays.asList(new Object[] {{"leaf", Double.valueOf(leaf.prediction()), Double.valueOf(leaf.impurity()),
        stats.getClass(), Long.valueOf(stats.rawCount()), Arrays.toString(stats.stats())}}), node);
  }}

  private void shareBelow(Object node) throws Exception {{
    left.set(node, shared(left.get(node)));
    right.set(node, shared(right.get(node)));
    innerStats.set(node, null);
    Object by = split.get(node);
    if (by instanceof ContinuousSplit) {{
      ContinuousSplit threshold = (ContinuousSplit) by;
      split.set(node, one(Arrays.asList(new Object[] {{"split", Integer.valueOf(threshold.featureIndex()),
          Double.valueOf(threshold.threshold())}}), by));
    }}
  }}

  private Object one(Object key, Object value) {{
    Object first = known.get(key);
    if (first != null) return first;
    known.put(key, value);
    return value;
  }}

  private static Field field(Class of, String name) throws Exception {{
    Field found = of.getDeclaredField(name);
    found.setAccessible(true);
    return found;
  }}
}}
"""

log = logging.getLogger(__name__)


def share_parts(spark: SparkSession, model: PipelineModel) -> None:
    """Share the equal parts of the forests of a loaded pipeline, in place; what it predicts stays the same bit by bit.

    The model is for prediction from then on: it can tell no importance of features. One that numbers its leaves is left
    as it is, and so is every one where this Spark has its trees otherwise.
    """
    for stage in model.stages:
        if isinstance(stage, RandomForestClassificationModel) and not stage.getLeafCol():
            java: Any = stage._java_obj
            try:
                new_instance(spark, NAME, SOURCE).share(java)
            except Exception as error:  # what was shared so far is shared rightly
                log.debug("the forest stays as it is: %s", error)
