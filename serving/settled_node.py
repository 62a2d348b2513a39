"""The Java that settles a plan: the node that stands for a chain of projections, and what its tasks run.

serving.settled_plan calls it; docs/decisions/0063-a-small-batch-is-planning.md has why and how much.
"""

NAME = "SettledPlan"
KEPT = 8  # chains of which an executor keeps what it compiled, while it has memory: those of two versions, and more
LARGEST_KEPT = 1 << 20  # bytes of a row: what has made a larger one holds memory for it for good
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
    return only(new SettledExec(settled.output(), below, settled.columns, settled.steps));
  }}

  public LogicalPlan settled(LogicalPlan plan, LogicalPlan standIn, JavaSparkContext context) {{
    if (plan.children().isEmpty()) {{
      if (plan.output().equals(standIn.output())) return plan;
      throw new IllegalArgumentException("the plan does not read what it is given");
    }}
    LinkedList lists = new LinkedList();
    LogicalPlan below = plan;
    for (; below instanceof Project; below = ((Project) below).child()) lists.addFirst(((Project) below).projectList());
    LogicalPlan child = below.children().isEmpty()
        ? settled(below, standIn, context) : over(below, settled(head(below), standIn, context));
    if (lists.isEmpty()) return child;
    Steps steps = new Steps(plan, lists, below.output(), context);
    return new Settled(steps.key, plan.output(), child, null, below.output(), steps);
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
    Steps steps = ((Settled) settled).steps;
    return new Settled(steps.key, settled.output(), source, null, source.output(), steps);
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

  public static class Settled extends ScriptTransformation {{
    final Seq columns;
    final Steps steps;

    public Settled(
        String key, Seq output, LogicalPlan child, ScriptInputOutputSchema none, Seq columns, Steps steps) {{
      super(key, output, child, none);
      this.columns = columns;
      this.steps = steps;
    }}

    public int productArity() {{ return 5; }}

    public Object productElement(int place) {{ return place == 4 ? columns : super.productElement(place); }}

    public Seq otherCopyArgs() {{ return only(steps); }}

    public Seq innerChildren() {{ return only(steps.plan); }}

    public ScriptTransformation copy(String key, Seq output, LogicalPlan child, ScriptInputOutputSchema none) {{
      return new Settled(key, output, child, none, columns, steps);
    }}

    public ScriptTransformation withNewChildInternal(LogicalPlan child) {{
      return copy(script(), output(), child, ioschema());
    }}

    public boolean equals(Object other) {{
      return other instanceof Settled && ((Settled) other).columns.equals(columns) && super.equals(other);
    }}
  }}

  public static class SettledExec extends ProjectExec {{
    private final transient Seq columns;
    private final transient Steps steps;

    public SettledExec(Seq output, SparkPlan child, Seq columns, Steps steps) {{
      super(output, child);
      this.columns = columns;
      this.steps = steps;
    }}

    public Seq otherCopyArgs() {{ return seq(Arrays.asList(new Object[] {{columns, steps}})); }}

    public AttributeSet references() {{ return child().outputSet(); }}

    public boolean supportCodegen() {{ return false; }}

    public Seq innerChildren() {{ return only(steps.plan); }}

    public RDD doExecute() {{
      SparkPlan below = child().output().equals(columns) ? child() : new ProjectExec(columns, child());
      return below.execute().toJavaRDD().mapPartitions(steps, true).rdd();
    }}

    public ProjectExec copy(Seq output, SparkPlan child) {{ return new SettledExec(output, child, columns, steps); }}

    public ProjectExec withNewChildInternal(SparkPlan child) {{ return copy(projectList(), child); }}

    public boolean canEqual(Object other) {{ return other instanceof SettledExec; }}

    public boolean equals(Object other) {{
      return canEqual(other) && ((SettledExec) other).steps == steps && super.equals(other);
    }}
  }}

  public static class Steps implements FlatMapFunction, Serializable {{
    private static final Map FREE = new LinkedHashMap(16, 0.75f, true);
    final String key = UUID.randomUUID().toString();
    final transient LogicalPlan plan;
    private final Broadcast written;

    public Steps(LogicalPlan plan, List lists, Seq input, JavaSparkContext context) {{
      this.plan = plan;
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
