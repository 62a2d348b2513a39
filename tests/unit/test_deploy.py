"""The deploy files: they fit their platforms, call entry points that exist, and give nothing away."""

import importlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import typer
import yaml
from databricks.sdk.service.jobs import JobSettings
from jsonschema import Draft202012Validator
from mlflow import environment_variables
from mlflow.cli import server
from typer.main import get_command

from pipelines.settings import ROOT, Settings
from pipelines.stream import stream
from pipelines.stream_options import Connections, SinkName, StreamOptions, check
from tests.deploy_schemas import START_JOB_RUN, manifest

DEPLOY = ROOT / "deploy"
MANIFESTS = {path.stem: yaml.safe_load(path.read_text()) for path in DEPLOY.glob("kubernetes/*.yaml")}
JOB_RUNS = {path.stem: json.loads(path.read_text()) for path in DEPLOY.glob("emr-serverless/*.json")}
BUNDLE = yaml.safe_load((DEPLOY / "databricks" / "databricks.yml").read_text())
JOBS = BUNDLE["resources"]["jobs"]
# Part of a Databricks runtime for machine learning, or of no use there.
BROUGHT_BY_DATABRICKS = ("matplotlib", "numpy", "pandas", "pyarrow", "pyspark", "pyyaml", "scikit-learn", "setuptools")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
# What others read: the interpreters, Spark, and the images of the servers.
OF_OTHERS = {
    *("JAVA_HOME", "SPARK_HOME", "PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON", "PYTHONPATH", "PYTHONUNBUFFERED"),
    *("GIT_PYTHON_REFRESH", "POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD_FILE"),
}
IMAGES = [service["image"] for service in COMPOSE["services"].values()]
IMAGES += re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text(), re.M)


def application(entry):
    spec = MANIFESTS[entry]["spec"]
    return spec.get("template", spec)


def calls():
    """Every call of an entry point in the deploy files: where, the file or module, its arguments."""
    for entry in MANIFESTS:
        yield f"kubernetes {entry}", application(entry)["mainApplicationFile"], application(entry)["arguments"]
    for entry, run in JOB_RUNS.items():
        submit = run["jobDriver"]["sparkSubmit"]
        yield f"emr {entry}", submit["entryPoint"], submit["entryPointArguments"]
    for entry, job in JOBS.items():
        task = job["tasks"][0]["spark_python_task"]
        yield f"databricks {entry}", task["python_file"], task["parameters"]
    for name, service in COMPOSE["services"].items():
        if (command := service.get("command", []))[:2] == ["python", "-m"]:
            yield f"compose {name}", command[2].replace(".", "/") + ".py", command[3:]


def environments():
    """Every environment variable that a deploy file sets: where, and its name."""
    for entry in MANIFESTS:
        yield from ((f"kubernetes {entry}", e["name"]) for e in application(entry)["driver"]["env"])
    for entry, run in JOB_RUNS.items():
        names = re.findall(r"(?:driverEnv|executorEnv)\.(\w+)", json.dumps(run))
        yield from ((f"emr {entry}", name) for name in sorted(set(names)))
    for entry, job in JOBS.items():
        cluster = job["job_clusters"][0]["new_cluster"]
        yield from ((f"databricks {entry}", name) for name in cluster["spark_env_vars"])
    for service, about in COMPOSE["services"].items():
        yield from ((f"compose {service}", name) for name in about.get("environment", {}))
    image = re.search(r"^ENV ((?:.*\\\n)*.*)", (DEPLOY / "Dockerfile").read_text(), re.M)[1]
    yield from (("image", name) for name in re.findall(r"(\w+)=", image))


def is_known(name):
    """Whether the code, MLflow or the image's entry point reads an environment variable of a name."""
    ours = {f"LEADS_{field}".upper() for kind in (Settings, Connections) for field in kind.model_fields}
    of_mlflow = {v.name for v in vars(environment_variables).values() if hasattr(v, "name")}
    of_mlflow |= {p.envvar for p in server.params}
    entrypoint = (DEPLOY / "entrypoint.sh").read_text()
    return name in ours | of_mlflow | OF_OTHERS or re.search(rf"\${{?{name}\b", entrypoint) is not None


@pytest.mark.parametrize("entry", MANIFESTS)
def test_a_manifest_holds_what_the_spark_operator_knows(entry):
    schema = manifest(MANIFESTS[entry]["kind"])
    assert [f"{e.json_path}: {e.message}" for e in Draft202012Validator(schema).iter_errors(MANIFESTS[entry])] == []


@pytest.mark.parametrize("entry", JOB_RUNS)
def test_a_job_run_is_an_input_of_start_job_run(entry):
    found = Draft202012Validator(START_JOB_RUN).iter_errors(JOB_RUNS[entry])
    assert [f"{e.json_path}: {e.message}" for e in found] == []


@pytest.mark.parametrize("job", JOBS)
def test_a_bundles_job_loses_nothing_in_databricks_own_client(job):
    assert JobSettings.from_dict(JOBS[job]).as_dict() == JOBS[job]


@pytest.mark.parametrize(("file", "words"), [c[1:] for c in calls()], ids=[c[0] for c in calls()])
def test_an_entry_point_takes_the_arguments_it_is_called_with(file, words):
    entry = Path(file).stem
    app = typer.Typer(add_completion=False)
    app.command()(getattr(importlib.import_module(f"pipelines.{entry}"), entry))
    assert get_command(app).make_context(entry, list(words)).params  # it raises where an argument is refused


