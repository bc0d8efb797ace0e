"""The sample encoder, a small CLIP for drawn products: how it is trained, evaluated and documented.

Run `python -m jobs.sample.encoder.train`, then `python -m jobs.sample.encoder.evaluate`; both write to
artifacts/sample_encoder. Start reading at `train`. Imports the other packages of `jobs.sample`; the pipeline and the
server load the trained encoder through `artifacts.encoders` and need nothing from here.
"""
