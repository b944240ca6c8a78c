"""What a model is trained to do, one objective a file.

    check(config)                  refuses a model that cannot be trained so
    weight(batch) -> int           what the sum is divided by, known before anything is computed
    loss_sum(model, batch) -> (sum of the losses, metrics)

The loss of a step is the sum over all its micro-batches by the weight of all of them, so that it does not depend on how
the batch is cut.
"""
