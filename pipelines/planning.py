"""Planning a stream's batches in less time: a strategy for the projections that a scoring plan is made of.

Why and how much: docs/decisions/0063-a-small-batch-is-planning.md.
"""

from typing import Any

from pyspark.sql import SparkSession

from features.java_source import new_instance

NAME = "ProjectOverProject"
SOURCE = f"""
import java.util.Collections;
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan;
import org.apache.spark.sql.catalyst.plans.logical.Project;
import org.apache.spark.sql.execution.ProjectExec;
import org.apache.spark.sql.execution.SparkStrategy;
import scala.collection.immutable.Seq;
import scala.jdk.javaapi.CollectionConverters;

public class {NAME} extends SparkStrategy {{
  public Seq apply(LogicalPlan plan) {{
    java.util.List planned = Collections.emptyList();
    if (plan instanceof Project && ((Project) plan).child() instanceof Project) {{
      Project project = (Project) plan;
      planned = Collections.singletonList(new ProjectExec(project.projectList(), planLater(project.child())));
    }}
    return CollectionConverters.asScala(planned).toList();
  }}

  public Seq alone() {{
    return CollectionConverters.asScala(Collections.singletonList(this)).toList();
  }}
}}
"""


def plan_projects_at_once(spark: SparkSession) -> None:
    """Have the session plan a projection over a projection as what it is, before other strategies look at it.

    Those of data sources would follow the chain of projections down to its relation, from each of them, to see whether
    they could be one with it. The optimizer has made one of those that can be by then, so the plan is the same.
    """
    methods: Any = spark._jsparkSession.experimental()
    strategy = new_instance(spark, NAME, SOURCE)
    getattr(methods, "extraStrategies_$eq")(strategy.alone())
