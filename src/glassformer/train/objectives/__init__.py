"""What a model is trained to do, one objective a file, which names its description as ``OBJECTIVE``.

    prepare(batch, tokenizer, seed)    what is random about a batch, by the numbers of its samples
    weight(batch)                      what the sum is divided by, known before anything is computed
    loss_sum(model, batch)             sum of the losses, and sums of metrics

One that learns from examples also says which ``FIELDS`` they hold, makes a ``sample`` of one, and what head it needs.
"""
