"""What the pipeline writes and the server reads: schemas, pictures, encoders, segments, releases, the store."""
