"""What the stream needs of Kafka: `consumer` reads records and commits offsets as a member of a consumer group.

`records` says what a record and its headers hold, `partitions` what is known of an assigned partition, and `errors`
which of librdkafka's errors pass. May import `artifacts`, and nothing of the pipeline.
"""
