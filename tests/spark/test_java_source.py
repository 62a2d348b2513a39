"""Java classes that are compiled from source when they are first asked for."""

from features.java_source import class_loader, new_instance

SOURCE = 'public class Greeting { public String said() { return "hello"; } }'


def test_an_instance_has_its_methods(spark):
    assert new_instance(spark, "Greeting", SOURCE).said() == "hello"


def test_a_source_is_compiled_once(spark):
    assert class_loader(spark, SOURCE).hashCode() == class_loader(spark, SOURCE).hashCode()


def test_many_instances_are_of_one_class(spark):
    first, second = (new_instance(spark, "Greeting", SOURCE) for _ in range(2))
    assert first.getClass().hashCode() == second.getClass().hashCode()
    assert (first.said(), second.said()) == ("hello", "hello")