@pytest.mark.parametrize(("where", "name"), list(environments()))
def test_an_environment_variable_is_one_that_somebody_reads(where, name):
    of_kafka = where == "compose kafka" and name.startswith("KAFKA_")  # the image makes settings of the broker of these
    assert of_kafka or is_known(name)


def test_the_stream_of_compose_has_the_services_that_it_reads_and_writes():
    service = COMPOSE["services"]["stream"]
    given = [re.sub(r"\$\{\w+:-(.*)\}", r"\1", word) for word in service["command"][3:]]
    app = typer.Typer(add_completion=False)
    app.command()(stream)
    context = get_command(app).make_context("stream", given)
    options = StreamOptions(**{name: context.params[name] for name in ("source", "sink", "trigger", "health_port")})
    named = {name.removeprefix("LEADS_").lower(): value for name, value in service["environment"].items()}
    check(options, Connections(**{k: v for k, v in named.items() if k in Connections.model_fields}))
    assert (options.source, options.sinks) == ("kafka:leads", (SinkName.PARQUET, SinkName.POSTGRES))
    assert set(service["depends_on"]) == {"mlflow", "postgres", "topics"}


def test_compose_publishes_on_this_machine_alone():
    published = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published)


@pytest.mark.parametrize("image", sorted(set(IMAGES)))
def test_an_image_is_named_with_its_release(image):
    assert re.fullmatch(r"[\w./-]+:\d+\.\d+(\.\d+)?[\w.-]*", image)


def test_every_server_of_compose_says_whether_it_is_well():
    assert [name for name, service in COMPOSE["services"].items() if "healthcheck" not in service] == ["job", "topics"]


def test_no_secret_is_written_down():
    env = [e for entry in MANIFESTS for e in application(entry)["driver"]["env"]]
    by_secret = {e["name"] for e in env if "valueFrom" in e}
    assert {e["name"] for e in env if re.search("PASSWORD|TOKEN|SECRET|TRACKING", e["name"])} == by_secret
    emr = [c for run in JOB_RUNS.values() for c in run["configurationOverrides"]["applicationConfiguration"]]
    assert {v[:11] for c in emr for k, v in c["properties"].items() if "PASSWORD" in k} == {"EMR.secret@"}
    compose = [k for s in COMPOSE["services"].values() for k in s.get("environment", {}) if "PASSWORD" in k]
    assert set(compose) == {"POSTGRES_PASSWORD_FILE", "PGPASSWORD_FILE"}


def test_databricks_installs_all_that_is_asked_for_to_run_and_its_runtime_does_not_bring():
    to_run = (ROOT / "requirements.in").read_text().split("# to run")[1].split("# to develop")[0]
    asked = {line.split("  #")[0] for line in to_run.split("\n") if line}
    brought = {line for line in asked if re.match("[a-z-]+", line)[0] in BROUGHT_BY_DATABRICKS}
    assert len(brought) == len(BROUGHT_BY_DATABRICKS)
    for job in JOBS.values():
        assert {library["pypi"]["package"] for library in job["tasks"][0]["libraries"]} == asked - brought


def test_the_image_starts_an_executor_as_spark_on_kubernetes_asks(tmp_path):
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    java.chmod(0o755)
    names = ("DRIVER_URL", "EXECUTOR_ID", "EXECUTOR_CORES", "APPLICATION_ID", "EXECUTOR_POD_IP", "RESOURCE_PROFILE_ID")
    env = {f"SPARK_{name}": name.lower() for name in (*names, "EXECUTOR_POD_NAME")} | {"SPARK_EXECUTOR_MEMORY": "1g"}
    env |= {"SPARK_JAVA_OPT_1": "-Dsecond=a b", "SPARK_JAVA_OPT_0": "-Dfirst=1"}
    env |= {"JAVA_HOME": str(tmp_path), "SPARK_HOME": "/spark", "PATH": os.environ["PATH"]}
    said = subprocess.check_output([DEPLOY / "entrypoint.sh", "executor"], env=env, text=True).splitlines()
    assert said[:4] == ["-Dfirst=1", "-Dsecond=a b", "-Xms1g", "-Xmx1g"]
    assert said[-4:] == ["--resourceProfileId", "resource_profile_id", "--podName", "executor_pod_name"]


@pytest.mark.parametrize(("words", "master"), [([], "spark://x:1"), (["nothing"], "spark://x:1"), (["score"], "")])
def test_spark_submit_refuses_an_unknown_entry_or_no_master_by_one_line(words, master):
    env = {"PATH": os.environ["PATH"], "MASTER": master}
    ended = subprocess.run([DEPLOY / "spark-submit.sh", *words], env=env, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)


def test_the_image_reads_postgresqls_password_from_a_file(tmp_path):
    (tmp_path / "secret").write_text("s3 cr$t\n")
    env = {"PATH": os.environ["PATH"], "SPARK_HOME": "/spark", "PGPASSWORD_FILE": str(tmp_path / "secret")}
    said = subprocess.check_output([DEPLOY / "entrypoint.sh", "printenv", "PGPASSWORD"], env=env, text=True)
    assert said == "s3 cr$t\n"
