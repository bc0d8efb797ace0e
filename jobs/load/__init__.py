"""Step 4d: loads the engine with the candidate's segments, where an engine finds candidates in place of index files."""
