"""How products and their surroundings are drawn: outlines, patterns, shading, scene and shadow.

Imports nothing else of Lookalike, only NumPy and Pillow. Each module uses those before it in this order: `shapes` and
`palette`, `patterns`, `forms`, `pen`, then `design`, `scene` and `shadow`. Start reading at `pen.Pen.part`.
"""
