"""Spark, as the steps use it: it only decides where a shard is worked on.

A task reads its shard from the workspace and writes its output there itself, and only its report travels through the
JVM: pictures would be copied several times on that way. Imports `artifacts` and `jobs.workspace`. Start reading at
`shards.py`, which maps a function over shards; `launcher` and `session` start Spark, on the Java that `java` finds, and
`daemon` its workers; `gpu` finds the GPU of a task.
"""
