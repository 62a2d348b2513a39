"""Each service answers its own client, and keeps what it took before a crash."""

import psycopg
from confluent_kafka import Consumer, Producer
from mlflow import MlflowClient


def test_mlflow_takes_an_artifact_and_hands_it_out_through_its_own_address(mlflow_server, tmp_path):
    client = MlflowClient(mlflow_server.uri)
    run = client.create_run("0")
    client.log_text(run.info.run_id, "hello", "greeting.txt")
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    greeting = client.download_artifacts(run.info.run_id, "greeting.txt", str(tmp_path))
    with open(greeting, encoding="utf-8") as file:
        assert file.read() == "hello"


def test_kafka_delivers_an_event_that_it_took_before_it_was_killed(kafka):
    kafka.create_topic("smoke")
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce("smoke", b"hello")
    assert producer.flush(10) == 0
    kafka.kill()
    kafka.start()
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "smoke", "auto.offset.reset": "earliest"})
    consumer.subscribe(["smoke"])
    event = consumer.poll(20)
    consumer.close()
    assert event is not None
    assert event.value() == b"hello"


def test_postgres_keeps_a_row_that_was_committed_before_it_was_killed(postgres):
    with psycopg.connect(postgres.dsn) as connection:
        connection.execute("create table smoke as select 'hello' as greeting")
    postgres.kill()
    postgres.start()
    with psycopg.connect(postgres.dsn) as connection:
        assert connection.execute("select greeting from smoke").fetchall() == [("hello",)]
        connection.execute("drop table smoke")
