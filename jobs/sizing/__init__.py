"""`lookalike size`: memory, disk, build time and servers for a catalog that is larger than any that was measured.

`measured` is what `lookalike bench build` measures on one machine, `costs` fits sums of terms to it, `model` has the
terms, and `plan` applies the model to a number of products and of searches a second; `show` prints that. Start reading
at `plan`.
"""
