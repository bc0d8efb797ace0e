"""`lookalike bench`: claims about speed and recall, measured side by side in one run."""
