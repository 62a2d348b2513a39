"""A loaded forest that goes to each executor once, as a broadcast, and not with every task.

Spark puts a model into every task that predicts by it, whole. Here a tree is written as its place in the broadcast, and
a task reads that as the tree itself (docs/decisions/0063-a-small-batch-is-planning.md).
"""

import logging
from typing import Any

from pyspark.ml import PipelineModel
from pyspark.ml.classification import RandomForestClassificationModel
from pyspark.sql import SparkSession

from features.java_source import new_instance, send_to_tasks

NAME = "BroadcastTrees"
# Public, as Janino renames private methods, and Java's serialization looks for these two by name.
SOURCE = f"""
import java.io.Serializable;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.broadcast.Broadcast;
import org.apache.spark.ml.classification.DecisionTreeClassificationModel;
import org.apache.spark.ml.classification.RandomForestClassificationModel;

public class {NAME} {{
  public void put(RandomForestClassificationModel model, JavaSparkContext context) {{
    Object[] trees = (Object[]) model.trees();
    if (trees[0] instanceof Tree) return;
    Broadcast all = context.broadcast(trees.clone());
    for (int i = 0; i < trees.length; i++) {{
      trees[i] = new Tree((DecisionTreeClassificationModel) trees[i], new Place(all, i));
    }}
  }}

  public static class Tree extends DecisionTreeClassificationModel {{
    private final Place place;

    public Tree(DecisionTreeClassificationModel tree, Place place) {{
      super(tree.uid(), tree.rootNode(), tree.numFeatures(), tree.numClasses());
      this.place = place;
    }}

    public Object writeReplace() {{ return place; }}
  }}

  public static class Place implements Serializable {{
    private final Broadcast all;
    private final int number;

    public Place(Broadcast all, int number) {{
      this.all = all;
      this.number = number;
    }}

    public Object readResolve() {{ return ((Object[]) all.value())[number]; }}
  }}
}}
"""

log = logging.getLogger(__name__)


def broadcast_trees(spark: SparkSession, model: PipelineModel) -> None:
    """Broadcast the trees of the forests of a loaded pipeline, in place; what it predicts stays the same bit by bit.

    The model is for prediction by `spark` from then on. Spark removes the broadcast once nothing holds the model. A
    forest stays as it is where this Spark has its trees otherwise.
    """
    for stage in model.stages:
        if isinstance(stage, RandomForestClassificationModel):
            java: Any = stage._java_obj
            try:
                send_to_tasks(spark, SOURCE)
                new_instance(spark, NAME, SOURCE).put(java, spark.sparkContext._jsc)
            except Exception as error:
                log.debug("the forest goes with every task: %s", error)
