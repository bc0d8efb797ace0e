"""Labels of the training data."""

from jobs.sample.encoder.training_data import labels
from jobs.sample.product import generate_product
from jobs.sample.words import Caption


def test_missing_attributes_have_label_minus_one():
    product = generate_product(1, 0)
    product_labels = labels([product])[0]
    caption_labels = labels([Caption("something", colour=product.colour)])[0]
    assert (product_labels >= 0).all()
    assert caption_labels.tolist() == [-1, -1, product_labels[2], -1]
