"""A stream's plan analysed and optimized once, when it is made, so that a batch or an epoch finds little left to do.

Why and how much: docs/decisions/0063-a-small-batch-is-planning.md.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from features.java_source import new_instance
from features.storage import java_class

LEFT_OUT = "spark.sql.optimizer.excludedRules"
NAME = "SettledPlan"
# Spark's rules look through a chain of projections from each of them. A node that stands for its child ends the look.
SOURCE = f"""
import java.util.ArrayList;
import java.util.Collections;
import org.apache.spark.sql.catalyst.expressions.Alias;
import org.apache.spark.sql.catalyst.expressions.Attribute;
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan;
import org.apache.spark.sql.catalyst.plans.logical.Project;
import org.apache.spark.sql.catalyst.plans.logical.Subquery;
import org.apache.spark.sql.execution.ProjectExec;
import org.apache.spark.sql.execution.SparkStrategy;
import scala.Option;
import scala.collection.immutable.Seq;
import scala.jdk.javaapi.CollectionConverters;

public class {NAME} extends SparkStrategy {{
  private static final Seq NONE = seq(new ArrayList());

  public Seq apply(LogicalPlan plan) {{
    if (plan instanceof Subquery) return only(planLater(((Subquery) plan).child()));
    if (!(plan instanceof Project) || !(((Project) plan).child() instanceof Subquery)) return NONE;
    Project project = (Project) plan;
    return only(new ProjectExec(project.projectList(), planLater(((Subquery) project.child()).child())));
  }}

  public LogicalPlan over(LogicalPlan plan, LogicalPlan source) {{
    if (plan.children().isEmpty()) return named(plan.output(), source);
    LogicalPlan child = over((LogicalPlan) plan.children().head(), source);
    if (plan instanceof Project && child instanceof Project) child = new Subquery(child, false);
    return (LogicalPlan) plan.withNewChildren(only(child));
  }}

  private static LogicalPlan named(Seq names, LogicalPlan source) {{
    ArrayList columns = new ArrayList();
    for (int i = 0; i < names.size(); i++) {{
      Attribute name = (Attribute) names.apply(i), column = (Attribute) source.output().apply(i);
      columns.add(new Alias(column, name.name(), name.exprId(), NONE, Option.empty(), NONE));
    }}
    return new Project(seq(columns), source);
  }}

  private static Seq only(Object item) {{
    return seq(Collections.singletonList(item));
  }}

  private static Seq seq(java.util.List items) {{
    return CollectionConverters.asScala(items).toList();
  }}

  public Seq before(Seq strategies) {{
    ArrayList all = new ArrayList(Collections.singletonList(this));
    for (int i = 0; i < strategies.size(); i++) {{
      if (!strategies.apply(i).getClass().getName().equals("{NAME}")) all.add(strategies.apply(i));
    }}
    return seq(all);
  }}
}}
"""

log = logging.getLogger(__name__)


def settled(arriving: DataFrame, plan: Callable[[DataFrame], DataFrame]) -> DataFrame:
    """What `plan(arriving)` gives, its plan optimized beforehand; `arriving` is a streaming DataFrame or a batch.

    `plan` is a chain of steps with one input each. It must ask for no current time or date: this would stand still at
    the moment of the call, so `arriving` carries it. Where this Spark has its plans otherwise, `plan(arriving)` itself.
    """
    spark = arriving.sparkSession
    try:
        with _all_rules(spark):
            optimized = plan(_stand_in(spark, arriving))._jdf.queryExecution().optimizedPlan()
        source = arriving._jdf.queryExecution().analyzed()
        tool = new_instance(spark, NAME, SOURCE)
        _add_strategy(spark, tool)
        over = tool.over(optimized, source)
        rows = java_class(spark, "org.apache.spark.sql.classic.Dataset").ofRows(spark._jsparkSession, over)
    except Exception as error:
        log.debug("the plan is optimized anew each time: %s", error)
        return plan(arriving)
    return DataFrame(rows, spark)


@contextmanager
def _all_rules(spark: SparkSession) -> Iterator[None]:
    """Let the optimizer use every rule, also those that a stream's session leaves out for its batches."""
    left_out = spark.conf.get(LEFT_OUT, None)
    spark.conf.unset(LEFT_OUT)
    try:
        yield
    finally:
        if left_out is not None:
            spark.conf.set(LEFT_OUT, left_out)


def _add_strategy(spark: SparkSession, tool: Any) -> None:
    """Have the session's planner, and those of its streams, plan the nodes between projections as what is below."""
    methods: Any = spark._jsparkSession.experimental()
    getattr(methods, "extraStrategies_$eq")(tool.before(methods.extraStrategies()))


def _stand_in(spark: SparkSession, arriving: DataFrame) -> DataFrame:
    """No rows, of the same columns; Spark does not know beforehand that there are none."""
    session: Any = spark._jsparkSession
    none: Any = spark.sparkContext._jsc.emptyRDD()
    return DataFrame(session.createDataFrame(none, arriving._jdf.schema()), spark)
