"""What the deploy files may hold: the fields that they use, written from the public descriptions of each platform.

An unknown or misspelt field is refused, which the platforms themselves often do not do.
"""

from typing import Any

TEXT, WHOLE = {"type": "string", "minLength": 1}, {"type": "integer"}
MEMORY = {"type": "string", "pattern": r"^\d+[mg]$"}


def record(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object of exactly these fields."""
    fields = required | (optional or {})
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


def many(item: dict[str, Any]) -> dict[str, Any]:
    """A list of at least one item."""
    return {"type": "array", "items": item, "minItems": 1}


# Kubernetes: Spark operator, sparkoperator.k8s.io/v1beta2.
SECRET = record({"secretKeyRef": record({"name": TEXT, "key": TEXT})})
ENV = {"oneOf": [record({"name": TEXT, "value": TEXT}), record({"name": TEXT, "valueFrom": SECRET})]}
HARDENED = record(
    {
        "runAsNonRoot": {"const": True},
        "runAsUser": {"const": 185},
        "allowPrivilegeEscalation": {"const": False},
        "capabilities": record({"drop": {"const": ["ALL"]}}),
        "seccompProfile": record({"type": {"const": "RuntimeDefault"}}),
    }
)
POD = {
    "cores": WHOLE,
    "memory": MEMORY,
    "memoryOverhead": MEMORY,
    "serviceAccount": TEXT,
    "securityContext": HARDENED,
}
RESTART = record(
    {"type": {"enum": ["Never", "OnFailure", "Always"]}},
    {
        "onFailureRetries": WHOLE,
        "onFailureRetryInterval": WHOLE,
        "onSubmissionFailureRetries": WHOLE,
        "onSubmissionFailureRetryInterval": WHOLE,
    },
)
SPARK_APPLICATION = record(
    {
        "type": {"const": "Python"},
        "mode": {"const": "cluster"},
        "sparkVersion": TEXT,
        "image": TEXT,
        "imagePullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
        "mainApplicationFile": {"type": "string", "pattern": "^local:///"},
        "arguments": {"type": "array", "items": TEXT},
        "deps": record({"packages": many(TEXT)}),
        "sparkConf": {"type": "object", "additionalProperties": TEXT},
        "restartPolicy": RESTART,
        "driver": record(POD | {"env": many(ENV)}, {"terminationGracePeriodSeconds": WHOLE}),
        "executor": record(POD | {"instances": WHOLE}),
    },
    {"timeToLiveSeconds": WHOLE},
)
SCHEDULED = record(
    {
        "schedule": TEXT,
        "timeZone": TEXT,
        "concurrencyPolicy": {"enum": ["Allow", "Forbid", "Replace"]},
        "successfulRunHistoryLimit": WHOLE,
        "failedRunHistoryLimit": WHOLE,
        "template": SPARK_APPLICATION,
    }
)


def manifest(kind: str) -> dict[str, Any]:
    """A whole manifest of the Spark operator."""
    name = {"oneOf": [record({"name": TEXT}), record({"generateName": TEXT})]}
    spec = SPARK_APPLICATION if kind == "SparkApplication" else SCHEDULED
    version = {"const": "sparkoperator.k8s.io/v1beta2"}
    return record({"apiVersion": version, "kind": {"const": kind}, "metadata": name, "spec": spec})


# EMR Serverless: the input of StartJobRun.
SPARK_SUBMIT = record({"entryPoint": TEXT, "entryPointArguments": many(TEXT), "sparkSubmitParameters": TEXT})
CLASSIFICATION = record({"classification": TEXT, "properties": {"type": "object", "additionalProperties": TEXT}})
START_JOB_RUN = record(
    {
        "applicationId": TEXT,
        "executionRoleArn": TEXT,
        "name": TEXT,
        "mode": {"enum": ["BATCH", "STREAMING"]},
        "retryPolicy": record({}, {"maxAttempts": WHOLE, "maxFailedAttemptsPerHour": WHOLE}),
        "executionTimeoutMinutes": WHOLE,
        "jobDriver": record({"sparkSubmit": SPARK_SUBMIT}),
        "configurationOverrides": record(
            {
                "applicationConfiguration": many(CLASSIFICATION),
                "monitoringConfiguration": record({"s3MonitoringConfiguration": record({"logUri": TEXT})}),
            }
        ),
        "tags": {"type": "object", "additionalProperties": TEXT},
    }
)
