"""`lookalike bench build`: how fast an index of drawn vectors is built, by how many tasks, and with how much memory.

Start reading at `measure`; `workspace` writes what the steps before would have written, `worker` is the process whose
memory is measured, and `encoder` has the identity of vectors that no model has made.
"""
