"""The kinds of product, by category, each with a function that draws it: `draw(pen, design)`.

Imports `jobs.sample.drawing`. Start reading at `registry.KINDS`, the table of all kinds; to add a kind, write its
function in the module of its category and add it to that table.
"""
