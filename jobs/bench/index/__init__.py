"""The benchmark of indexes: `vector_files` reads the vectors that public benchmarks publish."""
