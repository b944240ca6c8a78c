"""Tokenizers from before ``tokenizer.json``: one kind of file a module, each built as an ordinary ``tokenizer.json``.

A module has ``found(folder)`` (whether its files are there), ``FILES`` (their names, for a message), ``CLASSES`` (the
value of ``tokenizer_class`` → a function ``Folder → Built``) and ``MODEL_TYPES`` (the ``model_type`` of a folder that
names no class → its class). Private modules are what they share.
"""
