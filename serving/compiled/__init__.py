"""The compiled scorer: a fitted Spark pipeline as one small artifact that scores without Spark and without a JVM."""
