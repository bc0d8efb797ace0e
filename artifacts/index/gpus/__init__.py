"""Searches on GPUs in a server: which GPUs there are, and the copies of indexes that they hold.

GPUs find candidates; every score that leaves a segment is the CPU's. Whatever they cannot do, or fail to do, the CPU
does: filtered searches, more than 2,048 results or lists, and codecs without a GPU index. Start reading at `pool`.
"""
