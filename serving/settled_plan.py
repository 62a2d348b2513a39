"""A stream's plan analysed, optimized and compiled once, when it is made, so that a batch or an epoch does none of it.

Why and how much: docs/decisions/0063-a-small-batch-is-planning.md.
"""

import logging
from collections.abc import Callable
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructField, StructType

from features.java_source import new_instance, send_to_tasks
from features.storage import java_class

Plan = Callable[[DataFrame], DataFrame]
NAME = "SettledPlan"
KEPT = 8  # chains of which an executor keeps what it compiled, while it has memory: those of two versions, and more
LARGEST_KEPT = 1 << 20  # bytes of a row: what has made a larger one holds memory for it for good
ISOLATED = "spark.sql.artifact.isolation.enabled"
# A chain of projections becomes one node: Spark's rules see its columns alone, and a task runs what was compiled for it
# before. The expressions are broadcast, once for all batches, and every task needs a copy of its own while it runs.
# Settled is a ScriptTransformation, as this is the node of columns that have nothing to do with those below it; these
# (`columns`) count as its expressions, so that a rule that renames them below does so here.
SOURCE = f"""
import java.io.Serializable;
import java.lang.ref.SoftReference;
import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.LinkedList;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.apache.spark.SparkEnv;
import org.apache.spark.TaskContext;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.api.java.function.FlatMapFunction;
import org.apache.spark.broadcast.Broadcast;
import org.apache.spark.rdd.RDD;
import org.apache.spark.serializer.SerializerInstance;
import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.catalyst.expressions.Alias;
import org.apache.spark.sql.catalyst.expressions.Attribute;
import org.apache.spark.sql.catalyst.expressions.AttributeSet;
import org.apache.spark.sql.catalyst.expressions.NamedExpression;
import org.apache.spark.sql.catalyst.expressions.UnsafeProjection;
import org.apache.spark.sql.catalyst.expressions.UnsafeRow;
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan;
import org.apache.spark.sql.catalyst.plans.logical.Project;
import org.apache.spark.sql.catalyst.plans.logical.ScriptInputOutputSchema;
import org.apache.spark.sql.catalyst.plans.logical.ScriptTransformation;
import org.apache.spark.sql.execution.ProjectExec;
import org.apache.spark.sql.execution.SparkPlan;
import org.apache.spark.sql.execution.SparkStrategy;
import org.apache.spark.util.TaskCompletionListener;
import scala.Option;
import scala.collection.immutable.Seq;
import scala.jdk.javaapi.CollectionConverters;
import scala.reflect.ClassTag$;

public class {NAME} extends SparkStrategy {{
  private static final Seq NONE = seq(new ArrayList());

  public Seq apply(LogicalPlan plan) {{
    if (!(plan instanceof Settled)) return NONE;
    Settled settled = (Settled) plan;
    SparkPlan below = planLater(settled.child());
    return only(new SettledExec(settled.output(), below, settled.columns, settled.chain));
  }}

  public LogicalPlan settled(LogicalPlan plan, LogicalPlan standIn, JavaSparkContext context) {{
    if (plan.children().isEmpty()) {{
      if (plan.output().equals(standIn.output())) return plan;
      throw new IllegalArgumentException("the plan does not read what it is given");
    }}
    LinkedList lists = new LinkedList();
    LogicalPlan below = plan;
    for (; below instanceof Project; below = ((Project) below).child()) lists.addFirst(((Project) below).projectList());
    LogicalPlan child = settled(below.children().isEmpty() ? below : head(below), standIn, context);
    if (!below.children().isEmpty()) child = over(below, child);
    if (lists.isEmpty()) return child;
    Steps steps = new Steps(lists, below.output(), context);
    return new Settled(steps.key, plan.output(), child, null, below.output(), new Chain(plan, steps));
  }}

  public LogicalPlan on(LogicalPlan settled, LogicalPlan source) {{
    if (settled.outputSet().intersect(source.outputSet()).nonEmpty()) {{
      throw new IllegalArgumentException("a settled plan takes no rows of its own");
    }}
    return put(settled, source);
  }}

  private static LogicalPlan put(LogicalPlan settled, LogicalPlan source) {{
    if (settled.children().isEmpty()) return named(settled.output(), source);
    LogicalPlan child = head(settled);
    if (!(settled instanceof Settled) || !child.children().isEmpty()) return over(settled, put(child, source));
    Chain chain = ((Settled) settled).chain;
    return new Settled(chain.steps.key, settled.output(), source, null, source.output(), chain);
  }}

  private static LogicalPlan over(LogicalPlan plan, LogicalPlan child) {{
    return (LogicalPlan) plan.withNewChildren(only(child));
  }}

  private static LogicalPlan head(LogicalPlan plan) {{
    return (LogicalPlan) plan.children().head();
  }}

  private static LogicalPlan named(Seq names, LogicalPlan source) {{
    ArrayList columns = new ArrayList();
    for (int i = 0; i < names.size(); i++) {{
      Attribute name = (Attribute) names.apply(i), column = (Attribute) source.output().apply(i);
      columns.add(new Alias(column, name.name(), name.exprId(), NONE, Option.empty(), NONE));
    }}
    return new Project(seq(columns), source);
  }}

  static Seq only(Object item) {{
    return seq(Collections.singletonList(item));
  }}

  static Seq seq(List items) {{
    return CollectionConverters.asScala(items).toList();
  }}

  public Seq before(Seq strategies) {{
    ArrayList all = new ArrayList(Collections.singletonList(this));
    for (int i = 0; i < strategies.size(); i++) {{
      if (!strategies.apply(i).getClass().getName().equals("{NAME}")) all.add(strategies.apply(i));
    }}
    return seq(all);
  }}

  public static class Chain {{
    final LogicalPlan plan;
    final Steps steps;

    public Chain(LogicalPlan plan, Steps steps) {{
      this.plan = plan;
      this.steps = steps;
    }}
  }}

  public static class Settled extends ScriptTransformation {{
    final Seq columns;
    final Chain chain;

    public Settled(
        String key, Seq output, LogicalPlan child, ScriptInputOutputSchema none, Seq columns, Chain chain) {{
      super(key, output, child, none);
      this.columns = columns;
      this.chain = chain;
    }}

    public int productArity() {{ return 5; }}

    public Object productElement(int place) {{ return place == 4 ? columns : super.productElement(place); }}

    public Seq otherCopyArgs() {{ return only(chain); }}

    public Seq innerChildren() {{ return only(chain.plan); }}

    public ScriptTransformation copy(String key, Seq output, LogicalPlan child, ScriptInputOutputSchema none) {{
      return new Settled(key, output, child, none, columns, chain);
    }}

    public ScriptTransformation withNewChildInternal(LogicalPlan child) {{
      return copy(script(), output(), child, ioschema());
    }}

    public boolean equals(Object other) {{
      return other instanceof Settled && ((Settled) other).columns.equals(columns) && super.equals(other);
    }}

    public int hashCode() {{ return super.hashCode(); }}
  }}

  public static class SettledExec extends ProjectExec {{
    private final transient Seq columns;
    private final transient Chain chain;

    public SettledExec(Seq output, SparkPlan child, Seq columns, Chain chain) {{
      super(output, child);
      this.columns = columns;
      this.chain = chain;
    }}

    public Seq otherCopyArgs() {{ return seq(Arrays.asList(new Object[] {{columns, chain}})); }}

    public AttributeSet references() {{ return child().outputSet(); }}

    public boolean supportCodegen() {{ return false; }}

    public Seq innerChildren() {{ return only(chain.plan); }}

    public RDD doExecute() {{
      SparkPlan below = child().output().equals(columns) ? child() : new ProjectExec(columns, child());
      return below.execute().toJavaRDD().mapPartitions(chain.steps, true).rdd();
    }}

    public ProjectExec copy(Seq output, SparkPlan child) {{ return new SettledExec(output, child, columns, chain); }}

    public ProjectExec withNewChildInternal(SparkPlan child) {{ return copy(projectList(), child); }}

    public boolean canEqual(Object other) {{ return other instanceof SettledExec; }}

    public boolean equals(Object other) {{
      return canEqual(other) && ((SettledExec) other).chain == chain && super.equals(other);
    }}

    public int hashCode() {{ return super.hashCode(); }}
  }}

  public static class Steps implements FlatMapFunction, Serializable {{
    private static final Map FREE = new LinkedHashMap(16, 0.75f, true);
    final String key = UUID.randomUUID().toString();
    private final Broadcast written;

    public Steps(List lists, Seq input, JavaSparkContext context) {{
      ByteBuffer bytes = serializer().serialize(new Object[] {{lists.toArray(), input}}, ClassTag$.MODULE$.Object());
      written = context.broadcast(Arrays.copyOf(bytes.array(), bytes.limit()));
    }}

    public Iterator call(Object rows) {{
      final UnsafeProjection[] own = taken();
      TaskContext task = TaskContext.get();
      for (int i = 0; i < own.length; i++) own[i].initialize(task.partitionId());
      final Steps all = this;
      final Rows made = new Rows((Iterator) rows, own);
      task.addTaskCompletionListener(new TaskCompletionListener() {{
        public void onTaskCompletion(TaskContext done) {{
          if (!done.isFailed() && !done.isInterrupted() && made.largest < {LARGEST_KEPT}) all.put(own);
        }}
      }});
      return made;
    }}

    private UnsafeProjection[] taken() {{
      synchronized (FREE) {{
        ArrayDeque free = free();
        if (free != null && !free.isEmpty()) return (UnsafeProjection[]) free.poll();
      }}
      ClassLoader loader = Thread.currentThread().getContextClassLoader();
      ByteBuffer bytes = ByteBuffer.wrap((byte[]) written.value());
      Object[] parts = (Object[]) serializer().deserialize(bytes, loader, ClassTag$.MODULE$.Object());
      Object[] lists = (Object[]) parts[0];
      UnsafeProjection[] made = new UnsafeProjection[lists.length];
      Seq input = (Seq) parts[1];
      for (int i = 0; i < lists.length; i++) {{
        Seq list = (Seq) lists[i];
        made[i] = UnsafeProjection.create(list, input);
        ArrayList output = new ArrayList();
        for (int j = 0; j < list.size(); j++) output.add(((NamedExpression) list.apply(j)).toAttribute());
        input = seq(output);
      }}
      return made;
    }}

    private ArrayDeque free() {{
      SoftReference found = (SoftReference) FREE.get(key);
      return found == null ? null : (ArrayDeque) found.get();
    }}

    private static SerializerInstance serializer() {{ return SparkEnv.get().closureSerializer().newInstance(); }}

    void put(UnsafeProjection[] own) {{
      synchronized (FREE) {{
        ArrayDeque free = free();
        if (free == null) {{
          free = new ArrayDeque();
          FREE.put(key, new SoftReference(free));
          if (FREE.size() > {KEPT}) FREE.remove(FREE.keySet().iterator().next());
        }}
        free.add(own);
      }}
    }}
  }}

  public static class Rows implements Iterator {{
    private final Iterator rows;
    private final UnsafeProjection[] steps;
    int largest;

    public Rows(Iterator rows, UnsafeProjection[] steps) {{
      this.rows = rows;
      this.steps = steps;
    }}

    public boolean hasNext() {{ return rows.hasNext(); }}

    public Object next() {{
      InternalRow row = (InternalRow) rows.next();
      for (int i = 0; i < steps.length; i++) {{
        UnsafeRow made = steps[i].apply(row);
        largest = Math.max(largest, made.getSizeInBytes());
        row = made;
      }}
      return row;
    }}

    public void remove() {{ throw new UnsupportedOperationException(); }}
  }}
}}
"""

