#!/usr/bin/env bash
# Start what the container is for: `driver` and `executor` as Spark on Kubernetes asks for them, or any other command.
set -euo pipefail

classpath="$SPARK_HOME/jars/*:${PYTHONPATH:-.}/.jars/spark/*"

# Java options come as SPARK_JAVA_OPT_0, SPARK_JAVA_OPT_1, ...
java_options() { env | grep '^SPARK_JAVA_OPT_' | sort -t_ -k4 -n | cut -d= -f2-; }

case "${1:-}" in
    driver)
        shift
        exec "$SPARK_HOME/bin/spark-submit" --deploy-mode client \
            --conf "spark.driver.bindAddress=$SPARK_DRIVER_BIND_ADDRESS" "$@"
        ;;
    executor)
        options=()
        while IFS= read -r option; do options+=("$option"); done < <(java_options)
        exec "$JAVA_HOME/bin/java" "${options[@]}" "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" \
            -cp "$classpath${SPARK_CLASSPATH:+:$SPARK_CLASSPATH}" \
            org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
            --driver-url "$SPARK_DRIVER_URL" --executor-id "$SPARK_EXECUTOR_ID" --cores "$SPARK_EXECUTOR_CORES" \
            --app-id "$SPARK_APPLICATION_ID" --hostname "$SPARK_EXECUTOR_POD_IP" \
            --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" --podName "$SPARK_EXECUTOR_POD_NAME"
        ;;
    *)
        exec "$@"
        ;;
esac
