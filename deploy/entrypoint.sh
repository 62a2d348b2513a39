#!/usr/bin/env bash
# Start what the container is for: `driver` and `executor` as Spark on Kubernetes asks for them, or any other command.
# PGPASSWORD_FILE names a file, such as a mounted secret, that PostgreSQL's password is read from.
set -euo pipefail

connectors="${PYTHONPATH:-.}/.jars/spark/*"

if [ -n "${PGPASSWORD_FILE:-}" ]; then
    PGPASSWORD=$(<"$PGPASSWORD_FILE")
    export PGPASSWORD
fi

# Java options come as SPARK_JAVA_OPT_0, SPARK_JAVA_OPT_1, ...
java_options() { env | grep '^SPARK_JAVA_OPT_' | sort -t_ -k4 -n | cut -d= -f2-; }

# Java has children of other kinds, too, for moments. One that is gone before it is looked at is an error to nobody.
python_of() {
    local process
    while read -r process; do
        case $(cat "/proc/$process/comm" 2>/dev/null) in python*) echo "$process" ;; esac
    done < <(grep -ls "^PPid:[[:space:]]*$1\$" /proc/[0-9]*/status | cut -d/ -f3)
}

# Java would end at once; its Python ends in good order, and Java after it. Before Python has begun there is Java alone.
end_driver() {
    asked=yes
    local python
    python=$(python_of "$submit")
    kill -TERM "${python:-$submit}" 2>/dev/null || true
}

case "${1:-}" in
    driver)
        shift
        export SPARK_DIST_CLASSPATH="$connectors${SPARK_DIST_CLASSPATH:+:$SPARK_DIST_CLASSPATH}"
        "$SPARK_HOME/bin/spark-submit" --deploy-mode client \
            --conf "spark.driver.bindAddress=$SPARK_DRIVER_BIND_ADDRESS" "$@" &
        submit=$!
        trap end_driver TERM INT
        # A signal ends the wait, and not what is waited for.
        asked=yes
        while [ -n "$asked" ]; do
            asked='' code=0
            wait "$submit" || code=$?
        done
        exit "$code"
        ;;
    executor)
        options=()
        while IFS= read -r option; do options+=("$option"); done < <(java_options)
        exec "$JAVA_HOME/bin/java" "${options[@]}" "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" \
            -cp "$SPARK_HOME/jars/*:$connectors${SPARK_CLASSPATH:+:$SPARK_CLASSPATH}" \
            org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
            --driver-url "$SPARK_DRIVER_URL" --executor-id "$SPARK_EXECUTOR_ID" --cores "$SPARK_EXECUTOR_CORES" \
            --app-id "$SPARK_APPLICATION_ID" --hostname "$SPARK_EXECUTOR_POD_IP" \
            --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" --podName "$SPARK_EXECUTOR_POD_NAME"
        ;;
    *)
        exec "$@"
        ;;
esac
