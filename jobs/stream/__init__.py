"""The stream: brings a shop's product events from Kafka to the refresh path, in micro-batches.

Start reading in `process`, the loop. `events` says how a record becomes an event, `batch` keeps the last event of each
product, `applying` hands a batch to the refresh path (`sink` is what it asks of it), and `failures` and `outbox` bring
what failed to the retry and dead-letter topics. `kafka` reads and commits. May import the other steps of the pipeline;
nothing imports it but the command line and the DAGs.
"""
