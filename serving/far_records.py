"""Kafka records of a time that Spark cannot hold, read as records without one: else each ends the query that meets it.

Spark's reader converts a record before any plan sees it, and takes no interceptor of Kafka's
(docs/decisions/0069-topics-are-there-at-the-start.md).
"""

import logging

from pyspark.sql import DataFrame

from features.java_source import new_instance, send_to_tasks
from features.storage import java_class

NAME = "FarRecords"
# Table, scan and stream stay Spark's own, behind stand-ins that hand on every call; only the tasks' readers are made by
# a factory of ours, which puts a step before the one that makes a row of a record.
SOURCE = f"""
import java.io.InterruptedIOException;
import java.io.UncheckedIOException;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.spark.sql.catalyst.plans.logical.LogicalPlan;
import org.apache.spark.sql.catalyst.streaming.StreamingRelationV2;
import org.apache.spark.sql.connector.catalog.Table;
import org.apache.spark.sql.connector.read.InputPartition;
import org.apache.spark.sql.connector.read.PartitionReader;
import org.apache.spark.sql.connector.read.PartitionReaderFactory;
import scala.Function1;
import scala.runtime.AbstractFunction1;

public class {NAME} {{
  public LogicalPlan read(LogicalPlan plan) {{
    StreamingRelationV2 kafka = (StreamingRelationV2) plan;
    return kafka.copy(
        kafka.source(), kafka.sourceName(), (Table) StandIn.of(kafka.table()), kafka.extraOptions(), kafka.output(),
        kafka.catalog(), kafka.identifier(), kafka.v1Relation(), kafka.sourceIdentifyingName());
  }}

  public static class StandIn implements InvocationHandler {{
    private static final List STEPS = Arrays.asList(new String[] {{"newScanBuilder", "build", "toMicroBatchStream"}});
    private final Object own;

    StandIn(Object own) {{ this.own = own; }}

    static Object of(Object own) {{
      Set all = new LinkedHashSet();
      for (Class c = own.getClass(); c != null; c = c.getSuperclass()) all.addAll(Arrays.asList(c.getInterfaces()));
      Class[] interfaces = (Class[]) all.toArray(new Class[0]);
      return Proxy.newProxyInstance(own.getClass().getClassLoader(), interfaces, new StandIn(own));
    }}

    public Object invoke(Object proxy, Method method, Object[] given) throws Throwable {{
      String name = method.getName();
      if (name.equals("equals")) return Boolean.valueOf(proxy == given[0]);
      try {{
        Object made = method.invoke(own, given);
        if (name.equals("createReaderFactory")) return new Readers((PartitionReaderFactory) made);
        return STEPS.contains(name) ? of(made) : made;
      }} catch (InvocationTargetException thrown) {{
        Throwable cause = thrown.getCause();
        if (cause instanceof RuntimeException || cause instanceof Error) throw cause;
        // Scala declares nothing that it throws, and Java's Proxy would hide it; Spark knows this one for a stop.
        if (cause instanceof InterruptedException) throw new UncheckedIOException(new InterruptedIOException());
        throw new RuntimeException(cause.getMessage(), cause);
      }}
    }}
  }}

  public static class Readers implements PartitionReaderFactory {{
    private final PartitionReaderFactory own;

    Readers(PartitionReaderFactory own) {{ this.own = own; }}

    public PartitionReader createReader(InputPartition part) {{
      PartitionReader reader = own.createReader(part);
      try {{
        Field toRow = reader.getClass().getDeclaredField("unsafeRowProjector");
        toRow.setAccessible(true);
        toRow.set(reader, new Untimed((Function1) toRow.get(reader)));
        return reader;
      }} catch (ReflectiveOperationException other) {{
        return reader;
      }}
    }}
  }}

  public static class Untimed extends AbstractFunction1 {{
    private final Function1 toRow;

    Untimed(Function1 toRow) {{ this.toRow = toRow; }}

    public Object apply(Object given) {{
      ConsumerRecord record = (ConsumerRecord) given;
      if (record.timestamp() <= Long.MAX_VALUE / 1000) return toRow.apply(record);
      return toRow.apply(new ConsumerRecord(
          record.topic(), record.partition(), record.offset(), ConsumerRecord.NO_TIMESTAMP, record.timestampType(),
          record.serializedKeySize(), record.serializedValueSize(), record.key(), record.value(), record.headers(),
          record.leaderEpoch()));
    }}
  }}
}}
"""

log = logging.getLogger(__name__)


def with_far_records(records: DataFrame) -> DataFrame:
    """A stream of Kafka's records, in which one of a time that Spark cannot hold has -1 ms, Kafka's word for none.

    `records` itself, which such a record ends with KAFKA_MALFORMED_RECORD_TIMESTAMP, where this Spark reads otherwise.
    """
    spark = records.sparkSession
    try:
        send_to_tasks(spark, SOURCE)
        read = new_instance(spark, NAME, SOURCE).read(records._jdf.queryExecution().analyzed())
        datasets = java_class(spark, "org.apache.spark.sql.classic.Dataset")
        return DataFrame(datasets.ofRows(spark._jsparkSession, read), spark)
    except Exception as error:
        log.warning("a record of a time that Spark cannot hold would end the query: %s", error)
        return records