log = logging.getLogger(__name__)


def settled(spark: SparkSession, arriving: StructType, plan: Plan) -> Plan:
    """`plan` for rows of the columns `arriving`, optimized beforehand; it takes a streaming DataFrame or a batch.

    `plan` is a chain of steps with one input each. It must ask for no current time or date, nor for random numbers:
    these would stand still at the moment of the call, so `arriving` carries them. Where this Spark has its plans
    otherwise, `plan` itself.
    """
    try:
        if spark.conf.get(ISOLATED, "false") == "true":
            raise RuntimeError(f"{ISOLATED}: tasks would not get the classes")
        stand_in = _stand_in(spark, arriving)
        optimized = plan(stand_in)._jdf.queryExecution().optimizedPlan()
        send_to_tasks(spark, SOURCE)
        tool = new_instance(spark, NAME, SOURCE)
        _add_strategy(spark, tool)
        done = tool.settled(optimized, stand_in._jdf.queryExecution().analyzed(), spark.sparkContext._jsc)
        datasets = java_class(spark, "org.apache.spark.sql.classic.Dataset")
    except Exception as error:
        log.debug("the plan is optimized anew each time: %s", error)
        return plan

    def on(rows: DataFrame) -> DataFrame:
        if [(f.name, f.dataType) for f in rows.schema] != [(f.name, f.dataType) for f in arriving]:
            raise ValueError(f"the plan is settled for {arriving.simpleString()}, not for {rows.schema.simpleString()}")
        source = rows._jdf.queryExecution().analyzed()
        return DataFrame(datasets.ofRows(spark._jsparkSession, tool.on(done, source)), spark)

    return on


def _add_strategy(spark: SparkSession, tool: Any) -> None:
    """Have the session's planner, and those of its streams, plan the nodes between projections as what is below."""
    methods: Any = spark._jsparkSession.experimental()
    getattr(methods, "extraStrategies_$eq")(tool.before(methods.extraStrategies()))


def _stand_in(spark: SparkSession, columns: StructType) -> DataFrame:
    """No rows, any of whose values may be null; Spark does not know beforehand that there are none."""
    session: Any = spark._jsparkSession
    none: Any = spark.sparkContext._jsc.emptyRDD()
    schema: Any = spark._jvm.org.apache.spark.sql.types.DataType.fromJson(  # type: ignore[union-attr]
        StructType([StructField(f.name, f.dataType, True) for f in columns]).json()
    )
    return DataFrame(session.createDataFrame(none, schema), spark)
