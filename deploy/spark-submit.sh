#!/usr/bin/env bash
# Submit an entry point to a Spark cluster:
#     MASTER=spark://host:7077 deploy/spark-submit.sh score --input s3a://bucket/leads --output s3a://bucket/scores
# SPARK_OPTIONS holds further options of spark-submit, such as "--conf spark.executor.memory=4g".
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYSPARK_PYTHON:-$here/.venv/bin/python}

if [ $# = 0 ] || [ ! -f "$here/pipelines/$1.py" ]; then
    echo "usage: MASTER=spark://host:7077 $0 ENTRY [options of the entry]; entries are those of MLproject" >&2
    exit 2
fi
if [ -z "${MASTER:-}" ]; then
    echo "MASTER is not set; name the cluster, such as MASTER=spark://host:7077 or MASTER=yarn" >&2
    exit 2
fi
entry=$1
shift

# A zip of its own: two submissions do not write over one another.
package=$(mktemp -d)
trap 'rm -rf "$package"' EXIT
PYTHONPATH=$here "$python" -m pipelines.package --output "$package/lead_scoring.zip" >&2

read -ra options <<<"${SPARK_OPTIONS:-}"
export SPARK_HOME=${SPARK_HOME:-$("$python" -c 'import os, pyspark; print(os.path.dirname(pyspark.__file__))')}
PYSPARK_PYTHON=$python "$SPARK_HOME/bin/spark-submit" --master "$MASTER" "${options[@]}" \
    --py-files "$package/lead_scoring.zip" "$here/pipelines/$entry.py" "$@"
