"""What computes for an index: FAISS on the CPU, FAISS on GPUs, or torch where only torch sees the GPU.

A device only says which centroids may be nearest; `assignment` chooses among them with one kernel on the CPU. So the
lists of rows and of training vectors, and with them every file of an index, are equal whatever the device.

`opening` turns the setting `index_device` into a device, and `guarded` lets the CPU go on for a GPU that fails. Torch
is imported only where it is used. Start reading at `device`.
"""
